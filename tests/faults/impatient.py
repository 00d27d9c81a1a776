"""`educa-chat` with shorter waits, for tests that wait until a node gives something up.

These tests import the durations from here. Only as a program, this module shortens anything.
"""

import sys
from pathlib import Path

from educa_chat import chat_socket, hub, presence, serve, websocket_protocol
from educa_chat.cli import main
from educa_chat.storage import log

SCRIPT = Path(__file__)
PATIENCE_S = 1.0
BUS_LOST_AFTER_S = 4.0
FORGET_AFTER_S = 5.0
MAX_PUBLISH_INTERVAL_S = 2.0
STOPPING_S = 1.0
"""The limit of each wait of a process that stops."""

if __name__ == "__main__":
    log.PATIENCE_S = PATIENCE_S
    hub.BUS_LOST_AFTER_S = BUS_LOST_AFTER_S
    presence.FORGET_AFTER_S = FORGET_AFTER_S
    presence.MAX_PUBLISH_INTERVAL_S = MAX_PUBLISH_INTERVAL_S
    chat_socket.DRAIN_TIMEOUT_S = websocket_protocol.CLOSE_TIMEOUT_S = serve.SHUTDOWN_TIMEOUT_S = STOPPING_S
    sys.exit(main())

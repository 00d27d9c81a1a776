"""TCP ports for the servers of tests."""

import fcntl
import os
import random
import socket
import tempfile
from contextlib import suppress
from pathlib import Path

FIRST, LAST = 20_000, 32_000
"""Below the kernel's ephemeral ports: a client could take one of those while a server restarts."""


def free_port() -> int:
    """Return a port that nobody listens on, and that no other caller gets before all the others have been given out.

    All processes of this user on this machine take turns, so tests may run in parallel and several times at once.
    """
    path = Path(tempfile.gettempdir()) / f"educa-chat-test-port-{os.getuid()}"
    with path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        # Each run of the tests has a folder of its own. Two that began with the same port would take it at once.
        port = int(file.read() or random.randint(FIRST, LAST))
        while True:
            port = port + 1 if port < LAST else FIRST
            with suppress(OSError), socket.create_server(("127.0.0.1", port)):
                break
        file.truncate(0)
        file.write(str(port))
    return port

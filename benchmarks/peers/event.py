"""What the peers in Python send."""

import json
from datetime import UTC, datetime


def event(command: str | bytes) -> str:
    """The answer to what a client said."""
    return json.dumps(
        {
            "type": "chat_message",
            "message": json.loads(command)["message"],
            "user": "student100",
            "datetime": datetime.now(UTC).isoformat(timespec="microseconds"),
        },
        separators=(",", ":"),
    )

"""The event that the Python peers send."""

import json
from datetime import UTC, datetime


def event(command: str | bytes) -> str:
    """Return the event for a client's message."""
    return json.dumps(
        {
            "type": "chat_message",
            "message": json.loads(command)["message"],
            "user": "student100",
            "datetime": datetime.now(UTC).isoformat(timespec="microseconds"),
        },
        separators=(",", ":"),
    )

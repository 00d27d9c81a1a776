"""The events of the peers: as long as those of the real server."""

import json
from datetime import UTC, datetime


def encode_event(seq: int, id: str, text: str) -> str:
    """A `chat_message` with every field that the protocol gives it."""
    return json.dumps(
        {
            "seq": seq,
            "datetime": datetime.now(UTC).isoformat(timespec="microseconds"),
            "type": "chat_message",
            "id": id,
            "user": "student100",
            "name": "Student Number 100",
            "role": "student",
            "message": text,
            "html": text,
        },
        separators=(",", ":"),
    )

"""What somebody may put on the bus who can publish on the broker, with or without the key."""

import hmac
from collections.abc import Sequence
from struct import pack

import msgspec

from tests.serving import BUS_KEYS

EVENTS, HEAD, TYPING, ROSTER, READ = 1, 2, 3, 4, 5
AT = "2026-11-22T14:53:22.962631+00:00"


def signed(topic: str, content: bytes, key: bytes = BUS_KEYS[0], version: int = 4) -> bytes:
    """`content`, the kind and what follows, as a payload of the topic that was signed with `key`."""
    start = bytes((version,))
    return start + hmac.digest(key, start + topic.encode() + b"\0" + content, "sha256")[:16] + content


def header(kind: int, number: int, count: int = 0) -> bytes:
    return pack("!BQH", kind, number, count)


def signal(kind: int, content: object, sent_at: float) -> bytes:
    """A signal whose body is the MessagePack of `content`."""
    return header(kind, int(sent_at * 1000)) + msgspec.msgpack.encode(content)


def message(seq: int, at: str = AT, rest: str = '"type":"chat_message","user":"eve","message":"x"}') -> bytes:
    """The variant of an event."""
    return f'{{"seq":{seq},"datetime":"{at}",{rest}'.encode()


def event(
    student: bytes, instructor: bytes = b"", basic: bytes = b"", owner: int = 0, redacts: Sequence[bytes] = ()
) -> bytes:
    """An event as it stands in a payload; `redacts` are others, each behind its seq."""
    lengths = pack("!IIIII", len(student), len(instructor), len(basic), owner, len(redacts))
    return b"".join((lengths, student, instructor, basic, *redacts))

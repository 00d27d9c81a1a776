"""Payloads that an attacker who can publish on the broker could send, with or without the key."""

import hmac
from collections.abc import Sequence
from struct import pack

import msgspec
from hypothesis import strategies as st

from educa_chat.protocol import MAX_SEQ
from tests.serving import BUS_KEYS

EVENTS, HEAD, TYPING, ROSTER, READ, MARKERS = 1, 2, 3, 4, 5, 6
AT = "2026-11-22T14:53:22.962631+00:00"


def signed(topic: str, content: bytes, key: bytes = BUS_KEYS[0], version: int = 4) -> bytes:
    """Return `content` (the kind and everything after it) as a payload for the topic, signed with `key`."""
    start = bytes((version,))
    return start + hmac.digest(key, start + topic.encode() + b"\0" + content, "sha256")[:16] + content


def header(kind: int, number: int, count: int = 0) -> bytes:
    return pack("!BQH", kind, number, count)


def signal(kind: int, content: object, sent_at: float) -> bytes:
    """Return a signal whose body is the MessagePack of `content`."""
    return header(kind, int(sent_at * 1000)) + msgspec.msgpack.encode(content)


def message(seq: int, at: str = AT, rest: str = '"type":"chat_message","user":"eve","message":"x"}') -> bytes:
    """Return the variant of an event."""
    return f'{{"seq":{seq},"datetime":"{at}",{rest}'.encode()


def event(
    student: bytes,
    instructor: bytes = b"",
    basic: bytes = b"",
    concealed_user_id: int = 0,
    redacts: Sequence[bytes] = (),
) -> bytes:
    """Return an event in the format of a payload; `redacts` are other events, each after its seq."""
    lengths = pack("!IIIII", len(student), len(instructor), len(basic), concealed_user_id, len(redacts))
    return b"".join((lengths, student, instructor, basic, *redacts))


def events_from(seq: int, count: int = 1, text: str = "x") -> bytes:
    """Return valid events, which nobody may ever have sent."""
    rest = f'"type":"chat_message","user":"eve","message":"{text}"}}'
    return header(EVENTS, seq, count) + b"".join(event(message(seq + n, rest=rest)) for n in range(count))


_MSGPACK = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.integers(0, 5) | st.text(max_size=3), inner),
    max_leaves=15,
)
_HOSTILE_EVENTS = st.builds(
    event,
    st.binary(max_size=80) | st.builds(message, st.integers(0, 7), st.just(AT) | st.text(max_size=32)),
    st.binary(max_size=80) | st.builds(message, st.integers(0, 7)),
    st.binary(max_size=80),
    st.integers(0, 2**32 - 1),
    st.lists(st.builds(lambda seq, student: pack("!Q", seq) + event(student), st.integers(0, 9), st.binary())),
)


def hostile_contents(sent_at: float) -> st.SearchStrategy[bytes]:
    """Return contents of every kind, more or less well-formed. Signals have the time `sent_at`."""
    return (
        st.binary()
        | st.builds(
            lambda head, rest: head + rest, st.builds(header, st.integers(0, 7), st.integers(0, 2**64 - 1)), st.binary()
        )
        | st.builds(lambda kind, content: signal(kind, content, sent_at), st.integers(0, 7), _MSGPACK)
        | st.builds(
            lambda seq, events: header(EVENTS, seq, len(events)) + b"".join(events),
            st.integers(0, 7) | st.integers(MAX_SEQ - 2, MAX_SEQ + 2),
            st.lists(_HOSTILE_EVENTS, max_size=3),
        )
        | st.builds(events_from, st.integers(1, 5) | st.integers(10**9, MAX_SEQ), st.integers(1, 5))
    )

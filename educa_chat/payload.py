"""What the bus carries: a fixed header, and for events the bytes that the log stores.

    byte     format version (3)
    byte     kind: 1 events, 2 head, 3 typing, 4 roster, 5 read
    8 bytes  the epoch that the seqs belong to
    8 bytes  seq: of the first event, or the head; for typing the user's id
    2 bytes  count of events
    then for each event the lengths of its student, instructor and basic forms (4 bytes each, 0: none), its owner
    (4 bytes, 0: none), the count of the events that it redacts (4 bytes), and the forms; then each of these with its
    seq (8 bytes) in the same form;
    for typing the signal's JSON; for a roster MessagePack of the fields of Roster;
    for read MessagePack of the seqs by user id

All numbers are big-endian. The seqs of the events of one payload follow each other without a hole.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from struct import Struct, error
from typing import NamedTuple

import msgspec

from educa_chat.bus.protocol import MAX_PAYLOAD_BYTES
from educa_chat.presence import Roster
from educa_chat.protocol import Event, TypingSignal, encode

VERSION = 3
_EVENTS, _HEAD, _TYPING, _ROSTER, _READ = 1, 2, 3, 4, 5
_ROSTER_DECODER = msgspec.msgpack.Decoder(Roster)
_READ_DECODER = msgspec.msgpack.Decoder(dict[int, int])
READERS_PER_PAYLOAD = 4000
"""As many fit, whatever their numbers."""
_HEADER = Struct("!BB8sQH")
_EVENT = Struct("!IIIII")
_SEQ = Struct("!Q")


class Tidings(NamedTuple):
    """What a payload tells of the log: `head` is the newest seq that it names."""

    head: int
    events: list[Event]


class Typist(NamedTuple):
    """Somebody is typing: her id, and the signal's JSON."""

    person: int
    signal: bytes


class Readers(NamedTuple):
    """How far people have read, by their ids."""

    seqs: dict[int, int]


def encode_payloads(epoch: str, events: Sequence[Event]) -> list[bytes]:
    """`events`, in order of seq, in as few payloads as carry them.

    A payload ends where a seq is missing or where it would grow too large; an event that fits into none is told of
    by its seq alone, and rooms read the log.
    """
    payloads: list[bytes] = []
    run: list[Event] = []
    size = 0
    for event in events:
        length = _length(event)
        if run and (event.seq != run[-1].seq + 1 or size + length > MAX_PAYLOAD_BYTES - _HEADER.size):
            payloads.append(_encode_run(epoch, run))
            run, size = [], 0
        if length > MAX_PAYLOAD_BYTES - _HEADER.size:
            payloads.append(encode_head(epoch, event.seq))
        else:
            run.append(event)
            size += length
    if run:
        payloads.append(_encode_run(epoch, run))
    return payloads


def encode_head(epoch: str, seq: int) -> bytes:
    """The payload that says only how far the log reaches."""
    return _HEADER.pack(VERSION, _HEAD, bytes.fromhex(epoch), seq, 0)


def encode_typing(epoch: str, person: int, signal: TypingSignal) -> bytes:
    """The payload that says that somebody is typing."""
    return _HEADER.pack(VERSION, _TYPING, bytes.fromhex(epoch), person, 0) + encode(signal)


def encode_roster(epoch: str, roster: Roster) -> bytes:
    """The payload that tells who is in a room here."""
    return _HEADER.pack(VERSION, _ROSTER, bytes.fromhex(epoch), 0, 0) + msgspec.msgpack.encode(roster)


def encode_readers(epoch: str, seqs: Mapping[int, int]) -> Iterator[bytes]:
    """The payloads that tell how far people have read, by their ids."""
    header = _HEADER.pack(VERSION, _READ, bytes.fromhex(epoch), 0, 0)
    remaining = iter(seqs.items())
    while part := dict(islice(remaining, READERS_PER_PAYLOAD)):
        yield header + msgspec.msgpack.encode(part)


def _encode_run(epoch: str, events: Sequence[Event]) -> bytes:
    parts = [_HEADER.pack(VERSION, _EVENTS, bytes.fromhex(epoch), events[0].seq, len(events))]
    for event in events:
        _encode_event(parts, event)
    return b"".join(parts)


def _encode_event(parts: list[bytes], event: Event) -> None:
    instructor, basic = event.instructor or b"", event.basic or b""
    parts += (
        _EVENT.pack(len(event.student), len(instructor), len(basic), event.owner or 0, len(event.redacts)),
        event.student,
        instructor,
        basic,
    )
    for redacted in event.redacts:
        parts.append(_SEQ.pack(redacted.seq))
        _encode_event(parts, redacted)


def _length(event: Event) -> int:
    return event.size + _EVENT.size + len(event.redacts) * (_SEQ.size + _EVENT.size)


def decode_payload(payload: bytes, epoch: str, known: int = 0) -> Tidings | Typist | Roster | Readers | None:
    """Read a payload; None for another epoch's, for another version's, and for what is no payload at all.

    Where it tells of nothing beyond the seq `known`, as one's own does that comes back, its events are left out.
    """
    try:
        version, kind, its_epoch, seq, count = _HEADER.unpack_from(payload)
        if version != VERSION or its_epoch != bytes.fromhex(epoch):
            return None
        if kind == _HEAD:
            return Tidings(seq, [])
        if kind == _TYPING:
            return Typist(seq, payload[_HEADER.size :])
        if kind == _ROSTER:
            return _ROSTER_DECODER.decode(payload[_HEADER.size :])
        if kind == _READ:
            return Readers(_READ_DECODER.decode(payload[_HEADER.size :]))
        if kind != _EVENTS:
            return None
        if seq + count - 1 <= known:
            return Tidings(seq + count - 1, [])
        events = []
        position = _HEADER.size
        for number in range(seq, seq + count):
            event, position = _decode_event(payload, position, number)
            events.append(event)
    except (error, ValueError, RecursionError):
        return None
    return Tidings(seq + count - 1, events)


def _decode_event(payload: bytes, position: int, seq: int) -> tuple[Event, int]:
    """The event at `position`, and where it ends. Raises struct.error, ValueError."""
    *lengths, owner, redacted_count = _EVENT.unpack_from(payload, position)
    position += _EVENT.size
    forms: list[bytes | None] = []
    for length in lengths:
        forms.append(payload[position : position + length] if length else None)
        position += length
    student, instructor, basic = forms
    if student is None or position > len(payload):
        raise ValueError
    redacts = []
    for _ in range(redacted_count):
        (its_seq,) = _SEQ.unpack_from(payload, position)
        redacted, position = _decode_event(payload, position + _SEQ.size, its_seq)
        redacts.append(redacted)
    return Event(seq, student, instructor, basic, owner or None, tuple(redacts)), position

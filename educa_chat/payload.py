"""The format of bus messages: a fixed header, and for events the bytes that the log stores.

    byte      format version (4)
    16 bytes  signature: the first half of an HMAC-SHA256 of the version, the topic, and all that follows
    byte      kind: 1 events, 2 head, 3 typing, 4 roster, 5 read, 6 markers
    8 bytes   seq of the first event, or the head; for a signal, when it was sent: milliseconds since 1970
    2 bytes   count of events
    then for each event the lengths of its student, instructor and basic variants (4 bytes each, 0: none), its
    concealed user (4 bytes, 0: none), the count of the events that it redacts (4 bytes), and the variants; then each
    of these with its seq (8 bytes) in the same format;
    for typing MessagePack of a Typist, for a roster of a Roster, for read of the seqs by user id, for markers of
    MovedMarkers

All numbers are big-endian. The seqs of the events in a payload are consecutive.

Anyone who can publish on the broker can send anything. So a payload is accepted only if a server that knows the session
key has signed it for this topic, and if it is well-formed, down to the JSON that browsers will receive. A topic names
one room of one history. So a signed payload can be replayed only to the room that it was meant for. There it is
harmless: the room ignores events that it has shown, markers only move forwards, and a signal is valid for a minute.
"""

import hmac
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from struct import Struct, error
from typing import Annotated, Any, NamedTuple

import msgspec

from educa_chat.bus.protocol import MAX_PAYLOAD_BYTES
from educa_chat.events.kind import Seq
from educa_chat.events.registry import EVENT_TYPES
from educa_chat.metrics import PayloadFault
from educa_chat.presence import MAX_USER_ID, Person, Roster, UserId
from educa_chat.protocol import MAX_SEQ, Event

VERSION = 4
_EVENTS, _HEAD, _TYPING, _ROSTER, _READ, _MARKERS = 1, 2, 3, 4, 5, 6
READERS_PER_PAYLOAD = 4000
"""This many always fit into a payload, whatever their ids and seqs."""
MARKERS_PER_PAYLOAD = 2000
"""The same for markers of several rooms."""
MAX_REDACTED_BYTES = 8192
"""A redacted event has only names, an id and flags left. Rooms keep some of these until the event arrives."""
SIGNAL_LIFE_S = 60.0
"""How much the time of a signal may differ from this server's clock. Clocks of servers differ by less."""

_ENVELOPE = Struct("!B16s")
_HEADER = Struct("!BQH")
_OVERHEAD = _ENVELOPE.size + _HEADER.size
_EVENT = Struct("!IIIII")
_SEQ = Struct("!Q")
_START = re.compile(
    rb'\{"seq":([1-9][0-9]*),"datetime":"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}\+00:00)",'
)
"""The log puts this in front of every variant, and rooms look for it there."""
_FIELDS = msgspec.json.Decoder(dict[str, str | int | bool | list[str] | None])
"""An event is a flat object."""
_ROSTER_DECODER = msgspec.msgpack.Decoder(Roster)
_READERS = msgspec.msgpack.Decoder(Annotated[dict[UserId, Seq], msgspec.Meta(max_length=READERS_PER_PAYLOAD)])


class LogUpdate(NamedTuple):
    """An update about the log: `head` is the newest seq that the payload names."""

    head: int
    events: list[Event]


class Typist(NamedTuple):
    """Somebody is typing."""

    person: Person
    is_student: bool


_TYPIST = msgspec.msgpack.Decoder(Typist)


class Readers(NamedTuple):
    """How far users have read, by their ids."""

    seqs: dict[int, int]


class Marker(NamedTuple):
    """How far a user has read in a room."""

    course: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
    user_id: UserId
    seq: Seq


class MovedMarkers(NamedTuple):
    """Markers of several rooms that have moved, in the history that `epoch` identifies."""

    epoch: Annotated[str, msgspec.Meta(max_length=64)]
    markers: Annotated[list[Marker], msgspec.Meta(max_length=MARKERS_PER_PAYLOAD)]


_MOVED_MARKERS = msgspec.msgpack.Decoder(MovedMarkers)


class Dropped(NamedTuple):
    """A payload that must be ignored."""

    fault: PayloadFault


Content = LogUpdate | Typist | Roster | Readers | MovedMarkers | Dropped
"""What a payload says."""


class PayloadCodec:
    """Encodes and decodes the payloads of one topic.

    It signs with the first of `keys`, and accepts what was signed with any of them. `now` returns the seconds since
    1970.
    """

    def __init__(self, topic: str, keys: Sequence[bytes], now: Callable[[], float] = time.time) -> None:
        # No topic holds a NUL, so where it ends can't be moved.
        context = bytes((VERSION,)) + topic.encode() + b"\0"
        self._signers = [hmac.new(key, context, "sha256") for key in keys]
        self._now = now

    def encode_events(self, events: Sequence[Event]) -> list[bytes]:
        """Encode `events`, in order of seq, in as few payloads as possible.

        A payload ends before a missing seq, or before it would grow too large. For an event that fits into none, only
        the seq is sent, and rooms read the log.
        """
        payloads: list[bytes] = []
        run: list[Event] = []
        size = 0
        for event in events:
            length = _length(event)
            if run and (event.seq != run[-1].seq + 1 or size + length > MAX_PAYLOAD_BYTES - _OVERHEAD):
                payloads.append(self._encode_run(run))
                run, size = [], 0
            if length > MAX_PAYLOAD_BYTES - _OVERHEAD:
                payloads.append(self.encode_head(event.seq))
            else:
                run.append(event)
                size += length
        if run:
            payloads.append(self._encode_run(run))
        return payloads

    def encode_head(self, seq: int) -> bytes:
        """Encode only how far the log reaches."""
        return self._seal(_HEADER.pack(_HEAD, seq, 0))

    def encode_typing(self, typist: Typist) -> bytes:
        """Encode that somebody is typing."""
        return self._encode_signal(_TYPING, typist)

    def encode_roster(self, roster: Roster) -> bytes:
        """Encode who is in a room in this process."""
        return self._encode_signal(_ROSTER, roster)

    def encode_readers(self, seqs: Mapping[int, int]) -> Iterator[bytes]:
        """Encode how far users have read, in as many payloads as necessary. `seqs` maps user ids to seqs."""
        remaining = iter(seqs.items())
        while part := dict(islice(remaining, READERS_PER_PAYLOAD)):
            yield self._encode_signal(_READ, part)

    def encode_markers(self, epoch: str, markers: Sequence[Marker]) -> Iterator[bytes]:
        """Encode markers of several rooms, in as many payloads as necessary."""
        for start in range(0, len(markers), MARKERS_PER_PAYLOAD):
            moved = MovedMarkers(epoch, list(markers[start : start + MARKERS_PER_PAYLOAD]))
            yield self._encode_signal(_MARKERS, moved)

    def decode(self, payload: bytes, known: int = 0) -> Content:
        """Decode a payload. Never raises, whatever the bytes are.

        If a payload contains nothing after the seq `known`, its events are omitted and it isn't verified: a process
        receives everything that it publishes itself, and that must be cheap.
        """
        try:
            version, signature = _ENVELOPE.unpack_from(payload)
            if version != VERSION:
                return Dropped("version")
            kind, number, count = _HEADER.unpack_from(payload, _ENVELOPE.size)
            last = number + max(count, 1) - 1
            if kind in (_EVENTS, _HEAD) and 1 <= last <= known:
                return LogUpdate(last, [])
            if len(payload) > MAX_PAYLOAD_BYTES:
                return Dropped("malformed")
            if not self._is_genuine(signature, memoryview(payload)[_ENVELOPE.size :]):
                return Dropped("forged")
            if kind not in (_EVENTS, _HEAD) and abs(self._now() - number / 1000) > SIGNAL_LIFE_S:
                return Dropped("stale")
            return _decode_content(payload, kind, number, count)
        except (error, ValueError, RecursionError):
            return Dropped("malformed")

    def _encode_run(self, events: Sequence[Event]) -> bytes:
        parts = [_HEADER.pack(_EVENTS, events[0].seq, len(events))]
        for event in events:
            _encode_event(parts, event)
        return self._seal(b"".join(parts))

    def _encode_signal(self, kind: int, content: Any) -> bytes:
        return self._seal(_HEADER.pack(kind, int(self._now() * 1000), 0) + msgspec.msgpack.encode(content))

    def _seal(self, content: bytes) -> bytes:
        return _ENVELOPE.pack(VERSION, _signature(self._signers[0], content)) + content

    def _is_genuine(self, signature: bytes, content: memoryview) -> bool:
        return any(hmac.compare_digest(signature, _signature(signer, content)) for signer in self._signers)


def _signature(signer: hmac.HMAC, content: bytes | memoryview) -> bytes:
    # Copying a signer that has hashed the key and the topic already costs half as much as making a new one.
    signer = signer.copy()
    signer.update(content)
    return signer.digest()[:16]


def _encode_event(parts: list[bytes], event: Event) -> None:
    instructor, basic = event.instructor or b"", event.basic or b""
    parts += (
        _EVENT.pack(len(event.student), len(instructor), len(basic), event.concealed_user_id or 0, len(event.redacts)),
        event.student,
        instructor,
        basic,
    )
    for redacted in event.redacts:
        parts.append(_SEQ.pack(redacted.seq))
        _encode_event(parts, redacted)


def _length(event: Event) -> int:
    return event.size + _EVENT.size + len(event.redacts) * (_SEQ.size + _EVENT.size)


def _decode_content(payload: bytes, kind: int, number: int, count: int) -> Content:
    """Decode what follows the header. Raises struct.error, ValueError, RecursionError."""
    if kind in (_EVENTS, _HEAD):
        events = []
        position = _OVERHEAD
        last = number + max(count, 1) - 1
        if (kind == _EVENTS) != (count > 0) or number < 1 or last > MAX_SEQ:
            raise ValueError
        for seq in range(number, number + count):
            event, position = _decode_event(payload, position, seq)
            events.append(event)
        if position != len(payload):
            raise ValueError
        return LogUpdate(last, events)
    if count:
        raise ValueError
    content = memoryview(payload)[_OVERHEAD:]
    if kind == _TYPING:
        return _TYPIST.decode(content)
    if kind == _ROSTER:
        return _ROSTER_DECODER.decode(content)
    if kind == _READ:
        return Readers(_READERS.decode(content))
    if kind == _MARKERS:
        return _MOVED_MARKERS.decode(content)
    raise ValueError


def _decode_event(payload: bytes, position: int, seq: int, *, may_redact: bool = True) -> tuple[Event, int]:
    """Decode the event at `position`. Return it and where it ends. Raises struct.error, ValueError."""
    *lengths, concealed_user_id, redacted_count = _EVENT.unpack_from(payload, position)
    position += _EVENT.size
    variants: list[bytes | None] = []
    for length in lengths:
        variants.append(payload[position : position + length] if length else None)
        position += length
    student, instructor, basic = variants
    if (
        student is None
        or position > len(payload)
        or concealed_user_id > MAX_USER_ID
        or (redacted_count and not may_redact)
    ):
        raise ValueError
    _check_variants(seq, student, instructor, basic)
    redacts = []
    for _ in range(redacted_count):
        (redacted_seq,) = _SEQ.unpack_from(payload, position)
        if not 1 <= redacted_seq < seq:
            raise ValueError
        redacted, position = _decode_event(payload, position + _SEQ.size, redacted_seq, may_redact=False)
        if redacted.size > MAX_REDACTED_BYTES:
            raise ValueError
        redacts.append(redacted)
    return Event(seq, student, instructor, basic, concealed_user_id or None, tuple(redacts)), position


def _check_variants(seq: int, student: bytes, *others: bytes | None) -> None:
    """Raise ValueError unless all variants are the JSON of an event with this seq and the same time."""
    start = _START.match(student)
    if start is None or int(start[1]) != seq:
        raise ValueError
    datetime.fromisoformat(start[2].decode())
    for variant in (student, *others):
        if variant is None:
            continue
        if not (variant.startswith(start[0]) and variant.endswith(b"}")):
            raise ValueError
        fields = _FIELDS.decode(b"{" + variant[start.end() :])
        # If a field occurs twice, a browser takes the second.
        if "seq" in fields or "datetime" in fields or str(fields.get("type")) not in EVENT_TYPES:
            raise ValueError

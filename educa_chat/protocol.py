"""The protocol, version 1: its codes, its audiences, and what the server sends. `events/` has the kinds of event."""

from enum import IntEnum, StrEnum
from struct import Struct as Packer

import msgspec

SUBPROTOCOL = "educa-chat.v1"
MAX_SEQ = 2**53
"""The largest integer that every JSON reader keeps exactly."""


class ErrorCode(StrEnum):
    """Why a command was refused; the command had no effect and the socket stays open."""

    BAD_JSON = "bad_json"
    BAD_REQUEST = "bad_request"
    UNKNOWN_TYPE = "unknown_type"
    TOO_LONG = "too_long"
    EMPTY = "empty"
    RATE_LIMITED = "rate_limited"
    SLOW_MODE = "slow_mode"
    MUTED = "muted"
    CLOSED = "closed"
    FORBIDDEN = "forbidden"
    NO_SUCH_MESSAGE = "no_such_message"
    UNAVAILABLE = "unavailable"


class Role(StrEnum):
    """What a member is in a course, the lowest role first."""

    STUDENT = "student"
    ASSISTANT = "assistant"
    INSTRUCTOR = "instructor"

    @property
    def is_staff(self) -> bool:
        """Whether it is an instructor or an assistant, who see and do more than students."""
        return self is not Role.STUDENT

    def includes(self, other: "Role") -> bool:
        """Return whether whoever has this role may do what `other` may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


class CloseCode(IntEnum):
    """Why the server ends a socket; RFC 6455 §7.4 and our own from 4000 on."""

    GOING_AWAY = 1001
    POLICY_VIOLATION = 1008
    INTERNAL_ERROR = 1011
    SESSION_ENDED = 4001
    NOT_A_MEMBER = 4003
    TOO_SLOW = 4008
    REPLACED = 4029


class Audience(IntEnum):
    """The readers who get the same variant of an event. Assistants get the instructors'."""

    STUDENT = 0
    INSTRUCTOR = 1
    BASIC = 2


class Event(msgspec.Struct, frozen=True, gc=False):
    """One entry of a room's log as finished JSON, in a variant for each audience."""

    seq: int
    student: bytes
    instructor: bytes | None
    """None: the same as the student's."""
    basic: bytes | None
    """None: basic clients get nothing."""
    concealed_user_id: int | None = None
    """The id of the user it is by or about, where students don't see that. This user's own sockets get the frame `own`
    first, and the instructors' variant of what is hidden from other students."""
    redacts: "tuple[Event, ...]" = ()
    """Earlier events as they stand since this one: what they said is gone."""

    @property
    def at(self) -> str:
        """The event's `datetime`."""
        return datetime_in(self.student)

    @property
    def size(self) -> int:
        """The bytes of all its variants, and of what it redacts."""
        own = len(self.student) + len(self.instructor or b"") + len(self.basic or b"")
        return own + sum(event.size for event in self.redacts) if self.redacts else own

    @property
    def anonymous_messages(self) -> int:
        """How many anonymous messages the room has more since this event, deleted ones not counted: 1, 0 or -1."""
        return _is_anonymous(self) - sum(map(_is_anonymous, self.redacts))

    def variant(self, audience: Audience) -> bytes | None:
        """What `audience` sees; None: nothing."""
        if audience is Audience.BASIC:
            return self.basic
        if audience is Audience.INSTRUCTOR and self.instructor is not None:
            return self.instructor
        return self.student


def _is_anonymous(event: Event) -> bool:
    """Whether it is an anonymous message, deleted or not."""
    # No text contains this: its quotes are escaped.
    return event.concealed_user_id is not None and b'"anonymous":true' in event.student


def lead(seq: int, at: str) -> bytes:
    """The beginning of each variant of the event `seq`; `encode_body` makes the rest."""
    return b'{"seq":%d,"datetime":"%b",' % (seq, at.encode())


def is_hidden(variant: bytes) -> bool:
    """Whether an event says nothing in this variant, or in the frame of this variant."""
    return b'"type":"hidden"' in variant


def datetime_in(variant: bytes) -> str:
    """Return the `datetime` of an event, given a variant or its frame: it comes right after the seq."""
    start = variant.index(b'"datetime":"') + len(b'"datetime":"')
    return variant[start : variant.index(b'"', start)].decode()


def anonymity_in(variant: bytes) -> bool | None:
    """Return whether students may be anonymous since this event, or None if the event is about something else."""
    # No text holds this, for its quotes are escaped there.
    return b'"on":true' in variant if b'"type":"anonymity"' in variant else None


class Hidden(msgspec.Struct, tag="hidden"):
    """What students see of an event that is not for them."""


# What the server says besides events.


class Room(msgspec.Struct):
    id: int | str
    title: str


class Me(msgspec.Struct):
    user: str
    name: str
    role: str


class Limits(msgspec.Struct):
    message_length: int
    slow_seconds: int = 0
    muted_until: str | None = None


class State(msgspec.Struct):
    """What else a page must know of the room."""

    closed: bool
    pinned: list[int]
    anonymity: bool
    """Whether students may be anonymous to each other."""
    read: int
    """How far the reader has read."""
    reports: int | msgspec.UnsetType = msgspec.UNSET
    """How many messages have open reports; sent to instructors only."""


class Welcome(msgspec.Struct, tag="welcome"):
    """The first frame of a full socket."""

    room: Room
    me: Me
    head: int
    epoch: str
    limits: Limits
    state: State


class Own(msgspec.Struct, tag="own"):
    """The event that follows is by the reader or about them, and other students don't see that."""

    seq: int


class Reset(msgspec.Struct, tag="reset"):
    """The client is too far behind; the stream goes on with `after` + 1."""

    after: int


class Ack(msgspec.Struct, tag="ack"):
    """The command is committed to disk."""

    id: str
    seq: int
    datetime: str


class Error(msgspec.Struct, tag="error", omit_defaults=True):
    """A command was refused and had no effect."""

    code: str
    message: str
    datetime: str
    id: str | None = None
    retry_after: float | None = None


class PresenceSignal(msgspec.Struct, tag="presence", omit_defaults=True):
    """Who is in the room; `users` and their full `names` only while they are few."""

    count: int
    users: list[str] = []
    names: dict[str, str] = {}


class TypingSignal(msgspec.Struct, tag="typing"):
    """Somebody is typing."""

    user: str
    name: str


class ReadSignal(msgspec.Struct, tag="read"):
    """The reader has read up to `seq` in another window."""

    seq: int


_ENCODER = msgspec.json.Encoder()
_LENGTH_16 = Packer("!BBH")
_LENGTH_64 = Packer("!BBQ")


def encode(struct: msgspec.Struct) -> bytes:
    """`struct` as JSON."""
    return _ENCODER.encode(struct)


def encode_body(struct: msgspec.Struct) -> bytes:
    """An event's JSON without its opening brace, for the append to put `seq` and `datetime` in front."""
    return _ENCODER.encode(struct)[1:]


def text_frame(payload: bytes) -> bytes:
    """`payload` as one unmasked text frame (RFC 6455 §5.2)."""
    length = len(payload)
    if length < 126:
        return bytes((0x81, length)) + payload
    if length < 65536:
        return _LENGTH_16.pack(0x81, 126, length) + payload
    return _LENGTH_64.pack(0x81, 127, length) + payload


PING_FRAME = b"\x89\x00"
"""A ping that says nothing (RFC 6455 §5.5.2)."""


def pong_frame(payload: bytes) -> bytes:
    """The answer to a ping that said `payload`, which has at most 125 bytes (RFC 6455 §5.5.3)."""
    return bytes((0x8A, len(payload))) + payload


def close_frame(code: int | None) -> bytes:
    """A close frame without a reason, and where `code` is None without a code (RFC 6455 §5.5.1)."""
    return b"\x88\x00" if code is None else b"\x88\x02" + code.to_bytes(2, "big")


def json_id(number: int) -> int | str:
    """A room's id in JSON: a number up to 2^53, and a string beyond."""
    return number if number <= MAX_SEQ else str(number)

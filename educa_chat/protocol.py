"""The protocol, version 1: codes, audiences, and the frames of the server. `events/` has the kinds of event."""

from enum import IntEnum, StrEnum
from struct import Struct as Packer

import msgspec

SUBPROTOCOL = "educa-chat.v1"
MAX_SEQ = 2**53
"""The largest integer that every JSON parser represents exactly."""


class ErrorCode(StrEnum):
    """Why a command was refused. The command had no effect, and the socket stays open."""

    BAD_JSON = "bad_json"
    BAD_REQUEST = "bad_request"
    UNKNOWN_TYPE = "unknown_type"
    TOO_LONG = "too_long"
    EMPTY = "empty"
    RATE_LIMITED = "rate_limited"
    SLOW_MODE = "slow_mode"
    MUTED = "muted"
    CLOSED = "closed"
    ARCHIVED = "archived"
    FORBIDDEN = "forbidden"
    NO_SUCH_MESSAGE = "no_such_message"
    CHANGED = "changed"
    UNAVAILABLE = "unavailable"


class Role(StrEnum):
    """The role of a member in a course, the lowest first."""

    STUDENT = "student"
    ASSISTANT = "assistant"
    INSTRUCTOR = "instructor"

    @property
    def is_staff(self) -> bool:
        """Whether this is an instructor or an assistant. They see more and can do more than students."""
        return self is not Role.STUDENT

    def includes(self, other: "Role") -> bool:
        """Return whether this role has all permissions of `other`."""
        order = list(Role)
        return order.index(self) >= order.index(other)


class CloseCode(IntEnum):
    """Why the server closes a socket: codes of RFC 6455 §7.4, and our own from 4000 on."""

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
    """One entry of a room's log as JSON, in a variant for each audience."""

    seq: int
    student: bytes
    instructor: bytes | None
    """None: the same as the student's."""
    basic: bytes | None
    """None: basic clients get nothing."""
    concealed_user_id: int | None = None
    """The id of the user that the event is by or about, if students can't see that. This user's own sockets get the
    frame `own` first, and the instructors' variant of events that are hidden from other students.
    """
    redacts: "tuple[Event, ...]" = ()
    """Earlier events whose text this one removes, in their new state."""

    @property
    def at(self) -> str:
        """The event's `datetime`."""
        return datetime_in(self.student)

    @property
    def size(self) -> int:
        """The size of all variants and of the events that this one redacts, in bytes."""
        own = len(self.student) + len(self.instructor or b"") + len(self.basic or b"")
        return own + sum(event.size for event in self.redacts) if self.redacts else own

    @property
    def anonymous_messages(self) -> int:
        """The change in the number of anonymous messages that aren't deleted: 1, 0 or -1."""
        return _is_anonymous(self) - sum(map(_is_anonymous, self.redacts))

    def variant(self, audience: Audience) -> bytes | None:
        """Return the variant for `audience`. None: nothing is sent."""
        if audience is Audience.BASIC:
            return self.basic
        if audience is Audience.INSTRUCTOR and self.instructor is not None:
            return self.instructor
        return self.student


def _is_anonymous(event: Event) -> bool:
    """Return whether this is an anonymous message, deleted or not."""
    # No text contains this: its quotes are escaped.
    return event.concealed_user_id is not None and b'"anonymous":true' in event.student


def lead(seq: int, at: str) -> bytes:
    """Return the beginning of each variant of the event `seq`. `encode_body` makes the rest."""
    return b'{"seq":%d,"datetime":"%b",' % (seq, at.encode())


def is_hidden(variant: bytes) -> bool:
    """Return whether this variant of an event, or its frame, is `hidden`."""
    return b'"type":"hidden"' in variant


def datetime_in(variant: bytes) -> str:
    """Return the `datetime` of an event, given a variant or its frame: it comes right after the seq."""
    start = variant.index(b'"datetime":"') + len(b'"datetime":"')
    return variant[start : variant.index(b'"', start)].decode()


def anonymity_in(variant: bytes) -> bool | None:
    """Return whether this event allows anonymous messages, or None if it is about something else."""
    # No text contains this, because its quotes are escaped there.
    return b'"on":true' in variant if b'"type":"anonymity"' in variant else None


class Hidden(msgspec.Struct, tag="hidden"):
    """The students' variant of an event that they may not see."""


# The other frames of the server.


class Room(msgspec.Struct):
    id: int | str
    title: str
    archived: bool
    """Whether the room is read-only."""


class Me(msgspec.Struct):
    user: str
    name: str
    role: str
    id: int | msgspec.UnsetType = msgspec.UNSET
    """Stays the same if the user gets another username."""


class Limits(msgspec.Struct):
    message_length: int
    slow_seconds: int = 0
    muted_until: str | None = None


class State(msgspec.Struct):
    """The state of the room that a page needs."""

    closed: bool
    pinned: list[int]
    anonymity: bool
    """Whether students may send anonymous messages."""
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
    datetime: str | msgspec.UnsetType = msgspec.UNSET
    """The server's time, so that clients needn't rely on their own clocks."""


class RoomSignal(Room, tag="room"):
    """The title of the room has changed, or whether it is archived."""


class Own(msgspec.Struct, tag="own"):
    """The next event is by the reader or about them, and other students can't see that."""

    seq: int


class Reset(msgspec.Struct, tag="reset"):
    """The client has missed too much. The stream continues with `after` + 1."""

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
    """The people in the room: always their number, and `users` with their full `names` only in a small room."""

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


class UnreadRoom(msgspec.Struct):
    """How many messages are unread in a room, and how many of them mention the reader."""

    id: int | str
    unread: int
    mentions: int


class Addressed(msgspec.Struct):
    """The seqs of new messages in a room that mention the reader or reply to them."""

    id: int | str
    seqs: list[int]


class UnreadSignal(msgspec.Struct, tag="unread", omit_defaults=True):
    """The counts of other rooms of the reader have changed, or somebody has addressed them there."""

    rooms: list[UnreadRoom]
    addressed: list[Addressed] = []


_ENCODER = msgspec.json.Encoder()
_LENGTH_16 = Packer("!BBH")
_LENGTH_64 = Packer("!BBQ")


def encode(struct: msgspec.Struct) -> bytes:
    """Return `struct` as JSON."""
    return _ENCODER.encode(struct)


def encode_body(struct: msgspec.Struct) -> bytes:
    """Return an event's JSON without its opening brace. The append puts `seq` and `datetime` in front."""
    return _ENCODER.encode(struct)[1:]


def text_frame(payload: bytes) -> bytes:
    """Return `payload` as one unmasked text frame (RFC 6455 §5.2)."""
    length = len(payload)
    if length < 126:
        return bytes((0x81, length)) + payload
    if length < 65536:
        return _LENGTH_16.pack(0x81, 126, length) + payload
    return _LENGTH_64.pack(0x81, 127, length) + payload


PING_FRAME = b"\x89\x00"
"""A ping without a payload (RFC 6455 §5.5.2)."""


def pong_frame(payload: bytes) -> bytes:
    """Return the answer to a ping with `payload`, which has at most 125 bytes (RFC 6455 §5.5.3)."""
    return bytes((0x8A, len(payload))) + payload


def close_frame(code: int | None) -> bytes:
    """Return a close frame without a reason, and without a code if `code` is None (RFC 6455 §5.5.1)."""
    return b"\x88\x00" if code is None else b"\x88\x02" + code.to_bytes(2, "big")


def json_id(number: int) -> int | str:
    """Return a room's id for JSON: a number up to 2^53, and a string beyond."""
    return number if number <= MAX_SEQ else str(number)

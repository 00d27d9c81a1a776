"""Commands, events and codes of the protocol, version 1: what goes over a socket, and its encoding.

A kind of command is added in `_COMMANDS`; a kind of event is a struct with its `type` as the tag.
"""

import json
import re
import unicodedata
from enum import IntEnum, StrEnum
from struct import Struct as Packer
from typing import Annotated, Any

import msgspec

from educa_chat.errors import CommandRefused

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
    """Who sees one and the same form of an event."""

    STUDENT = 0
    INSTRUCTOR = 1
    BASIC = 2


class Event(msgspec.Struct, frozen=True, gc=False):
    """One entry of a room's log as finished JSON, in a form for each audience."""

    seq: int
    student: bytes
    instructor: bytes | None
    """None: the same as the student's."""
    basic: bytes | None
    """None: basic clients get nothing."""
    owner: int | None = None
    """The id of the user it is by or about, where students don't see that. This user's own sockets get the frame `own`
    first, and the instructors' form of what is hidden from other students."""
    redacts: "tuple[Event, ...]" = ()
    """Earlier events as they stand since this one: what they said is gone."""

    @property
    def at(self) -> str:
        """The event's `datetime`."""
        return datetime_in(self.student)

    @property
    def size(self) -> int:
        """The bytes of all its forms, and of what it redacts."""
        own = len(self.student) + len(self.instructor or b"") + len(self.basic or b"")
        return own + sum(event.size for event in self.redacts) if self.redacts else own

    @property
    def anonymous_messages(self) -> int:
        """How many anonymous messages the room has more since this event, deleted ones not counted: 1, 0 or -1."""
        return _is_anonymous(self) - sum(map(_is_anonymous, self.redacts))

    def form(self, audience: Audience) -> bytes | None:
        """What `audience` sees; None: nothing."""
        if audience is Audience.BASIC:
            return self.basic
        if audience is Audience.INSTRUCTOR and self.instructor is not None:
            return self.instructor
        return self.student


def _is_anonymous(event: Event) -> bool:
    """Whether it is an anonymous message, deleted or not."""
    # No text contains this: its quotes are escaped.
    return event.owner is not None and b'"anonymous":true' in event.student


def is_hidden(form: bytes) -> bool:
    """Whether an event says nothing in this form, or in this frame of a form."""
    return b'"type":"hidden"' in form


def datetime_in(form: bytes) -> str:
    """The `datetime` of the event of which `form` is a form or its frame: it stands right behind the seq."""
    start = form.index(b'"datetime":"') + len(b'"datetime":"')
    return form[start : form.index(b'"', start)].decode()


def anonymity_in(form: bytes) -> bool | None:
    """Whether students may be anonymous since the event of which `form` is a form; None: it is about something else."""
    # No text holds this, for its quotes are escaped there.
    return b'"on":true' in form if b'"type":"anonymity"' in form else None


# Commands: what a client asks for.

ClientId = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[^\x00]*$")]
Seq = Annotated[int, msgspec.Meta(ge=1, le=MAX_SEQ)]
MAX_MUTE_MINUTES = 366 * 24 * 60
MAX_SLOW_SECONDS = 24 * 60 * 60


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A command that becomes an event."""

    id: ClientId | None = None


class Say(Stored, frozen=True, kw_only=True):
    """The command `message`."""

    message: str
    reply_to: Seq | None = None
    question: bool = False
    anonymous: bool = False


class Edit(Stored, frozen=True, kw_only=True):
    target: Seq
    message: str


class Delete(Stored, frozen=True, kw_only=True):
    target: Seq


class React(Stored, frozen=True, kw_only=True):
    target: Seq
    emoji: Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
    on: bool


class Mark(Stored, frozen=True, kw_only=True):
    """`pin`, `answer`, `question` and `endorse`: something that a message is, or is no more."""

    target: Seq
    on: bool


class Pin(Mark, frozen=True, kw_only=True):
    pass


class Answer(Mark, frozen=True, kw_only=True):
    """Marks a reply as the answer to the message it replies to."""


class Question(Mark, frozen=True, kw_only=True):
    pass


class Endorse(Mark, frozen=True, kw_only=True):
    pass


class Mute(Stored, frozen=True, kw_only=True):
    user: Annotated[str, msgspec.Meta(min_length=1, max_length=150, pattern=r"^[^\x00]*$")]
    minutes: Annotated[int, msgspec.Meta(ge=0, le=MAX_MUTE_MINUTES)]


class Slow(Stored, frozen=True, kw_only=True):
    seconds: Annotated[int, msgspec.Meta(ge=0, le=MAX_SLOW_SECONDS)]


class Close(Stored, frozen=True, kw_only=True):
    """Lets only instructors write, or everybody again."""

    on: bool


class Anonymity(Stored, frozen=True, kw_only=True):
    """Lets students be anonymous to each other, or no more."""

    on: bool


class Report(Stored, frozen=True, kw_only=True):
    """Tells the instructors alone of somebody else's message."""

    target: Seq
    reason: str = ""


class Settle(Stored, frozen=True, kw_only=True):
    """Puts the open reports of a message aside."""

    target: Seq


class Typing(msgspec.Struct, frozen=True):
    """The command `typing`: a signal, which is not stored and takes no id."""


class Read(msgspec.Struct, frozen=True):
    """The command `read`: its sender has read up to `seq`. It is no event, and takes no id."""

    seq: Seq


Command = Stored | Typing | Read
_COMMANDS: dict[str, msgspec.json.Decoder[Any]] = {
    "message": msgspec.json.Decoder(Say),
    "edit": msgspec.json.Decoder(Edit),
    "delete": msgspec.json.Decoder(Delete),
    "react": msgspec.json.Decoder(React),
    "pin": msgspec.json.Decoder(Pin),
    "answer": msgspec.json.Decoder(Answer),
    "question": msgspec.json.Decoder(Question),
    "endorse": msgspec.json.Decoder(Endorse),
    "mute": msgspec.json.Decoder(Mute),
    "slow": msgspec.json.Decoder(Slow),
    "close": msgspec.json.Decoder(Close),
    "anonymity": msgspec.json.Decoder(Anonymity),
    "report": msgspec.json.Decoder(Report),
    "settle": msgspec.json.Decoder(Settle),
    "typing": msgspec.json.Decoder(Typing),
    "read": msgspec.json.Decoder(Read),
}


class _Envelope(msgspec.Struct):
    type: str = "message"
    id: Any = None


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_WITH_TEXT = frozenset(("message", "edit"))
MAX_SHORT_FRAME = 8192
"""How many characters a command without a message's text may have, however its strings are escaped; and how many one
with a text may have besides its strings."""
MAX_OBJECTS = 32
"""How many JSON objects a command may have. It is one, and unknown fields may have others."""
MAX_STRINGS = 128
"""How many strings of a command are looked at. Any more count as if they were no strings."""
_JSON_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | {chr(c) for c in range(0xFE00, 0xFE10)}
MAX_COMBINING_RUN = 512
_LINE_BREAK = re.compile("\r\n?|[\v\f\x85\u2028\u2029]")
"""What Unicode calls a line break besides `\\n` (UAX #14: BK, CR and NL); libraries disagree on which end a line."""
_INVISIBLE_CATEGORIES = frozenset(("Cc", "Cf", "Cn", "Co", "Zl", "Zp", "Zs"))


def decode_command(frame: str, *, id_required: bool) -> Command:
    """Read a command.

    Raises CommandRefused with bad_json, bad_request or unknown_type, and with the command's id where it has one. The
    work is bounded whatever the frame contains: under a millisecond for 64 KiB.
    """
    id: object = None
    try:
        envelope = _ENVELOPE.decode(frame)
        id = envelope.id
        decoder = _COMMANDS.get(envelope.type)
        if decoder is None:
            raise CommandRefused(ErrorCode.UNKNOWN_TYPE, id=_client_id(id))
        if _is_too_complex(frame, has_text=envelope.type in _WITH_TEXT):
            raise CommandRefused(ErrorCode.BAD_REQUEST, id=_client_id(id))
        command: Command = decoder.decode(frame)
    except msgspec.ValidationError:
        raise CommandRefused(ErrorCode.BAD_REQUEST, id=_client_id(id)) from None
    except (msgspec.DecodeError, RecursionError):
        raise CommandRefused(ErrorCode.BAD_JSON, id=_client_id(id)) from None
    if id_required and isinstance(command, Stored) and command.id is None:
        raise CommandRefused(ErrorCode.BAD_REQUEST)
    try:
        # Up to here it is JSON, so what is behind it need not be looked at.
        _PAIRS.raw_decode(frame.lstrip())
    except (ValueError, RecursionError):
        raise CommandRefused(ErrorCode.BAD_REQUEST, id=_client_id(id)) from None
    return command


def _is_too_complex(frame: str, *, has_text: bool) -> bool:
    """Whether the JSON in `frame` would take long to decode: it is long without its strings, or has many objects."""
    if len(frame) <= MAX_SHORT_FRAME and frame.count("{") <= MAX_OBJECTS:
        return False
    if len(frame) > MAX_SHORT_FRAME and not has_text:
        return True
    # What is in a string costs little, whatever it is.
    structure = _JSON_STRING.sub("", frame, MAX_STRINGS)
    return len(structure) > MAX_SHORT_FRAME or structure.count("{") > MAX_OBJECTS


def _client_id(value: object) -> str | None:
    """`value` where it is of the form of a client's id; a refusal names no other."""
    try:
        return msgspec.convert(value, ClientId)
    except msgspec.ValidationError:
        return None


def _refuse_twins(pairs: list[tuple[str, Any]]) -> None:
    """Raise ValueError for a field that comes twice, of which msgspec takes the last and other readers the first."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError


_PAIRS = json.JSONDecoder(object_pairs_hook=_refuse_twins)


def normalise_text(text: str, length: int) -> str:
    """`text` after NFC and trimming, with `\\n` for every kind of line break: 1 to `length` code points (0: no limit),
    of which at least one can be seen.

    Raises CommandRefused with too_long, empty, or bad_request for NUL, which Postgres can't store, and
    for more combining marks on one letter than any language has.
    """
    text = _LINE_BREAK.sub("\n", text).strip()
    # NFC at most quarters a text: it makes one character of a letter and three marks. What is longer can't fit.
    if length and len(text) > 4 * length:
        raise CommandRefused(ErrorCode.TOO_LONG)
    if "\0" in text:
        raise CommandRefused(ErrorCode.BAD_REQUEST)
    if not text.isascii():
        # Normalising sorts each run of combining marks in quadratic time: 16,000 of them would take half a second.
        if len(text) > MAX_COMBINING_RUN:
            runs = [len(run) for run in bytes(map(unicodedata.combining, text)).split(b"\0")]
            if max(runs) > MAX_COMBINING_RUN:
                raise CommandRefused(ErrorCode.BAD_REQUEST)
            # A letter takes at most three marks in, as said above.
            if length and sum(run - 3 for run in runs if run > 3) > length:
                raise CommandRefused(ErrorCode.TOO_LONG)
        text = unicodedata.normalize("NFC", text).strip()
    if length and len(text) > length:
        raise CommandRefused(ErrorCode.TOO_LONG)
    if not any(map(_is_visible, text)):
        raise CommandRefused(ErrorCode.EMPTY)
    return text


def _is_visible(character: str) -> bool:
    return character not in _INVISIBLE and unicodedata.category(character) not in _INVISIBLE_CATEGORIES


# Events: what is stored and shown. `seq` and `datetime` are put in front by the append.


UNNAMED = "\0"
"""A name that the append puts in or leaves out: students may see the name, a pseudonym or nothing. No name and no text
contains it."""


class ChatMessage(msgspec.Struct, tag="chat_message", omit_defaults=True):
    """A message, for students and instructors.

    Where it is anonymous, students get no id, and the pseudonym as user and name; instructors get it as `pseudonym`.
    """

    id: str | msgspec.UnsetType
    user: str
    name: str
    role: str
    message: str
    html: str
    reply_to: int | None = None
    question: bool = False
    anonymous: bool = False
    pseudonym: str | None = None


class BasicMessage(msgspec.Struct, tag="chat_message"):
    """A message, for basic clients."""

    user: str
    message: str


class Edited(msgspec.Struct, tag="edited"):
    user: str
    target: int
    message: str
    html: str


class Deleted(msgspec.Struct, tag="deleted"):
    user: str
    target: int


class Reaction(msgspec.Struct, tag="reaction"):
    user: str
    target: int
    emoji: str
    on: bool


class Marked(msgspec.Struct):
    """Something that a message is, or is no more; the tags say what."""

    user: str
    target: int
    on: bool


class Pinned(Marked, tag="pinned"):
    pass


class Answered(Marked, tag="answered"):
    pass


class Questioned(Marked, tag="questioned"):
    pass


class Endorsed(Marked, tag="endorsed"):
    pass


class Muted(msgspec.Struct, tag="muted"):
    user: str
    target_user: str
    until: str | None
    """None: lifted."""


class Slowed(msgspec.Struct, tag="slowed"):
    user: str
    seconds: int


class Closed(msgspec.Struct, tag="closed"):
    user: str
    on: bool


class AnonymityChanged(msgspec.Struct, tag="anonymity"):
    user: str
    on: bool


class Reported(msgspec.Struct, tag="reported"):
    """A message was reported: for instructors alone."""

    user: str
    target: int
    reason: str


class Settled(msgspec.Struct, tag="settled"):
    """The open reports of a message were put aside: for instructors alone."""

    user: str
    target: int


class Hidden(msgspec.Struct, tag="hidden"):
    """What students see of an event that is not for them."""


EVENT_TYPES = frozenset(
    str(event.__struct_config__.tag)
    for event in (
        ChatMessage,
        Edited,
        Deleted,
        Reaction,
        Pinned,
        Answered,
        Questioned,
        Endorsed,
        Muted,
        Slowed,
        Closed,
        AnonymityChanged,
        Reported,
        Settled,
        Hidden,
    )
)
"""The `type` of everything that has a place in the log."""


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
    """How many messages have open reports; of this only instructors are told."""


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

"""A reader of the frames that a WebSocket client sends (RFC 6455 §5): bytes in, messages out, no connection."""

from codecs import utf_8_decode
from enum import IntEnum
from typing import Final, NamedTuple

from educa_chat.errors import EducaChatError

MAX_CONTROL_BYTES = 125
SMALL_FRAGMENT_BYTES = 64
"""A fragment with a shorter payload is small. Reading its header takes as long as reading that of a large one."""
MAX_SMALL_FRAGMENTS = 512
"""How many small fragments one message may have. Clients that fragment at all send large fragments."""
_CLOSE_CODES = frozenset((1000, 1001, 1002, 1003, *range(1007, 1015)))
"""The codes below 3000 that a close frame may carry (RFC 6455 §7.4, and the IANA registry)."""


class FailureCode(IntEnum):
    """Why the server fails a connection (RFC 6455 §7.4.1)."""

    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    INVALID_TEXT = 1007
    POLICY_VIOLATION = 1008
    TOO_LONG = 1009


class FrameInvalid(EducaChatError):
    """A client broke the protocol, or sent something the server doesn't accept; `code` is for the close frame."""

    def __init__(self, code: FailureCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Text(NamedTuple):
    """A complete message."""

    text: str


class Ping(NamedTuple):
    """A request for a pong with the same payload."""

    payload: bytes


class Pong(NamedTuple):
    """The answer to a ping, or an unsolicited sign of life."""

    payload: bytes


class Close(NamedTuple):
    """The last frame; None: without a code."""

    code: int | None


class Fragment(NamedTuple):
    """A frame that doesn't complete its message."""


Message = Text | Ping | Pong | Close

_FRAGMENT: Final = Fragment()
_FIN, _RSV, _OPCODE = 0x80, 0x70, 0x0F
_MASKED, _LENGTH = 0x80, 0x7F
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
_CONTROLS = {_FIN | _CLOSE, _FIN | _PING, _FIN | _PONG}
_STARTS = frozenset(_CONTROLS | {_TEXT, _FIN | _TEXT})
"""The first bytes of the frames that may come between messages."""
_CONTINUATIONS = frozenset(_CONTROLS | {_CONTINUATION, _FIN | _CONTINUATION})
"""The first bytes of the frames that may come within a message."""


class FrameReader:
    """Reads one client's stream of frames. Accepts text, pings, pongs and the close frame.

    A message has at most `max_bytes` (0: no limit), and at most MAX_SMALL_FRAGMENTS small fragments. The reader checks
    text as it arrives, and holds no buffer between messages.
    """

    __slots__ = ("_data", "_max_bytes", "_message", "_position")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._data = b""
        self._position = 0
        self._message: _PartialMessage | None = None

    @property
    def has_unread(self) -> bool:
        """Whether bytes are left that `read` hasn't consumed. They may be less than a frame."""
        return self._position < len(self._data)

    def feed(self, data: bytes) -> None:
        """Add the next bytes of the stream, which may be cut anywhere."""
        self._data = self._data[self._position :] + data
        self._position = 0

    def read(self) -> Message | Fragment | None:
        """Read one frame. None: the rest of it hasn't arrived yet.

        Raises FrameInvalid as soon as the bytes so far can't be part of a valid frame. Don't call it again after that
        or after a Close.
        """
        message = self._message
        if message is not None and message.missing_bytes:
            return self._read_rest(message)
        data, start = self._data, self._position
        size = len(data) - start
        if size < 2:
            return None
        first, second = data[start], data[start + 1]
        length = second & _LENGTH
        if second < _MASKED or first not in (_STARTS if message is None else _CONTINUATIONS):
            raise _invalid_start(first, second, message)
        is_control = first >= _FIN | _CLOSE
        head = 6
        if length > MAX_CONTROL_BYTES:
            if is_control:
                raise FrameInvalid(FailureCode.PROTOCOL_ERROR, "a control frame is too long")
            head = 8 if length == 126 else 14
            if size < head - 4:
                return None
            length = int.from_bytes(data[start + 2 : start + head - 4], "big")
            if length < (126 if head == 8 else 65536) or length >> 63:
                raise FrameInvalid(FailureCode.PROTOCOL_ERROR, "a length that is not minimal, or has its top bit set")
        if not is_control and self._max_bytes:
            known_bytes = 0 if message is None else len(message.payload)
            if known_bytes + length > self._max_bytes:
                raise FrameInvalid(FailureCode.TOO_LONG, "a message is too long")
        payload_start = start + head
        end = payload_start + length
        if size < head or (is_control and len(data) < end):
            return None
        key = data[payload_start - 4 : payload_start]
        payload = _unmask(data[payload_start:end], key) if length else b""
        self._advance(payload_start + len(payload))
        if is_control:
            return _control_message(first & _OPCODE, payload)
        if first == _FIN | _TEXT and len(payload) == length:
            return Text(_decode(payload))
        if message is None:
            self._message = message = _PartialMessage()
        if first != _FIN | _TEXT and length < SMALL_FRAGMENT_BYTES:
            message.count_small_fragment()
        message.add(payload)
        message.is_last_frame = first >= _FIN
        message.missing_bytes, message.key = length - len(payload), _rotate(key, len(payload))
        return self._end_frame(message)

    def _read_rest(self, message: "_PartialMessage") -> Text | Fragment | None:
        """Read what has arrived of a data frame's payload since the last time."""
        start = self._position
        payload = _unmask(self._data[start : start + message.missing_bytes], message.key)
        self._advance(start + len(payload))
        message.add(payload)
        message.missing_bytes -= len(payload)
        message.key = _rotate(message.key, len(payload))
        return self._end_frame(message)

    def _end_frame(self, message: "_PartialMessage") -> Text | Fragment | None:
        if message.missing_bytes:
            return None
        if not message.is_last_frame:
            return _FRAGMENT
        self._message = None
        return Text(_decode(message.payload))

    def _advance(self, position: int) -> None:
        if position == len(self._data):
            self._data, self._position = b"", 0
        else:
            self._position = position


class _PartialMessage:
    """A text message that is still arriving, and the frame of it that is being read."""

    __slots__ = ("_cut_character", "_small_fragments", "is_last_frame", "key", "missing_bytes", "payload")

    def __init__(self) -> None:
        self.payload = bytearray()
        self.missing_bytes = 0
        """How many bytes of the current frame haven't arrived. Their mask begins with `key`."""
        self.key = b""
        self.is_last_frame = False
        self._small_fragments = 0
        self._cut_character = b""
        """The first bytes of a character whose other bytes haven't arrived."""

    def count_small_fragment(self) -> None:
        """Count another small fragment. Raises FrameInvalid if there are too many."""
        self._small_fragments += 1
        if self._small_fragments > MAX_SMALL_FRAGMENTS:
            raise FrameInvalid(FailureCode.POLICY_VIOLATION, "too many small fragments")

    def add(self, payload: bytes) -> None:
        """Add the next bytes of the text. Raises FrameInvalid if they aren't UTF-8."""
        self.payload += payload
        if self._cut_character or not payload.isascii():
            unchecked = self._cut_character + payload
            try:
                _, checked_bytes = utf_8_decode(unchecked, "strict", False)
            except UnicodeDecodeError:
                raise _invalid_text() from None
            self._cut_character = unchecked[checked_bytes:]
            # Python waits for the third byte of a surrogate, for its error handler `surrogatepass`.
            if b"\xed\xa0" <= self._cut_character < b"\xee":
                raise _invalid_text()


def _invalid_start(first: int, second: int, message: _PartialMessage | None) -> FrameInvalid:
    """Return why these two bytes can't begin a frame, neither in `message` nor outside any."""
    opcode = first & _OPCODE
    if first & _RSV:
        return FrameInvalid(FailureCode.PROTOCOL_ERROR, "a reserved bit is set")
    if not second & _MASKED:
        return FrameInvalid(FailureCode.PROTOCOL_ERROR, "a client's frame is not masked")
    if opcode > _PONG or _BINARY < opcode < _CLOSE:
        return FrameInvalid(FailureCode.PROTOCOL_ERROR, "an unknown opcode")
    if opcode >= _CLOSE:
        return FrameInvalid(FailureCode.PROTOCOL_ERROR, "a control frame in fragments")
    if opcode == _BINARY and message is None:
        return FrameInvalid(FailureCode.UNSUPPORTED_DATA, "a binary message")
    return FrameInvalid(FailureCode.PROTOCOL_ERROR, "a fragment out of place")


def _control_message(opcode: int, payload: bytes) -> Ping | Pong | Close:
    if opcode == _PING:
        return Ping(payload)
    if opcode == _PONG:
        return Pong(payload)
    return Close(_close_code(payload))


def _rotate(key: bytes, offset: int) -> bytes:
    """Return the mask for the bytes after the first `offset` ones."""
    return key[offset % 4 :] + key[: offset % 4]


def _unmask(payload: bytes, key: bytes) -> bytes:
    """Return `payload` without its mask (RFC 6455 §5.3)."""
    # As one number: a loop over the bytes would take a hundred times as long.
    length = len(payload)
    mask = key * (length // 4 + 1)
    return (int.from_bytes(payload, "little") ^ int.from_bytes(mask[:length], "little")).to_bytes(length, "little")


def _decode(payload: bytes | bytearray) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise _invalid_text() from None


def _invalid_text() -> FrameInvalid:
    return FrameInvalid(FailureCode.INVALID_TEXT, "text that is not UTF-8")


def _close_code(payload: bytes) -> int | None:
    if not payload:
        return None
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or not (code in _CLOSE_CODES or 3000 <= code <= 4999):
        raise FrameInvalid(FailureCode.PROTOCOL_ERROR, "an invalid close code")
    _decode(payload[2:])
    return code

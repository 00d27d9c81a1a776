"""Frames of a WebSocket client: bytes in, messages out (RFC 6455 §5). Knows of no connection."""

from enum import IntEnum
from typing import NamedTuple

from educa_chat.errors import EducaChatError

MAX_CONTROL_BYTES = 125
_CLOSE_CODES = frozenset((1000, 1001, 1002, 1003, *range(1007, 1015)))
"""Those that may come in a close frame; besides them 3000 to 4999 (RFC 6455 §7.4, and what is registered since)."""


class FailureCode(IntEnum):
    """Why what a client sent can't be read on (RFC 6455 §7.4.1)."""

    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    INVALID_TEXT = 1007
    TOO_LONG = 1009


class FrameInvalid(EducaChatError):
    """A client has broken the protocol, or sent what is not taken; `code` is for the close frame."""

    def __init__(self, code: FailureCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Text(NamedTuple):
    """A whole message."""

    text: str


class Ping(NamedTuple):
    """To be answered with the same payload."""

    payload: bytes


class Pong(NamedTuple):
    """The answer to a ping, or a sign of life that nobody asked for."""

    payload: bytes


class Close(NamedTuple):
    """The last frame; None: without a code."""

    code: int | None


class EmptyFragment(NamedTuple):
    """A part of a message that brings it no further. Allowed, and told because it might come without end."""


Message = Text | Ping | Pong | Close | EmptyFragment

_EMPTY_FRAGMENT = EmptyFragment()
_FIN, _RSV, _OPCODE = 0x80, 0x70, 0x0F
_MASKED, _LENGTH = 0x80, 0x7F
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10


class FrameReader:
    """Reads one client's stream of frames, of which only text, pings, pongs and the close are taken.

    A message has at most `max_bytes`, in one frame or in fragments (0: no limit). What is idle holds no buffer.
    """

    __slots__ = ("_data", "_max_bytes", "_message", "_position")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._data: bytes | bytearray = b""
        self._position = 0
        self._message: bytearray | None = None
        """The fragments of a message that have come."""

    def feed(self, data: bytes) -> None:
        """Take what has come, cut wherever it may be."""
        if self._position == len(self._data):
            self._data = data
        elif isinstance(self._data, bytearray):
            del self._data[: self._position]
            self._data += data
        else:
            self._data = bytearray(self._data[self._position :]) + data
        self._position = 0

    def read(self) -> Message | None:
        """The next message of what has come; None: there is none yet.

        Raises FrameInvalid, as soon as it can be known. After that, and after a Close, nothing may be read.
        """
        while True:
            data, start = self._data, self._position
            size = len(data) - start
            if size < 2:
                if not size:
                    self._data, self._position = b"", 0
                return None
            first, second = data[start], data[start + 1]
            opcode, length = first & _OPCODE, second & _LENGTH
            head = 6
            if length == 126:
                if size < 4:
                    return None
                length = data[start + 2] << 8 | data[start + 3]
                head = 8
            elif length == 127:
                if size < 10:
                    return None
                length = int.from_bytes(data[start + 2 : start + 10], "big")
                head = 14
            self._check(first, second, opcode, length)
            end = start + head + length
            if len(data) < end:
                return None
            payload = _unmask(data[start + head : end], data[start + head - 4 : start + head]) if length else b""
            self._position = end
            if first == _FIN | _TEXT:
                return Text(_text(payload))
            if opcode == _PING:
                return Ping(payload)
            if opcode == _PONG:
                return Pong(payload)
            if opcode == _CLOSE:
                return Close(_close_code(payload))
            if self._message is None:
                self._message = bytearray(payload)
            elif first & _FIN:
                whole, self._message = self._message + payload, None
                return Text(_text(whole))
            elif payload:
                self._message += payload
            else:
                return _EMPTY_FRAGMENT

    def _check(self, first: int, second: int, opcode: int, length: int) -> None:
        """Raise FrameInvalid for a head that may not be."""
        if first & _RSV:
            raise FrameInvalid(FailureCode.PROTOCOL_ERROR, "a reserved bit is set")
        if not second & _MASKED:
            raise FrameInvalid(FailureCode.PROTOCOL_ERROR, "a client's frame is not masked")
        if opcode >= _CLOSE:
            if opcode > _PONG:
                raise FrameInvalid(FailureCode.PROTOCOL_ERROR, "there is no such opcode")
            if not first & _FIN:
                raise FrameInvalid(FailureCode.PROTOCOL_ERROR, "a control frame in fragments")
            if length > MAX_CONTROL_BYTES:
                raise FrameInvalid(FailureCode.PROTOCOL_ERROR, "a control frame is too long")
            return
        if opcode > _BINARY:
            raise FrameInvalid(FailureCode.PROTOCOL_ERROR, "there is no such opcode")
        if (opcode == _CONTINUATION) is (self._message is None):
            raise FrameInvalid(FailureCode.PROTOCOL_ERROR, "a fragment out of place")
        if opcode == _BINARY:
            raise FrameInvalid(FailureCode.UNSUPPORTED_DATA, "a binary message")
        if self._max_bytes and length + len(self._message or b"") > self._max_bytes:
            raise FrameInvalid(FailureCode.TOO_LONG, "a message is too long")


def _unmask(payload: bytes | bytearray, key: bytes | bytearray) -> bytes:
    """`payload` without its mask (RFC 6455 §5.3)."""
    # As one number: a loop over the bytes would take a hundred times as long.
    length = len(payload)
    mask = bytes(key) * (length // 4 + 1)
    return (int.from_bytes(payload, "little") ^ int.from_bytes(mask[:length], "little")).to_bytes(length, "little")


def _text(payload: bytes | bytearray) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise FrameInvalid(FailureCode.INVALID_TEXT, "text that is no UTF-8") from None


def _close_code(payload: bytes) -> int | None:
    if not payload:
        return None
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or not (code in _CLOSE_CODES or 3000 <= code <= 4999):
        raise FrameInvalid(FailureCode.PROTOCOL_ERROR, "a close code that there is not")
    _text(payload[2:])
    return code

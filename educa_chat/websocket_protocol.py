"""The server's side of one WebSocket whose handshake is done (RFC 6455 §5 to §7), straight under its transport."""

import asyncio
import os
from collections import deque
from typing import cast

from educa_chat.frames import Close, EmptyFragment, FrameInvalid, FrameReader, Message
from educa_chat.protocol import PING_FRAME, close_frame

CLOSE_TIMEOUT_S = 5.0
"""How long a close may take: our close frame out, the peer's in, and all sent."""
LINGER_S = 1.0
"""How long a peer that has broken the protocol, or that floods, has time to read why."""
NO_CODE, NO_CLOSE = 1005, 1006
"""Stand for a close frame without a code, and for none at all (RFC 6455 §7.1.5)."""
HEARTBEAT_S = 25.0
"""How often a socket is pinged; nginx cuts an idle connection after 60 s.

Who has sent no whole frame half as long after a ping is gone.
"""


class WebSocket(asyncio.Protocol):
    """Reads messages and writes frames. What a message means is a subclass's to say, in `receive` and `leave`.

    There are thousands: a socket has no task, no timer and no buffer of its own while nothing happens to it.
    """

    __slots__ = (
        "_deadline",
        "_descriptor",
        "_drained",
        "_is_alive",
        "_is_deaf",
        "_is_held",
        "_is_pinged",
        "_is_write_paused",
        "_reader",
        "_transport",
        "close_code",
        "is_closed",
        "is_closing",
    )

    def __init__(self, max_message_bytes: int) -> None:
        self.is_closing = False
        """Whether a close frame was sent, or the peer has gone: nothing may follow it, what comes is obeyed no more."""
        self.is_closed = False
        """Whether the connection is gone."""
        self.close_code: int | None = None
        """The code of the first close frame, ours or the peer's; None: the socket is open."""
        self._reader = FrameReader(max_message_bytes)
        # Somebody new is as good as somebody who has answered.
        self._is_pinged = self._is_alive = True
        self._is_held = False
        self._is_deaf = False
        self._is_write_paused = False
        self._descriptor: int | None = None
        self._drained: asyncio.Future[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None

    # For the subclass.

    def receive(self, message: Message) -> None:
        """Take a message; what a close frame says is for `leave`."""
        raise NotImplementedError

    def leave(self) -> None:
        """Write nothing more of one's own accord: the socket closes, or is closed already. May be called again."""
        raise NotImplementedError

    # Writing.

    def transmit(self, frames: bytes) -> None:
        """Write whole frames, now or from a buffer; nothing once the socket closes."""
        if self.is_closing:
            return
        if self._descriptor is not None and not self._is_write_paused:
            try:
                sent = os.write(self._descriptor, frames)
            except OSError:
                # The transport will meet the same, and knows what becomes of it.
                sent = 0
            if sent == len(frames):
                return
            frames = frames[sent:]
        self._transport.write(frames)

    def buffer_size(self) -> int:
        """The bytes that are written and not sent; 0 as long as they are few."""
        # Asked before each delivery, and the transport has told when they were many.
        return self._transport.get_write_buffer_size() if self._is_write_paused else 0

    async def drain(self) -> None:
        """Wait until most of the buffer is sent. Raises ConnectionResetError when it never will be."""
        if self._is_write_paused and not self.is_closed:
            if self._drained is None:
                self._drained = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._drained)
        if self.is_closed:
            raise ConnectionResetError("the connection is lost")

    def begin_close(self, code: int) -> None:
        """Send a close frame, and close the connection when the peer has answered, or after CLOSE_TIMEOUT_S."""
        if self._say_close(code, close_frame(code), CLOSE_TIMEOUT_S):
            # To find the peer's close frame.
            self.release()

    def cut_off(self, code: int) -> None:
        """Send a close frame and read nothing more; cut the connection after LINGER_S.

        Unread, a flood waits at its sender.
        """
        if self._say_close(code, close_frame(code), LINGER_S):
            self._is_deaf = True
            self._pause_reading()

    def abort(self) -> None:
        """Cut the connection, with whatever is unsent."""
        if not self.is_closed:
            self._transport.abort()

    # Reading.

    def hold(self) -> None:
        """Read nothing more until `release`."""
        self._is_held = True
        self._pause_reading()

    def release(self) -> None:
        """Read, or read on."""
        if self._is_held and not self._is_deaf:
            self._is_held = False
            # Not at once: this may be called by `receive`, amid the messages that have come.
            asyncio.get_running_loop().call_soon(self._read_on)

    def _pause_reading(self) -> None:
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def _read(self) -> None:
        try:
            while not self._is_held and not self._is_deaf and (message := self._reader.read()) is not None:
                if not isinstance(message, EmptyFragment):
                    self._is_alive = True
                if isinstance(message, Close):
                    self._answer_close(message.code)
                elif not self.is_closing:
                    self.receive(message)
        except FrameInvalid as error:
            self._fail(error.code)

    def _read_on(self) -> None:
        self._read()
        if not self._is_held and not self._is_deaf and not self._transport.is_closing():
            self._transport.resume_reading()

    def _answer_close(self, code: int | None) -> None:
        """End the closing handshake (RFC 6455 §5.5.1): it is for the server to close the connection (§7.1.1)."""
        self._is_deaf = True
        self._say_close(NO_CODE if code is None else code, close_frame(code), CLOSE_TIMEOUT_S)
        self._transport.close()

    def _fail(self, code: int) -> None:
        """Fail the connection (RFC 6455 §7.1.7): say why, and throw away what comes until the peer has seen it."""
        self._is_deaf = True
        if self._say_close(code, close_frame(code), LINGER_S) and self._transport.can_write_eof():
            # To close with anything unread would take the close frame back from a peer that is still sending.
            self._transport.write_eof()
        else:
            self._transport.close()

    def _say_close(self, code: int, frame: bytes, patience_s: float) -> bool:
        """Send the one close frame, and let nothing last longer than `patience_s`; whether this is the first."""
        if self.is_closing or self.is_closed:
            return False
        self.leave()
        self.transmit(frame)
        self.is_closing = True
        self.close_code = code
        # A transport that can't send what it has would never close.
        self._deadline = asyncio.get_running_loop().call_later(patience_s, self.abort)
        return True

    # Called by the heartbeat.

    def beat(self) -> None:
        """Ask for a sign of life (RFC 6455 §5.5.2), or look whether it has come."""
        if not self._is_pinged:
            self._is_pinged, self._is_alive = True, False
            self.transmit(PING_FRAME)
        elif self._is_alive:
            self._is_pinged = False
        else:
            self.abort()

    # Called by the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection; nothing is read until `release`."""
        self._transport = cast(asyncio.Transport, transport)
        self._descriptor = _plain_descriptor(self._transport)
        if self._descriptor is not None:
            # It tells when it has anything unsent at all: what is written then must go behind that.
            self._transport.set_write_buffer_limits(0)
        self.hold()

    def data_received(self, data: bytes) -> None:
        if not self._is_deaf:
            self._reader.feed(data)
            if not self._is_held:
                self._read()

    def pause_writing(self) -> None:
        self._is_write_paused = True

    def resume_writing(self) -> None:
        self._is_write_paused = False
        self._wake()

    def eof_received(self) -> None:
        """Leave: who says nothing more is gone, and the transport closes once it has sent what it holds."""
        self.leave()
        self.is_closing = True

    def connection_lost(self, error: Exception | None) -> None:
        self.is_closed = self.is_closing = self._is_deaf = True
        if self.close_code is None:
            self.close_code = NO_CLOSE
        if self._deadline is not None:
            self._deadline.cancel()
        self._wake()
        self.leave()

    def _wake(self) -> None:
        if self._drained is not None:
            self._drained.set_result(None)
            self._drained = None


def _plain_descriptor(transport: asyncio.Transport) -> int | None:
    """The socket under `transport`, where that does nothing but send: one of asyncio's own loop, without TLS.

    To write to it oneself costs noticeably less than to have the transport do it, for each of thousands of sockets.
    """
    is_plain = isinstance(asyncio.get_running_loop(), asyncio.SelectorEventLoop)
    if not is_plain or transport.get_extra_info("sslcontext") is not None:
        return None
    descriptor: int = transport.get_extra_info("socket").fileno()
    return descriptor


class Heartbeat:
    """Beats for all sockets by one timer: each is pinged, and cut off when it gives no sign of life."""

    SLOTS = 25

    def __init__(self) -> None:
        self._slots: deque[set[WebSocket]] = deque(set() for _ in range(self.SLOTS))

    def add(self, socket: WebSocket) -> None:
        """Beat for `socket` until it is closed."""
        self._slots[0].add(socket)

    async def run(self) -> None:
        """Beat for ever."""
        while True:
            await asyncio.sleep(HEARTBEAT_S / 2 / self.SLOTS)
            self._slots.rotate()
            for socket in list(self._slots[0]):
                if socket.is_closed:
                    self._slots[0].discard(socket)
                else:
                    socket.beat()

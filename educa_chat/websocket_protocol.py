"""The server's side of one WebSocket after the handshake (RFC 6455 §5 to §7), directly on its transport."""

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Callable
from typing import cast

from educa_chat.frames import Close, Fragment, FrameInvalid, FrameReader, Message
from educa_chat.protocol import PING_FRAME, close_frame

logger = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 5.0
"""How long a close may take: sending our close frame and everything before it, and receiving the peer's."""
LINGER_S = 1.0
"""How long a peer that broke the protocol or floods the server has to read the close frame."""
NO_CODE, NO_CLOSE = 1005, 1006
"""Stand for a close frame without a code, and for no close frame at all (RFC 6455 §7.1.5)."""
HEARTBEAT_S = 25.0
"""How often the server pings each socket; nginx closes an idle connection after 60 s.

A peer that sends no complete message or control frame within half that time after a ping is disconnected.
"""
READING_S = 0.005
"""How long all sockets together may handle messages in one iteration of the event loop."""


class ReadingTime:
    """The time that all sockets of a process share to handle messages, so that no client can hold up the event loop.

    A socket handles what has arrived as long as there is time in this iteration of the loop. Otherwise it waits in line
    for the next one. While others wait, each socket handles one message and then goes to the end of the line.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._line: deque[WebSocket] = deque()
        self._ends_at = 0.0
        self._next_iteration: asyncio.Handle | None = None
        """Set from the first message that is handled in an iteration until the next iteration."""

    def is_left(self) -> bool:
        """Whether a socket may handle a message now, because there is time and no other socket waits."""
        self._begin()
        return not self._line and self._clock() < self._ends_at

    def wait(self, socket: "WebSocket") -> None:
        """Let `socket` take its turn in one of the next iterations."""
        self._line.append(socket)
        self._begin()

    def _begin(self) -> None:
        if self._next_iteration is None:
            self._ends_at = self._clock() + READING_S
            self._next_iteration = asyncio.get_running_loop().call_soon(self._take_turns)

    def _take_turns(self) -> None:
        self._next_iteration = None
        if self._line:
            self._begin()
            while self._line and self._clock() < self._ends_at:
                self._line.popleft().take_turn()


class WebSocket(asyncio.Protocol):
    """Reads messages and writes frames. A subclass gives them a meaning, in `receive` and `leave`.

    A socket that waits for its turn to handle what has arrived reads at most once more. So a client can't fill the
    server's memory.

    There are thousands of sockets: an idle one has no task, no timer and no buffer.
    """

    __slots__ = (
        "_deadline",
        "_descriptor",
        "_drained",
        "_has_ended",
        "_is_alive",
        "_is_deaf",
        "_is_held",
        "_is_in_line",
        "_is_pinged",
        "_is_write_paused",
        "_reader",
        "_reading_time",
        "_transport",
        "close_code",
        "is_closed",
        "is_closing",
    )

    def __init__(self, max_message_bytes: int, reading_time: ReadingTime) -> None:
        self.is_closing = False
        """Whether a close frame was sent, or the peer is gone: the socket writes nothing more and ignores messages."""
        self.is_closed = False
        """Whether the connection is gone."""
        self.close_code: int | None = None
        """The code of the first close frame, ours or the peer's; None: the socket is open."""
        self._reader = FrameReader(max_message_bytes)
        self._reading_time = reading_time
        self._is_in_line = False
        self._has_ended = False
        """Whether the peer sends nothing more after what has arrived."""
        # A new peer counts as one that has just answered a ping.
        self._is_pinged = self._is_alive = True
        self._is_held = False
        self._is_deaf = False
        self._is_write_paused = False
        self._descriptor: int | None = None
        self._drained: asyncio.Future[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None

    # For the subclass.

    def receive(self, message: Message) -> None:
        """Handle a message. It is never a Close: for that, `leave` is called."""
        raise NotImplementedError

    def leave(self) -> None:
        """Stop writing: the socket is closing, or closed already. May be called more than once."""
        raise NotImplementedError

    # Writing.

    def transmit(self, frames: bytes) -> None:
        """Write complete frames, at once or through a buffer; do nothing when the socket is closing."""
        if self.is_closing:
            return
        if self._descriptor is not None and not self._is_write_paused:
            try:
                sent = os.write(self._descriptor, frames)
            except OSError:
                # The transport will get the same error, and handles it.
                sent = 0
            if sent == len(frames):
                return
            frames = frames[sent:]
        self._transport.write(frames)

    def buffer_size(self) -> int:
        """Return how many bytes are written but not sent; 0 while they are few."""
        # Called before each delivery: while writing isn't paused, the transport needn't be asked.
        return self._transport.get_write_buffer_size() if self._is_write_paused else 0

    async def wait_until_sent(self) -> None:
        """Wait until most of the buffer is sent. Raises ConnectionResetError if the connection is lost."""
        if self._is_write_paused and not self.is_closed:
            if self._drained is None:
                self._drained = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._drained)
        if self.is_closed:
            raise ConnectionResetError("the connection is lost")

    def begin_close(self, code: int) -> None:
        """Send a close frame, and close the connection when the peer has answered it, or after CLOSE_TIMEOUT_S."""
        if self._send_close(code, close_frame(code), CLOSE_TIMEOUT_S):
            # To find the peer's close frame.
            self.release()

    def cut_off(self, code: int) -> None:
        """Send a close frame and read nothing more; abort the connection after LINGER_S.

        Not reading makes a flood pile up at its sender.
        """
        if self._send_close(code, close_frame(code), LINGER_S):
            self._is_deaf = True
            self._pause_reading()

    def abort(self) -> None:
        """Drop the connection, and everything that is not sent yet."""
        if not self.is_closed:
            self._transport.abort()

    # Reading.

    def hold(self) -> None:
        """Read nothing more until `release`."""
        self._is_held = True
        self._pause_reading()

    def release(self) -> None:
        """Start or resume reading."""
        if self._is_held and not self._is_deaf:
            self._is_held = False
            # Not immediately, because `receive` may have called this.
            self._wait_in_line()

    def _pause_reading(self) -> None:
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def _wait_in_line(self) -> None:
        if not self._is_in_line:
            self._is_in_line = True
            self._reading_time.wait(self)

    def take_turn(self) -> None:
        """Handle at least one of the messages that have arrived. Called by the ReadingTime that it waits for."""
        self._is_in_line = False
        if self._is_held or self._is_deaf:
            return
        self._read()
        if self._is_in_line or self._is_held or self._is_deaf or self._transport.is_closing():
            return
        if self._has_ended:
            self._end()
        else:
            self._transport.resume_reading()

    def _read(self) -> None:
        try:
            while (frame := self._reader.read()) is not None:
                if not isinstance(frame, Fragment):
                    self._handle(frame)
                if self._is_held or self._is_deaf:
                    return
                if self._reader.has_unread and not self._reading_time.is_left():
                    self._wait_in_line()
                    return
        except FrameInvalid as error:
            self._fail(error.code)

    def _handle(self, message: Message) -> None:
        self._is_alive = True
        if isinstance(message, Close):
            self._answer_close(message.code)
        elif not self.is_closing:
            self.receive(message)

    def _answer_close(self, code: int | None) -> None:
        """Complete the closing handshake (RFC 6455 §5.5.1); the server closes the connection first (§7.1.1)."""
        self._is_deaf = True
        self._send_close(NO_CODE if code is None else code, close_frame(code), CLOSE_TIMEOUT_S)
        self._transport.close()

    def _fail(self, code: int) -> None:
        """Fail the connection (RFC 6455 §7.1.7): say why, and discard input until the peer has read that."""
        self._is_deaf = True
        if self._send_close(code, close_frame(code), LINGER_S) and self._transport.can_write_eof():
            # Closing with unread input would reset the connection, and the peer would lose the close frame.
            self._transport.write_eof()
        else:
            self._transport.close()

    def _send_close(self, code: int, frame: bytes, timeout_s: float) -> bool:
        """Send the only close frame, and abort the connection after `timeout_s`; return whether this was the first."""
        if self.is_closing or self.is_closed:
            return False
        self.leave()
        self.transmit(frame)
        self.is_closing = True
        self.close_code = code
        # A transport that can't send its buffer would never close.
        self._deadline = asyncio.get_running_loop().call_later(timeout_s, self.abort)
        return True

    # Called by the heartbeat.

    def beat(self) -> None:
        """Send a ping (RFC 6455 §5.5.2), or drop the connection if the last one got no answer."""
        if not self._is_pinged:
            self._is_pinged, self._is_alive = True, False
            self.transmit(PING_FRAME)
        elif self._is_alive:
            self._is_pinged = False
        else:
            self.abort()

    # Called by the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over the connection; read nothing until `release`."""
        self._transport = cast(asyncio.Transport, transport)
        self._descriptor = _plain_descriptor(self._transport)
        if self._descriptor is not None:
            # It reports when anything at all is unsent: what is written then must go after that.
            self._transport.set_write_buffer_limits(0)
        self.hold()

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        self._reader.feed(data)
        if self._is_in_line:
            # Only now, because most sockets get their turn before more arrives.
            self._pause_reading()
        elif not self._is_held:
            if self._reading_time.is_left():
                self._read()
            else:
                self._wait_in_line()

    def pause_writing(self) -> None:
        self._is_write_paused = True

    def resume_writing(self) -> None:
        self._is_write_paused = False
        self._wake()

    def eof_received(self) -> bool:
        """Leave once all received messages are handled. A peer that has closed its side counts as gone."""
        self._has_ended = True
        if not self._is_in_line:
            self._end()
        # `_end` closes the transport.
        return True

    def _end(self) -> None:
        self.leave()
        self.is_closing = True
        # Sends its buffer first.
        self._transport.close()

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
    """Return the socket's descriptor if `transport` only passes bytes on: on asyncio's own loop, without TLS.

    For thousands of sockets, writing to the descriptor costs noticeably less than writing to the transport.
    """
    is_plain = isinstance(asyncio.get_running_loop(), asyncio.SelectorEventLoop)
    if not is_plain or transport.get_extra_info("sslcontext") is not None:
        return None
    descriptor: int = transport.get_extra_info("socket").fileno()
    return descriptor


class Heartbeat:
    """Pings all sockets, with one timer, and drops those that don't answer."""

    SLOTS = 25

    def __init__(self) -> None:
        self._slots: deque[set[WebSocket]] = deque(set() for _ in range(self.SLOTS))

    def add(self, socket: WebSocket) -> None:
        """Ping `socket` until it is closed."""
        self._slots[0].add(socket)

    async def run(self) -> None:
        """Ping forever."""
        while True:
            await asyncio.sleep(HEARTBEAT_S / 2 / self.SLOTS)
            self._slots.rotate()
            for socket in list(self._slots[0]):
                if socket.is_closed:
                    self._slots[0].discard(socket)
                else:
                    try:
                        socket.beat()
                    except Exception:
                        # This is an edge: an error in one socket must not keep the others from being pinged.
                        logger.exception("the heartbeat of a socket failed")
                        self._slots[0].discard(socket)
                        socket.abort()

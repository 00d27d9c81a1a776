"""The socket of a room: frames in, commands out; and a member of the room, to whom it writes."""

import asyncio
import logging
import secrets
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from gettext import NullTranslations
from itertools import count

from aiohttp import WebSocketError, WSMsgType, web
from aiohttp.abc import AbstractStreamWriter

from educa_chat.chat import Chat, role_of
from educa_chat.errors import CommandRefused, DatabaseUnavailable
from educa_chat.handlers.access import api_visitor, course_id, membership_of, origin_is_allowed
from educa_chat.handlers.api import query_number
from educa_chat.handlers.keys import CHAT, HUB, LOG, METRICS, REFUSALS, SETTINGS, SOCKETS, STRIKES
from educa_chat.handlers.rendering import translations_for
from educa_chat.log_lines import log_also
from educa_chat.metrics import ResetReason
from educa_chat.presence import Person
from educa_chat.protocol import (
    PING_FRAME,
    SUBPROTOCOL,
    Ack,
    Audience,
    CloseCode,
    Error,
    ErrorCode,
    Limits,
    Me,
    Reset,
    Typing,
    Welcome,
    close_frame,
    decode_command,
    encode,
    json_id,
    pong_frame,
    text_frame,
)
from educa_chat.protocol import Room as WelcomeRoom
from educa_chat.room import BUFFER_LIMIT_BYTES, Room
from educa_chat.sockets import CLOSE_TIMEOUT_S, Sockets
from educa_chat.storage.courses import Membership
from educa_chat.storage.log import Accepted, Log, Outcome
from educa_chat.storage.sessions import Visitor

logger = logging.getLogger(__name__)

HEARTBEAT_S = 25.0
"""How often a socket is pinged; nginx cuts an idle connection after 60 s.

Who has sent no whole frame half as long after a ping is gone.
"""

REFUSALS_PER_SECOND = 20
"""A socket whose commands are refused faster than this is read more slowly, after a burst of REFUSALS_BURST."""
REFUSALS_BURST = 200
SETTLE_TIMEOUT_S = 5.0
"""How long a socket that retires waits for its outstanding answers; longer than an entry waits for its commit."""
FLOOD_CLOSE_S = 1.0
"""How long a close frame may be on its way to a flooding client before the connection is cut."""
STRIKES_BURST = 1000
STRIKES_PER_SECOND = 10
WEIGHTS = {ErrorCode.RATE_LIMITED: 1, ErrorCode.UNAVAILABLE: 0}
WEIGHT_OTHERWISE = 5
"""Broken rules add up to 1008: some 200 malformed frames, or 1,000 that were too many.

A ping or a pong counts like a malformed frame: two a second may come for ever, more than any client that wants to know
whether we are there. In masses they would take the process from the others, for what nobody sees.
"""

_numbers = count(1)
_PROCESS = secrets.token_hex(4)
"""Tells the sockets of this process from those of others in the log."""


async def room_socket(request: web.Request) -> web.StreamResponse:
    """Decide before the upgrade whether to open a socket; then serve it until it closes."""
    course = course_id(request)
    if not origin_is_allowed(request):
        raise web.HTTPForbidden
    visitor = await api_visitor(request)
    membership = await membership_of(request, visitor, course)
    if request.app[SOCKETS].draining:
        raise web.HTTPServiceUnavailable
    after = query_number(request, "after")
    room = await request.app[HUB].enter(course)
    if room is None:
        raise web.HTTPForbidden
    reset = None if after is None else await _reset_reason(request, room, after)

    limits = request.app[SETTINGS].limits
    response = web.WebSocketResponse(
        protocols=(SUBPROTOCOL,),
        # We ping and answer pings ourselves. aiohttp's heartbeat takes any byte for a sign of life and closes, but
        # never aborts, a transport; and its answer to a ping waits until it can be sent. A peer that does not read
        # could hold a socket for ever.
        heartbeat=None,
        autoping=False,
        compress=False,
        # aiohttp refuses what is as large as its limit; 0 is no limit, for it too.
        max_msg_size=limits.frame_bytes and limits.frame_bytes + 1,
        timeout=CLOSE_TIMEOUT_S,
    )
    writer = await response.prepare(request)
    socket = ChatSocket(request, response, writer, visitor, membership, room)
    with request.app[SOCKETS].holding(socket):
        try:
            await socket.serve(after, reset)
        except ConnectionError:
            # It has gone while what it missed was sent to it.
            logger.info("the socket broke off")
        except Exception:
            # One of the three edges: whatever goes wrong with one socket is the end of that one.
            logger.exception("the socket failed")
            socket.close(CloseCode.INTERNAL_ERROR)
        finally:
            await socket.end()
    return response


async def _reset_reason(request: web.Request, room: Room, after: int) -> ResetReason | None:
    """Why the stream can't go on behind `after`: ahead of the log, too far back, another history. None: it can."""
    if after > room.head:
        # The client may have read the log at a moment that the room has yet to hear of.
        await room.catch_up("resume")
    replay = request.app[SETTINGS].limits.replay
    if after > room.head:
        return "ahead"
    if replay and room.head - after > replay:
        return "too_far"
    if request.query.get("epoch", request.app[HUB].epoch) != request.app[HUB].epoch:
        return "epoch"
    at = request.query.get("at")
    if at and after and not await _is_time_of(room, after, at):
        return "at"
    return None


async def _is_time_of(room: Room, seq: int, at: str) -> bool:
    with suppress(ValueError):
        # A plus sign that was not escaped in the query has become a space.
        claimed = datetime.fromisoformat(at.replace(" ", "+"))
        logged = await room.datetime_of(seq)
        return logged is not None and claimed == datetime.fromisoformat(logged)
    return False


class ChatSocket:
    """One socket of one member. Written to by its room and by itself; never waits to write."""

    def __init__(
        self,
        request: web.Request,
        response: web.WebSocketResponse,
        writer: AbstractStreamWriter,
        visitor: Visitor,
        membership: Membership,
        room: Room,
    ) -> None:
        assert request.transport is not None
        self.visitor = visitor
        self.membership = membership
        self.person = Person(visitor.user_id, visitor.username, visitor.name)
        self.is_full = response.ws_protocol == SUBPROTOCOL
        self.audience = (
            Audience.BASIC
            if not self.is_full
            else Audience.INSTRUCTOR
            if membership.is_instructor
            else Audience.STUDENT
        )
        self._number = next(_numbers)
        self._room = room
        self._response = response
        self._writer = writer
        self._transport = request.transport
        self._loop = asyncio.get_running_loop()
        self._chat: Chat = request.app[CHAT]
        self._metrics = request.app[METRICS]
        self._log: Log = request.app[LOG]
        self._sockets: Sockets = request.app[SOCKETS]
        self._limits = request.app[SETTINGS].limits
        self._epoch = request.app[HUB].epoch
        self._translations = translations_for(request)
        self._own: list[bytes] = []
        self._unsettled = 0
        self._settled_all = asyncio.Event()
        self._settled_all.set()
        self._is_retiring = False
        self._is_alive = True
        """Whether a whole frame has come since the last ping."""
        self._heartbeat = self._loop.call_later(HEARTBEAT_S, self._ping)
        self._closing: asyncio.Task[None] | None = None
        self._code: int | None = None
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._refusals = request.app[REFUSALS]
        self._strikes = request.app[STRIKES]
        log_also(connection=f"{_PROCESS}-{self._number}")
        logger.info("the socket is open: %s, %s", request.remote, "full" if self.is_full else "basic")

    # A member of the room.

    def write(self, data: bytes) -> None:
        """Send whole frames, behind what the socket itself has said before."""
        if self._own:
            self._send_own()
        self._transmit(data)

    def buffer_size(self) -> int:
        return self._transport.get_write_buffer_size()

    async def drain(self) -> None:
        await self._writer.drain()

    def close(self, code: CloseCode) -> None:
        """Leave the room, then close: nothing may follow a close frame (RFC 6455 §5.5.1)."""
        if self._closing is None:
            self._room.leave(self)
            self._send_own()
            self._metrics.count_close(code)
            self._code = code
            self._closing = asyncio.create_task(self._close(code), name=f"closing of socket {self._number}")

    async def retire(self) -> None:
        """Obey nothing more, give the answers that are outstanding, and close: this process is going away."""
        self._is_retiring = True
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_TIMEOUT_S):
                await self._settled_all.wait()
        self.close(CloseCode.GOING_AWAY)
        await asyncio.wait([self._ended])

    # Its own life.

    async def serve(self, after: int | None, reset: ResetReason | None) -> None:
        """Greet, bring the socket to the head of the room, and obey what comes, until it closes."""
        head = self._room.head
        if self.is_full:
            self._say(self._welcome(head))
            if reset is not None:
                self._say(encode(Reset(after=head)))
                self._metrics.count_reset(reset)
                self._metrics.count_resume("reset")
        if after is not None and reset is None and self.is_full:
            self._metrics.count_resume(await self._room.join(self, after))
        else:
            await self._room.join(self, head)
        async for message in self._response:
            if self._closing is not None:
                # What was read already, behind the reason to close, is obeyed no more.
                return
            self._is_alive = True
            if self._is_retiring:
                # It is not answered, so the client says it again, elsewhere.
                continue
            if message.type is WSMsgType.TEXT:
                await self._receive(message.data)
            elif message.type is WSMsgType.PING:
                self._send(pong_frame(message.data))
                await self._strike(WEIGHT_OTHERWISE)
            elif message.type is WSMsgType.PONG:
                await self._strike(WEIGHT_OTHERWISE)
            elif message.type is WSMsgType.BINARY:
                self.close(CloseCode.UNSUPPORTED_DATA)
            elif message.type is WSMsgType.ERROR and isinstance(message.data, WebSocketError):
                # aiohttp has closed it, with a code that it forgets when the client does not answer.
                self._code = message.data.code

    async def end(self) -> None:
        """Leave, and let go of what could not be sent."""
        self._heartbeat.cancel()
        self._room.leave(self)
        if self._closing is not None:
            await asyncio.wait([self._closing])
        else:
            self._metrics.count_departure(self._code or self._response.close_code)
        if self._transport.get_write_buffer_size():
            self._transport.abort()
        self._ended.set_result(None)
        logger.info("the socket is closed: %s", self._code or self._response.close_code)

    def _ping(self) -> None:
        """Ask for a sign of life (RFC 6455 §5.5.2)."""
        self._is_alive = False
        self._transmit(PING_FRAME)
        self._heartbeat = self._loop.call_later(HEARTBEAT_S / 2, self._abort_if_dead)

    def _abort_if_dead(self) -> None:
        if self._is_alive:
            self._heartbeat = self._loop.call_later(HEARTBEAT_S / 2, self._ping)
        else:
            logger.info("the socket gives no sign of life")
            # This wakes the handler, whatever it waits for.
            self._transport.abort()

    async def _close(self, code: CloseCode) -> None:
        if code is CloseCode.POLICY_VIOLATION:
            # To wait for its own close frame would be to read all of a flood. Unread, the flood waits at its sender.
            if not self._transport.is_closing():
                self._transport.write(close_frame(code))
            await asyncio.sleep(FLOOD_CLOSE_S)
        else:
            with suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await self._response.close(code=code)
        if not self._transport.is_closing() or self._transport.get_write_buffer_size():
            # A transport that can't send what it has would never close, and the handler never wake.
            self._transport.abort()

    async def _receive(self, frame: str) -> None:
        try:
            command = decode_command(frame, id_required=self.is_full)
            self._chat.obey(command, self.visitor, self.membership, self._stored)
            if isinstance(command, Typing):
                # No limit refuses it, so it is read as slowly as what is refused.
                await self._slow_down()
            else:
                self._unsettled += 1
                self._settled_all.clear()
        except CommandRefused as refusal:
            code = ErrorCode(refusal.code)
            if accepted := await self._find_accepted(code, refusal.id):
                self._settled(refusal.id or "", accepted)
                await self._slow_down()
                return
            self._refuse(code, refusal.id, refusal.retry_after)
            await self._strike(WEIGHTS.get(code, WEIGHT_OTHERWISE))

    async def _find_accepted(self, code: ErrorCode, id: str | None) -> Accepted | None:
        """What a refused command's id was accepted as before: that answer holds, whatever came with the id now."""
        if id is None or code in (ErrorCode.RATE_LIMITED, ErrorCode.UNAVAILABLE):
            return None
        try:
            return await self._log.find(self.membership.course, self.visitor.user_id, id)
        except DatabaseUnavailable:
            return None

    async def _strike(self, weight: int) -> None:
        for _ in range(weight):
            if self._strikes.take(self._number):
                self.close(CloseCode.POLICY_VIOLATION)
                return
        await self._slow_down()

    async def _slow_down(self) -> None:
        """Read no more for a while: what slows a flood down is that its sender's own buffers fill up."""
        if pause_s := self._refusals.take(self._number):
            await asyncio.sleep(pause_s)

    def _stored(self, id: str, outcome: Outcome) -> None:
        self._unsettled -= 1
        if not self._unsettled:
            self._settled_all.set()
        self._settled(id, outcome)

    def _settled(self, id: str, outcome: Outcome) -> None:
        if isinstance(outcome, Accepted):
            self._metrics.count_command("accepted")
            if self.is_full:
                self._say(encode(Ack(id=id, seq=outcome.seq, datetime=outcome.datetime)))
            return
        self._refuse(outcome.code, id if self.is_full else None, None)
        if outcome.code is ErrorCode.FORBIDDEN:
            self._sockets.suspect([self])

    def _welcome(self, head: int) -> bytes:
        return encode(
            Welcome(
                room=WelcomeRoom(id=json_id(self.membership.course), title=self.membership.title),
                me=Me(user=self.visitor.username, name=self.visitor.name, role=role_of(self.membership)),
                head=head,
                epoch=self._epoch,
                limits=Limits(message_length=self._limits.message_length),
            )
        )

    def _refuse(self, code: ErrorCode, id: str | None, retry_after_s: float | None) -> None:
        self._metrics.count_command(code)
        self._say(
            encode(
                Error(
                    code=code,
                    message=_explanations(self._translations, self._limits.message_length)[code],
                    datetime=datetime.now(UTC).isoformat(timespec="microseconds"),
                    id=id,
                    retry_after=retry_after_s,
                )
            )
        )

    def _say(self, payload: bytes) -> None:
        self._send(text_frame(payload))

    def _send(self, frame: bytes) -> None:
        """Send a frame of the socket's own; those of one turn of the loop go out together."""
        if self.buffer_size() > BUFFER_LIMIT_BYTES:
            self.close(CloseCode.TOO_SLOW)
            return
        if not self._own:
            self._loop.call_soon(self._send_own)
        self._own.append(frame)

    def _send_own(self) -> None:
        own, self._own = self._own, []
        if own:
            self._transmit(b"".join(own))

    def _transmit(self, data: bytes) -> None:
        if self._closing is None and not self._response.closed and not self._transport.is_closing():
            self._transport.write(data)


def _explanations(translations: NullTranslations, length: int) -> dict[ErrorCode, str]:
    _: Callable[[str], str] = translations.gettext
    return {
        ErrorCode.BAD_JSON: _("That was not JSON."),
        ErrorCode.BAD_REQUEST: _("A field is missing or of the wrong form."),
        ErrorCode.UNKNOWN_TYPE: _("There is no such command."),
        ErrorCode.TOO_LONG: translations.ngettext(
            "A message has at most %d character.", "A message has at most %d characters.", length
        )
        % length,
        ErrorCode.EMPTY: _("There is nothing to be seen in this message."),
        ErrorCode.RATE_LIMITED: _("That was too fast. Please wait a moment."),
        ErrorCode.FORBIDDEN: _("You may not do this."),
        ErrorCode.NO_SUCH_MESSAGE: _("The message that this is about is not there."),
        ErrorCode.UNAVAILABLE: _("This could not be stored now. Please send it again."),
    }

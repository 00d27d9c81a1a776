"""The socket of a room: frames in, commands out; and a member of the room, to whom it writes."""

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from datetime import UTC, datetime
from gettext import NullTranslations
from itertools import count
from typing import Any

from aiohttp import web
from msgspec import UNSET, UnsetType

from educa_chat.chat import Chat
from educa_chat.commands import Read, Typing, decode_command
from educa_chat.errors import CommandRefused, DatabaseUnavailable
from educa_chat.frames import Message, Ping, Text
from educa_chat.handlers.access import api_visitor, course_id, membership_of, origin_is_allowed
from educa_chat.handlers.api import query_number
from educa_chat.handlers.keys import (
    CHAT,
    DATABASE,
    HANDSHAKES,
    HEARTBEAT,
    HUB,
    LOG,
    MARKERS,
    METRICS,
    READING_TIME,
    REFUSALS,
    ROOM_STATES,
    SETTINGS,
    SOCKETS,
    STRIKES,
)
from educa_chat.handlers.rendering import translations_for
from educa_chat.handlers.upgrade import check_handshake, upgrade
from educa_chat.limits import retry_after
from educa_chat.log_lines import log_also
from educa_chat.markers import Markers
from educa_chat.metrics import ResetReason
from educa_chat.presence import Person
from educa_chat.protocol import (
    SUBPROTOCOL,
    Ack,
    Audience,
    CloseCode,
    Error,
    ErrorCode,
    Limits,
    Me,
    Reset,
    State,
    Welcome,
    encode,
    json_id,
    pong_frame,
    text_frame,
)
from educa_chat.protocol import Room as WelcomeRoom
from educa_chat.room import BUFFER_LIMIT_BYTES, Room
from educa_chat.sockets import Sockets
from educa_chat.storage.courses import Membership
from educa_chat.storage.log import Accepted, Log, Outcome
from educa_chat.storage.reports import reported_messages
from educa_chat.storage.room_state import RoomState
from educa_chat.storage.sessions import Visitor
from educa_chat.websocket_protocol import WebSocket

logger = logging.getLogger(__name__)

HANDSHAKES_AT_ONCE = 32
"""How many are decided at a time: the others wait, so that a storm of them leaves the process to who talks."""
REFUSALS_PER_SECOND = 20
"""A user whose commands are refused faster than this, on all sockets together, is read more slowly.

The budget begins with REFUSALS_BURST, and belongs to the user: another socket does not renew it.
"""
REFUSALS_BURST = 200
DRAIN_TIMEOUT_S = 5.0
"""How long a socket that is drained waits for its outstanding answers; longer than an entry waits for its commit."""
STRIKES_BURST = 1000
STRIKES_PER_SECOND = 10
WEIGHTS = {ErrorCode.RATE_LIMITED: 1, ErrorCode.UNAVAILABLE: 0}
WEIGHT_OTHERWISE = 5
"""Broken rules of a user add up to 1008: some 200 malformed frames, or 1,000 that were too many.

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
    async with request.app[HANDSHAKES]:
        visitor = await api_visitor(request)
        # Two questions at once, so that it takes no longer.
        membership, marker = await asyncio.gather(
            membership_of(request, visitor, course), request.app[MARKERS].find(visitor.user_id, course)
        )
        if request.app[SOCKETS].draining:
            raise web.HTTPServiceUnavailable
        after = query_number(request, "after")
        room = await request.app[HUB].enter(course)
        if room is None:
            raise web.HTTPForbidden
        reset = None if after is None else await _reset_reason(request, room, after)
        # First the head, so that what the standing is too old for comes as events behind it.
        head = room.head
        room_state = await request.app[ROOM_STATES].load((visitor.user_id, course))
        if room_state is None:
            raise web.HTTPForbidden
        reports = len(await reported_messages(request.app[DATABASE], course)) if membership.is_instructor else UNSET

        handshake = check_handshake(request, SUBPROTOCOL)
        socket = ChatSocket(request, visitor, membership, room, marker, is_full=handshake.subprotocol is not None)
        response = await upgrade(request, handshake, socket)
    await socket.serve(head, room_state, reports, after, reset)
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


class ChatSocket(WebSocket):
    """One socket of one member. Written to by its room and by itself; never waits to write."""

    __slots__ = (
        "_all_answered",
        "_chat",
        "_context",
        "_ended",
        "_epoch",
        "_heartbeat",
        "_is_draining",
        "_limits",
        "_log",
        "_loop",
        "_markers",
        "_metrics",
        "_number",
        "_own",
        "_pause",
        "_refusals",
        "_room",
        "_sockets",
        "_strikes",
        "_translations",
        "_unanswered",
        "_working",
        "audience",
        "is_full",
        "marker",
        "membership",
        "person",
        "visitor",
    )

    def __init__(
        self, request: web.Request, visitor: Visitor, membership: Membership, room: Room, marker: int, *, is_full: bool
    ) -> None:
        super().__init__(request.app[SETTINGS].limits.frame_bytes, request.app[READING_TIME])
        self.visitor = visitor
        self.membership = membership
        self.marker = marker
        self.person = Person(visitor.user_id, visitor.username, visitor.name)
        self.is_full = is_full
        self.audience = (
            Audience.BASIC if not is_full else Audience.INSTRUCTOR if membership.is_instructor else Audience.STUDENT
        )
        self._number = next(_numbers)
        self._room = room
        self._loop = asyncio.get_running_loop()
        self._chat: Chat = request.app[CHAT]
        self._heartbeat = request.app[HEARTBEAT]
        self._markers: Markers = request.app[MARKERS]
        self._metrics = request.app[METRICS]
        self._log: Log = request.app[LOG]
        self._sockets: Sockets = request.app[SOCKETS]
        self._limits = request.app[SETTINGS].limits
        self._epoch = request.app[HUB].epoch
        self._translations = translations_for(request)
        self._own: list[bytes] = []
        self._unanswered = 0
        self._all_answered: asyncio.Future[None] | None = None
        self._ended: asyncio.Future[None] | None = None
        self._is_draining = False
        self._pause: asyncio.TimerHandle | None = None
        self._working: asyncio.Task[None] | None = None
        self._refusals = request.app[REFUSALS]
        self._strikes = request.app[STRIKES]
        log_also(connection=f"{_PROCESS}-{self._number}")
        self._context = copy_context()
        """With the ids for the log's lines."""
        logger.info("the socket is open: %s, %s", request.remote, "full" if self.is_full else "basic")

    # A member of the room.

    def write(self, data: bytes) -> None:
        """Send whole frames, behind what the socket itself has said before."""
        if self._own:
            self._own.append(data)
            self._send_own()
        else:
            self.transmit(data)

    def close(self, code: CloseCode) -> None:
        """Leave the room, then close: nothing may follow a close frame (RFC 6455 §5.5.1)."""
        if self.is_closing or self.is_closed:
            return
        self._metrics.count_close(code)
        if code is CloseCode.POLICY_VIOLATION:
            self.cut_off(code)
        else:
            self.begin_close(code)

    async def drain(self) -> None:
        """Handle nothing more, wait for the outstanding answers, and close: this process is going away."""
        self._is_draining = True
        if self._unanswered:
            self._all_answered = self._loop.create_future()
            await asyncio.wait([self._all_answered], timeout=DRAIN_TIMEOUT_S)
        self.close(CloseCode.GOING_AWAY)
        if not self.is_closed:
            self._ended = self._loop.create_future()
            await asyncio.wait([self._ended])

    # Its own life.

    async def serve(
        self, head: int, room_state: RoomState, reports: int | UnsetType, after: int | None, reset: ResetReason | None
    ) -> None:
        """Greet, bring the socket from `head` or `after` to the head of the room, and then handle what arrives."""
        self._heartbeat.add(self)
        self._sockets.add(self)
        with self._isolating_failures():
            if self.is_full:
                self._send_payload(self._welcome(head, room_state, reports))
                if reset is not None:
                    self._send_payload(encode(Reset(after=head)))
                    self._metrics.count_reset(reset)
                    self._metrics.count_resume("reset")
            try:
                if after is not None and reset is None and self.is_full:
                    self._metrics.count_resume(await self._room.join(self, after))
                else:
                    await self._room.join(self, head)
            except ConnectionError:
                logger.info("the socket broke off")
        if self.is_closing or self.is_closed:
            # It has gone while what it missed was sent to it.
            self.leave()
        # What is said is answered behind what was missed.
        self.release()

    def leave(self) -> None:
        self._room.leave(self)
        self._send_own()

    def receive(self, message: Message) -> None:
        # Nothing is answered while the socket is drained, so the client sends it again to another process.
        if not self._is_draining:
            self._context.run(self._handle_message, message)

    def _handle_message(self, message: Message) -> None:
        try:
            if isinstance(message, Text):
                self._handle_text(message.text)
                return
            if isinstance(message, Ping):
                self._send_frame(pong_frame(message.payload))
            self._strike(WEIGHT_OTHERWISE)
        except Exception:
            # As below, without what a context manager costs each message.
            logger.exception("the socket failed")
            self.close(CloseCode.INTERNAL_ERROR)

    def connection_lost(self, error: Exception | None) -> None:
        """Leave, and let go of what could not be sent."""
        super().connection_lost(error)
        if not isinstance(self.close_code, CloseCode):
            self._metrics.count_departure(self.close_code)
        self._sockets.discard(self)
        if self._ended is not None:
            self._ended.set_result(None)
        self._context.run(logger.info, "the socket is closed: %s", self.close_code)

    @contextmanager
    def _isolating_failures(self) -> Iterator[None]:
        """One of the three edges: whatever goes wrong with one socket is the end of that one."""
        try:
            yield
        except Exception:
            logger.exception("the socket failed")
            self.close(CloseCode.INTERNAL_ERROR)

    def _handle_text(self, frame: str) -> None:
        try:
            command = decode_command(frame, id_required=self.is_full)
            if isinstance(command, Read):
                self._move_marker(command.seq)
                return
            remaining = self._chat.handle(command, self.visitor, self.membership, self._on_outcome)
            if isinstance(command, Typing):
                # No limit refuses it, so it is read as slowly as what is refused.
                self._throttle()
                return
            self._unanswered += 1
            if remaining is not None:
                self._start_work(self._finish(remaining))
        except CommandRefused as refusal:
            self._answer_refused(refusal)

    def _start_work(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `work`, and handle nothing more until it is done, so that commands take effect in their order."""
        self.hold()
        self._working = self._loop.create_task(self._work(work), name=f"work of socket {self._number}")

    async def _work(self, work: Coroutine[Any, Any, None]) -> None:
        with self._isolating_failures():
            await work
        self._working = None
        self._resume_reading()

    async def _finish(self, remaining: Coroutine[Any, Any, None]) -> None:
        try:
            await remaining
        except CommandRefused as refusal:
            self._count_answered()
            await self._answer_late(refusal)

    def _answer_refused(self, refusal: CommandRefused) -> None:
        if _is_final(refusal):
            self._refuse_and_strike(refusal)
        else:
            self._start_work(self._answer_late(refusal))

    async def _answer_late(self, refusal: CommandRefused) -> None:
        """Answer with what the command's id was accepted as before, if it was: that answer holds, whatever came now."""
        if refusal.id is not None and not _is_final(refusal):
            with suppress(DatabaseUnavailable):
                accepted = await self._log.find(self.membership.course, self.visitor.user_id, refusal.id)
                if accepted is not None:
                    self._answer(refusal.id, accepted)
                    self._throttle()
                    return
        self._refuse_and_strike(refusal)

    def _refuse_and_strike(self, refusal: CommandRefused) -> None:
        code = ErrorCode(refusal.code)
        self._refuse(code, refusal.id, refusal.retry_after)
        self._strike(WEIGHTS.get(code, WEIGHT_OTHERWISE))

    def _move_marker(self, seq: int) -> None:
        if self.marker < seq <= self._room.head:
            self.marker = seq
            self._markers.move(self.visitor.user_id, self.membership.course, seq)
        # Nothing refuses it either.
        self._throttle()

    def _strike(self, weight: int) -> None:
        if self._strikes.take(self.visitor.user_id, weight):
            self.close(CloseCode.POLICY_VIOLATION)
        else:
            self._throttle()

    def _throttle(self) -> None:
        """Read no more for a while: what slows a flood down is that its sender's own buffers fill up."""
        pause_s = self._refusals.wait_s(self.visitor.user_id)
        # Counted even when it is too many: the sockets of one user then wait one after the other.
        self._refusals.count(self.visitor.user_id)
        if pause_s:
            self.hold()
            if self._pause is not None:
                self._pause.cancel()
            self._pause = self._loop.call_later(pause_s, self._end_pause)

    def _end_pause(self) -> None:
        self._pause = None
        self._resume_reading()

    def _resume_reading(self) -> None:
        if self._pause is None and self._working is None:
            self.release()

    def _on_outcome(self, id: str, outcome: Outcome) -> None:
        self._count_answered()
        self._answer(id, outcome)

    def _count_answered(self) -> None:
        self._unanswered -= 1
        if not self._unanswered and self._all_answered is not None and not self._all_answered.done():
            self._all_answered.set_result(None)

    def _answer(self, id: str, outcome: Outcome) -> None:
        if isinstance(outcome, Accepted):
            self._metrics.count_command("accepted")
            if self.is_full:
                self._send_payload(encode(Ack(id=id, seq=outcome.seq, datetime=outcome.datetime)))
            return
        wait_s = None if outcome.wait_s is None else retry_after(outcome.wait_s)
        self._refuse(outcome.code, id if self.is_full else None, wait_s)
        if outcome.code is ErrorCode.FORBIDDEN:
            self._sockets.schedule_recheck([self])

    def _welcome(self, head: int, room_state: RoomState, reports: int | UnsetType) -> bytes:
        return encode(
            Welcome(
                room=WelcomeRoom(id=json_id(self.membership.course), title=self.membership.title),
                me=Me(user=self.visitor.username, name=self.visitor.name, role=self.membership.role),
                head=head,
                epoch=self._epoch,
                limits=Limits(
                    message_length=self._limits.message_length,
                    slow_seconds=room_state.slow_seconds,
                    muted_until=room_state.muted_until,
                ),
                state=State(
                    closed=room_state.closed,
                    pinned=room_state.pinned,
                    anonymity=room_state.anonymity,
                    read=self.marker,
                    reports=reports,
                ),
            )
        )

    def _refuse(self, code: ErrorCode, id: str | None, retry_after_s: float | None) -> None:
        self._metrics.count_command(code)
        self._send_payload(
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

    def _send_payload(self, payload: bytes) -> None:
        self._send_frame(text_frame(payload))

    def _send_frame(self, frame: bytes) -> None:
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
            self.transmit(b"".join(own))


def _is_final(refusal: CommandRefused) -> bool:
    """Whether nothing that the command's id was accepted as before would be the better answer."""
    return refusal.id is None or refusal.code in (ErrorCode.RATE_LIMITED, ErrorCode.UNAVAILABLE)


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
        ErrorCode.SLOW_MODE: _("Slow mode is on here. Please wait before you write again."),
        ErrorCode.MUTED: _("You may not write here for now."),
        ErrorCode.CLOSED: _("Only teachers may write here now."),
        ErrorCode.FORBIDDEN: _("You may not do this."),
        ErrorCode.NO_SUCH_MESSAGE: _("The message that this is about is not there."),
        ErrorCode.UNAVAILABLE: _("This could not be stored now. Please send it again."),
    }

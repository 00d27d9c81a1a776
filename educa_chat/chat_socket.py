"""One socket in a room: it turns messages of the client into commands, and the room writes events to it."""

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

import msgspec

from educa_chat.chat import Chat
from educa_chat.commands import Read, ReadAll, Typing, decode_command
from educa_chat.errors import CommandRefused, DatabaseUnavailable
from educa_chat.frames import Message, Ping, Text
from educa_chat.limits import RateLimit, retry_after
from educa_chat.log_lines import log_also
from educa_chat.markers import Markers
from educa_chat.metrics import Metrics, ResetReason
from educa_chat.presence import Person
from educa_chat.protocol import (
    Ack,
    Audience,
    CloseCode,
    Error,
    ErrorCode,
    Reset,
    RoomSignal,
    Welcome,
    encode,
    json_id,
    pong_frame,
    text_frame,
)
from educa_chat.room import BUFFER_LIMIT_BYTES, Room
from educa_chat.settings import Limits
from educa_chat.sockets import Sockets
from educa_chat.storage.courses import Membership
from educa_chat.storage.log import Accepted, Log, Outcome
from educa_chat.storage.sessions import Visitor
from educa_chat.websocket_protocol import Heartbeat, ReadingTime, WebSocket

logger = logging.getLogger(__name__)

REFUSALS_PER_SECOND = 20
"""The server reads more slowly from a user whose commands it refuses faster than this, over all of their sockets.

The budget starts at REFUSALS_BURST and belongs to the user: another socket does not renew it.
"""
REFUSALS_BURST = 200
DRAIN_TIMEOUT_S = 5.0
"""How long a socket that is drained waits for its outstanding answers; longer than an entry waits for its commit."""
STRIKES_BURST = 1000
STRIKES_PER_SECOND = 10
WEIGHTS = {ErrorCode.RATE_LIMITED: 1, ErrorCode.UNAVAILABLE: 0}
WEIGHT_OTHERWISE = 5
"""How much each broken rule counts. About 200 malformed frames or 1,000 rate-limited ones lead to 1008.

A ping or a pong counts like a malformed frame: two per second are always allowed, which is more than any client needs
to check the connection. A flood of them would waste the time of the process.
"""

_numbers = count(1)
_PROCESS = secrets.token_hex(4)
"""Distinguishes the sockets of this process from those of others in the log."""


class SocketServices(msgspec.Struct, frozen=True):
    """The parts of the process that its chat sockets share."""

    chat: Chat
    log: Log
    markers: Markers
    metrics: Metrics
    sockets: Sockets
    limits: Limits
    heartbeat: Heartbeat = msgspec.field(default_factory=Heartbeat)
    reading_time: ReadingTime = msgspec.field(default_factory=ReadingTime)
    refusals: RateLimit = msgspec.field(default_factory=lambda: RateLimit(REFUSALS_PER_SECOND, REFUSALS_BURST))
    """Refused commands, by user."""
    strikes: RateLimit = msgspec.field(default_factory=lambda: RateLimit(STRIKES_PER_SECOND, STRIKES_BURST))
    """Broken rules, by user."""


class ChatSocket(WebSocket):
    """One socket of a member. The room writes to it, and so does the socket itself; neither waits for the client.

    `marker` is how far the user has read. A socket that is not full speaks the basic flavour of the protocol.
    """

    __slots__ = (
        "_all_answered",
        "_context",
        "_ended",
        "_is_draining",
        "_loop",
        "_number",
        "_own",
        "_pause",
        "_room",
        "_services",
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
        self,
        services: SocketServices,
        room: Room,
        visitor: Visitor,
        membership: Membership,
        marker: int,
        translations: NullTranslations,
        *,
        is_full: bool,
    ) -> None:
        super().__init__(services.limits.frame_bytes, services.reading_time)
        self.visitor = visitor
        self.membership = membership
        self.marker = marker
        self.person = Person(visitor.user_id, visitor.username, visitor.name)
        self.is_full = is_full
        self.audience = (
            Audience.BASIC if not is_full else Audience.INSTRUCTOR if membership.role.is_staff else Audience.STUDENT
        )
        self._number = next(_numbers)
        self._room = room
        self._loop = asyncio.get_running_loop()
        self._services = services
        self._translations = translations
        self._own: list[bytes] = []
        self._unanswered = 0
        self._all_answered: asyncio.Future[None] | None = None
        self._ended: asyncio.Future[None] | None = None
        self._is_draining = False
        self._pause: asyncio.TimerHandle | None = None
        self._working: asyncio.Task[None] | None = None
        log_also(connection=f"{_PROCESS}-{self._number}")
        self._context = copy_context()
        """Carries the ids for log lines."""

    # A member of the room.

    def write(self, data: bytes) -> None:
        """Send complete frames, after those that the socket itself has queued."""
        if self._own:
            self._own.append(data)
            self._send_own()
        else:
            self.transmit(data)

    def close(self, code: CloseCode) -> None:
        """Leave the room, then close: nothing may follow a close frame (RFC 6455 §5.5.1)."""
        if self.is_closing or self.is_closed:
            return
        self._services.metrics.count_close(code)
        if code is CloseCode.POLICY_VIOLATION:
            self.cut_off(code)
        else:
            self.begin_close(code)

    def update_membership(self, membership: Membership) -> None:
        self.membership = membership
        if self.is_full:
            room = RoomSignal(json_id(membership.course), membership.title, membership.is_archived)
            self._send_payload(encode(room))

    async def drain(self) -> None:
        """Stop handling messages, wait for the outstanding answers, and close: this process is going away."""
        self._is_draining = True
        if self._unanswered:
            self._all_answered = self._loop.create_future()
            await asyncio.wait([self._all_answered], timeout=DRAIN_TIMEOUT_S)
        self.close(CloseCode.GOING_AWAY)
        if not self.is_closed:
            self._ended = self._loop.create_future()
            await asyncio.wait([self._ended])

    # The life of the socket.

    async def serve(self, welcome: Welcome, after: int | None, reset: ResetReason | None) -> None:
        """Send the welcome, replay events up to the head of the room, and then read messages.

        The replay begins after the seq `after`, or after the head in the welcome. `reset` is the reason why the client
        can't continue there, if any.
        """
        self._services.heartbeat.add(self)
        self._services.sockets.add(self)
        with self._isolating_failures():
            if self.is_full:
                self._send_payload(encode(welcome))
                if reset is not None:
                    self._send_payload(encode(Reset(after=welcome.head)))
                    self._services.metrics.count_reset(reset)
                    self._services.metrics.count_resume("reset")
            try:
                if after is not None and reset is None and self.is_full:
                    self._services.metrics.count_resume(await self._room.join(self, after))
                else:
                    await self._room.join(self, welcome.head)
            except ConnectionError:
                logger.info("the socket broke off")
        if self.is_closing or self.is_closed:
            # The client disconnected during the replay.
            self.leave()
        # Commands are answered only from here on, after the replay.
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
            # The same as `_isolating_failures`, which would cost too much for every message.
            logger.exception("the socket failed")
            self.close(CloseCode.INTERNAL_ERROR)

    def connection_lost(self, error: Exception | None) -> None:
        """Leave the room, and drop what could not be sent."""
        super().connection_lost(error)
        if not isinstance(self.close_code, CloseCode):
            self._services.metrics.count_departure(self.close_code)
        self._services.sockets.discard(self)
        if self._ended is not None:
            self._ended.set_result(None)
        self._context.run(logger.info, "the socket is closed: %s", self.close_code)

    @contextmanager
    def _isolating_failures(self) -> Iterator[None]:
        """Close only this socket if anything in it fails. This is an edge."""
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
            if isinstance(command, ReadAll):
                self._start_work(self._read_all())
                self._throttle()
                return
            remaining = self._services.chat.handle(command, self.visitor, self.membership, self._on_outcome)
            if isinstance(command, Typing):
                # No limit refuses it, so it is throttled like a refused command.
                self._throttle()
                return
            self._unanswered += 1
            if remaining is not None:
                self._start_work(self._finish(remaining))
        except CommandRefused as refusal:
            self._answer_refused(refusal)

    def _start_work(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `work`, and handle no other message until it is done, so that commands take effect in order."""
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
        """Answer a repeated command with its earlier acceptance if there is one; otherwise refuse it."""
        if refusal.id is not None and not _is_final(refusal):
            with suppress(DatabaseUnavailable):
                accepted = await self._services.log.find(self.membership.course, self.visitor.user_id, refusal.id)
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
            self._services.markers.move(self.visitor.user_id, self.membership.course, seq)
        # No limit refuses this either.
        self._throttle()

    async def _read_all(self) -> None:
        # A lost read marker does no harm: the client sends another one.
        with suppress(DatabaseUnavailable):
            await self._services.markers.move_to_heads(self.visitor.user_id)

    def _strike(self, weight: int) -> None:
        if self._services.strikes.take(self.visitor.user_id, weight):
            self.close(CloseCode.POLICY_VIOLATION)
        else:
            self._throttle()

    def _throttle(self) -> None:
        """Stop reading for a while if the user is over budget, so that a flood fills up its sender's own buffers."""
        pause_s = self._services.refusals.wait_s(self.visitor.user_id)
        # Counted even over budget: then the sockets of one user wait one after the other.
        self._services.refusals.count(self.visitor.user_id)
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
            self._services.metrics.count_command("accepted")
            if self.is_full:
                self._send_payload(encode(Ack(id=id, seq=outcome.seq, datetime=outcome.datetime)))
            return
        wait_s = None if outcome.wait_s is None else retry_after(outcome.wait_s)
        self._refuse(outcome.code, id if self.is_full else None, wait_s)
        if outcome.code is ErrorCode.FORBIDDEN:
            self._services.sockets.schedule_recheck([self])

    def _refuse(self, code: ErrorCode, id: str | None, retry_after_s: float | None) -> None:
        self._services.metrics.count_command(code)
        self._send_payload(
            encode(
                Error(
                    code=code,
                    message=_explanations(self._translations, self._services.limits.message_length)[code],
                    datetime=datetime.now(UTC).isoformat(timespec="microseconds"),
                    id=id,
                    retry_after=retry_after_s,
                )
            )
        )

    def _send_payload(self, payload: bytes) -> None:
        self._send_frame(text_frame(payload))

    def _send_frame(self, frame: bytes) -> None:
        """Queue a frame of the socket's own; those of one iteration of the loop are written together."""
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
    """Whether an earlier acceptance of the same command would not change the answer."""
    return refusal.id is None or refusal.code in (ErrorCode.RATE_LIMITED, ErrorCode.UNAVAILABLE)


def _explanations(translations: NullTranslations, length: int) -> dict[ErrorCode, str]:
    _: Callable[[str], str] = translations.gettext
    return {
        ErrorCode.BAD_JSON: _("The command is not valid JSON."),
        ErrorCode.BAD_REQUEST: _("A field is missing or invalid."),
        ErrorCode.UNKNOWN_TYPE: _("Unknown command."),
        ErrorCode.TOO_LONG: translations.ngettext(
            "A message can have at most %d character.", "A message can have at most %d characters.", length
        )
        % length,
        ErrorCode.EMPTY: _("The message is empty."),
        ErrorCode.RATE_LIMITED: _("Too many messages. Please wait a moment."),
        ErrorCode.SLOW_MODE: _("Slow mode is on. Please wait before you post again."),
        ErrorCode.MUTED: _("You're muted in this room."),
        ErrorCode.CLOSED: _("Only teachers can post in this room right now."),
        ErrorCode.ARCHIVED: _("This course is archived. You can read the room, but not change anything."),
        ErrorCode.FORBIDDEN: _("You don't have permission to do this."),
        ErrorCode.NO_SUCH_MESSAGE: _("That message doesn't exist."),
        ErrorCode.CHANGED: _("The message was changed elsewhere. Check your text, then send it again."),
        ErrorCode.UNAVAILABLE: _("The message couldn't be saved. Please try again."),
    }

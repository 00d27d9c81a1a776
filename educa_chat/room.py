"""One room in this process: the head of its log, its members, and the fan-out of events to them."""

import asyncio
import logging
from bisect import bisect_right
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from operator import attrgetter
from typing import Protocol

import msgspec

from educa_chat import presence
from educa_chat.errors import DatabaseUnavailable
from educa_chat.metrics import CatchUpReason, Metrics, ResumeOutcome
from educa_chat.presence import Presence
from educa_chat.protocol import (
    Audience,
    CloseCode,
    Event,
    Own,
    Reset,
    anonymity_in,
    datetime_in,
    encode,
    is_hidden,
    text_frame,
)

logger = logging.getLogger(__name__)

BUFFER_LIMIT_BYTES = 1024 * 1024
"""A member with more unsent data than this is disconnected."""
REPLAY_PIECE_BYTES = BUFFER_LIMIT_BYTES // 2
REPLAY_TIMEOUT_S = 10.0
READ_COUNT = 1000
"""How many events one read of the log returns at most."""
RING_COUNT = 1000
RING_BYTES = 1024 * 1024
HELD_COUNT = 1000
HELD_BYTES = 1024 * 1024
GAP_PATIENCE_S = 0.03
"""How long a room waits for a missing event before it reads the log. If two nodes write, the later event often
arrives first."""
RETRY_PAUSE_S = 0.5


class Member(presence.Member, Protocol):
    """A member of a room: a socket, or a list in a test."""

    async def wait_until_sent(self) -> None:
        """Wait until most of the buffer is sent."""

    def close(self, code: CloseCode) -> None:
        """Begin to close. Nothing is written afterwards."""


class _Frames(msgspec.Struct, frozen=True, gc=False):
    """The frames of an event, one for each audience.

    A ring keeps a thousand of these. They are hidden from the garbage collector, which would otherwise pause the
    process while it visits those of all rooms.
    """

    seq: int
    student: bytes
    instructor: bytes
    basic: bytes
    concealed_user_id: int | None

    def variant(self, audience: Audience) -> bytes:
        if audience is Audience.STUDENT:
            return self.student
        return self.instructor if audience is Audience.INSTRUCTOR else self.basic

    def variant_for(self, member: Member) -> bytes:
        """Return the frames for `member`: the variant of their audience.

        The concealed user receives the frame `own` first, and the instructors' variant of events that are hidden from
        other students.
        """
        variant = self.variant(member.audience)
        if (
            self.concealed_user_id is None
            or self.concealed_user_id != member.person.id
            or member.audience is Audience.BASIC
        ):
            return variant
        if is_hidden(variant):
            variant = self.instructor
        return text_frame(encode(Own(seq=self.seq))) + variant

    @property
    def size(self) -> int:
        own = 0 if self.instructor is self.student else len(self.instructor)
        return len(self.student) + own + len(self.basic)


def _frames(event: Event) -> _Frames:
    student = text_frame(event.student)
    return _Frames(
        event.seq,
        student,
        student if event.instructor is None else text_frame(event.instructor),
        b"" if event.basic is None else text_frame(event.basic),
        event.concealed_user_id,
    )


def _events_after(events: Sequence[Event], after: int) -> Sequence[Event]:
    """Return the part of `events` with seq > `after`. They must be in order."""
    return events[bisect_right(events, after, key=attrgetter("seq")) :]


class Room:
    """Broadcasts the events of one course to its members: in order of seq, each exactly once.

    All members have the same position, the room's head, so the next bytes are the same for everyone in an audience.
    `read(after, count)` reads the log: the events with seq > `after` in order, at most `count`.
    """

    def __init__(
        self,
        course: int,
        head: int,
        at: str,
        read: Callable[[int, int], Awaitable[Sequence[Event]]],
        presence: Presence,
        metrics: Metrics,
        *,
        anonymity: bool = False,
        anonymous_messages: int = 0,
    ) -> None:
        self.course = course
        self.presence = presence
        self._anonymity = anonymity
        """Whether students may send anonymous messages."""
        self._anonymous_messages = anonymous_messages
        """The number of anonymous messages that aren't deleted."""
        self._conceal_students()
        self.head = head
        """The seq of the newest event that was broadcast."""
        self._at = at
        self._newest: Event | None = None
        self.gap_patience_s = GAP_PATIENCE_S
        self._read = read
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._members: dict[Audience, set[Member]] = {audience: set() for audience in Audience}
        self._ring: deque[_Frames] = deque()
        self._ring_bytes = 0
        self._is_ring_filled = False
        """Whether the ring was filled from the log with events from before the room was opened."""
        self._due: list[_Frames] = []
        self._held: dict[int, Event] = {}
        self._held_bytes = 0
        self._redacted: dict[int, Event] = {}
        """Events that were redacted before they were broadcast, in their current state, by seq."""
        self._redacted_meanwhile: dict[int, Event] = {}
        """Events that were redacted since the current read of the log for replays began, by seq."""
        self._expected = head
        self._gap_timer: asyncio.TimerHandle | None = None
        self._no_read_before = 0.0
        """Until this time of the event loop, gaps don't make the room read the log."""
        self._catching_up: asyncio.Task[None] | None = None
        self._replays: list[tuple[int, asyncio.Future[Sequence[Event]]]] = []
        self._replaying: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def at(self) -> str:
        """The `datetime` of the newest event that was broadcast."""
        return self._at if self._newest is None else self._newest.at

    def __len__(self) -> int:
        return sum(map(len, self._members.values()))

    def __iter__(self) -> Iterator[Member]:
        for members in self._members.values():
            yield from members

    # The one way in.

    def offer(self, events: Iterable[Event]) -> None:
        """Take events from any source: broadcast the next ones in order, hold back later ones, ignore earlier ones."""
        events = list(events)
        for event in events:
            if event.redacts and event.seq > self.head:
                self._redact(event)
        for event in events:
            if event.seq == self.head + 1:
                self._broadcast(event)
            elif event.seq > self.head:
                self._hold(event)
        while (in_line := self._held.get(self.head + 1)) is not None:
            self._broadcast(in_line)
        self._watch_gap("gap")

    def expect(self, seq: int, reason: CatchUpReason) -> None:
        """Learn that the log reaches `seq`. If the events up to it don't arrive soon, read them from the log."""
        self._expected = max(self._expected, seq)
        self._watch_gap(reason)

    def _redact(self, event: Event) -> None:
        """Replace the events that `event` redacts, whether they were broadcast, are held back, or are still to come."""
        redacted = {redacted.seq: redacted for redacted in event.redacts}
        if self._replaying is not None:
            # The read in progress may return the texts from before the redaction.
            self._redacted_meanwhile |= redacted
        if len(self._redacted) < HELD_COUNT:
            self._redacted |= {seq: current for seq, current in redacted.items() if seq > self.head}
        first = self._ring[0].seq if self._ring else self.head + 1
        for seq, current in redacted.items():
            if first <= seq <= self.head:
                index = seq - first
                self._ring_bytes -= self._ring[index].size
                self._ring[index] = _frames(current)
                self._ring_bytes += self._ring[index].size

    def _broadcast(self, event: Event) -> None:
        if self._redacted:
            event = self._redacted.pop(event.seq, event)
        self.head, self._newest = event.seq, event
        if (anonymity := anonymity_in(event.student)) is not None:
            self._anonymity = anonymity
        self._anonymous_messages += event.anonymous_messages
        self._conceal_students()
        # A copy may have arrived out of order and be held back.
        if (held := self._held.pop(event.seq, None)) is not None:
            self._held_bytes -= held.size
        frames = _frames(event)
        self._ring.append(frames)
        self._ring_bytes += frames.size
        while len(self._ring) > RING_COUNT or (self._ring_bytes > RING_BYTES and len(self._ring) > 1):
            self._ring_bytes -= self._ring.popleft().size
        if not self._due:
            # Other events that become due in this turn of the event loop go out in the same write.
            self._loop.call_soon(self._flush)
        self._due.append(frames)

    def _conceal_students(self) -> None:
        # Even if new ones aren't allowed, an author may still act on an anonymous message.
        self.presence.conceals_students = self._anonymity or self._anonymous_messages > 0

    def _hold(self, event: Event) -> None:
        self._expected = max(self._expected, event.seq)
        if event.seq not in self._held and len(self._held) < HELD_COUNT and self._held_bytes + event.size <= HELD_BYTES:
            self._held[event.seq] = event
            self._held_bytes += event.size

    def _flush(self) -> None:
        """Write all due events with one write per member. Disconnect members with too much unsent data."""
        due, self._due = self._due, []
        if not due:
            return
        deliveries = 0
        concealed_user_ids = {frames.concealed_user_id for frames in due if frames.concealed_user_id is not None}
        for audience, members in self._members.items():
            if not members:
                continue
            variants = [variant for frames in due if (variant := frames.variant(audience))]
            if not variants:
                continue
            data = b"".join(variants)
            slow = []
            for member in members:
                if member.buffer_size() > BUFFER_LIMIT_BYTES:
                    slow.append(member)
                elif concealed_user_ids and member.person.id in concealed_user_ids:
                    member.write(b"".join(frames.variant_for(member) for frames in due))
                else:
                    member.write(data)
            for member in slow:
                self.leave(member)
                member.close(CloseCode.TOO_SLOW)
            deliveries += len(variants) * len(members)
        if deliveries:
            self._metrics.count_deliveries(deliveries, self.at)

    # Catching up with the log.

    def _watch_gap(self, reason: CatchUpReason) -> None:
        if self._expected <= self.head:
            if self._gap_timer is not None:
                self._gap_timer.cancel()
                self._gap_timer = None
        elif self._gap_timer is None and self._catching_up is None:
            due_at = max(self._loop.time() + self.gap_patience_s, self._no_read_before)
            self._gap_timer = self._loop.call_at(due_at, self._gap_expired, reason)

    def _gap_expired(self, reason: CatchUpReason) -> None:
        self._gap_timer = None
        self._start_catching_up(reason)

    async def catch_up(self, reason: CatchUpReason) -> None:
        """Read the log and broadcast the events after the head. Raises DatabaseUnavailable."""
        await asyncio.shield(self._start_catching_up(reason))

    def _start_catching_up(self, reason: CatchUpReason) -> asyncio.Task[None]:
        if self._catching_up is None:
            self._metrics.count_catch_up(reason)
            self._catching_up = asyncio.create_task(self._catch_up(), name=f"catch-up of room {self.course}")
            self._catching_up.add_done_callback(self._caught_up)
        return self._catching_up

    async def _catch_up(self) -> None:
        expected = self._expected
        while True:
            self._metrics.count_log_read("catch_up")
            events = await self._read(self.head, READ_COUNT)
            self.offer(events)
            if len(events) < READ_COUNT:
                break
        # Events are committed before they are published, so an event that the log doesn't have was never stored.
        if self.head < expected:
            # The sender may publish it again and again, and each time would cost a read.
            self._no_read_before = self._loop.time() + RETRY_PAUSE_S
            self._expected = self.head
            self._held.clear()
            self._held_bytes = 0
            self._redacted.clear()

    def _caught_up(self, task: asyncio.Task[None]) -> None:
        self._catching_up = None
        if task.cancelled():
            return
        if (error := task.exception()) is None:
            self._watch_gap("gap")
        else:
            logger.warning("room %d can't read the log: %s", self.course, error)
            if self._gap_timer is None and self._expected > self.head:
                self._gap_timer = self._loop.call_later(RETRY_PAUSE_S, self._gap_expired, "retry")

    # Joining and leaving.

    async def join(self, member: Member, after: int) -> ResumeOutcome:
        """Write every event with seq > `after` to `member`, and add it in the turn in which it reaches the head.

        A long replay is written in parts, and each waits until the previous one is sent. A member that hasn't reached
        the head within REPLAY_TIMEOUT_S gets a `reset` to the head instead. Return the source of the events.
        """
        outcome: ResumeOutcome = "level"
        try:
            async with asyncio.timeout(REPLAY_TIMEOUT_S):
                while after < self.head:
                    outcome = "ring" if outcome != "log" and self._ring_follows(after) else "log"
                    after = await self._replay(member, after)
        except TimeoutError:
            member.write(text_frame(encode(Reset(after=self.head))))
            outcome = "reset"
            self._metrics.count_reset("timeout")
        # No await from here on: no event may arrive between the last comparison with the head and joining. Events that
        # are due were part of the replay.
        self._flush()
        if self._closed:
            member.close(CloseCode.GOING_AWAY)
        else:
            self._members[member.audience].add(member)
            self.presence.join(member)
        return outcome

    async def datetime_of(self, seq: int) -> str | None:
        """Return the `datetime` of an event up to the head, or None if the log has no such event.

        Raises DatabaseUnavailable. The caller usually joins after this event, so the replays share the read for it.
        """
        if seq == self.head:
            return self.at
        read: Sequence[Event] = () if self._ring_follows(seq - 1) else await self._read_replay(seq - 1)
        if self._ring_follows(seq - 1):
            return datetime_in(self._ring[seq - self._ring[0].seq].student)
        found = _events_after(read, seq - 1)
        return found[0].at if found and found[0].seq == seq else None

    def leave(self, member: Member) -> None:
        """Stop writing to `member`."""
        self._members[member.audience].discard(member)
        self.presence.leave(member)

    def _ring_follows(self, after: int) -> bool:
        return bool(self._ring) and self._ring[0].seq <= after + 1

    async def _replay(self, member: Member, after: int) -> int:
        """Write a part of what `member` missed, and return the last seq that was written."""
        read: Sequence[Event] = ()
        if not self._ring_follows(after):
            with suppress(DatabaseUnavailable):
                read = await self._read_replay(after)
            if not _events_after(read, after):
                await asyncio.sleep(RETRY_PAUSE_S)
        # Frames in the ring were made once for all members.
        missed: Iterable[_Frames] = (
            islice(self._ring, after + 1 - self._ring[0].seq, None)
            if self._ring_follows(after)
            else map(_frames, _events_after(read, after))
        )
        piece: list[bytes] = []
        piece_bytes = 0
        for frames in missed:
            frame = frames.variant_for(member)
            if piece and piece_bytes + len(frame) > REPLAY_PIECE_BYTES:
                member.write(b"".join(piece))
                await member.wait_until_sent()
                return after
            piece.append(frame)
            piece_bytes += len(frame)
            after = frames.seq
        if piece:
            member.write(b"".join(piece))
        return after

    async def _read_replay(self, after: int) -> Sequence[Event]:
        """Read the log from `after` or earlier. Calls that arrive during a read share the next one."""
        answer: asyncio.Future[Sequence[Event]] = self._loop.create_future()
        self._replays.append((after, answer))
        if self._replaying is None:
            self._replaying = asyncio.create_task(self._serve_replays(), name=f"replay of room {self.course}")
        return await answer

    async def _serve_replays(self) -> None:
        try:
            while self._replays:
                for after, answer in self._replays:
                    # The previous read has filled the ring far enough.
                    if self._ring_follows(after) and not answer.done():
                        answer.set_result(())
                replays = [(after, answer) for after, answer in self._replays if not answer.done()]
                self._replays = []
                if not replays:
                    continue
                after, fills_ring = min(after for after, _ in replays), False
                if not self._is_ring_filled and after >= self.head - RING_COUNT:
                    # Read as far back as the ring goes: the next client may have missed more, and then needs no read.
                    after, fills_ring = max(0, self.head - RING_COUNT), True
                self._metrics.count_log_read("replay")
                self._redacted_meanwhile.clear()
                try:
                    read = await self._read(after, READ_COUNT)
                except DatabaseUnavailable as error:
                    for _, answer in replays:
                        if not answer.done():
                            answer.set_exception(error)
                else:
                    events = [self._redacted_meanwhile.get(event.seq, event) for event in read]
                    self._fill_ring(events)
                    self._is_ring_filled = self._is_ring_filled or fills_ring
                    # The log may be ahead of the room. If the room knows these events, no member gets them twice.
                    self.offer(events)
                    for _, answer in replays:
                        if not answer.done():
                            answer.set_result(events)
        finally:
            self._replaying = None

    def _fill_ring(self, events: Sequence[Event]) -> None:
        """Put `events` in front of the ring, so that the next client that reconnects needs no read."""
        first = self._ring[0].seq if self._ring else self.head + 1
        for event in reversed(events):
            if event.seq != first - 1:
                continue
            frames = _frames(event)
            if len(self._ring) >= RING_COUNT or self._ring_bytes + frames.size > RING_BYTES:
                break
            self._ring.appendleft(frames)
            self._ring_bytes += frames.size
            first = event.seq

    def close(self, code: CloseCode) -> None:
        """Close all members with `code`, and later ones with 1001. Stop all tasks."""
        self._closed = True
        for members in self._members.values():
            leaving = list(members)
            members.clear()
            for member in leaving:
                member.close(code)
        self._due.clear()
        if self._gap_timer is not None:
            self._gap_timer.cancel()
        for task in (self._catching_up, self._replaying):
            if task is not None:
                task.cancel()
        for _, answer in self._replays:
            answer.cancel()

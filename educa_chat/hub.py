"""The open rooms of this process, and the tasks that keep them up to date with the log."""

import asyncio
import logging
import math
import random
import secrets
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from contextvars import Context

from educa_chat.bus.protocol import MessageBus
from educa_chat.errors import BusUnavailable, DatabaseUnavailable, SubscriptionLost
from educa_chat.metrics import BusState, Metrics
from educa_chat.payload import Dropped, LogUpdate, PayloadCodec, Readers, Typist
from educa_chat.presence import Person, Presence, Roster
from educa_chat.protocol import CloseCode, Event
from educa_chat.room import GAP_PATIENCE_S, Room
from educa_chat.storage.log import Head, Log
from educa_chat.tasks import end, supervised

logger = logging.getLogger(__name__)

SWEEP_S = 0.5
BUS_DOUBTED_AFTER_S = 1.0
BUS_LOST_AFTER_S = 10.0
EMPTY_ROOM_S = 60.0
OUTBOX_BYTES = 1024 * 1024
"""If more than this waits to be published, only the seqs are published."""
OUTBOX_SIGNALS = 1000
"""If more signals than this wait for the bus, the oldest are dropped: late signals are worthless."""
RESUBSCRIBE_PAUSE_S = 0.25
PAYLOADS_PER_TURN = 50
"""After this many payloads for one room, other tasks get a turn of the event loop."""
REPORT_DROPPED_EVERY_S = 60.0
GOSSIP_TURN_S = 0.1


class _OpenRoom:
    """A room with the hub's own data about it."""

    def __init__(self, room: Room, codec: PayloadCodec, now: float) -> None:
        self.room = room
        self.codec = codec
        self.listener: asyncio.Task[None] | None = None
        self.behind = 0
        """How many sweeps in a row have found the room behind the log, without a payload from the bus in between."""
        self.last_seen_with_members = now


class Hub:
    """Opens rooms when users enter them, passes on events from local commits, the bus and the log, and closes rooms.

    The log is the source of truth and the bus is a hint: the sweep finds within half a second whatever the bus loses.
    It always runs, because a process with a healthy bus can't tell that another's publishes are lost.

    The log can be replaced while nobody is connected to it: a backup is restored, or a standby takes over. So after
    each loss of the database, no event is broadcast until a sweep has found that the log still has what the rooms have
    shown.

    The hub signs what it publishes with the first of `keys`, and accepts payloads signed with any of them.
    """

    def __init__(
        self,
        log: Log,
        bus: MessageBus,
        epoch: str,
        metrics: Metrics,
        keys: Sequence[bytes],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.epoch = epoch
        self._log = log
        self._bus = bus
        self._keys = keys
        self._metrics = metrics
        self._clock = clock
        self._rooms: dict[int, _OpenRoom] = {}
        self._opening: dict[int, asyncio.Task[Room | None]] = {}
        self._outbox: dict[int, list[Event]] = {}
        self._outbox_bytes = 0
        self._outbox_heads: dict[int, int] = {}
        self._outbox_signals: deque[tuple[int, bytes]] = deque(maxlen=OUTBOX_SIGNALS)
        self._outbox_filled = asyncio.Event()
        self._typists: dict[tuple[int, int], Typist] = {}
        """Users who have started typing, by course and user id. Published soon."""
        self._typist_added = asyncio.Event()
        self._publish_failed_at = -math.inf
        self._dropped: Counter[str] = Counter()
        """Payloads from the bus that were ignored since the last log line about them, by reason."""
        self._dropped_reported_at = -math.inf
        self._failed: set[int] = set()
        """Courses whose room failed and has to be closed."""
        self._compared_after = log.losses
        self._sweeping = asyncio.Lock()
        self._doubt_logged = False
        self._process = secrets.token_bytes(8)
        self._presence_stopped = False
        self._swept_at = clock()

    def __len__(self) -> int:
        return len(self._rooms)

    @property
    def bus_in_doubt(self) -> bool:
        """Whether rooms should read the log instead of waiting for the bus."""
        silence_s = self._bus.silence_s
        has_carried_since = self._clock() - silence_s > self._publish_failed_at
        return silence_s > BUS_DOUBTED_AFTER_S or not has_carried_since

    @property
    def bus_lost(self) -> bool:
        """Whether the bus has been silent for so long that administrators should know."""
        return self._bus.silence_s > BUS_LOST_AFTER_S

    @property
    def bus_state(self) -> BusState:
        return "lost" if self.bus_lost else "doubted" if self.bus_in_doubt else "ok"

    @property
    def sweep_age_s(self) -> float:
        """Seconds since all rooms were last compared with the log."""
        return self._clock() - self._swept_at

    @property
    def _is_same_log(self) -> bool:
        """Whether the database has stayed connected since the rooms were compared with the log."""
        return self._compared_after == self._log.losses

    async def enter(self, course: int) -> Room | None:
        """Return the room of `course`, opening it if necessary, or None if there is no such course.

        Raises DatabaseUnavailable if the room can't be opened or can't be compared with the log.
        """
        if not self._is_same_log:
            await self.sweep()
        if (opened := self._rooms.get(course)) is not None:
            opened.last_seen_with_members = self._clock()
            return opened.room
        opening = self._opening.get(course)
        if opening is None:
            opening = asyncio.create_task(self._open(course), name=f"opening of room {course}")
            self._opening[course] = opening
            opening.add_done_callback(lambda _: self._opening.pop(course, None))
        return await asyncio.shield(opening)

    async def presence_of(self, course: int) -> Presence | None:
        """Return who is in the room of `course` in all processes, or None if there is no such course.

        Waits for the rosters of the others if this process has just opened the room. Raises DatabaseUnavailable.
        """
        room = await self.enter(course)
        if room is None:
            return None
        if self._bus.reaches_others and not len(room):
            await asyncio.sleep(max(0.0, room.presence.complete_at - self._clock()))
        return room.presence

    async def _open(self, course: int) -> Room | None:
        found = await self._log.open_room(course)
        if found is None:
            return None
        head = found.head

        async def read(after: int, count: int) -> Sequence[Event]:
            events = await self._log.read(course, after, count)
            if not self._is_same_log:
                raise DatabaseUnavailable("the rooms have not been compared with the log yet")
            return events

        presence = Presence(self._process, self._clock)
        room = Room(
            course,
            head.seq,
            head.at,
            read,
            presence,
            self._metrics,
            anonymity=found.anonymity,
            anonymous_messages=found.anonymous_messages,
        )
        opened = _OpenRoom(room, self._codec(course), self._clock())
        self._rooms[course] = opened
        self._start_listener(opened)
        return opened.room

    def announce(self, events: Mapping[int, list[Event]]) -> None:
        """Broadcast events that this process has committed, and publish them to the others."""
        if not self._is_same_log:
            # Processes that receive only the seq read the log, after they have compared it themselves.
            self._outbox_heads |= {course: fresh[-1].seq for course, fresh in events.items()}
            self._outbox_filled.set()
            return
        for course, fresh in events.items():
            if (opened := self._rooms.get(course)) is not None:
                with self._isolating_failures(course):
                    opened.room.offer(fresh)
        if not self._bus.reaches_others:
            return
        for course, fresh in events.items():
            self._outbox.setdefault(course, []).extend(fresh)
            self._outbox_bytes += sum(event.size for event in fresh)
        if self._outbox_bytes > OUTBOX_BYTES:
            for course, waiting in self._outbox.items():
                self._outbox_heads[course] = waiting[-1].seq
            self._outbox.clear()
            self._outbox_bytes = 0
        self._outbox_filled.set()

    def signal_typing(self, course: int, person: Person, *, is_student: bool) -> None:
        """Tell the others in the room that `person` is typing. Like all signals, this may get lost.

        Not sent for muted students, nor for any student of a room that conceals them: it would reveal who writes the
        next anonymous message.
        """
        self._typists[course, person.id] = Typist(person, is_student)
        self._typist_added.set()

    def end_typing(self, course: int, user_id: int) -> None:
        """Drop a typing signal that is not published yet: it would arrive after the message."""
        self._typists.pop((course, user_id), None)

    def signal_read(self, course: int, seqs: Mapping[int, int]) -> None:
        """Tell all windows of some users how far the users have read. `seqs` maps user ids to seqs."""
        if (opened := self._rooms.get(course)) is not None:
            opened.room.presence.broadcast_read(seqs)
        self._outbox_signals.extend((course, payload) for payload in self._codec(course).encode_readers(seqs))
        self._outbox_filled.set()

    def stop_presence(self) -> None:
        """Stop publishing and broadcasting who is online: users who leave now reconnect to another process."""
        self._presence_stopped = True

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Do the hub's work while the context lasts; leaving closes every room with 1001."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(supervised(self._publish, "publisher"))
            await stack.enter_async_context(supervised(self._sweep_periodically, "sweep"))
            await stack.enter_async_context(supervised(self._gossip, "gossip"))
            await stack.enter_async_context(supervised(self._publish_typing, "typing"))
            try:
                yield
            finally:
                await self._close_rooms(list(self._rooms))

    # The bus.

    def _topic(self, course: int) -> str:
        return f"{self.epoch}:room:{course}"

    def _codec(self, course: int) -> PayloadCodec:
        opened = self._rooms.get(course)
        return PayloadCodec(self._topic(course), self._keys) if opened is None else opened.codec

    async def _publish(self) -> None:
        while True:
            await self._outbox_filled.wait()
            self._outbox_filled.clear()
            outbox, heads = self._outbox, self._outbox_heads
            self._outbox, self._outbox_heads, self._outbox_bytes = {}, {}, 0
            payloads = [(course, self._codec(course).encode_head(seq)) for course, seq in heads.items()]
            for course, events in outbox.items():
                payloads += [(course, payload) for payload in self._codec(course).encode_events(events)]
            payloads += self._outbox_signals
            self._outbox_signals.clear()
            results = await asyncio.gather(
                *(self._bus.publish(self._topic(course), payload) for course, payload in payloads),
                return_exceptions=True,
            )
            failures = [result for result in results if isinstance(result, BaseException)]
            self._metrics.count_publishes(carried=len(results) - len(failures), failed=len(failures))
            if failures:
                self._publish_failed_at = self._clock()
            for failure in failures:
                if not isinstance(failure, BusUnavailable):
                    raise failure

    def _start_listener(self, opened: _OpenRoom) -> None:
        if opened.listener is not None:
            opened.listener.cancel()
        # It outlives the request that opened the room. In a context of its own, its log lines don't name that request.
        opened.listener = asyncio.create_task(
            self._receive(opened), name=f"listener of room {opened.room.course}", context=Context()
        )

    async def _receive(self, opened: _OpenRoom) -> None:
        """Receive payloads from the bus while the room is open. First catch up with the log."""
        room = opened.room
        while True:
            try:
                async with self._bus.subscribe(self._topic(room.course)) as payloads:
                    room.presence.request_rosters()
                    await room.catch_up("subscribed")
                    taken = 0
                    async for payload in payloads:
                        self._dispatch(opened, payload)
                        taken += 1
                        if taken % PAYLOADS_PER_TURN == 0:
                            await asyncio.sleep(0)
            except (BusUnavailable, SubscriptionLost, DatabaseUnavailable) as error:
                logger.debug("room %d is not subscribed to the bus: %s", room.course, error)
            except Exception:
                # One of the three edges: a payload that raises must not stop the room from receiving others.
                logger.exception("the listener of room %d failed", room.course)
            await asyncio.sleep(RESUBSCRIBE_PAUSE_S * (1 + random.random()))  # noqa: S311

    def _dispatch(self, opened: _OpenRoom, payload: bytes) -> None:
        room = opened.room
        match opened.codec.decode(payload, room.head):
            case LogUpdate(head, events):
                # Even an unverified payload proves that the listener receives.
                opened.behind = 0
                room.gap_patience_s = 0.0 if self.bus_in_doubt else GAP_PATIENCE_S
                if self._is_same_log:
                    room.offer(events)
                room.expect(head, "head")
            case Typist(person, is_student):
                room.presence.broadcast_typing(person, is_student=is_student)
            case Readers(seqs):
                room.presence.broadcast_read({user_id: seq for user_id, seq in seqs.items() if seq <= room.head})
            case Roster() as roster:
                room.presence.receive(roster)
            case Dropped(fault):
                self._metrics.count_dropped_payload(fault)
                self._dropped[fault] += 1

    def _report_dropped(self) -> None:
        """Log how many payloads were ignored and why, at most once a minute."""
        if self._dropped and self._clock() - self._dropped_reported_at >= REPORT_DROPPED_EVERY_S:
            reasons = ", ".join(f"{count} {fault}" for fault, count in sorted(self._dropped.items()))
            logger.warning("payloads from the bus were ignored: %s", reasons)
            self._dropped.clear()
            self._dropped_reported_at = self._clock()

    async def _publish_typing(self) -> None:
        while True:
            await self._typist_added.wait()
            await asyncio.sleep(GOSSIP_TURN_S)
            self._typist_added.clear()
            typists, self._typists = self._typists, {}
            try:
                muted = await self._log.muted([key for key, typist in typists.items() if typist.is_student])
            except DatabaseUnavailable as error:
                logger.debug("typing is not published: %s", error)
                continue
            for (course, id), typist in typists.items():
                opened = self._rooms.get(course)
                conceals_students = opened is None or opened.room.presence.conceals_students
                if typist.is_student and (conceals_students or (course, id) in muted):
                    continue
                self._outbox_signals.append((course, self._codec(course).encode_typing(typist)))
            self._outbox_filled.set()

    async def _gossip(self) -> None:
        """Publish and broadcast who is online, in the rooms where that is due."""
        while True:
            await asyncio.sleep(GOSSIP_TURN_S)
            if self._presence_stopped:
                continue
            now = self._clock()
            for course, opened in self._rooms.items():
                presence = opened.room.presence
                if presence.due_at > now:
                    continue
                with self._isolating_failures(course):
                    presence.broadcast()
                    roster = presence.roster()
                    if roster is not None:
                        self._outbox_signals.append((course, opened.codec.encode_roster(roster)))
                        self._outbox_filled.set()

    # The sweep.

    async def _sweep_periodically(self) -> None:
        while True:
            try:
                await self.sweep()
            except DatabaseUnavailable as error:
                logger.warning("the sweep can't read the log: %s", error)
            self._log_doubt()
            self._report_dropped()
            await asyncio.sleep(SWEEP_S)

    def _log_doubt(self) -> None:
        """Log once for all rooms when the bus becomes doubtful, and once when it works again."""
        if self.bus_in_doubt != self._doubt_logged:
            self._doubt_logged = self.bus_in_doubt
            logger.warning("the bus is in doubt: rooms read the log" if self._doubt_logged else "the bus works again")

    async def sweep(self) -> None:
        """Compare every open room with the log, and close empty rooms.

        Raises DatabaseUnavailable.
        """
        async with self._sweeping:
            await self._close_failed_rooms()
            await self._close_empty_rooms()
            losses = self._log.losses
            # Events that rooms have broadcast by now were in the log before this query.
            shown = {}
            for course, opened in self._rooms.items():
                with self._isolating_failures(course):
                    shown[course] = Head(opened.room.head, opened.room.at)
            epoch, heads = await self._log.heads(list(shown))
            self._swept_at = self._clock()
            if epoch != self.epoch:
                logger.warning("the log has another history now: all rooms are closed")
                self.epoch = epoch
                self._outbox.clear()
                self._outbox_bytes = 0
                self._metrics.count_evictions("epoch", len(self._rooms))
                await self._close_rooms(list(self._rooms))
            else:
                await self._compare(shown, heads)
            self._compared_after = losses

    @contextmanager
    def _isolating_failures(self, course: int) -> Iterator[None]:
        """Keep an exception in one room from harming the others and the process. This is an edge.

        The next sweep closes the room, and the next client opens a new one.
        """
        try:
            yield
        except Exception:
            if course not in self._failed:
                logger.exception("room %d failed and is closed", course)
                self._failed.add(course)

    async def _close_failed_rooms(self) -> None:
        failed = [course for course in self._failed if course in self._rooms]
        self._failed.clear()
        self._metrics.count_evictions("failed", len(failed))
        await self._close_rooms(failed, CloseCode.INTERNAL_ERROR)

    async def _close_empty_rooms(self) -> None:
        now = self._clock()
        empty = []
        for course, opened in self._rooms.items():
            if len(opened.room):
                opened.last_seen_with_members = now
            elif now - opened.last_seen_with_members > EMPTY_ROOM_S:
                empty.append(course)
        self._metrics.count_evictions("empty", len(empty))
        await self._close_rooms(empty)

    async def _compare(self, shown: Mapping[int, Head], heads: Mapping[int, Head]) -> None:
        """Close rooms that have broadcast events the log doesn't have. Tell the others the head of the log."""
        # A restored log may have grown beyond what was shown, with other events.
        grown = {c: was.seq for c, was in shown.items() if was.seq and c in heads and heads[c].seq > was.seq}
        times = {course: head.at for course, head in heads.items() if course not in grown}
        if grown:
            times |= await self._log.datetimes(grown)
        rewound = []
        for course, was in shown.items():
            opened = self._rooms.get(course)
            if opened is None:
                continue
            if course not in heads or heads[course].seq < was.seq or (was.seq and times.get(course) != was.at):
                rewound.append(course)
                continue
            head = heads[course].seq
            opened.behind = opened.behind + 1 if head > opened.room.head else 0
            if opened.behind >= 2:
                # Its listener no longer receives anything.
                opened.behind = 0
                self._start_listener(opened)
            with self._isolating_failures(course):
                opened.room.expect(head, "sweep")
        if rewound:
            logger.warning("the log no longer has what %d rooms have shown: they are closed", len(rewound))
            self._metrics.count_evictions("rewound", len(rewound))
            await self._close_rooms(rewound)

    async def _close_rooms(self, courses: Sequence[int], code: CloseCode = CloseCode.GOING_AWAY) -> None:
        listeners = []
        for course in courses:
            opened = self._rooms.pop(course)
            for event in self._outbox.pop(course, ()):
                self._outbox_bytes -= event.size
            if opened.listener is not None:
                listeners.append(opened.listener)
            try:
                opened.room.close(code)
            except Exception:
                logger.exception("room %d failed while it was closed", course)
        await end(listeners)

"""The log of the events in each room, in order. Appends with group commit, and reads."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

import asyncpg
import msgspec

from educa_chat.errors import CommandRefused, DatabaseBusy, DatabaseUnavailable
from educa_chat.events.kind import Entry
from educa_chat.events.message import EDITED, MESSAGE, StoredMessage, is_ordinary, ordinary_variants
from educa_chat.metrics import Metrics
from educa_chat.protocol import ErrorCode, Event, lead
from educa_chat.storage.pool import Database, database_errors

logger = logging.getLogger(__name__)

MAX_WAITING_ENTRIES = 1000
MAX_WAITING_BYTES = 1024 * 1024
BATCH_ENTRIES = 160
"""The size of a full batch. The database works on the next one while this process broadcasts the events of this one."""
APPEND_TIMEOUT_S = 3.0
"""How long one append may take. After that, its outcome is unknown."""
PATIENCE_S = 4.0
"""How long an entry may wait before it is answered with `unavailable`."""
RETRY_PAUSE_S = 0.1


class Accepted(NamedTuple):
    """An entry is committed to disk as the event `seq`."""

    seq: int
    datetime: str


class Refused(NamedTuple):
    """An entry had no effect and took no seq."""

    code: ErrorCode
    wait_s: float | None = None
    """In slow mode: the seconds until the message may be sent."""


Outcome = Accepted | Refused


class Head(NamedTuple):
    """The end of a room's log: its newest seq, and the `datetime` of that event."""

    seq: int
    at: str


class OpenedLog(NamedTuple):
    """The state of a log that a room starts from, all from the same moment."""

    head: Head
    anonymity: bool
    """Whether students may send anonymous messages."""
    anonymous_messages: int
    """The number of anonymous messages that aren't deleted."""


class Log:
    """Reads the log. Every method raises DatabaseUnavailable if the database can't be reached."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def losses(self) -> int:
        """How often the connection to the database was lost. As long as this doesn't change, the log is the same."""
        return self._database.losses

    async def open_room(self, course: int) -> OpenedLog | None:
        """Create the room of `course` if necessary. Return the state of its log, or None if there is no course."""
        await self._database.execute(
            "insert into educa_chat.room (course) select id from courses_course where id = $1 on conflict do nothing",
            course,
        )
        row = await self._database.fetchrow(
            "select head, educa_chat.iso8601(last_at), anonymity, (select count(*) from educa_chat.message m"
            "  where m.course = r.course and m.pseudonym is not null and not m.deleted)"
            " from educa_chat.room r where course = $1",
            course,
        )
        return OpenedLog(Head(row[0], row[1]), row[2], row[3]) if row else None

    async def heads(self, courses: Sequence[int]) -> tuple[str, dict[int, Head]]:
        """Return the epoch, and the heads of `courses`, from the same moment. Courses that don't exist are omitted."""
        rows = await self._database.fetch(
            f"select {_EPOCH} as epoch, course, head, educa_chat.iso8601(last_at) as at"
            " from (select) always left join educa_chat.room on course = any ($1::bigint[])",
            courses,
        )
        heads = {row["course"]: Head(row["head"], row["at"]) for row in rows if row["course"] is not None}
        return _digest(rows[0]["epoch"]), heads

    async def epoch(self) -> str:
        """Return the name of the history that seqs belong to. A restore or failover of the database changes it."""
        return _digest(await self._database.fetchval(f"select {_EPOCH}"))

    async def read(self, course: int, after: int, count: int) -> list[Event]:
        """Return the events of `course` with seq > `after`, in order, at most `count`."""
        rows = await self._database.fetch(
            "select e.seq, e.student, e.instructor, e.basic, e.concealed_user_id,"
            "  r.seqs, r.students, r.instructors, r.concealed_user_ids,"
            "  educa_chat.iso8601(e.at), m.client_id, m.username, m.name, m.instructor, m.body, m.html, m.reply_to"
            " from educa_chat.event e left join lateral ("
            "  select array_agg(seq) as seqs, array_agg(student) as students, array_agg(instructor) as instructors,"
            "   array_agg(concealed_user_id) as concealed_user_ids"
            "  from educa_chat.event where e.redacts is not null and course = e.course and seq = any (e.redacts)"
            " ) r on true left join lateral ("
            # The original text of an edited message is in its oldest revision.
            "  select client_id, username, name, instructor, reply_to, coalesce(first.body, m.body) as body,"
            "   case when first.body is null then m.html else first.html end as html"
            "  from educa_chat.message m left join lateral ("
            "   select body, html from educa_chat.revision"
            "   where m.edited and course = m.course and seq = m.seq order by changed_by limit 1"
            "  ) first on true where e.student is null and m.course = e.course and m.seq = e.seq limit 1"
            " ) m on true where e.course = $1 and e.seq > $2 order by e.seq limit $3",
            course,
            after,
            count,
        )
        return [
            _event(*row[:9])
            if row[1] is not None
            else _ordinary_event(row[0], row[9], *ordinary_variants(StoredMessage(*row[10:])))
            for row in rows
        ]

    async def find(self, course: int, actor: int, client_id: str) -> Accepted | None:
        """Return the outcome of the command with this client id, or None if the id wasn't used yet."""
        row = await self._database.fetchrow(
            "select seq, educa_chat.iso8601(at) from educa_chat.event"
            " where actor = $1 and course = $2 and client_id = $3",
            actor,
            course,
            client_id,
        )
        return Accepted(*row) if row else None

    async def foresee(self, entry: Entry) -> Outcome | None:
        """Return the outcome of `entry`, a message or an edit, as far as it can be known without its text.

        Accepted for an id that was used before, Refused where it would be refused now; None: it may be stored. The
        append checks again.
        """
        row = await self._database.fetchrow(
            "select old.seq, educa_chat.iso8601(old.at), case"
            "  when not educa_chat.is_member($1, $2, $3) then 'forbidden'"
            "  when r.archived then 'archived'"
            "  when not $3 and exists (select from educa_chat.mute"
            "   where course = $1 and user_id = $2 and until > now()) then 'muted'"
            "  when not $3 and r.closed then 'closed'"
            "  when ($7::json ->> 'anonymous')::boolean and ($3 or not r.anonymity) then 'forbidden'"
            "  when $6::bigint is not null and m.deleted is not false then 'no_such_message'"
            f"  when $5 = {EDITED} and (m.author <> $2 or m.at <= now() - interval '24 hours') then 'forbidden'"
            f"  when $5 = {MESSAGE} and not $3 and slow.wait_s > 0 then 'slow_mode'"
            " end, slow.wait_s"
            " from educa_chat.room r"
            " left join educa_chat.event old on old.actor = $2 and old.course = $1 and old.client_id = $4"
            " left join educa_chat.message m on m.course = $1 and m.seq = $6"
            " left join lateral ("
            "  select r.slow_seconds - extract(epoch from now() - max(at))::real as wait_s from educa_chat.event"
            f"  where r.slow_seconds > 0 and actor = $2 and course = $1 and kind = {MESSAGE}) slow on true"
            " where r.course = $1",
            entry.course,
            entry.actor,
            entry.by_instructor,
            entry.client_id,
            entry.kind,
            entry.target,
            entry.argument,
        )
        if row is None:
            return Refused(ErrorCode.FORBIDDEN)
        seq, at, code, wait_s = row
        if seq is not None:
            return Accepted(seq, at)
        return Refused(ErrorCode(code), wait_s if code == ErrorCode.SLOW_MODE else None) if code else None

    async def muted(self, people: Sequence[tuple[int, int]]) -> set[tuple[int, int]]:
        """Return those of `people` (course, user id) who are muted."""
        if not people:
            return set()
        courses, ids = zip(*people, strict=True)
        rows = await self._database.fetch(
            "select course, user_id from unnest($1::bigint[], $2::integer[]) asked (course, user_id)"
            " join educa_chat.mute using (course, user_id) where until > now()",
            courses,
            ids,
        )
        return {(row["course"], row["user_id"]) for row in rows}

    async def datetimes(self, seqs: Mapping[int, int]) -> dict[int, str]:
        """Return the `datetime` of one event of each course. Events that don't exist are omitted."""
        rows = await self._database.fetch(
            "select course, educa_chat.iso8601(at) as at"
            " from unnest($1::bigint[], $2::bigint[]) shown (course, seq) join educa_chat.event using (course, seq)",
            list(seqs),
            list(seqs.values()),
        )
        return {row["course"]: row["at"] for row in rows}


# The system identifier differs between clusters, the timeline changes with a failover, and the oids differ between
# databases and change with a restore. A database that is copied within a cluster keeps the oid of its table.
_EPOCH = (
    "(select system_identifier from pg_control_system()) || '/'"
    " || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) || '/'"
    " || (select oid from pg_database where datname = current_database()) || '/'"
    " || 'educa_chat.event'::regclass::oid"
)


def _ordinary_event(seq: int, at: str, student: bytes, basic: bytes | None) -> Event:
    start = lead(seq, at)
    return Event(seq, start + student, None, start + (basic or b""))


def _event(
    seq: int,
    student: bytes,
    instructor: bytes | None,
    basic: bytes | None,
    concealed_user_id: int | None,
    redacted: Sequence[int] | None,
    redacted_students: Sequence[bytes],
    redacted_instructors: Sequence[bytes | None],
    redacted_concealed_user_ids: Sequence[int | None],
) -> Event:
    if redacted is None:
        return Event(seq, student, instructor, basic, concealed_user_id)
    columns = zip(redacted, redacted_students, redacted_instructors, redacted_concealed_user_ids, strict=True)
    redacts = (
        Event(seq, student, instructor, None, concealed_user_id)
        for seq, student, instructor, concealed_user_id in columns
    )
    return Event(seq, student, instructor, basic, concealed_user_id, tuple(redacts))


def _digest(epoch: str) -> str:
    return hashlib.sha256(epoch.encode()).hexdigest()[:16]


class _Waiting(NamedTuple):
    entry: Entry
    on_outcome: Callable[[Outcome], None]
    since: float


class Appender:
    """Group commit: entries that arrive during one append are stored by the next, in one round trip.

    The entries of a locked room wait separately: they delay the others only once, for one lock timeout.

    `announce` gets the events of each commit by course, in the turn of the event loop in which
    `on_outcome` is called for their entries, and before that; what it starts must not reach anybody within this turn.
    """

    def __init__(
        self,
        database: Database,
        announce: Callable[[Mapping[int, list[Event]]], None],
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._announce = announce
        self._metrics = metrics
        self._clock = clock
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._waiting: list[_Waiting] = []
        self._waiting_bytes = 0
        self._locked: dict[int, str] = {}
        self._arrival = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        """The number of entries that wait for the next commit."""
        return len(self._waiting)

    def append(self, entry: Entry, on_outcome: Callable[[Outcome], None]) -> None:
        """Store `entry` with the next commit. Then call `on_outcome` once. It must not raise.

        Raises CommandRefused with `unavailable` if too many entries are waiting.
        """
        if len(self._waiting) >= MAX_WAITING_ENTRIES or self._waiting_bytes + entry.size > MAX_WAITING_BYTES:
            raise CommandRefused(ErrorCode.UNAVAILABLE, id=entry.client_id)
        self._waiting.append(_Waiting(entry, on_outcome, self._clock()))
        self._waiting_bytes += entry.size
        self._arrival.set()
        self._idle.clear()

    async def run(self) -> None:
        """Commit entries as they arrive, until cancelled."""
        try:
            while True:
                if not self._waiting:
                    self._idle.set()
                    self._arrival.clear()
                    await self._arrival.wait()
                    await self._gather()
                if self._locked:
                    lockers = await self._lockers(self._locked)
                    self._locked = dict(self._locked.items() & lockers.items())
                    self._refuse_old(self._locked)
                if batch := self._next_batch():
                    await self._commit(batch)
                else:
                    await asyncio.sleep(RETRY_PAUSE_S)
        finally:
            self._disconnect()

    async def _gather(self) -> None:
        """Wait until a turn of the event loop brings no entries, so that simultaneous messages are stored together."""
        gathered = 0
        while gathered < len(self._waiting) < BATCH_ENTRIES:
            gathered = len(self._waiting)
            await asyncio.sleep(0)

    async def drained(self) -> None:
        """Wait until all entries have an outcome."""
        await self._idle.wait()

    def _next_batch(self) -> list[_Waiting]:
        """Return the next batch, grouped by room, so that its events are shown in one write. Skip locked rooms.

        If a room doesn't fit, its other entries come after those of all other rooms, so that it doesn't delay them.
        """
        rooms: dict[int, list[_Waiting]] = {}
        for one in self._waiting:
            rooms.setdefault(one.entry.course, []).append(one)
        batch: list[_Waiting] = []
        left: list[_Waiting] = []
        rest: list[_Waiting] = []
        for course, waiting in rooms.items():
            if course in self._locked or len(batch) == BATCH_ENTRIES:
                left += waiting
            else:
                room_for = BATCH_ENTRIES - len(batch)
                batch += waiting[:room_for]
                rest = waiting[room_for:]
        self._wait([*left, *rest])
        return batch

    def _wait(self, waiting: Iterable[_Waiting]) -> None:
        self._waiting = list(waiting)
        self._waiting_bytes = sum(one.entry.size for one in self._waiting)

    def _refuse_old(self, courses: Container[int]) -> None:
        """Answer the entries of `courses` that have waited too long without an attempt to store them."""
        old: list[_Waiting] = []
        young: list[_Waiting] = []
        for waiting in self._waiting:
            is_old = self._clock() - waiting.since >= PATIENCE_S and waiting.entry.course in courses
            (old if is_old else young).append(waiting)
        self._wait(young)
        _refuse(old)

    async def _commit(self, batch: list[_Waiting]) -> None:
        parts = [batch]
        while parts:
            part = parts[0]
            started = self._clock()
            try:
                rows = await self._append(part)
            except DatabaseBusy as error:
                # Nothing was stored. Entries of locked rooms go back to the front. The others are sent again.
                logger.warning("appending %d entries failed: %s", len(part), error)
                self._locked |= await self._long_locked({one.entry.course for one in part})
                locked = [one for one in chain(*parts) if one.entry.course in self._locked]
                if locked:
                    self._metrics.count_commit_failure("locked")
                    parts = [[one for one in part if one.entry.course not in self._locked] for part in parts]
                    parts = [part for part in parts if part]
                    self._wait([*locked, *self._waiting])
                elif self._clock() - part[0].since >= PATIENCE_S:
                    self._refuse_all(parts)
                    return
            except DatabaseUnavailable as error:
                # It is unknown whether the batch was stored. The same batch is sent again, before anything newer, and
                # entries that were stored after all are found by their ids.
                logger.warning("appending %d entries failed: %s", len(part), error)
                if self._clock() - part[0].since >= PATIENCE_S:
                    self._refuse_all(parts)
                    return
                self._metrics.count_commit_failure("retried")
                await asyncio.sleep(RETRY_PAUSE_S)
            except Exception as error:
                # This is an edge: one bad entry must not stop the others or the process.
                is_expected = isinstance(error, (asyncpg.PostgresError, ValueError))
                del parts[0]
                if len(part) > 1:
                    logger.warning(
                        "appending %d entries failed and is tried in halves: %s", len(part), type(error).__name__
                    )
                    self._metrics.count_commit_failure("halved")
                    middle = len(part) // 2
                    parts[:0] = part[:middle], part[middle:]
                else:
                    trace = None if is_expected else error
                    logger.error("the database refuses an entry: %s", type(error).__name__, exc_info=trace)
                    self._metrics.count_commit_failure("refused")
                    is_its_fault = isinstance(error, (asyncpg.DataError, ValueError))
                    _refuse(part, ErrorCode.BAD_REQUEST if is_its_fault else ErrorCode.UNAVAILABLE)
            else:
                del parts[0]
                self._metrics.count_commit(len(part), self._clock() - started)
                self._deliver(part, rows)

    def _refuse_all(self, parts: Iterable[list[_Waiting]]) -> None:
        self._metrics.count_commit_failure("given_up")
        _refuse(chain(*parts))
        # Entries that arrived meanwhile have waited just as long, and another attempt would delay them further.
        self._refuse_old({one.entry.course for one in self._waiting})

    def _deliver(self, batch: Sequence[_Waiting], rows: Sequence[asyncpg.Record]) -> None:
        answers = sorted(rows, key=itemgetter(0))
        events: dict[int, list[Event]] = {}
        for waiting, (_, _, _, seq, at, is_new, *variants) in zip(batch, answers, strict=True):
            if not is_new:
                continue
            entry = waiting.entry
            if is_ordinary(entry):
                event = _ordinary_event(seq, at, entry.student, entry.basic)
            else:
                event = _event(seq, *variants)
            events.setdefault(entry.course, []).append(event)
        # Announce first, so the rooms are scheduled first, and one write to a sender has both the ack and the event.
        self._announce(events)
        for waiting, (_, outcome, wait_s, seq, at, *_) in zip(batch, answers, strict=True):
            waiting.on_outcome(Accepted(seq, at) if outcome == "ok" else Refused(ErrorCode(outcome), wait_s))

    async def _append(self, batch: Sequence[_Waiting]) -> list[asyncpg.Record]:
        entries = [_stored(waiting.entry) for waiting in batch]
        return await self._fetch("select * from educa_chat.append($1)", entries)

    async def _long_locked(self, courses: Collection[int]) -> dict[int, str]:
        """Return those of `courses` that one transaction keeps locked. Rooms that are only busy change owners."""
        before = await self._lockers(courses)
        await asyncio.sleep(RETRY_PAUSE_S)
        after = await self._lockers(before)
        return dict(before.items() & after.items())

    async def _lockers(self, courses: Collection[int]) -> dict[int, str]:
        """Return those of `courses` that are locked, and by which transaction; none if the database can't be asked."""
        try:
            rows = await self._fetch(
                "with free as (select course from educa_chat.room where course = any ($1::bigint[])"
                " for no key update skip locked)"
                " select course, xmax::text from educa_chat.room"
                " where course = any ($1::bigint[]) and course not in (select course from free)",
                list(courses),
            )
        except (DatabaseUnavailable, asyncpg.PostgresError) as error:
            logger.warning("can't find out which rooms are locked: %s", error)
            return {}
        return {row["course"]: row["xmax"] for row in rows}

    async def _fetch(self, sql: str, *arguments: Any) -> list[asyncpg.Record]:
        try:
            with database_errors():
                if self._connection is None or self._connection.is_closed():
                    self._connection = await self._database.connect(**_SETTINGS)
                return await self._connection.fetch(sql, *arguments, timeout=APPEND_TIMEOUT_S)
        except DatabaseBusy:
            raise
        except BaseException:
            # A connection that is still busy can't be used for the next append.
            self._disconnect()
            raise

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


def _stored(entry: Entry) -> tuple[Any, ...]:
    """Return `entry` as a value of the type `educa_chat.entry`."""
    if is_ordinary(entry):
        entry = msgspec.structs.replace(entry, student=None, basic=None)
    return msgspec.structs.astuple(entry)


def _refuse(refused: Iterable[_Waiting], code: ErrorCode = ErrorCode.UNAVAILABLE) -> None:
    for waiting in refused:
        waiting.on_outcome(Refused(code))


# These are settings of the connection, because settings of a function end with it, before the commit. Postgres gives up
# on an append before we do, so at most a commit can still be running there.
_SETTINGS = {"synchronous_commit": "on", "statement_timeout": "2500"}

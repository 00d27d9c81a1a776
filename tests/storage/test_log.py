"""The log: numbered without gaps, each id once, whatever happens to the connections."""

import asyncio
import itertools
import json
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import asyncpg
import msgspec
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from educa_chat.errors import CommandRefused, DatabaseUnavailable
from educa_chat.events.kind import Entry
from educa_chat.metrics import Metrics
from educa_chat.protocol import ErrorCode, Event
from educa_chat.storage import log as log_module
from educa_chat.storage.log import Accepted, Appender, Log, Outcome, Refused
from educa_chat.storage.messages import read_page
from educa_chat.storage.pool import Database, open_database
from educa_chat.tasks import running
from tests.conftest import Postgres
from tests.storage.platform import READER, add_class, clear, entry

pytestmark = pytest.mark.asyncio(loop_scope="module")

TIMEOUT_S = 20.0


class Node:
    """The log as one process uses it, with everything that it announced."""

    def __init__(self, database: Database) -> None:
        self.announced: dict[int, list[Event]] = {}
        self.appender = Appender(database, self._announce, Metrics())

    def _announce(self, events: Mapping[int, list[Event]]) -> None:
        for course, fresh in events.items():
            self.announced.setdefault(course, []).extend(fresh)

    async def append(self, *entries: Entry) -> list[Outcome]:
        """Append `entries` in one batch, and wait for their outcomes."""
        outcomes: list[asyncio.Future[Outcome]] = []
        for one in entries:
            outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
            self.appender.append(one, outcome.set_result)
            outcomes.append(outcome)
        async with asyncio.timeout(TIMEOUT_S):
            return await asyncio.gather(*outcomes)


@asynccontextmanager
async def open_node(database: Database) -> AsyncIterator[Node]:
    node = Node(database)
    async with running(node.appender.run(), "appender"):
        yield node


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def writer(postgres: Postgres) -> AsyncIterator[tuple[Database, Node]]:
    """A database, and a node that writes into it, for all tests that don't break the connections."""
    async with open_database(await postgres.create_chat_database(), 10) as database, open_node(database) as opened:
        yield database, opened


@pytest_asyncio.fixture(loop_scope="module")
async def database(writer: tuple[Database, Node]) -> Database:
    """The database, empty."""
    await clear(writer[0])
    return writer[0]


@pytest_asyncio.fixture(loop_scope="module")
async def node(database: Database, writer: tuple[Database, Node]) -> Node:
    """The node, with three courses."""
    await add_class(database, courses=3)
    writer[1].announced.clear()
    return writer[1]


@pytest_asyncio.fixture(loop_scope="module")
async def own_database(postgres: Postgres) -> AsyncIterator[Database]:
    """A database that no other test has used."""
    async with open_database(await postgres.create_chat_database(), 10) as opened:
        yield opened


async def check_log(database: Database, course: int) -> list[dict[str, object]]:
    """Return the events of a course, after checking all promises about the stored rows."""
    rows = await database.fetch(
        "select seq, actor, client_id, at, said from educa_chat.event where course = $1 order by seq",
        course,
    )
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1)), "a hole"
    assert len({(row["actor"], row["client_id"]) for row in rows}) == len(rows), "an id twice"
    assert all(one["at"] <= two["at"] for one, two in itertools.pairwise(rows)), "time runs backwards"
    assert [row["said"] for row in rows] == list(range(1, len(rows) + 1))
    room = await database.fetchrow("select head, said from educa_chat.room where course = $1", course)
    assert room is not None
    assert (room["head"], room["said"]) == (len(rows), len(rows))
    messages = await database.fetchval("select count(*) from educa_chat.message where course = $1", course)
    assert messages == len(rows)
    events = []
    for row, stored in zip(rows, await Log(database).read(course, 0, len(rows)), strict=True):
        event = json.loads(stored.student)
        assert (event["seq"], event["id"]) == (row["seq"], row["client_id"])
        assert event["datetime"] == row["at"].isoformat(timespec="microseconds")
        assert stored.basic is not None
        assert json.loads(stored.basic)["seq"] == row["seq"]
        events.append(event)
    return events


async def test_an_accepted_entry_is_stored_and_published_as_the_same_bytes(database: Database, node: Node) -> None:
    outcome = (await node.append(entry("a", "hola")))[0]
    assert isinstance(outcome, Accepted)
    assert outcome.seq == 1
    read = await Log(database).read(1, 0, 10)
    assert read == node.announced[1]
    assert json.loads(read[0].student)["message"] == "hola"
    assert read[0].at == outcome.datetime
    await check_log(database, 1)


@pytest.mark.parametrize("size", [1, 5])
@pytest.mark.parametrize("html", ["a &lt; b<br>c", "<b>a</b>"])
async def test_an_ordinary_message_is_stored_once_and_read_as_it_was_published(
    database: Database, node: Node, size: int, html: str
) -> None:
    plain = "a < b\nc"
    await node.append(entry("first"))
    entries = []
    for number in range(size):
        shown = entry(f"{number}", plain, reply_to=1 if number == 3 else None)
        message = msgspec.json.decode(b"{" + shown.student) | {"html": html}
        student = msgspec.json.encode(message)[1:]
        stored = None if html == "a &lt; b<br>c" else html
        entries.append(msgspec.structs.replace(shown, student=student, html=stored))
    await node.append(*entries)
    assert await Log(database).read(1, 0, 100) == node.announced[1]
    texts = await database.fetch("select student, basic from educa_chat.event where course = 1")
    assert [tuple(row) for row in texts] == [(None, None)] * (size + 1)


async def test_a_batch_can_have_entries_of_many_rooms_each_with_its_own_seqs(database: Database, node: Node) -> None:
    batch = [entry(f"{n}", course=n % 3 + 1, actor=n % 2 + 1) for n in range(30)]
    outcomes = await node.append(*batch)
    assert [o.seq for o in outcomes if isinstance(o, Accepted)] == [n // 3 + 1 for n in range(30)]
    for course in (1, 2, 3):
        assert [e["id"] for e in await check_log(database, course)] == [
            str(n) for n in range(30) if n % 3 + 1 == course
        ]


async def test_appending_to_a_small_log_scans_no_table(own_database: Database) -> None:
    # The plan is made while the tables are empty, and kept.
    await add_class(own_database, courses=3)
    before = await rows_read(own_database, inserted=0)
    async with open_node(own_database) as node:
        for batch in range(20):
            await node.append(*(entry(f"{batch}-{n}", course=1 + n % 3) for n in range(30)))
    after = await rows_read(own_database, inserted=600)
    for table, most_an_entry in (("event", 0), ("message", 0), ("room", 3)):
        whole, by_index = (after[table][n] - before[table][n] for n in (0, 1))
        assert whole == 0, f"{table} was read whole"
        assert by_index <= 600 * most_an_entry, f"{by_index} rows of {table} were looked at"


async def rows_read(database: Database, *, inserted: int) -> dict[str, tuple[int, int]]:
    """Return for each table how often it was scanned, and how many rows an index found, once the statistics include
    `inserted`.
    """
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            rows = await database.fetch(
                "select relname, seq_scan, idx_tup_fetch, n_tup_ins from pg_stat_user_tables"
                " where schemaname = 'educa_chat'"
            )
            if next(row["n_tup_ins"] for row in rows if row["relname"] == "event") >= inserted:
                return {row["relname"]: (row["seq_scan"], row["idx_tup_fetch"]) for row in rows}
            await asyncio.sleep(0.05)


async def test_a_repeated_id_gets_the_first_outcome_and_no_second_event(database: Database, node: Node) -> None:
    first = await node.append(entry("a", "first"))
    again = await node.append(entry("a", "second"), entry("a", "third"))
    assert again == first * 2
    assert [e["message"] for e in await check_log(database, 1)] == ["first"]
    assert len(node.announced[1]) == 1


async def test_an_id_repeated_within_a_batch_stores_one_event(
    database: Database, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    outcomes = await node.append(entry("a", "first"), entry("b"), entry("a", "second"))
    assert outcomes[0] == outcomes[2] != outcomes[1]
    assert [e["message"] for e in await check_log(database, 1)] == ["first", "hello"]
    assert caplog.messages == []


async def test_ids_are_unique_per_user_and_room(database: Database, node: Node) -> None:
    await node.append(entry("a"), entry("a", actor=2), entry("a", course=2))
    assert len(await check_log(database, 1)) == 2
    assert len(await check_log(database, 2)) == 1


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ("delete from courses_course_students where user_id = 1 and course_id = 1", entry("b")),
        ("update auth_user set is_active = false where id = 1", entry("b")),
        ("select 1", entry("b", by_instructor=True)),
        ("select 1", entry("b", actor=1000)),
        ("update courses_course set owner_id = 2", entry("b", actor=1000, by_instructor=True)),
        ("select 1", entry("b", course=99)),
        ("select 1", entry("b", actor=99)),
    ],
    ids=[
        "unenrolled",
        "inactive",
        "claims to teach",
        "teaches, as a student",
        "teaches no more",
        "no course",
        "nobody",
    ],
)
async def test_permissions_are_checked_when_storing_and_a_refusal_takes_no_seq(
    database: Database, node: Node, change: str, refused: Entry
) -> None:
    await node.append(entry("a"))
    await database.execute(change)
    outcomes = await node.append(refused, entry("c", actor=2))
    assert outcomes[0] == Refused(ErrorCode.FORBIDDEN)
    assert isinstance(outcomes[1], Accepted)
    assert outcomes[1].seq == 2
    await check_log(database, 1)


async def test_a_repeated_id_gets_its_outcome_even_after_losing_permission(database: Database, node: Node) -> None:
    first = await node.append(entry("a"))
    await database.execute("delete from courses_course_students where user_id = 1")
    assert await node.append(entry("a")) == first


async def test_owners_and_superusers_are_instructors(database: Database, node: Node) -> None:
    await database.execute("update auth_user set is_superuser = true where id = 3")
    outcomes = await node.append(
        entry("a", actor=1000, by_instructor=True), entry("b", actor=3, by_instructor=True, course=2)
    )
    assert all(isinstance(outcome, Accepted) for outcome in outcomes)


async def test_a_reply_must_refer_to_a_message_of_its_room(database: Database, node: Node) -> None:
    await node.append(entry("a"), entry("b"), entry("other", course=2))
    outcomes = await node.append(
        entry("c", reply_to=2), entry("d", reply_to=4), entry("e", course=2, reply_to=2), entry("f", reply_to=99)
    )
    assert [type(o) for o in outcomes] == [Accepted, Refused, Refused, Refused]
    assert {o.code for o in outcomes if isinstance(o, Refused)} == {ErrorCode.NO_SUCH_MESSAGE}
    assert (await check_log(database, 1))[2]["reply_to"] == 2


async def test_a_refused_id_can_be_used_again(database: Database, node: Node) -> None:
    outcomes = await node.append(entry("a", reply_to=7), entry("a", "now without"))
    assert outcomes[0] == Refused(ErrorCode.NO_SUCH_MESSAGE)
    assert isinstance(outcomes[1], Accepted)
    assert [e["message"] for e in await check_log(database, 1)] == ["now without"]


async def test_one_invalid_entry_does_not_fail_the_rest_of_its_batch(database: Database, node: Node) -> None:
    batch = [entry(str(n), "bad \0" if n == 5 else "good") for n in range(9)]
    outcomes = await node.append(*batch)
    assert [type(o) for o in outcomes] == [Refused if n == 5 else Accepted for n in range(9)]
    assert outcomes[5] == Refused(ErrorCode.BAD_REQUEST)
    assert [e["id"] for e in await check_log(database, 1)] == [str(n) for n in range(9) if n != 5]


async def test_timestamps_in_a_room_never_decrease(database: Database, node: Node) -> None:
    await database.execute("update educa_chat.room set last_at = now() + interval '1 hour' where course = 1")
    one, two = await node.append(entry("a"), entry("b", course=2))
    assert isinstance(one, Accepted)
    assert isinstance(two, Accepted)
    assert one.datetime > two.datetime
    await node.append(entry("c"))
    await check_log(database, 1)


async def test_a_room_with_more_entries_than_a_batch_does_not_delay_other_rooms(database: Database, node: Node) -> None:
    commits: list[dict[int, int]] = []
    appender = Appender(
        database, lambda events: commits.append({course: len(fresh) for course, fresh in events.items()}), Metrics()
    )
    for number in range(3 * log_module.BATCH_ENTRIES):
        appender.append(entry(str(number)), lambda _: None)
    appender.append(entry("other", course=2), lambda _: None)
    async with running(appender.run(), "appender"), asyncio.timeout(TIMEOUT_S):
        await appender.drained()
    most = log_module.BATCH_ENTRIES
    assert commits == [{1: most}, {1: most - 1, 2: 1}, {1: most}, {1: 1}]
    assert [e["id"] for e in await check_log(database, 1)] == [str(number) for number in range(3 * most)]


async def test_entries_beyond_the_queue_limit_are_unavailable_at_once(database: Database) -> None:
    appender = Appender(database, lambda _: None, Metrics())
    for number in range(log_module.MAX_WAITING_ENTRIES):
        appender.append(entry(str(number)), lambda _: None)
    with pytest.raises(CommandRefused, match="unavailable"):
        appender.append(entry("one more"), lambda _: None)


async def test_a_long_database_outage_is_reported_as_unavailable_and_then_recovers(
    own_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "PATIENCE_S", 0.2)
    await add_class(own_database)
    async with open_node(own_database) as node:
        await node.append(entry("a"))
        name = await own_database.fetchval("select current_database()")
        async with open_database(own_database.url.replace(f"/{name}?", "/postgres?"), 1) as server:
            await server.execute(f'alter database "{name}" allow_connections false')
            await server.fetch("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", name)
            assert await node.append(entry("b"), entry("c")) == [Refused(ErrorCode.UNAVAILABLE)] * 2
            await server.execute(f'alter database "{name}" allow_connections true')
        outcomes = await node.append(entry("b"), entry("c"))
        assert all(isinstance(outcome, Accepted) for outcome in outcomes)
        assert [e["id"] for e in await check_log(own_database, 1)] == ["a", "b", "c"]


async def test_deleting_a_course_deletes_its_log(database: Database, node: Node) -> None:
    await node.append(entry("a"), entry("b", course=2))
    await database.execute("delete from courses_course_students where course_id = 1")
    await database.execute("delete from courses_course where id = 1")
    assert await database.fetchval("select array_agg(course) from educa_chat.event") == [2]
    assert await database.fetchval("select array_agg(course) from educa_chat.message") == [2]
    assert await node.append(entry("c")) == [Refused(ErrorCode.FORBIDDEN)]


async def test_deleting_a_user_keeps_their_messages(database: Database, node: Node) -> None:
    await node.append(entry("a"))
    await database.execute("delete from courses_course_students where user_id = 1")
    await database.execute("delete from auth_user where id = 1")
    assert len(await check_log(database, 1)) == 1


async def test_rooms_are_created_only_for_courses(database: Database) -> None:
    await add_class(database)
    await database.execute("delete from educa_chat.room")
    log = Log(database)
    opened = await log.open_room(1)
    assert opened is not None
    assert opened.head.seq == 0
    assert await log.open_room(1) == opened
    assert await log.open_room(7) is None


async def test_heads_and_epoch_are_read_consistently(database: Database, node: Node) -> None:
    outcomes = await node.append(entry("a"), entry("b"), entry("c", course=2))
    log = Log(database)
    epoch, heads = await log.heads([1, 2, 77])
    assert epoch == await log.epoch()
    assert {course: (head.seq, head.at) for course, head in heads.items()} == {
        1: outcomes[1],
        2: outcomes[2],
    }
    assert (await log.heads([]))[0] == epoch


async def test_a_history_page_is_the_requested_one(database: Database, node: Node) -> None:
    await node.append(*(entry(str(n), actor=n % 3 + 1) for n in range(1, 11)))

    async def page(**query: int | None) -> tuple[list[int], int, bool]:
        found = await read_page(database, 1, READER, **({"before": None, "after": None, "limit": 4} | query))  # type: ignore[arg-type]
        return [message.seq for message in found.messages], found.head, found.more

    assert await page() == ([7, 8, 9, 10], 10, True)
    assert await page(before=7) == ([3, 4, 5, 6], 10, True)
    assert await page(before=3) == ([1, 2], 10, False)
    assert await page(before=5) == ([1, 2, 3, 4], 10, False)
    assert await page(before=1) == ([], 10, False)
    assert await page(after=0) == ([1, 2, 3, 4], 10, True)
    assert await page(after=6) == ([7, 8, 9, 10], 10, False)
    assert await page(after=10) == ([], 10, False)
    assert (await read_page(database, 77, READER, before=None, after=None, limit=5)) == ([], 0, False)


# Many simultaneous connections that are cut.

_STEP = st.tuples(
    st.integers(0, 2), st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(0, 9)), max_size=12)
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def broken_database(postgres: Postgres) -> AsyncIterator[Database]:
    async with open_database(await postgres.create_chat_database(), 4) as opened:
        yield opened


@settings(max_examples=15, deadline=None)
@given(steps=st.lists(_STEP, min_size=1, max_size=10), cuts=st.lists(st.booleans(), min_size=10, max_size=10))
async def test_many_nodes_with_overlapping_batches_and_broken_connections_leave_a_complete_log(
    broken_database: Database, steps: list[tuple[int, list[tuple[int, int, int]]]], cuts: list[bool]
) -> None:
    """Three nodes append overlapping ids to three rooms at once, while their connections are terminated."""
    await clear(broken_database)
    await add_class(broken_database, courses=3)
    async with (
        open_node(broken_database) as one,
        open_node(broken_database) as two,
        open_node(broken_database) as three,
    ):
        nodes = (one, two, three)
        answers: dict[tuple[int, int, str], set[Outcome]] = {}

        async def append(which: int, keys: list[tuple[int, int, int]]) -> None:
            batch = [entry(str(id), course=course, actor=actor) for course, actor, id in keys]
            for one_entry, outcome in zip(batch, await nodes[which].append(*batch), strict=True):
                key = (one_entry.course, one_entry.actor, one_entry.client_id)
                answers.setdefault(key, set()).add(outcome)

        async def cut() -> None:
            with suppress(DatabaseUnavailable):  # One cut may interrupt another.
                await broken_database.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where datname = current_database() and pid <> pg_backend_pid() and state = 'active'"
                )

        work = [append(which, keys) for which, keys in steps]
        work += [cut() for is_cut in cuts[: len(steps)] if is_cut]
        await asyncio.gather(*work)
        announced: dict[int, list[int]] = {}
        for node in nodes:
            for course, events in node.announced.items():
                announced.setdefault(course, []).extend(event.seq for event in events)
        stored = {}
        for course in (1, 2, 3):
            for event in await check_log(broken_database, course):
                actor = int(str(event["user"]).removeprefix("user"))
                stored[course, actor, event["id"]] = Accepted(int(str(event["seq"])), str(event["datetime"]))
        # Every ack is correct and the only one for its id, and nothing else is stored.
        assert {key: {stored[key]} for key in answers} == answers
        assert stored.keys() == answers.keys()
        # An announcement may be lost with its connection, but is never made twice.
        assert all(len(seqs) == len(set(seqs)) for seqs in announced.values())


async def test_six_nodes_writing_into_the_same_rooms_never_conflict(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Overlapping ids, in batches with rooms in any order: no append fails, waits forever, or has to be sent again."""
    await add_class(database, courses=4, students=6)
    chance = random.Random(7)
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(open_node(database)) for _ in range(6)]
        answers: dict[tuple[int, int, str], set[Outcome]] = {}

        async def write(node: Node) -> None:
            for _ in range(40):
                batch = [
                    entry(str(chance.randrange(60)), course=chance.randint(1, 4), actor=chance.randint(1, 6))
                    for _ in range(chance.randint(1, 30))
                ]
                for one, outcome in zip(batch, await node.append(*batch), strict=True):
                    answers.setdefault((one.course, one.actor, one.client_id), set()).add(outcome)

        await asyncio.gather(*map(write, nodes))
    assert caplog.messages == []
    assert all(len(outcomes) == 1 for outcomes in answers.values())
    stored = sum([len(await check_log(database, course)) for course in range(1, 5)])
    announced = [(course, event.seq) for node in nodes for course, events in node.announced.items() for event in events]
    assert stored == len(answers) == len(announced) == len(set(announced))


async def test_asyncpg_distinguishes_an_invalid_argument_from_a_broken_connection() -> None:
    """The appender halves a batch after the former, and sends it again after the latter."""
    assert not issubclass(asyncpg.DataError, asyncpg.InterfaceError)

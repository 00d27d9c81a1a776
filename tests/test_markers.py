"""Read markers: a user's other windows receive changes at once, and the database soon after."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from educa_chat import markers as markers_module
from educa_chat.chat_socket import REFUSALS_BURST, REFUSALS_PER_SECOND
from educa_chat.errors import DatabaseUnavailable
from educa_chat.handlers.keys import DATABASE, MARKERS
from educa_chat.markers import Markers
from educa_chat.storage.log import Log
from educa_chat.storage.markers import find_markers
from educa_chat.storage.pool import Database
from tests.conftest import Postgres
from tests.processes import free_port
from tests.serving import (
    TIMEOUT_S,
    Chatter,
    Classroom,
    Person,
    Server,
    add_classroom,
    add_person,
    add_room,
    open_server,
    settings_for,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

ANA, LUIS = 1, 2


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(postgres: Postgres) -> AsyncIterator[Server]:
    url = await postgres.create_chat_database(demo=True)
    async with open_server(settings_for(url, limits_messages_per_second=0)) as opened:
        yield opened


@pytest.fixture
def database(server: Server) -> Database:
    return server.app[DATABASE]


@pytest_asyncio.fixture(loop_scope="module")
async def room(database: Database) -> Classroom:
    """An empty room of this test."""
    return await add_classroom(database)


class Published(asyncio.Queue[tuple[int, dict[int, int]]]):
    """The published markers."""

    def publish(self, course: int, seqs: Mapping[int, int]) -> None:
        self.put_nowait((course, dict(seqs)))

    async def next(self) -> tuple[int, dict[int, int]]:
        async with asyncio.timeout(TIMEOUT_S):
            return await self.get()


async def course_with(database: Database, count: int) -> int:
    """Add a course with this number of messages, and return its id."""
    teacher = await add_person(database)
    course, _ = await add_room(database, 0, teacher)
    await Log(database).open_room(course)
    await database.execute(
        "insert into educa_chat.event (course, seq, kind, actor, client_id, at, said, student)"
        " select $1, n, 1, 1, n::text, now(), n, '' from generate_series(1, $2::bigint) n",
        course,
        count,
    )
    await database.execute("update educa_chat.room set head = $2, said = $2 where course = $1", course, count)
    return course


async def until_stored(database: Database, membership_key: tuple[int, int], seq: int) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while (await find_markers(database, [membership_key])).get(membership_key) != seq:
            await asyncio.sleep(0.01)


@asynccontextmanager
async def markers_away(database: Database) -> AsyncIterator[None]:
    """While the context lasts, no marker can be stored."""
    await database.execute("alter table educa_chat.marker rename to elsewhere")
    try:
        yield
    finally:
        await database.execute("alter table educa_chat.elsewhere rename to marker")


# Collecting markers.


async def test_the_first_move_is_published_at_once_and_only_the_newest_of_the_rest(database: Database) -> None:
    published = Published()
    markers = Markers(database, published.publish)
    async with markers.open():
        markers.move(ANA, 7, 1)
        assert await published.next() == (7, {ANA: 1})
        for seq in range(2, 100):
            markers.move(ANA, 7, seq)
            await asyncio.sleep(0)
        markers.move(LUIS, 7, 5)
        markers.move(ANA, 8, 3)
        assert [await published.next(), await published.next()] == [(7, {ANA: 99, LUIS: 5}), (8, {ANA: 3})]
    assert published.empty()


async def test_a_marker_never_moves_backwards(database: Database) -> None:
    published = Published()
    markers = Markers(database, published.publish)
    markers.move(ANA, 7, 5)
    markers.publish()
    for seq in (5, 4):
        markers.move(ANA, 7, seq)
    markers.publish()
    assert await published.next() == (7, {ANA: 5})
    assert published.empty()


async def test_moved_markers_are_stored_periodically(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markers_module, "WRITE_EVERY_S", 0.05)
    course = await course_with(database, 10)
    markers = Markers(database, Published().publish)
    async with markers.open():
        markers.move(ANA, course, 4)
        await until_stored(database, (ANA, course), 4)
        markers.move(ANA, course, 6)
        await until_stored(database, (ANA, course), 6)


async def test_moved_markers_are_stored_when_the_process_stops(database: Database) -> None:
    course = await course_with(database, 10)
    markers = Markers(database, Published().publish)
    async with markers.open():
        markers.move(ANA, course, 4)
    assert await find_markers(database, [(ANA, course)]) == {(ANA, course): 4}


async def test_markers_that_could_not_be_stored_are_stored_later(database: Database) -> None:
    course = await course_with(database, 10)
    markers = Markers(database, Published().publish)
    async with markers_away(database):
        for seq in (3, 4):
            markers.move(ANA, course, seq)
            with pytest.raises(DatabaseUnavailable):
                await markers.write()
        markers.move(LUIS, course, 2)
    await markers.write()
    assert await find_markers(database, [(ANA, course), (LUIS, course)]) == {(ANA, course): 4, (LUIS, course): 2}


async def test_storing_markers_resumes_when_the_database_is_back(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(markers_module, "WRITE_EVERY_S", 0.05)
    course = await course_with(database, 10)
    markers = Markers(database, Published().publish)
    async with AsyncExitStack() as stack:
        async with markers_away(database):
            await stack.enter_async_context(markers.open())
            markers.move(ANA, course, 4)
            with pytest.raises(DatabaseUnavailable):
                await markers.write()
        await until_stored(database, (ANA, course), 4)


async def test_a_moved_marker_is_visible_before_it_is_stored(database: Database) -> None:
    course = await course_with(database, 10)
    markers = Markers(database, Published().publish)
    assert await markers.find(ANA, course) == 0
    assert await markers.unread_counts(ANA, [course]) == {course: 10}
    markers.move(ANA, course, 4)
    assert await markers.find(ANA, course) == 4
    assert await markers.unread_counts(ANA, [course]) == {course: 6}
    await markers.write()
    assert await markers.find(ANA, course) == 4
    assert await markers.unread_counts(ANA, [course]) == {course: 6}
    assert await markers.find(LUIS, course) == 0


async def test_a_marker_moved_during_a_write_is_written_the_next_time(database: Database) -> None:
    course = await course_with(database, 10)
    markers = Markers(database, Published().publish)
    markers.move(ANA, course, 4)
    writing = asyncio.create_task(markers.write())
    await asyncio.sleep(0)
    markers.move(ANA, course, 5)
    await writing
    assert await markers.find(ANA, course) == 5
    await markers.write()
    assert await find_markers(database, [(ANA, course)]) == {(ANA, course): 5}


# Real sockets.


async def greeted(person: Person, course: int, *, query: str = "") -> tuple[Chatter, int]:
    """Open a full socket of `person`. Return it, and the marker in its welcome."""
    chatter = await person.enter(course, query=query)
    return chatter, (await chatter.receive_until("welcome"))["state"]["read"]


async def say(chatter: Chatter, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        await chatter.say(f"{number}", id=f"{number}")
        await chatter.receive_until("ack", id=f"{number}")


async def unread(person: Person) -> list[str]:
    """Return the unread counts on the list of courses, as a screen reader reads them."""
    _, page, _ = await person.get("/students/courses/")
    return re.findall(r'<span class="unseen">(\d+ unread messages?)</span>', page)


async def frames_until(chatter: Chatter, text: str) -> list[dict[str, Any]]:
    """Return all frames before the message `text`."""
    frames = []
    async with asyncio.timeout(TIMEOUT_S):
        while (frame := await chatter.receive_any()).get("message") != text:
            frames.append(frame)
    return frames


async def test_only_the_readers_other_windows_receive_a_marker(server: Server, room: Classroom) -> None:
    async with Person(server.url, room.ana) as ana, Person(server.url, room.luis) as luis:
        (one, _), (two, _) = await greeted(ana, room.course), await greeted(ana, room.course)
        other, _ = await greeted(luis, room.course)
        basic = await ana.enter(room.course, basic=True)
        await say(other, 3)
        await one.events(3)
        await one.send({"type": "read", "seq": 2})
        assert await two.receive_until("read") == {"type": "read", "seq": 2}
        # The second window already knows the marker, and the first has sent it itself.
        await two.send({"type": "read", "seq": 3})
        assert await one.receive_until("read") == {"type": "read", "seq": 3}
        await say(other, 1, start=3)
        for chatter in (one, two, other, basic):
            assert [f for f in await frames_until(chatter, "3") if f["type"] == "read"] == []


async def test_windows_on_the_same_node_receive_markers_without_redis(postgres: Postgres) -> None:
    url = await postgres.create_chat_database(demo=True)
    settings = settings_for(url, bus_url=f"redis://127.0.0.1:{free_port()}")
    async with open_server(settings) as server, Person(server.url, "ana") as ana:
        (one, _), (two, _) = await greeted(ana, 1), await greeted(ana, 1)
        await say(one, 1)
        await one.send({"type": "read", "seq": 1})
        assert await two.receive_until("read") == {"type": "read", "seq": 1}


async def test_markers_beyond_the_head_or_behind_the_current_one_are_ignored(server: Server, room: Classroom) -> None:
    async with Person(server.url, room.ana) as ana:
        (one, _), (two, _) = await greeted(ana, room.course), await greeted(ana, room.course)
        await say(one, 5)
        for seq in (6, 2**53, 4, 4, 3, 1):
            await one.send({"type": "read", "seq": seq})
        assert (await two.receive_until("read"))["seq"] == 4
        await two.send({"type": "read", "seq": 2})
        await one.send({"type": "read", "seq": 5})
        assert (await two.receive_until("read"))["seq"] == 5
        assert (await greeted(ana, room.course))[1] == 5


async def test_an_invalid_seq_is_a_bad_request(server: Server, room: Classroom, subtests: pytest.Subtests) -> None:
    wrong: list[object] = [0, -1, 2**53 + 1, 2**64, 1.5, "1", None, True, [1], {}]
    async with Person(server.url, room.ana) as ana:
        chatter, _ = await greeted(ana, room.course)
        for fields in ({}, *({"seq": seq} for seq in wrong)):
            with subtests.test(fields=fields):
                await chatter.send({"type": "read", **fields})
                assert (await chatter.receive_until("error"))["code"] == "bad_request"
        assert (await greeted(ana, room.course))[1] == 0


async def test_a_flood_of_markers_is_coalesced(server: Server, room: Classroom) -> None:
    async with Person(server.url, room.teacher) as profe:
        (one, _), (two, _) = await greeted(profe, room.course), await greeted(profe, room.course)
        await say(one, 60)
        for seq in range(1, 61):
            await one.send({"type": "read", "seq": seq})
        published = 1
        while (await two.receive_until("read"))["seq"] != 60:
            published += 1
        assert published <= 5
        assert (await greeted(profe, room.course))[1] == 60


async def test_a_client_that_floods_markers_is_throttled(server: Server, room: Classroom) -> None:
    async with Person(server.url, room.teacher) as profe:
        chatter, _ = await greeted(profe, room.course)
        await say(chatter, 1)
        begun = asyncio.get_running_loop().time()
        for _ in range(REFUSALS_BURST + 2 * REFUSALS_PER_SECOND):
            await chatter.send({"type": "read", "seq": 1})
        await say(chatter, 1, start=1)
        assert asyncio.get_running_loop().time() - begun > 1


async def test_markers_survive_a_restart(postgres: Postgres) -> None:
    settings = settings_for(await postgres.create_chat_database(demo=True))
    async with open_server(settings) as server, Person(server.url, "ana") as ana, Person(server.url, "luis") as luis:
        chatter, read = await greeted(ana, 1)
        assert read == 0
        other, _ = await greeted(luis, 1)
        await say(other, 3)
        await chatter.events(3)
        assert await unread(ana) == ["3 unread messages"]
        await chatter.send({"type": "read", "seq": 2})
        _, read = await greeted(ana, 1)
        # The next page has the newest marker, although it is not in the database yet.
        assert read == 2
        assert await unread(ana) == ["1 unread message"]
        assert await unread(luis) == ["3 unread messages"]
    async with open_server(settings) as server, Person(server.url, "ana") as ana:
        assert (await greeted(ana, 1))[1] == 2
        assert await unread(ana) == ["1 unread message"]
        chatter, _ = await greeted(ana, 1, query="?after=0")
        await chatter.events(3)
        await chatter.send({"type": "read", "seq": 3})
        while (await greeted(ana, 1))[1] != 3:
            pass
        assert await unread(ana) == []


async def test_simultaneous_joins_share_one_marker_query(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    questions = 0
    fetch = Database.fetch

    async def count(database: Database, sql: str, *arguments: Any) -> list[asyncpg.Record]:
        nonlocal questions
        questions += "educa_chat.marker" in sql
        return await fetch(database, sql, *arguments)

    monkeypatch.setattr(Database, "fetch", count)
    markers = server.app[MARKERS]
    database = server.app[DATABASE]
    course, names = await add_room(database, 40)
    ids = await database.fetch("select id from auth_user where username = any ($1::text[])", names)
    assert await asyncio.gather(*(markers.find(row["id"], course) for row in ids)) == [0] * 40
    assert questions == 1

"""Resuming: everything that was missed exactly once, or a reset."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import quote

import aiohttp
import pytest
import pytest_asyncio

from educa_chat import hub as hub_module
from educa_chat.handlers.keys import DATABASE, HUB
from educa_chat.storage.pool import Database
from tests.conftest import Postgres
from tests.serving import Chatter, Classroom, Person, Server, add_classroom, open_server, settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(postgres: Postgres) -> AsyncIterator[Server]:
    url = await postgres.create_chat_database(demo=True)
    async with open_server(settings_for(url, limits_replay=50, limits_messages_per_second=0)) as opened:
        yield opened


@pytest.fixture
def database(server: Server) -> Database:
    return server.app[DATABASE]


@pytest_asyncio.fixture(loop_scope="module")
async def room(database: Database) -> Classroom:
    """An empty room of this test."""
    return await add_classroom(database)


@pytest_asyncio.fixture(loop_scope="module")
async def ana(server: Server, room: Classroom) -> AsyncIterator[Person]:
    async with Person(server.url, room.ana) as person:
        yield person


@pytest_asyncio.fixture(loop_scope="module")
async def own_server(postgres: Postgres) -> AsyncIterator[Server]:
    """A server and a database of this test, for what concerns all rooms."""
    async with open_server(settings_for(await postgres.create_chat_database(demo=True))) as opened:
        yield opened


async def say(person: Person, course: int, first: int, last: int) -> Chatter:
    """Send `first` … `last`, and wait until each is stored."""
    socket = await person.enter(course)
    for number in range(first, last + 1):
        await socket.say(str(number), id=str(number))
    for number in range(first, last + 1):
        await socket.receive_until("ack", id=str(number))
    return socket


async def test_without_after_the_stream_starts_after_the_head_in_the_welcome(room: Classroom, ana: Person) -> None:
    await say(ana, room.course, 1, 3)
    socket = await ana.enter(room.course)
    assert (await socket.receive())["head"] == 3
    await say(ana, room.course, 4, 4)
    assert [event["seq"] for event in await socket.events(1)] == [4]


@pytest.mark.parametrize("after", [0, 1, 2, 3])
async def test_with_after_missed_events_come_before_live_ones(room: Classroom, ana: Person, after: int) -> None:
    await say(ana, room.course, 1, 3)
    socket = await ana.enter(room.course, query=f"?after={after}")
    welcome = await socket.receive()
    assert (welcome["type"], welcome["head"]) == ("welcome", 3)
    await say(ana, room.course, 4, 4)
    assert [event["seq"] for event in await socket.events(4 - after)] == list(range(after + 1, 5))


async def test_an_ack_comes_before_its_event(room: Classroom, ana: Person) -> None:
    socket = await ana.enter(room.course)
    await socket.receive()
    await socket.say("x", id="1")
    ack, event = await socket.receive(), await socket.receive()
    assert (ack["type"], event["type"]) == ("ack", "chat_message")
    assert (ack["seq"], ack["datetime"]) == (event["seq"], event["datetime"])


async def test_a_replay_over_the_limit_is_a_reset_and_the_stream_continues(room: Classroom, ana: Person) -> None:
    await say(ana, room.course, 1, 60)
    for after, expected in ((9, ["welcome", "reset"]), (10, ["welcome", "chat_message"])):
        socket = await ana.enter(room.course, query=f"?after={after}")
        frames = [await socket.receive() for _ in range(2)]
        assert [frame["type"] for frame in frames] == expected
    reset = await ana.enter(room.course, query="?after=0")
    assert await reset.receive_until("reset") == {"type": "reset", "after": 60}
    await say(ana, room.course, 61, 61)
    assert [event["seq"] for event in await reset.events(1)] == [61]


async def test_an_after_beyond_the_head_is_a_reset(room: Classroom, ana: Person) -> None:
    await say(ana, room.course, 1, 2)
    socket = await ana.enter(room.course, query="?after=3")
    assert (await socket.receive_until("reset"))["after"] == 2


async def test_only_a_different_epoch_is_a_reset(room: Classroom, ana: Person) -> None:
    await say(ana, room.course, 1, 2)
    epoch = (await ana.messages(room.course))["epoch"]
    socket = await ana.enter(room.course, query=f"?after=1&epoch={epoch}")
    assert [event["seq"] for event in await socket.events(1)] == [2]
    socket = await ana.enter(room.course, query="?after=1&epoch=0123456789abcdef")
    assert (await socket.receive_until("reset"))["after"] == 2


async def test_only_a_different_time_at_after_is_a_reset(room: Classroom, ana: Person) -> None:
    for number in (1, 2, 3):
        await say(ana, room.course, number, number)
    at = {message["seq"]: message["datetime"] for message in (await ana.messages(room.course))["messages"]}
    for query, is_reset in (
        (f"?after=2&at={quote(at[2])}", False),
        (f"?after=2&at={at[2]}", False),  # Its plus sign arrives as a space.
        (f"?after=3&at={quote(at[3])}", False),
        (f"?after=2&at={quote(at[3])}", True),
        (f"?after=3&at={quote(at[2])}", True),
        ("?after=2&at=yesterday", True),
    ):
        socket = await ana.enter(room.course, query=query)
        await socket.receive()
        await (await ana.enter(room.course)).say("next", id=query)
        assert ((await socket.receive())["type"] == "reset") == is_reset, query


async def test_a_basic_client_receives_only_new_messages_even_with_after(room: Classroom, ana: Person) -> None:
    await say(ana, room.course, 1, 2)
    socket = await ana.enter(room.course, basic=True, query="?after=0")
    await say(ana, room.course, 3, 3)
    frame = await socket.receive()
    assert (frame["type"], frame["message"]) == ("chat_message", "3")


async def test_a_history_page_and_a_socket_resuming_from_it_miss_nothing(
    server: Server, room: Classroom, ana: Person
) -> None:
    """While others write, a client loads the page, takes its head, and opens the socket with it."""
    async with Person(server.url, room.luis) as luis:
        writer = await luis.enter(room.course)
        # Stay close to the newest page that was loaded: a replay of more than 50 events would be a reset.
        allowed, known = asyncio.Semaphore(40), 0

        async def write() -> None:
            for number in range(120):
                await allowed.acquire()
                await writer.say(str(number), id=str(number))
                await writer.receive_until("ack", id=str(number))

        writing = asyncio.create_task(write())
        seen: list[list[int]] = []
        while not writing.done():
            page = await ana.messages(room.course, query="?limit=200")
            for _ in range(known, page["head"]):
                allowed.release()
            known = page["head"]
            socket = await ana.enter(room.course, query=f"?after={page['head']}&epoch={page['epoch']}")
            assert (await socket.receive())["head"] >= page["head"]
            shown = [message["seq"] for message in page["messages"]]
            if len(shown) < 115:
                shown += [event["seq"] for event in await socket.events(3)]
            seen.append(shown)
            await socket.socket.close()
        await writing
    assert len(seen) > 1
    for shown in seen:
        assert shown == list(range(1, len(shown) + 1))


async def test_a_restored_log_closes_its_rooms_and_resets_reconnecting_clients(
    server: Server, room: Classroom, ana: Person
) -> None:
    socket = await say(ana, room.course, 1, 5)
    database = server.app[DATABASE]
    await database.execute("delete from educa_chat.event where course = $1 and seq > 2", room.course)
    await database.execute("delete from educa_chat.message where course = $1 and seq > 2", room.course)
    await database.execute(
        "update educa_chat.room set head = 2, said = 2,"
        " last_at = (select max(at) from educa_chat.event where course = $1) where course = $1",
        room.course,
    )
    await server.app[HUB].sweep()
    assert await socket.close_code() == 1001
    back = await ana.enter(room.course, query="?after=5")
    assert (await back.receive_until("reset"))["after"] == 2


async def test_another_history_closes_all_rooms(own_server: Server) -> None:
    async with Person(own_server.url, "ana") as ana:
        socket = await say(ana, 1, 1, 1)
        epoch = (await ana.messages(1))["epoch"]
        database = own_server.app[DATABASE]
        # A restored table has a different oid.
        await database.execute("create table educa_chat.restored (like educa_chat.event including all)")
        await database.execute("insert into educa_chat.restored select * from educa_chat.event")
        await database.execute("drop table educa_chat.event")
        await database.execute("alter table educa_chat.restored rename to event")
        await own_server.app[HUB].sweep()
        assert await socket.close_code() == 1001
        back = await ana.enter(1, query=f"?after=1&epoch={epoch}")
        assert (await back.receive_until("reset"))["after"] == 1
        assert (await ana.messages(1))["epoch"] != epoch


@pytest_asyncio.fixture(loop_scope="module")
async def deaf(database: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    """A server without news from others: it has its own bus, and sweeps only when the test asks it to."""
    monkeypatch.setattr(hub_module, "SWEEP_S", 3600.0)
    async with open_server(settings_for(database.url)) as opened:
        yield opened


async def test_one_sweep_finds_events_that_another_process_did_not_publish(
    server: Server, deaf: Server, room: Classroom, ana: Person
) -> None:
    async with Person(deaf.url, room.luis) as luis:
        socket = await luis.enter(room.course)
        await socket.receive()
        await say(ana, room.course, 1, 2)
        await deaf.app[HUB].sweep()
        assert [event["message"] for event in await socket.events(2)] == ["1", "2"]


async def test_a_client_ahead_of_its_room_is_resumed_if_the_log_confirms_it(
    server: Server, deaf: Server, room: Classroom, ana: Person
) -> None:
    async with Person(deaf.url, room.luis) as luis:
        early = await luis.enter(room.course)
        await early.receive()
        await say(ana, room.course, 1, 2)
        page = await luis.messages(room.course)
        assert page["head"] == 2
        socket = await luis.enter(room.course, query=f"?after=2&epoch={page['epoch']}")
        assert (await socket.receive())["head"] == 2
        assert [event["message"] for event in await early.events(2)] == ["1", "2"]
        await socket.say("3", id="3")
        assert (await socket.receive_until("chat_message"))["seq"] == 3


async def test_an_event_with_a_different_time_than_the_one_shown_closes_its_room(
    server: Server, room: Classroom, ana: Person
) -> None:
    socket = await say(ana, room.course, 1, 2)
    await server.app[DATABASE].execute(
        "update educa_chat.room set last_at = last_at + interval '1 second' where course = $1", room.course
    )
    await server.app[HUB].sweep()
    assert await socket.close_code() == 1001


async def test_an_empty_room_is_closed_after_a_while(own_server: Server) -> None:
    async with Person(own_server.url, "ana") as ana:
        hub = own_server.app[HUB]
        socket = await ana.enter(1)
        await socket.receive()
        assert len(hub) == 1
        now = hub._clock()
        hub._clock = lambda: now + 1000
        await hub.sweep()
        assert len(hub) == 1
        await socket.socket.close()
        hub._clock = lambda: now + 2000
        async with asyncio.timeout(30):
            while len(hub):
                await hub.sweep()
                await asyncio.sleep(0.01)


async def test_leaving_the_course_closes_the_socket_at_the_next_command(
    server: Server, room: Classroom, ana: Person
) -> None:
    socket = await ana.enter(room.course)
    await socket.receive()
    async with server.app[DATABASE].connection() as connection, connection.transaction():
        # As beside a site without triggers, which would act before the next command.
        await connection.execute("set local session_replication_role = replica")
        await connection.execute("delete from courses_course_students where course_id = $1", room.course)
    await socket.say("still here?", id="1")
    assert (await socket.receive_until("error", id="1"))["code"] == "forbidden"
    assert await socket.close_code() == 4003
    with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
        await ana.enter(room.course)


@pytest.mark.parametrize("again", [{"message": ""}, {"message": "x" * 5000}, {"message": 5}, {"type": "dance"}])
async def test_a_repeated_id_gets_its_first_ack_whatever_the_command(
    room: Classroom, ana: Person, again: dict[str, object]
) -> None:
    socket = await ana.enter(room.course)
    await socket.say("first", id="1")
    ack = await socket.receive_until("ack")
    await socket.send({"id": "1", **again})
    assert await socket.receive_until("ack") == ack
    await socket.send({"id": "another", **again})
    assert (await socket.receive_until("error"))["id"] == "another"
    assert len((await ana.messages(room.course))["messages"]) == 1

"""Two processes on one Redis and one Postgres share their rooms."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from educa_chat.storage.pool import open_database
from tests.conftest import Postgres
from tests.processes import Process, open_node
from tests.redis_server import RedisServer
from tests.serving import Classroom, Person, add_classroom

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def database_url(postgres: Postgres) -> str:
    return await postgres.create_chat_database(demo=True)


@pytest_asyncio.fixture(loop_scope="module")
async def room(database_url: str) -> Classroom:
    """A room without messages."""
    async with open_database(database_url, 1) as database:
        return await add_classroom(database)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nodes(database_url: str, redis_server: RedisServer) -> AsyncIterator[tuple[Process, Process]]:
    async with (
        open_node(database_url, redis_server.url) as one,
        open_node(database_url, redis_server.url) as two,
    ):
        yield one, two


async def test_messages_on_either_process_are_seen_on_both_once_in_the_same_order(
    nodes: tuple[Process, Process], room: Classroom
) -> None:
    one, two = nodes
    async with (
        Person(one.url, room.ana) as ana,
        Person(two.url, room.luis) as luis,
        Person(two.url, room.ana) as also_ana,
    ):
        readers = [
            await ana.enter(room.course),
            await luis.enter(room.course),
            await also_ana.enter(room.course),
            await luis.enter(room.course, basic=True),
        ]
        writers = readers[:2]

        async def say(which: int) -> None:
            for number in range(15):
                await writers[which].say(f"{which}:{number}", id=f"{which}:{number}")

        await asyncio.gather(say(0), say(1))
        seen = [await reader.events(30) for reader in readers]
    for events in seen:
        assert [event["seq"] for event in events] == list(range(1, 31))
    texts = [[event["message"] for event in events] for events in seen]
    assert texts[0] == texts[1] == texts[2] == texts[3]
    for which in (0, 1):
        assert [text for text in texts[0] if text.startswith(f"{which}:")] == [f"{which}:{n}" for n in range(15)]


async def test_anonymous_authors_are_concealed_on_the_other_node_except_from_themselves(
    nodes: tuple[Process, Process], room: Classroom
) -> None:
    one, two = nodes
    async with (
        Person(one.url, room.teacher) as profe,
        Person(one.url, room.ana) as ana,
        Person(two.url, room.ana) as also_ana,
        Person(two.url, room.luis) as luis,
    ):
        teacher, here, there, other = [await person.enter(room.course) for person in (profe, ana, also_ana, luis)]
        await teacher.send({"type": "anonymity", "id": "1", "on": True})
        await here.receive_until("anonymity")
        await here.send({"type": "message", "id": "2", "message": "psst", "anonymous": True})
        received = (await other.events(2))[1]
        assert room.ana not in str(received)
        assert [(await there.receive())["type"] for _ in range(4)] == ["welcome", "anonymity", "own", "chat_message"]
        await there.send({"type": "delete", "id": "3", "target": 2})
        assert (await other.receive_until("deleted"))["user"] == received["user"]
        profe.url = two.url
        late = await (await profe.enter(room.course, query="?after=0")).events(3)
        assert [event["user"] for event in late] == [room.teacher, room.ana, room.ana]


async def test_an_id_is_unique_across_nodes(nodes: tuple[Process, Process], room: Classroom) -> None:
    one, two = nodes
    async with Person(one.url, room.ana) as ana, Person(two.url, room.ana) as also_ana:
        here, there = await ana.enter(room.course), await also_ana.enter(room.course)
        await here.say("said", id="same")
        first = await here.receive_until("ack")
        await there.say("said again", id="same")
        assert await there.receive_until("ack") == first
        assert [message["message"] for message in (await ana.messages(room.course))["messages"]] == ["said"]


async def test_a_client_that_resumes_on_the_other_node_misses_nothing(
    nodes: tuple[Process, Process], room: Classroom
) -> None:
    one, two = nodes
    async with Person(one.url, room.ana) as ana, Person(two.url, room.luis) as luis:
        here = await ana.enter(room.course)
        epoch = (await here.receive())["epoch"]
        for number in range(3):
            await here.say(str(number), id=str(number))
        await here.events(3)
        there = await luis.enter(room.course, query=f"?after=1&epoch={epoch}")
        assert [event["message"] for event in await there.events(2)] == ["1", "2"]


async def test_signing_out_on_one_node_closes_sockets_on_the_other(
    nodes: tuple[Process, Process], room: Classroom
) -> None:
    one, two = nodes
    async with Person(one.url, room.ana) as ana, ana.again(two.url) as elsewhere:
        socket = await elsewhere.enter(room.course)
        await socket.receive()
        assert await ana.sign_out() == 302
        assert await socket.close_code() == 4001
        assert (await elsewhere.get("/students/courses/"))[0] == 302


async def test_markers_reach_only_the_readers_windows_on_the_other_node(
    nodes: tuple[Process, Process], room: Classroom
) -> None:
    one, two = nodes
    async with (
        Person(one.url, room.ana) as ana,
        Person(two.url, room.ana) as also_ana,
        Person(two.url, room.luis) as luis,
    ):
        here, there, other = (
            await ana.enter(room.course),
            await also_ana.enter(room.course),
            await luis.enter(room.course),
        )
        for number in range(3):
            await other.say(str(number), id=str(number))
        for reader in (here, there, other):
            await reader.events(3)
        await here.send({"type": "read", "seq": 2})
        assert await there.receive_until("read") == {"type": "read", "seq": 2}
        await there.send({"type": "read", "seq": 3})
        assert await here.receive_until("read") == {"type": "read", "seq": 3}
        await other.say("last", id="last")
        for reader in (here, there, other):
            while (frame := await reader.receive_any()).get("message") != "last":
                assert frame["type"] != "read"


async def test_a_node_started_later_knows_the_markers(
    database_url: str, redis_server: RedisServer, room: Classroom
) -> None:
    async with open_node(database_url, redis_server.url) as one:
        async with Person(one.url, room.ana) as ana:
            here = await ana.enter(room.course)
            await here.say("one", id="1")
            await here.receive_until("ack")
            await here.send({"type": "read", "seq": 1})
        assert await one.stop() == 0, one.output
    async with open_node(database_url, redis_server.url) as two, Person(two.url, room.ana) as ana:
        assert (await (await ana.enter(room.course)).receive_until("welcome"))["state"]["read"] == 1


async def test_messages_reach_the_other_node_without_redis(database_url: str, room: Classroom) -> None:
    redis = RedisServer()
    redis.start()
    try:
        async with open_node(database_url, redis.url) as one, open_node(database_url, redis.url) as two:
            async with Person(one.url, room.ana) as ana, Person(two.url, room.luis) as luis:
                here, there = await ana.enter(room.course), await luis.enter(room.course)
                await here.say("with", id="1")
                assert [e["message"] for e in await there.events(1)] == ["with"]
                redis.stop()
                await here.say("without", id="2")
                await here.receive_until("ack", id="2")
                assert [e["message"] for e in await there.events(1)] == ["without"]
                for node in (one, two):
                    await node.printed("the bus is in doubt")
                redis.start()
                await here.say("with again", id="3")
                assert [e["message"] for e in await there.events(1)] == ["with again"]
                for node in (one, two):
                    await node.printed("the bus works again")
                    assert 1 <= node.output.count("the bus is in doubt") < 5, node.output
    finally:
        redis.stop()


async def test_a_stopping_node_closes_sockets_with_1001_and_exits_with_0(database_url: str, room: Classroom) -> None:
    async with open_node(database_url) as one, Person(one.url, room.ana) as ana:
        socket = await ana.enter(room.course)
        await socket.receive()
        stopping = asyncio.create_task(one.stop())
        assert await socket.close_code() == 1001
        assert await stopping == 0, one.output
    assert "Traceback" not in one.output


async def test_workers_share_a_port_their_rooms_and_a_random_key_if_none_is_set(
    database_url: str, redis_server: RedisServer, room: Classroom
) -> None:
    async with open_node(database_url, redis_server.url, "--workers", "2", session_key="") as node:
        await node.printed("running at")
        async with Person(node.url, room.ana) as ana, Person(node.url, room.luis) as luis:
            sockets = [await person.enter(room.course) for person in (ana, luis) * 6]
            for number, socket in enumerate(sockets):
                await socket.say(str(number), id=str(number))
            for socket in sockets:
                assert [event["seq"] for event in await socket.events(12)] == list(range(1, 13))
            # Each uses a new connection, which the kernel gives to either worker.
            assert {(await ana.get("/students/courses/", Connection="close"))[0] for _ in range(20)} == {200}
        os.kill(node.pid, signal.SIGINT)
        assert await node.ended() == 0, node.output
    assert node.output.count("session.key is not set") == 1
    assert "Traceback" not in node.output


async def test_the_member_list_shows_presence_on_a_process_without_the_room(
    nodes: tuple[Process, Process], room: Classroom
) -> None:
    one, two = nodes
    async with Person(one.url, room.ana) as ana, Person(two.url, room.teacher) as teacher:
        await (await ana.enter(room.course)).receive()
        members = json.loads((await teacher.get(f"/api/rooms/{room.course}/roster"))[1])["members"]
        assert [member["user"] for member in members if member["online"]] == [room.ana]

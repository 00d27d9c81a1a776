"""The log is replaced under running nodes by a restore, an older copy or a failover. Two histories are never mixed."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest

from educa_chat import hub as hub_module
from educa_chat.handlers.keys import HUB
from tests.postgres_server import PostgresServer
from tests.processes import Process, free_port, open_node
from tests.redis_server import RedisServer
from tests.serving import TIMEOUT_S, Chatter, Person, open_server, settings_for


async def say(url: str, username: str, what: str, first: int, last: int) -> None:
    """Send "`what` `first`" … "`what` `last`", each after the previous one is stored."""
    async with Person(url, username) as person:
        socket = await person.enter()
        for number in range(first, last + 1):
            await socket.say(f"{what} {number}", id=f"{what} {number}")
            await socket.receive_until("ack", id=f"{what} {number}")


async def read_to_the_end(socket: Chatter) -> tuple[list[str], int | None]:
    """Return all messages until the server closed the socket, and the close code."""
    said: list[str] = []
    async with asyncio.timeout(2 * TIMEOUT_S):
        async for frame in socket.socket:
            assert frame.type is aiohttp.WSMsgType.TEXT
            event = json.loads(frame.data)
            if "message" in event and "seq" in event:
                said.append(event["message"])
    return said, socket.socket.close_code


# Ways to replace the log: each brings back the state after "old 5" when the log has reached "old 10".


class Restored:
    """`pg_restore --clean` into the database that all nodes are connected to."""

    has_another_epoch = True

    def __init__(self, postgres: PostgresServer) -> None:
        self._postgres = postgres
        self._dump = str(postgres.new_folder() / "dump")

    def save(self) -> None:
        self._postgres.tool("pg_dump", "-Fc", "-f", self._dump, self._postgres.url)

    def bring_back(self) -> PostgresServer:
        self._postgres.tool("pg_restore", "--clean", "--if-exists", "-d", self._postgres.url, self._dump)
        return self._postgres


class PutBack:
    """A copy of the data folder that was made while the server was stopped."""

    has_another_epoch = False

    def __init__(self, postgres: PostgresServer) -> None:
        self._postgres = postgres
        self._saved = Path()

    def save(self) -> None:
        self._postgres.stop()
        self._saved = self._postgres.save()
        self._postgres.start()

    def bring_back(self) -> PostgresServer:
        self._postgres.stop()
        self._postgres.put_back(self._saved)
        self._postgres.start()
        return self._postgres


class Promoted:
    """A standby that lagged behind when the primary died, at the primary's address."""

    has_another_epoch = True

    def __init__(self, postgres: PostgresServer) -> None:
        self._postgres = postgres

    def save(self) -> None:
        self._standby = self._postgres.standby()
        self._standby.stop()

    def bring_back(self) -> PostgresServer:
        self._postgres.kill()
        self._standby.port = self._postgres.port
        self._standby.start()
        self._standby.promote()
        return self._standby


Fault = Restored | PutBack | Promoted


@pytest.fixture(params=[Restored, PutBack, Promoted], ids=["restored", "put back", "promoted"])
def fault(own_postgres: PostgresServer, request: pytest.FixtureRequest) -> Fault:
    made: Fault = request.param(own_postgres)
    return made


@pytest.fixture
async def nodes(own_postgres: PostgresServer, redis_server: RedisServer) -> AsyncIterator[list[Process]]:
    async with (
        open_node(own_postgres.url, redis_server.url, limits_messages_per_second=0) as one,
        open_node(own_postgres.url, redis_server.url, limits_messages_per_second=0) as two,
    ):
        yield [one, two]


async def available(person: Person, query: str) -> Chatter:
    """Enter as soon as possible: the status is 503 while the database is down and until the rooms are checked."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            try:
                return await person.enter(query=query)
            except aiohttp.WSServerHandshakeError as error:
                if error.status != 503:
                    raise
                await asyncio.sleep(0.1)


async def test_a_restored_log_closes_open_sockets_and_resets_reconnecting_clients(
    nodes: list[Process], own_postgres: PostgresServer, redis_server: RedisServer, fault: Fault
) -> None:
    one, two = nodes
    await say(one.url, "ana", "old", 1, 5)
    # The sessions are older than the restored state.
    async with Person(one.url, "luis") as luis, Person(two.url, "ana") as ana:
        await asyncio.to_thread(fault.save)
        await say(one.url, "ana", "old", 6, 10)
        sockets = [await available(luis, "?after=0"), await available(ana, "?after=0")]
        welcome = await sockets[0].receive()
        history = (await luis.messages())["messages"]
        for socket in sockets:
            assert [event["message"] for event in await socket.events(10)] == [
                f"old {number}" for number in range(1, 11)
            ]
        reading = [asyncio.create_task(read_to_the_end(socket)) for socket in sockets]
        postgres = await asyncio.to_thread(fault.bring_back)
        try:
            assert await asyncio.gather(*reading) == [([], 1001)] * 2
            async with open_node(postgres.url, redis_server.url) as fresh, Person(fresh.url, "luis") as elsewhere:
                # A client that missed the latest messages before the restore, and one that missed none.
                reconnections = [
                    (person, f"?after={after}&epoch={welcome['epoch']}&at={quote(history[after - 1]['datetime'])}")
                    for person, after in itertools.product((luis, elsewhere), (7, 10))
                ]
                for person, query in reconnections:
                    socket = await available(person, query)
                    again = await socket.receive()
                    assert (again["epoch"] != welcome["epoch"]) == fault.has_another_epoch
                    assert await socket.receive() == {"type": "reset", "after": 5}
                await say(one.url, "ana", "new", 6, 12)
                for person in (luis, elsewhere):
                    socket = await available(person, "?after=0")
                    assert [event["message"] for event in await socket.events(12)] == [
                        *(f"old {number}" for number in range(1, 6)),
                        *(f"new {number}" for number in range(6, 13)),
                    ]
                # The newer events in the log are not the ones that they missed.
                for person, query in reconnections:
                    socket = await available(person, query)
                    assert (await socket.receive())["type"] == "welcome"
                    assert await socket.receive() == {"type": "reset", "after": 12}
        finally:
            if postgres is not own_postgres:
                postgres.discard()
    for node in nodes:
        assert "Traceback" not in node.output, node.output


async def test_a_restored_log_that_has_grown_again_is_not_mistaken_for_the_old_one(
    nodes: list[Process], own_postgres: PostgresServer
) -> None:
    """The nodes find a head beyond the one they know, with different events before it."""
    one, _ = nodes
    fault = PutBack(own_postgres)
    await say(one.url, "ana", "old", 1, 5)
    async with Person(one.url, "luis") as luis:
        await asyncio.to_thread(fault.save)
        await say(one.url, "ana", "old", 6, 10)
        socket = await available(luis, "?after=0")
        assert [event["message"] for event in await socket.events(10)] == [f"old {number}" for number in range(1, 11)]
        reading = asyncio.create_task(read_to_the_end(socket))
        port = own_postgres.port
        # The nodes can't reach it while another server writes.
        await asyncio.to_thread(own_postgres.stop)
        own_postgres.port = free_port()
        await asyncio.to_thread(fault.bring_back)
        async with open_server(settings_for(own_postgres.url, limits_messages_per_second=0)) as server:
            await say(server.url, "ana", "new", 6, 13)
        await asyncio.to_thread(own_postgres.stop)
        own_postgres.port = port
        await asyncio.to_thread(own_postgres.start)
        assert await reading == ([], 1001)
        socket = await available(luis, "?after=0")
        assert [event["message"] for event in await socket.events(13)] == [
            *(f"old {number}" for number in range(1, 6)),
            *(f"new {number}" for number in range(6, 14)),
        ]


async def test_an_event_of_another_history_is_not_shown_even_with_the_next_seq(
    own_postgres: PostgresServer, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that has not compared the log yet receives an event with the seq after its head."""
    fault = PutBack(own_postgres)
    settings = settings_for(own_postgres.url, bus_url=redis_server.url, limits_messages_per_second=0)
    async with open_server(settings) as server:
        await say(server.url, "ana", "old", 1, 5)
    fault.save()
    monkeypatch.setattr(hub_module, "SWEEP_S", 3600.0)
    async with open_server(settings) as server:
        await say(server.url, "ana", "old", 6, 10)
        async with Person(server.url, "luis") as luis:
            socket = await luis.enter(query="?after=0")
            await socket.events(10)
            await server.app[HUB].sweep()
            reading = asyncio.create_task(read_to_the_end(socket))
            await asyncio.to_thread(fault.bring_back)
            async with open_server(settings) as other:
                assert other.app[HUB].epoch == server.app[HUB].epoch
                await say(other.url, "ana", "new", 6, 12)
                async with Person(other.url, "luis") as there:
                    await (await there.enter(query="?after=0")).events(12)
            assert not reading.done()
            await server.app[HUB].sweep()
            assert await reading == ([], 1001)

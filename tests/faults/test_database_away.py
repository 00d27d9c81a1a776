"""Postgres outages: nothing is accepted without being stored, nothing hangs, and nothing needs a restart."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from educa_chat.storage import log, pool
from tests.faults.impatient import PATIENCE_S
from tests.postgres_server import PostgresServer
from tests.serving import Person, Server, open_server, settings_for


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up soon, whether the database answers that it is unavailable or doesn't answer."""
    monkeypatch.setattr(log, "PATIENCE_S", PATIENCE_S)
    for module, name in ((log, "APPEND_TIMEOUT_S"), (pool, "ACQUIRE_TIMEOUT_S"), (pool, "COMMAND_TIMEOUT_S")):
        monkeypatch.setattr(module, name, 1.5)


@pytest.fixture
async def server(own_postgres: PostgresServer) -> AsyncIterator[Server]:
    async with open_server(settings_for(own_postgres.url)) as opened:
        yield opened


async def assert_away(server: Server, ana: Person) -> None:
    async def assert_cannot_enter() -> None:
        with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
            await ana.enter()

    paths = ("/chat/room/1/", "/students/courses/", "/api/rooms/1/messages", "/health/ready")
    answers, _ = await asyncio.gather(asyncio.gather(*(ana.get(path) for path in paths)), assert_cannot_enter())
    for path, (status, _, headers) in zip(paths, answers, strict=True):
        assert status == 503, path
        if path != "/health/ready":
            assert int(headers["Retry-After"]) > 0
    assert (await ana.get("/health/live"))[0] == 200


@pytest.mark.usefixtures("short_waits")
async def test_a_stopped_database_is_reported_and_waited_for(server: Server, own_postgres: PostgresServer) -> None:
    async with Person(server.url, "ana") as ana, Person(server.url, "luis") as luis:
        here, there = await ana.enter(), await luis.enter()
        await here.say("before", id="1")
        await there.events(1)
        own_postgres.stop()
        await assert_away(server, ana)
        await here.say("during", id="2")
        assert (await here.receive_until("error", id="2"))["code"] == "unavailable"
        own_postgres.start()
        await here.say("during", id="2")
        ack = await here.receive_until("ack", id="2")
        assert ack["seq"] == 2
        assert [event["message"] for event in await there.events(1)] == ["during"]
        assert (await ana.get("/chat/room/1/"))[0] == 200
        assert (await ana.get("/health/ready"))[0] == 200
        assert [message["message"] for message in (await ana.messages())["messages"]] == ["before", "during"]


async def test_a_quick_restart_is_not_reported(server: Server, own_postgres: PostgresServer) -> None:
    async with Person(server.url, "ana") as ana:
        socket = await ana.enter()
        await socket.receive()
        own_postgres.stop()
        await socket.say("during", id="1")
        own_postgres.start()
        assert (await socket.receive())["type"] == "ack"


@pytest.mark.usefixtures("short_waits")
async def test_a_paused_database_is_reported_and_pending_commands_take_effect_once(
    server: Server, own_postgres: PostgresServer
) -> None:
    async with Person(server.url, "ana") as ana:
        socket = await ana.enter()
        await socket.receive()
        own_postgres.freeze()
        try:
            await socket.say("under way", id="1")
            assert (await socket.receive_until("error", id="1"))["code"] == "unavailable"
            await assert_away(server, ana)
        finally:
            own_postgres.thaw()
        await socket.say("under way", id="1")
        assert (await socket.receive_until("ack", id="1"))["seq"] == 1
        await socket.say("next", id="2")
        assert (await socket.receive_until("ack", id="2"))["seq"] == 2
        assert [message["id"] for message in (await ana.messages())["messages"]] == ["1", "2"]


@pytest.mark.usefixtures("short_waits")
async def test_a_read_only_database_is_reported(server: Server, own_postgres: PostgresServer) -> None:
    async with Person(server.url, "ana") as ana:
        socket = await ana.enter()
        await socket.receive()
        await own_postgres.execute("alter database postgres set default_transaction_read_only = on")
        await own_postgres.terminate_connections()
        await socket.say("x", id="1")
        assert (await socket.receive_until("error", id="1"))["code"] == "unavailable"
        assert (await ana.get("/chat/room/1/"))[0] == 200
        await own_postgres.execute("alter database postgres reset default_transaction_read_only")
        await own_postgres.terminate_connections()
        await socket.say("x", id="1")
        assert (await socket.receive_until("ack", id="1"))["seq"] == 1

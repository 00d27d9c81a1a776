"""A stalled reader doesn't affect others: it is cut off, and receives everything when it reconnects."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from educa_chat import websocket_protocol
from educa_chat.handlers.keys import HUB, SOCKETS
from tests.conftest import Postgres
from tests.raw_socket import open_raw
from tests.serving import Person, Server, open_server, settings_for

COUNT = 900
WINDOW_BYTES = 4096
TEXT = "x" * 3900


@pytest.fixture
async def server(postgres: Postgres) -> AsyncIterator[Server]:
    settings = settings_for(
        await postgres.create_chat_database(demo=True),
        limits_messages_per_second=0,
        limits_replay=0,
    )
    async with open_server(settings) as opened:
        yield opened


async def test_a_stalled_reader_is_cut_off_and_the_others_receive_everything(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket_protocol, "CLOSE_TIMEOUT_S", 0.5)
    async with Person(server.url, "ana") as ana, Person(server.url, "luis") as luis:
        async with open_raw(luis, 1, WINDOW_BYTES):
            here, there = await ana.enter(), await luis.enter()
            room = await server.app[HUB].enter(1)
            assert room is not None
            assert len(room) == 3

            async def write() -> None:
                for number in range(COUNT):
                    await here.say(TEXT, id=str(number))
                    if number % 20 == 19:
                        await here.receive_until("ack", id=str(number))

            writing = asyncio.create_task(write())
            assert [event["seq"] for event in await there.events(COUNT)] == list(range(1, COUNT + 1))
            await writing
            assert len(room) == 2
            async with asyncio.timeout(60):
                while len(server.app[SOCKETS]) > 2:
                    await asyncio.sleep(0.05)
        back = await luis.enter(query="?after=0")
        assert [event["seq"] for event in await back.events(COUNT)] == list(range(1, COUNT + 1))

"""A reader that does not read harms nobody: it is cut off, and comes back to everything."""

import asyncio
import socket as sockets
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from educa_chat.handlers.keys import HUB, SOCKETS
from tests.conftest import Postgres
from tests.serving import Person, Server, open_server, settings_for

COUNT = 900
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


async def open_stalled(server: Server, person: Person) -> sockets.socket:
    """Upgrade by hand on a socket with a small window, and never read from it again."""
    address = urlsplit(server.url)
    cookies = "; ".join(f"{cookie.key}={cookie.value}" for cookie in person.http.cookie_jar)
    stalled = sockets.socket()
    stalled.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
    stalled.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(stalled, (address.hostname, address.port))
    request = (
        "GET /ws/chat/room/1/ HTTP/1.1\r\n"
        f"Host: {address.netloc}\r\nCookie: {cookies}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: educa-chat.v1\r\n\r\n"
    )
    await loop.sock_sendall(stalled, request.encode())
    assert (await loop.sock_recv(stalled, 12)) == b"HTTP/1.1 101"
    return stalled


async def test_a_reader_that_stalls_is_cut_off_and_the_others_get_everything(server: Server) -> None:
    async with Person(server.url, "ana") as ana, Person(server.url, "luis") as luis:
        stalled = await open_stalled(server, luis)
        try:
            here, there = await ana.enter(), await luis.enter()
            room = await server.app[HUB].enter(1)
            assert room is not None
            assert len(room) == 3

            async def write() -> None:
                for number in range(COUNT):
                    await here.say(TEXT, id=str(number))
                    await here.receive_until("ack", id=str(number))

            writing = asyncio.create_task(write())
            assert [event["seq"] for event in await there.events(COUNT)] == list(range(1, COUNT + 1))
            await writing
            assert len(room) == 2
            async with asyncio.timeout(20):
                while len(server.app[SOCKETS]) > 2:
                    await asyncio.sleep(0.05)
        finally:
            stalled.close()
        back = await luis.enter(query="?after=0")
        assert [event["seq"] for event in await back.events(COUNT)] == list(range(1, COUNT + 1))

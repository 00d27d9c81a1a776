"""Slow, silent and greedy clients: each is disconnected in time, and others don't notice."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import count
from typing import NamedTuple
from urllib.parse import urlsplit

import psutil
import pytest
import pytest_asyncio

from educa_chat import websocket_protocol
from educa_chat.chat_socket import ChatSocket
from educa_chat.handlers.keys import DATABASE, HUB, SOCKETS
from educa_chat.room import BUFFER_LIMIT_BYTES, Room
from tests.conftest import Postgres
from tests.proxy import ANSWERS, QUESTIONS, Proxy
from tests.raw_socket import FIN, PING, PONG, TEXT, frame, handshake, open_connection, open_raw
from tests.serving import TIMEOUT_S, Chatter, Person, Server, add_person, add_room, open_server, settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

HEARTBEAT_S = 1.0
WINDOW_BYTES = 4096
LONG_TEXT = "&" * 3900
"""Its HTML is five times as long, so few of these messages fill a buffer."""


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Detect silent sockets within 1.5 seconds, and drop those that don't finish the closing handshake."""
    monkeypatch.setattr(websocket_protocol, "HEARTBEAT_S", HEARTBEAT_S)
    monkeypatch.setattr(websocket_protocol, "CLOSE_TIMEOUT_S", 0.5)
    monkeypatch.setattr(websocket_protocol, "LINGER_S", 0.3)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(postgres: Postgres) -> AsyncIterator[Server]:
    url = await postgres.create_chat_database(demo=True)
    async with open_server(settings_for(url, limits_messages_per_second=0)) as opened:
        yield opened


class Scene(NamedTuple):
    """A room of `server` with two students, and no other sockets."""

    server: Server
    course: int
    ana: str
    luis: str


@pytest_asyncio.fixture(loop_scope="module")
async def scene(server: Server) -> AsyncIterator[Scene]:
    course, (ana, luis) = await add_room(server.app[DATABASE])
    yield Scene(server, course, ana, luis)
    await until(lambda: len(server.app[SOCKETS]) == 0)


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not is_so():
            await asyncio.sleep(0.02)


async def open_room(scene: Scene) -> Room:
    room = await scene.server.app[HUB].enter(scene.course)
    assert room is not None
    return room


async def are_left(scene: Scene, count: int) -> None:
    """Wait until only `count` sockets are left, on the server and in the room."""
    room = await open_room(scene)
    await until(lambda: len(scene.server.app[SOCKETS]) == len(room) == count)


async def talk_works(here: Chatter, there: Chatter) -> None:
    await here.say("still here", "works")
    await here.receive_until("ack", id="works")
    await there.receive_until("chat_message", id="works")


@asynccontextmanager
async def listening(chatter: Chatter) -> AsyncIterator[None]:
    """Let `chatter` read, so that it answers pings."""
    reading = asyncio.create_task(chatter.close_code())
    try:
        yield
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def fill(sender: Chatter, is_full: Callable[[], bool]) -> None:
    """Send long messages until the buffers of clients that don't read are full."""
    async with asyncio.timeout(3 * TIMEOUT_S):
        for number in count():
            if is_full():
                return
            for part in range(10):
                await sender.say(LONG_TEXT, f"{number}-{part}")
            await sender.receive_until("ack", id=f"{number}-9")


# Silence.


@pytest.mark.usefixtures("short_waits")
async def test_a_peer_that_vanished_is_disconnected(scene: Scene) -> None:
    port = urlsplit(scene.server.url).port
    assert port is not None
    async with (
        Proxy(port).open() as path,
        Person(scene.server.url, scene.luis) as luis,
        Person(f"http://{path.address}", scene.ana) as ana,
    ):
        async with listening(await luis.enter(scene.course)), listening(await ana.enter(scene.course)):
            await are_left(scene, 2)
            path.swallows = QUESTIONS | ANSWERS
            await are_left(scene, 1)


@pytest.mark.usefixtures("short_waits")
async def test_a_frozen_peer_is_disconnected(scene: Scene) -> None:
    async with Person(scene.server.url, scene.ana) as ana, open_raw(ana, scene.course):
        await are_left(scene, 1)
        await are_left(scene, 0)


@pytest.mark.usefixtures("short_waits")
async def test_a_silent_peer_that_answers_pings_stays_connected(scene: Scene) -> None:
    async with Person(scene.server.url, scene.ana) as ana, open_raw(ana, scene.course) as raw:
        for _ in range(2):
            assert await raw.control() == (PING, b"")
            await raw.send(frame(FIN | PONG))
        await raw.send(frame(FIN | TEXT, b'{"id":"a","message":"hello"}'))
        assert (await raw.json())["type"] == "ack"


@pytest.mark.usefixtures("short_waits")
async def test_a_peer_that_never_completes_a_frame_is_disconnected(scene: Scene) -> None:
    async with Person(scene.server.url, scene.ana) as ana, open_raw(ana, scene.course) as raw:
        await raw.send(frame(FIN | TEXT, length=60_000))
        gone = asyncio.create_task(are_left(scene, 0))
        while not gone.done():
            await raw.send(b"x")
            await asyncio.sleep(0.05)
        await gone


@pytest.mark.usefixtures("short_waits")
async def test_a_slow_fragmented_message_with_pongs_in_between_is_accepted(scene: Scene) -> None:
    said = b'{"id":"a","message":"hello"}'
    async with Person(scene.server.url, scene.ana) as ana, open_raw(ana, scene.course) as raw:
        await raw.send(frame(TEXT))
        for byte in said:
            await raw.send(frame(0, bytes([byte])) + frame(FIN | PONG))
            await asyncio.sleep(2.5 * HEARTBEAT_S / len(said))
        await raw.send(frame(FIN))
        assert (await raw.json())["type"] == "ack"


# Stalled readers.


@pytest.mark.usefixtures("short_waits")
async def test_a_stalled_reader_that_sends_an_invalid_frame_is_disconnected(scene: Scene) -> None:
    async with Person(scene.server.url, scene.ana) as ana, Person(scene.server.url, scene.luis) as luis:
        here = await luis.enter(scene.course)
        room = await open_room(scene)
        async with open_raw(ana, scene.course, WINDOW_BYTES) as raw:
            await fill(here, lambda: max(member.buffer_size() for member in room) > BUFFER_LIMIT_BYTES // 4)
            async with listening(here):
                await raw.send(frame(FIN | TEXT, length=2**20))
                await are_left(scene, 1)


@pytest.mark.usefixtures("short_waits")
async def test_a_stalled_reader_that_keeps_pinging_is_disconnected(scene: Scene) -> None:
    async with Person(scene.server.url, scene.ana) as ana, open_raw(ana, scene.course, WINDOW_BYTES) as raw:
        flood = asyncio.create_task(raw.send(frame(FIN | PING, b"x" * 125) * 80_000))
        await are_left(scene, 1)
        await are_left(scene, 0)
        with suppress(TimeoutError):
            await flood


@pytest.mark.usefixtures("short_waits")
async def test_many_stalled_readers_leave_no_tasks_or_files_open(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    # Long enough for Luis to answer: on a busy machine, 51 clients and their server in one process pause for a second.
    monkeypatch.setattr(websocket_protocol, "HEARTBEAT_S", 4.0)
    process = psutil.Process()
    async with AsyncExitStack() as people:
        luis = await people.enter_async_context(Person(scene.server.url, scene.luis))
        # No user may have all of the sockets.
        readers = [
            await people.enter_async_context(
                Person(scene.server.url, await add_person(scene.server.app[DATABASE], scene.course))
            )
            for _ in range(5)
        ]
        here = await luis.enter(scene.course)
        room = await open_room(scene)
        tasks, files = len(asyncio.all_tasks()), process.num_fds()
        async with AsyncExitStack() as stack:
            for reader in readers * 10:
                await stack.enter_async_context(open_raw(reader, scene.course, WINDOW_BYTES))
            await fill(here, lambda: len(room) == 1)
            async with listening(here):
                await are_left(scene, 1)
                assert process.num_fds() < files + 60
                await until(lambda: len(asyncio.all_tasks()) <= tasks + 1)


async def test_a_client_that_disconnects_at_any_moment_causes_no_error(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    async with Person(scene.server.url, scene.ana) as ana, Person(scene.server.url, scene.luis) as luis:
        here = await luis.enter(scene.course)
        room = await open_room(scene)
        await fill(here, lambda: room.head >= 200)
        async with listening(here):
            request = handshake(ana, scene.course, query="?after=0")
            for sent in (request[:20], request[:-1], request):
                for _ in range(4):
                    async with open_connection(scene.server.url) as raw:
                        await raw.send(sent)
            for _ in range(3):
                async with open_connection(scene.server.url, WINDOW_BYTES) as raw:
                    await raw.send(request)
                    await until(
                        lambda: any(isinstance(s, ChatSocket) and s.buffer_size() for s in scene.server.app[SOCKETS])
                    )
            await are_left(scene, 1)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


# Greed.


async def test_only_the_20_newest_of_60_sockets_of_a_user_stay_open(scene: Scene) -> None:
    async with Person(scene.server.url, scene.ana) as ana, Person(scene.server.url, scene.luis) as luis:
        window = await luis.enter(scene.course)
        sockets = [await ana.enter(scene.course) for _ in range(20)]
        for _ in range(40):
            sockets.append(await ana.enter(scene.course))
            assert await sockets[-21].close_code() == 4029
        await are_left(scene, 21)
        await window.say("still here", "works")
        for socket in (window, *sockets[-20:]):
            assert (await socket.receive_until("chat_message"))["id"] == "works"


@pytest.mark.usefixtures("short_waits")
async def test_only_20_of_60_sockets_of_a_user_that_never_reads_stay_open(scene: Scene) -> None:
    async with Person(scene.server.url, scene.ana) as ana, AsyncExitStack() as stack:
        for _ in range(60):
            await stack.enter_async_context(open_raw(ana, scene.course))
        assert len(scene.server.app[SOCKETS]) <= 20
        await are_left(scene, 0)


async def test_the_server_stops_reading_a_flood_once_it_has_closed_the_socket(scene: Scene) -> None:
    pings = frame(FIN | PING) * 10_000
    async with Person(scene.server.url, scene.ana) as ana, Person(scene.server.url, scene.luis) as luis:
        here, there = await luis.enter(scene.course), await luis.enter(scene.course)
        async with open_raw(ana, scene.course) as raw:
            closing = asyncio.create_task(raw.close_code())
            sent = 0
            while len(scene.server.app[SOCKETS]) == 3:
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await raw.send(pings)
                        sent += len(pings)
                await asyncio.sleep(0)
            assert await closing == 1008
            # The kernel buffers on both sides, and little more.
            assert sent < 2**24
        await here.say("still here", "works")
        assert (await there.receive_until("chat_message"))["id"] == "works"

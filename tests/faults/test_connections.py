"""Connections without a request: they are closed in time, and no others are."""

import asyncio
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial

import psutil
import pytest
from aiohttp import web

from educa_chat.frames import Message, Ping
from educa_chat.handlers import connections
from educa_chat.handlers.connections import Connections
from educa_chat.handlers.upgrade import check_handshake, upgrade
from educa_chat.protocol import pong_frame
from educa_chat.serve import _serve_here
from educa_chat.tasks import running
from educa_chat.websocket_protocol import ReadingTime, WebSocket
from tests.conftest import Postgres
from tests.processes import free_port, open_node
from tests.raw_socket import FIN, PING, PONG, RawSocket, frame, open_connection, open_raw
from tests.serving import TIMEOUT_S, Person, settings_for

FIRST_REQUEST_S = 0.3
NEXT_REQUEST_S = 0.9
HEADERS = b"Host: here\r\nX-Long: " + b"x" * 4000 + b"\r\n\r\n"
GET = b"GET /%b HTTP/1.1\r\n" + HEADERS
POST = b"POST /form HTTP/1.1\r\nContent-Type: text/x-www-form-urlencoded\r\nContent-Length: 4000\r\n" + HEADERS
UPGRADE = (
    b"GET /socket HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n" + HEADERS
)


@pytest.fixture(autouse=True)
def _many_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "SWEEP_S", 0.05)


class Answering(WebSocket):
    """A socket that answers pings."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.release()

    def receive(self, message: Message) -> None:
        assert isinstance(message, Ping)
        self.transmit(pong_frame(message.payload))

    def leave(self) -> None:
        pass


class Watched:
    """A server with short limits."""

    def __init__(self, runner: web.AppRunner) -> None:
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        self._runner = runner

    async def has(self, count: int) -> None:
        """Wait until the server has `count` connections."""
        assert self._runner.server is not None
        async with asyncio.timeout(TIMEOUT_S):
            while len(self._runner.server.connections) != count:
                await asyncio.sleep(0.02)


@pytest.fixture
async def server() -> AsyncIterator[Watched]:
    watched = Connections(FIRST_REQUEST_S, NEXT_REQUEST_S)

    async def quick(_: web.Request) -> web.Response:
        return web.Response()

    async def slow(_: web.Request) -> web.Response:
        await asyncio.sleep(2 * FIRST_REQUEST_S)
        return web.Response()

    async def large(_: web.Request) -> web.Response:
        return web.Response(body=b"x" * 2**24)

    async def form(request: web.Request) -> web.Response:
        await request.read()
        return web.Response()

    async def socket(request: web.Request) -> web.StreamResponse:
        return await upgrade(request, check_handshake(request, ""), Answering(0, ReadingTime()))

    app = web.Application(middlewares=[watched.note_request])
    app.on_response_prepare.append(watched.note_upgrade)
    for handler in (quick, slow, large, socket):
        app.router.add_get(f"/{handler.__name__}", handler)
    app.router.add_post("/form", form)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    try:
        await runner.setup()
        assert runner.server is not None
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with running(watched.watch(runner.server), "watch"):
            yield Watched(runner)
    finally:
        await runner.cleanup()


@asynccontextmanager
async def dripping(raw: RawSocket, data: bytes) -> AsyncIterator[None]:
    """Send `data` one byte at a time while the context lasts, which is too short for all of it."""

    async def drip() -> None:
        for byte in data:
            await raw.send(bytes([byte]))
            await asyncio.sleep(0.02)

    task = asyncio.create_task(drip())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_connection_without_a_request_is_closed(server: Watched) -> None:
    async with open_connection(server.url) as raw:
        await raw.ended()
        await server.has(0)


async def test_a_connection_with_slow_headers_is_closed(server: Watched) -> None:
    async def drip(head: bytes) -> None:
        async with open_connection(server.url) as raw, dripping(raw, head):
            await raw.ended()

    await asyncio.gather(*(drip(head) for head in (GET % b"quick", UPGRADE, POST)))
    await server.has(0)


async def test_a_connection_with_slow_headers_after_a_request_is_closed(server: Watched) -> None:
    async with open_connection(server.url) as raw:
        await raw.send(GET % b"quick")
        assert (await raw.head()).startswith(b"HTTP/1.1 200 ")
        async with dripping(raw, GET % b"quick"):
            await raw.ended()
            await server.has(0)


async def test_a_connection_with_a_slow_body_is_closed(server: Watched) -> None:
    async with open_connection(server.url) as raw:
        await raw.send(POST)
        async with dripping(raw, b"x" * 4000):
            await raw.ended()
            await server.has(0)


async def test_a_connection_whose_response_is_not_read_is_closed(server: Watched) -> None:
    async with open_connection(server.url, 4096) as raw:
        await raw.send(GET % b"large")
        await server.has(1)
        await server.has(0)


async def test_a_slow_handler_does_not_close_the_connection(server: Watched) -> None:
    async with open_connection(server.url) as raw:
        for _ in range(2):
            await raw.send(GET % b"slow")
            assert (await raw.head()).startswith(b"HTTP/1.1 200 ")


async def test_a_websocket_may_be_idle_for_longer_than_a_request(server: Watched) -> None:
    async with open_connection(server.url) as quiet, open_connection(server.url) as idle:
        await quiet.send(UPGRADE)
        assert (await quiet.head()).startswith(b"HTTP/1.1 101 ")
        await idle.send(GET % b"quick")
        assert (await idle.head()).startswith(b"HTTP/1.1 200 ")
        await idle.ended()
        await server.has(0)
        await quiet.send(frame(FIN | PING, b"there?"))
        assert await quiet.receive() == (PONG, b"there?")
    await server.has(0)


async def test_serve_closes_slow_requests_and_keeps_websockets(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("educa_chat.app.Connections", partial(Connections, FIRST_REQUEST_S, NEXT_REQUEST_S))
    settings = settings_for(await postgres.create_chat_database(demo=True), server_port=free_port())
    url = f"http://127.0.0.1:{settings.server.port}"
    ready, stop = asyncio.Event(), asyncio.Event()
    serving = asyncio.create_task(_serve_here(settings, ready.set, stop, reuse_port=False))
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await ready.wait()
        async with Person(url, "ana") as ana, open_raw(ana, 1) as quiet:
            head = b"POST /accounts/login/ HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\n"

            async def drip(whole: bytes, part: bytes) -> None:
                async with open_connection(url) as raw:
                    await raw.send(whole)
                    async with dripping(raw, part):
                        await raw.ended()

            await asyncio.gather(
                drip(b"", GET % b"health/live"),
                drip(GET % b"health/live", GET % b"health/live"),
                drip(head + b"Content-Length: 4000\r\n" + HEADERS, b"x" * 4000),
            )
            await quiet.send(frame(FIN | PING, b"there?"))
            assert await quiet.control() == (PONG, b"there?")
    finally:
        stop.set()
        await serving
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


# Open files.


@pytest.fixture
def few_files() -> Iterator[None]:
    """Give processes that this one starts a soft limit of 512 open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("few_files")
async def test_a_server_raises_its_limit_of_open_files_to_the_maximum(postgres: Postgres) -> None:
    async with open_node(await postgres.create_chat_database()) as node:
        soft, hard = psutil.Process(node.pid).rlimit(psutil.RLIMIT_NOFILE)
    assert soft == hard > 512

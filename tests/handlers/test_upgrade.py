"""The upgrade from a request to a WebSocket: aiohttp hands the connection over, and the socket follows RFC 6455."""

import asyncio
import gc
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio
from aiohttp import web

from educa_chat.handlers.keys import DATABASE, SOCKETS
from educa_chat.protocol import text_frame
from tests.conftest import Postgres
from tests.echo_server import EchoServer, open_echo_server
from tests.raw_socket import (
    CLOSE,
    CONTINUATION,
    FIN,
    PING,
    TEXT,
    RawSocket,
    frame,
    handshake,
    open_connection,
    open_raw,
)
from tests.serving import TIMEOUT_S, Person, Server, add_room, open_server, settings_for

REQUEST = (
    b"GET /socket HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: other, echo\r\n\r\n"
)


@pytest.fixture
async def echoing() -> AsyncIterator[EchoServer]:
    async with open_echo_server() as server:
        yield server


async def shake_hands(raw: RawSocket, behind: bytes = b"") -> None:
    await raw.send(REQUEST + behind)
    head = (await raw.head()).decode().lower()
    assert head.startswith("http/1.1 101 ")
    for line in (
        "upgrade: websocket",
        "connection: upgrade",
        "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=",
        "sec-websocket-protocol: echo",
    ):
        assert f"\r\n{line}\r\n" in f"{head}\r\n"
    assert "content-length" not in head
    assert "transfer-encoding" not in head


@pytest.fixture
def new_parts() -> Iterator[Callable[[], int]]:
    """Returns how many objects of requests and responses there are that were created in this test."""

    def count() -> int:
        gc.collect()
        kinds = web.Request | web.RequestHandler | web.StreamResponse
        # By type, because isinstance() would load lazy objects of other libraries.
        return sum(issubclass(type(one), kinds) for one in gc.get_objects())

    gc.freeze()
    yield count
    gc.unfreeze()


async def test_aiohttp_keeps_no_objects_of_an_upgraded_connection(
    echoing: EchoServer, new_parts: Callable[[], int]
) -> None:
    async with open_connection(echoing.url) as raw:
        await shake_hands(raw)
        await raw.send(frame(FIN | TEXT, b"hello"))
        assert await raw.receive() == (TEXT, b"hello")
        assert echoing.connections == 0
        assert new_parts() == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await raw.send(frame(FIN | TEXT, b"still here"))
        assert await raw.receive() == (TEXT, b"still here")


async def test_frames_sent_together_with_the_request_are_read(echoing: EchoServer) -> None:
    async with open_connection(echoing.url) as raw:
        cut = frame(FIN | TEXT, b"in two")
        await shake_hands(raw, frame(FIN | TEXT, b"at once") + cut[:5])
        await raw.send(cut[5:])
        assert [await raw.receive(), await raw.receive()] == [(TEXT, b"at once"), (TEXT, b"in two")]


async def test_an_upgraded_connection_outlives_the_aiohttp_server(echoing: EchoServer) -> None:
    async with open_connection(echoing.url) as raw:
        await shake_hands(raw)
        async with asyncio.timeout(TIMEOUT_S):
            await echoing.runner.cleanup()
        await raw.send(frame(FIN | TEXT, b"hello"))
        assert await raw.receive() == (TEXT, b"hello")
        echoing.sockets[0].begin_close(1001)
        assert await raw.receive() == (CLOSE, struct.pack("!H", 1001))


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"", b""),
        (struct.pack("!H", 1000), struct.pack("!H", 1000)),
        (struct.pack("!H", 1001) + "adiós".encode(), struct.pack("!H", 1001)),
        (struct.pack("!H", 4321), struct.pack("!H", 4321)),
    ],
)
async def test_a_close_frame_is_echoed_and_the_connection_closed(
    echoing: EchoServer, said: bytes, answer: bytes
) -> None:
    async with open_connection(echoing.url) as raw:
        await shake_hands(raw)
        await raw.send(frame(FIN | TEXT, b"hello") + frame(FIN | CLOSE, said) + frame(FIN | TEXT, b"too late"))
        assert [await raw.receive(), await raw.receive(), await raw.receive()] == [
            (TEXT, b"hello"),
            (CLOSE, answer),
            None,
        ]
        await echoing.closed()
        assert echoing.sockets[0].close_code == (int.from_bytes(said[:2], "big") if said else 1005)


async def test_a_close_frame_may_arrive_within_a_fragmented_message(echoing: EchoServer) -> None:
    async with open_connection(echoing.url) as raw:
        await shake_hands(raw)
        await raw.send(frame(TEXT, b"half") + frame(FIN | CLOSE, struct.pack("!H", 1000)))
        assert await raw.receive() == (CLOSE, struct.pack("!H", 1000))
        assert await raw.receive() is None


async def test_after_our_close_frame_nothing_is_sent_or_handled(echoing: EchoServer) -> None:
    async with open_connection(echoing.url) as raw:
        await shake_hands(raw)
        socket = echoing.sockets[0]
        socket.begin_close(1001)
        socket.transmit(text_frame(b"too late"))
        socket.begin_close(1011)
        socket.beat()
        await raw.send(frame(FIN | TEXT, b"hello") + frame(FIN | PING, b"there?"))
        assert await raw.receive() == (CLOSE, struct.pack("!H", 1001))
        # It waits for the client's close, and then closes at once.
        assert not socket.is_closed
        await raw.send(frame(FIN | CLOSE, struct.pack("!H", 1001)))
        assert await raw.receive() is None
        await echoing.closed()
        assert socket.close_code == 1001


@pytest.mark.parametrize("code", [1001, 1002])
async def test_an_unanswered_close_times_out(echoing: EchoServer, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("educa_chat.websocket_protocol.CLOSE_TIMEOUT_S", 0.2)
    monkeypatch.setattr("educa_chat.websocket_protocol.LINGER_S", 0.2)
    async with open_connection(echoing.url) as raw:
        await shake_hands(raw)
        if code == 1001:
            echoing.sockets[0].begin_close(code)
        else:
            await raw.send(frame(FIN | TEXT, b"x", mask=False))
        assert await raw.close_code() == code
        await echoing.closed()


async def test_a_peer_that_is_still_sending_receives_the_close_code(
    echoing: EchoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("educa_chat.websocket_protocol.LINGER_S", 10 * TIMEOUT_S)
    async with open_connection(echoing.url) as raw:
        await shake_hands(raw)
        sending = asyncio.create_task(raw.send(frame(FIN | TEXT, b"x" * 2**20)))
        assert await raw.close_code() == 1009
        await sending
        # Closing with unread data would reset the connection, and the peer would lose the close frame.
        assert not echoing.sockets[0].is_closed
    await echoing.closed()


async def test_a_client_that_disconnects_without_a_close_frame_leaves(echoing: EchoServer) -> None:
    async with open_connection(echoing.url) as raw:
        await shake_hands(raw)
        await raw.send(frame(FIN | TEXT, b"hello")[:3])
    await echoing.closed()
    assert echoing.sockets[0].close_code == 1006
    assert echoing.sockets[0].has_left


@pytest.mark.parametrize("is_plain", [True, False])
async def test_frames_arrive_in_order_however_slowly_they_are_read(
    echoing: EchoServer, is_plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_plain:
        monkeypatch.setattr("educa_chat.websocket_protocol._plain_descriptor", lambda _: None)
    async with open_connection(echoing.url, window_bytes=4096) as raw:
        await shake_hands(raw)
        socket = echoing.sockets[0]
        written = read = 0
        while written < 2000:
            # From time to time one side reads, and the other writes before its held-back data is sent.
            if socket._transport.get_write_buffer_size():
                assert await raw.receive() == (TEXT, b"%d" % read * 1000)
                read += 1
            socket.transmit(text_frame(b"%d" % written * 1000))
            written += 1
        for number in range(read, written):
            assert await raw.receive() == (TEXT, b"%d" % number * 1000)
        await asyncio.wait_for(socket.wait_until_sent(), TIMEOUT_S)
        assert socket.buffer_size() == 0


async def test_a_client_that_half_closes_gets_only_what_was_already_written(echoing: EchoServer) -> None:
    async with open_connection(echoing.url, window_bytes=4096) as raw:
        await shake_hands(raw)
        socket = echoing.sockets[0]
        while not socket.buffer_size():
            socket.transmit(text_frame(b"x" * 10_000))
        raw.end()
        async with asyncio.timeout(TIMEOUT_S):
            while not socket.has_left:
                await asyncio.sleep(0.01)
        socket.transmit(text_frame(b"too late"))
        received = []
        while (message := await raw.receive()) is not None:
            received.append(message)
        assert received.pop() == (TEXT, b"x" * 10_000)
    await echoing.closed()
    assert socket.close_code == 1006


async def test_held_messages_are_handled_after_release(echoing: EchoServer) -> None:
    async with open_connection(echoing.url) as raw:
        await shake_hands(raw)
        socket = echoing.sockets[0]
        socket.hold()
        await raw.send(frame(FIN | TEXT, b"one") + frame(FIN | TEXT, b"two"))
        await asyncio.sleep(0)
        socket.transmit(text_frame(b"first"))
        socket.release()
        assert [await raw.receive() for _ in range(3)] == [(TEXT, b"first"), (TEXT, b"one"), (TEXT, b"two")]


async def test_a_held_socket_still_receives_the_answer_to_its_close(
    echoing: EchoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("educa_chat.websocket_protocol.CLOSE_TIMEOUT_S", 10 * TIMEOUT_S)
    async with open_connection(echoing.url) as raw:
        await shake_hands(raw)
        socket = echoing.sockets[0]
        socket.hold()
        await raw.send(frame(FIN | TEXT, b"one") + frame(FIN | CLOSE))
        socket.begin_close(1001)
        assert await raw.receive() == (CLOSE, struct.pack("!H", 1001))
        assert await raw.receive() is None


# The socket of a room.


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(postgres: Postgres) -> AsyncIterator[Server]:
    async with open_server(settings_for(await postgres.create_chat_database(demo=True))) as opened:
        yield opened


@pytest.mark.asyncio(loop_scope="module")
async def test_messages_sent_together_with_the_request_are_answered_after_the_welcome(server: Server) -> None:
    course, (name,) = await add_room(server.app[DATABASE], 1)
    async with Person(server.url, name) as ana, open_connection(server.url) as raw:
        said = frame(FIN | TEXT, b"[") + frame(FIN | TEXT, b'{"id":"a","message":"hello"}')
        await raw.send(handshake(ana, course, "?after=0") + said)
        await raw.head()
        assert [(await raw.json())["type"] for _ in range(4)] == ["welcome", "error", "ack", "chat_message"]


@pytest.mark.asyncio(loop_scope="module")
async def test_open_sockets_keep_no_request_objects(server: Server, new_parts: Callable[[], int]) -> None:
    course, (name,) = await add_room(server.app[DATABASE], 1)
    async with Person(server.url, name) as ana:
        # The connection of the sign-in stays open.
        before = new_parts()
        async with AsyncExitStack() as stack:
            for _ in range(10):
                await stack.enter_async_context(open_raw(ana, course))
            assert sum(socket.membership.course == course for socket in server.app[SOCKETS]) == 10
            assert new_parts() <= before


@pytest.mark.asyncio(loop_scope="module")
async def test_a_flood_of_empty_fragments_is_disconnected(server: Server) -> None:
    course, (name,) = await add_room(server.app[DATABASE], 1)
    async with Person(server.url, name) as ana, open_raw(ana, course) as raw:
        await raw.send(frame(TEXT) + frame(CONTINUATION) * 1000)
        assert await raw.close_code() == 1008


async def test_sockets_are_closed_when_the_server_stops(postgres: Postgres) -> None:
    async with open_server(settings_for(await postgres.create_chat_database(demo=True))) as server:
        async with Person(server.url, "ana") as ana, open_raw(ana, 1) as raw:
            stopping = asyncio.create_task(server.app.shutdown())
            assert await raw.control() == (CLOSE, struct.pack("!H", 1001))
            await raw.send(frame(FIN | CLOSE, struct.pack("!H", 1001)))
            await stopping
            assert len(server.app[SOCKETS]) == 0

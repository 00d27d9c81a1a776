"""All sockets together handle few messages in one iteration of the event loop, however many have arrived."""

import asyncio
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from educa_chat import websocket_protocol
from educa_chat.frames import MAX_SMALL_FRAGMENTS, Message, Text
from educa_chat.protocol import text_frame
from educa_chat.websocket_protocol import READING_S, ReadingTime
from tests.echo_server import Echo, EchoServer, Iterations, open_echo_server, request
from tests.raw_socket import CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, RawSocket, frame, open_connection
from tests.serving import TIMEOUT_S

MAX_READ_BYTES = 256 * 1024
"""The number of bytes that asyncio reads from a socket at once."""
MAX_PER_ITERATION = 4


class Clock:
    """A clock by which each frame takes a quarter of the reading time. Sockets read it once per frame."""

    def __init__(self) -> None:
        self._now = 1.0

    def __call__(self) -> float:
        self._now += READING_S / MAX_PER_ITERATION
        return self._now


@asynccontextmanager
async def open_echo(
    on_message: Callable[[Message], object] = lambda _: None,
) -> AsyncIterator[tuple[EchoServer, RawSocket]]:
    """Open a server that calls `on_message` for each message, with time for only a few, and a client."""
    reading_time = ReadingTime(Clock())
    async with (
        open_echo_server(lambda: Echo(2**20, on_message, reading_time)) as server,
        open_connection(server.url) as raw,
    ):
        await shake_hands(raw)
        yield server, raw


async def shake_hands(raw: RawSocket, behind: bytes = b"") -> None:
    await raw.send(request() + behind)
    assert (await raw.head()).startswith(b"HTTP/1.1 101 ")


def texts(count: int, digits: int = 1) -> bytes:
    return b"".join(frame(FIN | TEXT, b"%0*d" % (digits, n)) for n in range(count))


async def echoes(raw: RawSocket, count: int, digits: int = 1) -> None:
    """Receive the echoes of `texts`, in order."""
    for n in range(count):
        assert await raw.receive() == (TEXT, b"%0*d" % (digits, n))


async def test_messages_that_arrive_together_are_handled_over_several_iterations() -> None:
    handled: Counter[int] = Counter()
    async with Iterations() as iterations, open_echo(lambda _: handled.update([iterations.count])) as (_, raw):
        await raw.send(texts(300))
        await echoes(raw, 300)
    assert handled.total() == 300
    assert 1 < max(handled.values()) <= MAX_PER_ITERATION


async def test_the_limit_per_iteration_is_shared_by_all_sockets() -> None:
    handled: Counter[int] = Counter()
    async with (
        AsyncExitStack() as stack,
        Iterations() as iterations,
        open_echo(lambda _: handled.update([iterations.count])) as (server, one),
    ):
        others = [await stack.enter_async_context(open_connection(server.url)) for _ in range(19)]
        for other in others:
            await shake_hands(other)
        for socket in server.sockets:
            socket.hold()
        for raw in (one, *others):
            await raw.send(texts(20))
        for socket in server.sockets:
            socket.release()
        for raw in (one, *others):
            await echoes(raw, 20)
    assert handled.total() == 400
    assert max(handled.values()) <= MAX_PER_ITERATION


async def test_messages_sent_with_the_handshake_are_handled_over_several_iterations() -> None:
    handled: Counter[int] = Counter()
    reading_time = ReadingTime(Clock())
    async with (
        Iterations() as iterations,
        open_echo_server(lambda: Echo(2**20, lambda _: handled.update([iterations.count]), reading_time)) as server,
        open_connection(server.url) as raw,
    ):
        await shake_hands(raw, texts(300))
        await echoes(raw, 300)
    assert max(handled.values()) <= MAX_PER_ITERATION


async def test_control_frames_also_take_turns() -> None:
    handled: Counter[int] = Counter()
    async with Iterations() as iterations, open_echo(lambda _: handled.update([iterations.count])) as (_, raw):
        await raw.send(frame(TEXT, b"a") + b"".join(frame(FIN | PING, b"%d" % n) for n in range(300)))
        for n in range(300):
            assert await raw.receive() == (PONG, b"%d" % n)
    assert max(handled.values()) <= MAX_PER_ITERATION


async def test_a_single_message_is_handled_at_once() -> None:
    turns: list[object] = []

    class Counting(Echo):
        def _wait_in_line(self) -> None:
            turns.append(self)
            super()._wait_in_line()

    # A stopped clock: there is always time left.
    reading_time = ReadingTime(lambda: 1.0)
    async with (
        open_echo_server(lambda: Counting(reading_time=reading_time)) as server,
        open_connection(server.url) as raw,
    ):
        await shake_hands(raw)
        del turns[:]
        for n in range(100):
            await raw.send(frame(FIN | TEXT, b"%d" % n))
            assert await raw.receive() == (TEXT, b"%d" % n)
        # The same is true of the pieces of a message.
        for byte in frame(FIN | TEXT, b"in pieces"):
            await raw.send(bytes((byte,)))
            await asyncio.sleep(0)
        assert await raw.receive() == (TEXT, b"in pieces")
        assert turns == []


async def test_many_fragments_are_read_over_several_iterations() -> None:
    handled: list[int] = []
    async with Iterations() as iterations, open_echo(lambda _: handled.append(iterations.count)) as (_, raw):
        pings = frame(FIN | PING)
        await raw.send(pings + frame(TEXT) + frame(CONTINUATION, b"x") * (MAX_SMALL_FRAGMENTS - 2) + pings)
        assert [await raw.receive(), await raw.receive()] == [(PONG, b""), (PONG, b"")]
        await raw.send(frame(FIN | CONTINUATION))
        assert await raw.receive() == (TEXT, b"x" * (MAX_SMALL_FRAGMENTS - 2))
    assert handled[1] - handled[0] >= MAX_SMALL_FRAGMENTS // MAX_PER_ITERATION


async def test_a_busy_socket_does_not_delay_another() -> None:
    order: list[str] = []

    def note(message: Message) -> None:
        assert isinstance(message, Text)
        order.append(message.text)

    async with open_echo(note) as (server, flooding), open_connection(server.url) as other:
        await shake_hands(other)
        await flooding.send(texts(5000))
        async with asyncio.timeout(TIMEOUT_S):
            while not order:
                await asyncio.sleep(0)
        await other.send(frame(FIN | TEXT, b"and I?"))
        assert await other.receive() == (TEXT, b"and I?")
        handled = len(order)
        await echoes(flooding, 5000)
    assert order.index("and I?") < handled < 2500
    assert [text for text in order if text != "and I?"] == [str(n) for n in range(5000)]


async def test_two_floods_take_turns() -> None:
    order: list[str] = []

    def note(message: Message) -> None:
        assert isinstance(message, Text)
        order.append(message.text[0])

    async with open_echo(note) as (server, one), open_connection(server.url) as other:
        await shake_hands(other)
        for socket in server.sockets:
            socket.hold()
        await one.send(frame(FIN | TEXT, b"a") * 500)
        await other.send(frame(FIN | TEXT, b"b") * 500)
        for socket in server.sockets:
            socket.release()
        for raw in (one, other):
            for _ in range(500):
                await raw.receive()
    longest = max(len(part) for part in "".join(order).replace("ab", "a b").replace("ba", "b a").split())
    assert longest < 50


async def test_a_flood_causes_backpressure() -> None:
    unread: list[int] = []
    async with open_echo(lambda _: unread.append(len(server.sockets[0]._reader._data))) as (server, raw):
        data = texts(15_000, digits=100)
        sending = asyncio.create_task(raw.send(data))
        await echoes(raw, 15_000, digits=100)
        await sending
    assert len(data) > 4 * MAX_READ_BYTES
    # What arrives before the socket pauses reading, and the first part of a message.
    assert max(unread) <= 2 * MAX_READ_BYTES + 120


async def test_a_flood_can_be_held_and_released_at_any_message() -> None:
    is_held = False

    def hold(message: Message) -> None:
        nonlocal is_held
        assert not is_held
        assert isinstance(message, Text)
        if int(message.text) % 3 == 0:
            is_held = True
            server.sockets[0].hold()
            asyncio.get_running_loop().call_later(0, release)
        elif int(message.text) % 7 == 0:
            # This must have no effect.
            server.sockets[0].hold()
            server.sockets[0].release()

    def release() -> None:
        nonlocal is_held
        is_held = False
        server.sockets[0].release()

    async with open_echo(hold) as (server, raw):
        await raw.send(texts(1000))
        await echoes(raw, 1000)


async def test_frames_received_after_our_close_are_ignored() -> None:
    def close(message: Message) -> None:
        handled.append(message)
        if len(handled) == 3:
            server.sockets[0].begin_close(1001)

    handled: list[Message] = []
    async with open_echo(close) as (server, raw):
        await raw.send(texts(500) + frame(FIN | CLOSE, struct.pack("!H", 1001)))
        await echoes(raw, 2)
        assert await raw.receive() == (CLOSE, struct.pack("!H", 1001))
        assert await raw.receive() is None
        await server.closed()
    assert len(handled) == 3


async def test_cutting_off_a_flood_ends_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket_protocol, "LINGER_S", 0.2)

    def cut_off(message: Message) -> None:
        handled.append(message)
        if len(handled) == 3:
            server.sockets[0].cut_off(1008)

    handled: list[Message] = []
    async with open_echo(cut_off) as (server, raw):
        await raw.send(texts(500))
        await echoes(raw, 2)
        assert await raw.receive() == (CLOSE, struct.pack("!H", 1008))
        await server.closed()
    assert len(handled) == 3


async def test_an_invalid_frame_in_a_flood_is_refused_after_the_messages_before_it() -> None:
    async with open_echo() as (_, raw):
        await raw.send(texts(200) + frame(FIN | TEXT, b"\xff") + texts(200))
        await echoes(raw, 200)
        assert await raw.receive() == (CLOSE, struct.pack("!H", 1007))
        assert await raw.receive() is None


async def test_a_client_that_half_closes_after_a_flood_gets_every_answer() -> None:
    async with open_echo() as (server, raw):
        await raw.send(texts(500))
        raw.end()
        await echoes(raw, 500)
        assert await raw.receive() is None
        await server.closed()


async def test_losing_the_connection_ends_a_flood() -> None:
    async with open_echo() as (server, raw):
        await raw.send(texts(500))
        await echoes(raw, 1)
        server.sockets[0].abort()
        await server.closed()
        server.sockets[0].transmit(text_frame(b"nobody reads this"))
    assert server.sockets[0].has_left


@pytest.mark.parametrize("size", [0, 1, 63])
async def test_a_flood_of_small_fragments_is_closed_with_1008(size: int) -> None:
    async with open_echo() as (server, raw):
        flood = asyncio.create_task(raw.send(frame(TEXT) + frame(CONTINUATION, b"x" * size) * 10_000))
        assert await raw.close_code() == 1008
        await flood
        assert server.sockets[0].close_code == 1008

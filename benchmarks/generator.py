"""The load: many WebSockets in one process, each read by counting and not by decoding.

What a message says holds TEXT_MARK once, and its id ID_MARK once. A full `chat_message` carries the text twice, as
`message` and as `html`, and the id; an `ack` carries the id alone; no other frame has either mark, nor has the header
of a frame of these sizes. So counting bytes tells how many events and acks have come, without looking for where frames
begin, and however the kernel cuts the stream. At the end of each run the counts must be exactly those of what was
sent, on every socket: a frame that is lost, repeated or misread stops the benchmark.
"""

import gc
import os
import select
import socket
import time
from base64 import b64encode
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, cycle, islice
from statistics import quantiles

from benchmarks.machine import cpu_seconds
from educa_chat.protocol import SUBPROTOCOL

TEXT_MARK = b"|"
ID_MARK = b"@"
FRAME_END = ord("}")
TEXT = b"And how is the second exercise meant, please? |"

WARM_UP_S = 0.4
QUIET_S = 0.3
DRAIN_TIMEOUT_S = 10.0
HANDSHAKE_TIMEOUT_S = 10.0
HANDSHAKES_AT_ONCE = 50
READ_BYTES = 1024 * 1024

_ids = count(1)


@dataclass(frozen=True)
class Place:
    """Who opens a socket, and to which room."""

    course: int
    cookie: str


@dataclass(frozen=True)
class Measured:
    """What one run showed."""

    deliveries_per_s: float
    """Frames that carry a message (or acks, where those are counted), over all sockets."""
    messages_per_s: float
    """Messages that had reached every socket they are for."""
    p50_s: float
    p99_s: float
    server_busy: float
    """The share of the time in which the server's process was on its core, 0 to 1."""
    generator_busy: float
    """The same of this process."""


class Socket:
    """One WebSocket, and how many messages have come to it."""

    __slots__ = ("_acks", "_connection", "_ids", "_texts", "reached", "receive_into", "room")

    def __init__(self, connection: socket.socket, room: "Room") -> None:
        self.room = room
        self.reached = 0
        self.receive_into = connection.recv_into
        self._connection = connection
        self._acks = False
        self._texts = 0
        self._ids = 0

    def fileno(self) -> int:
        return self._connection.fileno()

    def close(self) -> None:
        self._connection.close()

    def reset(self, *, acks: bool) -> None:
        """Count from zero: events, or acks."""
        self.reached = self._texts = self._ids = 0
        self._acks = acks

    def count(self, buffer: bytearray, size: int) -> int:
        """Take in what has come and return how many messages have come with it since the last time."""
        self._texts += buffer.count(TEXT_MARK, 0, size)
        reached = self._texts // 2
        if self._acks:
            self._ids += buffer.count(ID_MARK, 0, size)
            # The id of an event that was cut is here and its text is not yet: it is told from an ack with the rest.
            reached = self._ids - reached if buffer[size - 1] == FRAME_END else self.reached
        news = reached - self.reached
        self.reached = reached
        return news

    def say(self, messages: int) -> None:
        """Send so many messages in one write, each under an id that was never used before."""
        frames: list[bytes] = []
        for _ in range(messages):
            payload = b'{"type":"message","id":"@%d","message":"%s"}' % (next(_ids), TEXT)
            # The mask is zero: the server has the same work with it, and we have none.
            frames += (bytes((0x81, 0x80 | len(payload), 0, 0, 0, 0)), payload)
        data = b"".join(frames)
        if self._connection.send(data) != len(data):
            raise ConnectionError("the server does not read")


class Room:
    """The sockets of one room, of which each says something in its turn; so many messages are under way at once."""

    def __init__(self) -> None:
        self.sockets: list[Socket] = []
        self.latencies_s: list[float] = []
        """Of each message, from just before it was sent until the last socket had read it whole."""
        self.everywhere = 0
        """How many messages have reached every socket."""
        self.sent = 0
        self._speaking = False
        self._speakers: Iterator[Socket] = iter(())
        self._sent_at: deque[float] = deque()
        self._standing: Counter[int] = Counter()

    def start(self, in_flight: int, *, acks: bool) -> None:
        self.everywhere = self.sent = 0
        self.latencies_s.clear()
        self._sent_at.clear()
        self._standing = Counter({0: len(self.sockets)})
        self._speakers = cycle(self.sockets)
        self._speaking = True
        for member in self.sockets:
            member.reset(acks=acks)
        self._say(in_flight)

    def stop(self) -> None:
        """Say nothing more."""
        self._speaking = False

    def advance(self, reached: int, news: int) -> None:
        """Learn that a socket got `news` more messages and has `reached` so many in all; say as many as arrived."""
        standing, arrived = self._standing, 0
        standing[reached] += 1
        standing[reached - news] -= 1
        while not standing[self.everywhere]:
            if self.everywhere >= self.sent:
                raise AssertionError("more messages came than were sent")
            del standing[self.everywhere]
            self.everywhere += 1
            arrived += 1
            self.latencies_s.append(time.perf_counter() - self._sent_at.popleft())
        if arrived and self._speaking:
            self._say(arrived)

    def _say(self, messages: int) -> None:
        self.sent += messages
        self._sent_at.extend([time.perf_counter()] * messages)
        for speaker, said in Counter(islice(self._speakers, messages)).items():
            speaker.say(said)


class Generator:
    """Opens sockets to one server, keeps a number of messages under way in their rooms, and counts what comes."""

    def __init__(self, port: int, server_process: int) -> None:
        self._port = port
        self._server_process = server_process
        self._sockets: dict[int, Socket] = {}
        self._rooms: dict[int, Room] = {}
        self._poll = select.epoll()
        self._buffer = bytearray(READ_BYTES)
        self._deliveries = 0

    def close(self) -> None:
        for opened in self._sockets.values():
            opened.close()
        self._poll.close()

    def open(self, places: Sequence[Place]) -> None:
        """Open a socket for each of `places` and wait until the server has nothing more to say."""
        for start in range(0, len(places), HANDSHAKES_AT_ONCE):
            asked = [(self._ask(place), place) for place in places[start : start + HANDSHAKES_AT_ONCE]]
            for connection, place in asked:
                _read_handshake(connection)
                connection.setblocking(False)
                room = self._rooms.setdefault(place.course, Room())
                opened = Socket(connection, room)
                room.sockets.append(opened)
                self._sockets[connection.fileno()] = opened
                self._poll.register(connection, select.EPOLLIN)
        while ready := self._poll.poll(QUIET_S):
            for number, _ in ready:
                self._receive(self._sockets[number])

    def measure(self, in_flight: int, seconds: float, *, acks: bool = False) -> Measured:
        """Keep `in_flight` messages under way, spread evenly over the rooms, for `seconds` after a warm-up.

        Where `acks` is set, a message has arrived when its sender has the ack; else when all of its room have it.
        """
        with _without_garbage_collection():
            rooms = list(self._rooms.values())
            each, rest = divmod(in_flight, len(rooms))
            assert each > rest == 0, "every room has equally many under way"
            for room in rooms:
                room.start(each, acks=acks)
            self._turn_until(time.perf_counter() + WARM_UP_S)
            for room in rooms:
                room.latencies_s.clear()
            before, started = self._spent(), time.perf_counter()
            self._turn_until(started + seconds)
            after, elapsed = self._spent(), time.perf_counter() - started
            latencies = [latency for room in rooms for latency in room.latencies_s]
            for room in rooms:
                room.stop()
            self._drain()
        percentiles = quantiles(latencies, n=100, method="inclusive")
        deliveries, server_s, generator_s = (late - early for early, late in zip(before, after, strict=True))
        return Measured(
            deliveries_per_s=deliveries / elapsed,
            messages_per_s=len(latencies) / elapsed,
            p50_s=percentiles[49],
            p99_s=percentiles[98],
            server_busy=server_s / elapsed,
            generator_busy=generator_s / elapsed,
        )

    def _spent(self) -> tuple[int, float, float]:
        """The deliveries so far, and the processor time that they took the server and this process."""
        return self._deliveries, cpu_seconds(self._server_process), time.process_time()

    def _turn_until(self, end: float) -> None:
        poll, sockets, buffer, now = self._poll.poll, self._sockets, self._buffer, time.perf_counter
        deliveries = 0
        while (remaining := end - now()) > 0:
            for number, _ in poll(remaining):
                opened = sockets[number]
                if news := opened.count(buffer, self._receive(opened)):
                    deliveries += news
                    opened.room.advance(opened.reached, news)
        self._deliveries += deliveries

    def _drain(self) -> None:
        """Wait until all that was sent has come, and see that nothing else did."""
        deadline = time.perf_counter() + DRAIN_TIMEOUT_S
        while any(room.everywhere < room.sent for room in self._rooms.values()):
            if time.perf_counter() > deadline:
                raise TimeoutError("messages were lost")
            self._turn_until(time.perf_counter() + 0.02)
        self._turn_until(time.perf_counter() + QUIET_S)
        for room in self._rooms.values():
            assert {member.reached for member in room.sockets} == {room.sent}, "messages came twice"

    def _receive(self, opened: Socket) -> int:
        size = opened.receive_into(self._buffer)
        if not size:
            raise ConnectionError("the server has closed a socket")
        return size

    def _ask(self, place: Place) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self._port), timeout=HANDSHAKE_TIMEOUT_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(
            (
                f"GET /ws/chat/room/{place.course}/ HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n"
                f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                f"Sec-WebSocket-Key: {b64encode(os.urandom(16)).decode()}\r\n"
                f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\nCookie: {place.cookie}\r\n\r\n"
            ).encode()
        )
        return connection


def _read_handshake(connection: socket.socket) -> None:
    """Read the answer to the handshake, whole; what follows it has no mark and may be read with it."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        data = connection.recv(READ_BYTES)
        if not data:
            break
        answer += data
    if not answer.startswith(b"HTTP/1.1 101 "):
        raise ConnectionRefusedError(answer.partition(b"\r\n")[0].decode(errors="replace"))


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()

"""How long other users wait for their acks while one user attacks the server, and how long without an attack."""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import asynccontextmanager, suppress
from itertools import count, cycle, islice, repeat
from multiprocessing import get_context
from time import perf_counter
from typing import NamedTuple

import aiohttp

from benchmarks.deployment import SMALL_COURSE_STUDENTS, SMALL_COURSES, STUDENTS, Deployment, large_course, serve
from benchmarks.growth import fill
from benchmarks.load import Load, Run, open_load
from benchmarks.measures import Effort, Section
from benchmarks.report import milliseconds, spread, table
from educa_chat.people.own_accounts import SIGN_IN_PATH
from educa_chat.people.passwords import make_password
from educa_chat.protocol import SUBPROTOCOL
from educa_chat.storage.log import Log
from educa_chat.storage.pool import Database

ROOMS = 8
PLAIN_PER_SECOND, MARKUP_PER_SECOND = 32.0, 8.0
"""How many messages the other users send, in ROOMS rooms for each. The attacker is in a room with plain messages."""
WARM_UP_S = 0.6
"""Longer than the load's warm-up, so that the whole attack is measured."""
PROBE_EVERY_S, PROBE_TIMEOUT_S = 0.05, 30.0
NICENESS = 10
"""The attacker shares a core with the load, and must not delay the measurement itself."""
SOCKETS, REQUESTS, SIGN_INS = 20, 10, 30
"""How many sockets and requests the attacker has open at a time."""
TURNS = 10_000
"""The bound of every loop of an attack. The time limit ends it much earlier."""
HISTORY = 1_000
PASSWORD = "correct horse battery staple"


class Attacker(NamedTuple):
    """A student, and the rooms that they attack: others write in the first one, and the last one has a long history."""

    port: int
    username: str
    cookie: str
    rooms: Sequence[int]
    closed_room: int
    """The attacker is also muted in it."""


class Measured(NamedTuple):
    plain: Run
    markup: Run
    slowest_probe_s: float
    """The response time of `/health/live`."""


FIGURES: dict[str, Callable[[Measured], float]] = {
    "p50, ms": lambda measured: measured.plain.p50_s,
    "p99, ms": lambda measured: measured.plain.p99_s,
    "max, ms": lambda measured: measured.plain.max_s,
    "p99 with markup, ms": lambda measured: measured.markup.p99_s,
    "slowest `/health/live`, ms": lambda measured: measured.slowest_probe_s,
}


async def hostile(deployment: Deployment, effort: Effort) -> Section:
    """Measure the acks of others during each attack, after a run without an attack on the same new node."""
    await _prepare(deployment.database)
    seconds = effort.paced_s / 2
    results: dict[str, list[tuple[Measured, Measured]]] = {name: [] for name in ATTACKS}
    small_rooms = deployment.clients(SMALL_COURSES, 1)
    # Another student for each attack, because the server remembers how much a user was refused.
    students = count(STUDENTS, -1)
    with ProcessPoolExecutor(1, get_context("spawn"), os.nice, (NICENESS,)) as executor:
        for name in list(ATTACKS) * effort.runs:
            with (
                serve(deployment, limits={}) as node,
                open_load(node.process_ids) as plain,
                open_load(node.process_ids, fill="*x* ") as markup,
            ):
                plain.open(node.port, [*deployment.clients(1, 1), *small_rooms[1:ROOMS]])
                markup.open(node.port, small_rooms[ROOMS : 2 * ROOMS])
                markup.paced(MARKUP_PER_SECOND, 1.0)  # The first texts with markup start the renderers.
                attacker = _attacker(deployment, next(students), node.port)
                calm = await _measure((plain, markup), seconds, executor, None, attacker)
                results[name].append((await _measure((plain, markup), seconds, executor, name, attacker), calm))

    def cells(pairs: Sequence[tuple[Measured, Measured]]) -> Iterator[str]:
        for figure in FIGURES.values():
            for measured in zip(*pairs, strict=True):
                yield spread(map(figure, measured), milliseconds)

    headings = ["attack", *(cell for heading in FIGURES for cell in (heading, "without"))]
    rate = f"{PLAIN_PER_SECOND:g} plain messages a second in {ROOMS} rooms, {MARKUP_PER_SECOND:g} with markup in others"
    return Section(f"{rate}:\n\n{table(headings, ([name, *cells(pairs)] for name, pairs in results.items()))}")


async def _measure(
    loads: tuple[Load, Load], seconds: float, executor: Executor, attack: str | None, attacker: Attacker
) -> Measured:
    """Measure the others for `seconds`, during the attack of this name or without any."""
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(executor, _attack, None, attacker, 0)  # The attacker's process starts now, not later.
    for load, per_second in zip(loads, (PLAIN_PER_SECOND, MARKUP_PER_SECOND), strict=True):
        load.start_paced(per_second, seconds, done="acks")
    await asyncio.sleep(WARM_UP_S)
    _, plain, markup, slowest_probe_s = await asyncio.gather(
        loop.run_in_executor(executor, _attack, attack, attacker, seconds),
        asyncio.to_thread(loads[0].finish_paced),
        asyncio.to_thread(loads[1].finish_paced),
        _slowest_probe(attacker.port, seconds),
    )
    return Measured(plain.check(), markup.check(), slowest_probe_s)


async def _slowest_probe(port: int, seconds: float) -> float:
    """Request `/health/live` for `seconds`, and return the time of the slowest response."""
    slowest_s, end = 0.0, perf_counter() + seconds
    timeout = aiohttp.ClientTimeout(PROBE_TIMEOUT_S)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True), timeout=timeout) as http:
        while (started := perf_counter()) < end:
            async with http.get(f"http://127.0.0.1:{port}/health/live") as answer:
                assert answer.status == 200
            slowest_s = max(slowest_s, perf_counter() - started)
            await asyncio.sleep(PROBE_EVERY_S)
    return slowest_s


async def _prepare(database: Database) -> None:
    """Add passwords, a room with long messages, and closed rooms in which everyone is muted."""
    await database.execute("update auth_user set password = $1", make_password(PASSWORD))
    await database.execute(
        "update educa_chat.session s set password_digest = sha256(convert_to(u.password, 'utf8'))"
        " from auth_user u where u.id = s.user_id"
    )
    closed = [large_course(1) + 1 + number for number in range(SMALL_COURSES)]
    for course in (large_course(1), *closed):
        await Log(database).open_room(course)
    await fill(database, large_course(1), HISTORY, "So much to say. " * 250)
    await database.execute("update educa_chat.room set closed = true where course = any($1)", closed)
    await database.execute(
        "insert into educa_chat.mute (course, user_id, until) select course_id, user_id, now() + '1 day'"
        " from courses_course_students where course_id = any($1)",
        closed,
    )


def _attacker(deployment: Deployment, student: int, port: int) -> Attacker:
    small = 1 + (student - 1) // SMALL_COURSE_STUDENTS
    rooms = (large_course(0), large_course(0) + small, large_course(1))
    return Attacker(port, f"student{student}", deployment.cookies[student - 1], rooms, large_course(1) + small)


# The attacker, in a separate process.


def _attack(name: str | None, attacker: Attacker, seconds: float) -> None:
    async def run(attack: Callable[[Attacker], Awaitable[None]]) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(attack(attacker), seconds)

    if name is not None:
        asyncio.run(run(ATTACKS[name]))


async def _flood(attacker: Attacker, rooms: Sequence[int], payloads: Iterable[bytes], *, stays: bool = True) -> None:
    """Send on all sockets as fast as the server reads. Open another socket when the server closes one, or at once."""
    remaining = iter(payloads)

    async def flood(room: int) -> None:
        for _ in range(TURNS):
            with suppress(OSError, EOFError):
                async with _open_socket(attacker, room) as (reading, writer):
                    while stays and not reading.done() and (payload := next(remaining, None)) is not None:
                        writer.write(payload)
                        await writer.drain()
                        await asyncio.sleep(0)
                    if stays:
                        await reading

    await asyncio.gather(*map(flood, islice(cycle(rooms), SOCKETS)))


@asynccontextmanager
async def _open_socket(attacker: Attacker, room: int) -> AsyncIterator[tuple[asyncio.Task[None], asyncio.StreamWriter]]:
    """Open a socket. Return a task that reads to its end, and its writer. Raises OSError or EOFError if the server
    refuses it.
    """

    async def read() -> None:
        with suppress(OSError):
            await reader.read()

    reader, writer = await asyncio.open_connection("127.0.0.1", attacker.port)
    try:
        writer.write(
            f"GET /ws/chat/room/{room}/ HTTP/1.1\r\nHost: 127.0.0.1:{attacker.port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\nCookie: {attacker.cookie}\r\n\r\n".encode()
        )
        if b" 101 " not in await reader.readuntil(b"\r\n\r\n"):
            raise ConnectionRefusedError
        reading = asyncio.create_task(read())
        yield reading, writer
        reading.cancel()
    finally:
        writer.transport.abort()


async def _request(attacker: Attacker, path: str) -> None:
    async def request() -> None:
        for _ in range(TURNS):
            async with http.get(path.format(attacker.rooms[-1])) as answer:
                await answer.read()

    async with aiohttp.ClientSession(f"http://127.0.0.1:{attacker.port}", headers={"Cookie": attacker.cookie}) as http:
        await asyncio.gather(*(request() for _ in range(REQUESTS)))


async def _sign_in(attacker: Attacker) -> None:
    async def sign_in() -> None:
        async with http.post(SIGN_IN_PATH, data=form, headers=headers, allow_redirects=False) as answer:
            await answer.read()

    cookies = aiohttp.DummyCookieJar()  # Otherwise, the first sign-in would invalidate the form's token.
    async with aiohttp.ClientSession(f"http://127.0.0.1:{attacker.port}", cookie_jar=cookies) as http:
        async with http.get(SIGN_IN_PATH) as answer:
            [token] = re.findall(r'name="csrf_token" value="([^"]+)"', await answer.text())
            headers = {"Cookie": "; ".join(f"{name}={cookie.value}" for name, cookie in answer.cookies.items())}
        form = {"csrf_token": token, "username": attacker.username, "password": PASSWORD}
        for _ in range(TURNS):
            await asyncio.gather(*(sign_in() for _ in range(SIGN_INS)))


def _frame(payload: bytes, first: int = 0x81) -> bytes:
    """Return a client's frame with a mask of zeros, which costs the attacker nothing and the server as much as any
    other.
    """
    length = len(payload)
    head = bytes((first, 0x80 | length)) if length < 126 else bytes((first, 0xFE)) + length.to_bytes(2, "big")
    return head + bytes(4) + payload


def _messages(text: str, number: int = TURNS) -> Iterator[bytes]:
    """Return `number` messages, six at a time."""
    commands = ({"type": "message", "id": f"hostile-{id}", "message": text} for id in range(number))
    frames = (_frame(json.dumps(command).encode()) for command in commands)
    while batch := b"".join(islice(frames, 6)):
        yield batch


def _fragments(payload: bytes) -> bytes:
    middle = b"".join(_frame(bytes((byte,)), 0x00) for byte in payload[1:-1])
    return _frame(payload[:1], 0x01) + middle + _frame(payload[-1:], 0x80)


CARRIAGE_RETURNS = "```c++\n" + "\r" * 1985 + "\n```"
CONSOLE = "```pycon\n" + ": " * 995 + "\n```"
SIGNALS = _frame(b'{"type":"typing"}') + _frame(b'{"type":"read","seq":1}')
REFUSED = _frame(b"{") + _frame(b'{"type":"pin","id":"1","target":1,"on":true}') + _frame(b"", 0x89)
SPACES = b'{"type":"typing"' + b" " * 65_000 + b"}"
OBJECTS = _frame(b'{"type":"typing","x":[' + b",".join([b"{}"] * 21_000) + b"]}")

ATTACKS: dict[str, Callable[[Attacker], Awaitable[None]]] = {
    "113 messages of C++ with 1,985 CRs": lambda a: _flood(a, a.rooms, _messages(CARRIAGE_RETURNS, 113)),
    "slow `pycon` messages": lambda a: _flood(a, a.rooms, _messages(CONSOLE)),
    "the same, muted in a closed room": lambda a: _flood(a, [a.closed_room], _messages(CONSOLE)),
    "4,000 `typing` and `read` in one write": lambda a: _flood(a, a.rooms, repeat(SIGNALS * 2_000, TURNS)),
    "4,500 refused commands and pings in one write": lambda a: _flood(a, a.rooms, repeat(REFUSED * 1_500, TURNS)),
    "64 KiB in fragments of one byte": lambda a: _flood(a, a.rooms, repeat(_fragments(SPACES), TURNS)),
    "21,000 objects in an unknown field": lambda a: _flood(a, a.rooms, repeat(OBJECTS, TURNS)),
    "10 requests for 200 messages at a time": lambda a: _request(a, "/chat/api/rooms/{}/messages?limit=200"),
    "10 requests to `/health/ready` at a time": lambda a: _request(a, "/health/ready"),
    "10 requests for a room's page at a time": lambda a: _request(a, "/chat/room/{}/"),
    "30 sign-ins at a time": _sign_in,
    "sockets opened and closed": lambda a: _flood(a, a.rooms, (), stays=False),
}

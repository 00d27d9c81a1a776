"""Hundreds of joins in a real process: all are accepted, others can keep chatting, and no memory is leaked."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count

import psutil
import pytest

from educa_chat.storage.pool import open_database
from tests.conftest import Postgres
from tests.processes import Process, open_node
from tests.raw_socket import CLOSE, FIN, frame, open_raw
from tests.serving import Chatter, Person, add_room

PEOPLE = 10
JOINS = 300
WARM_UP_JOINS = 100
AT_ONCE = 30
GROWTH_BYTES = 5 * 2**20
"""The allowed growth of a process over JOINS: less than 18 KB each."""


async def join_and_leave(person: Person, course: int) -> None:
    async with open_raw(person, course) as raw:
        await raw.send(frame(FIN | CLOSE, (1000).to_bytes(2, "big")))
        assert await raw.close_code() == 1000


async def join_often(people: list[Person], course: int, joins: int) -> None:
    """Join and leave `joins` times, AT_ONCE at a time."""
    numbers = iter(range(joins))

    async def work() -> None:
        for number in numbers:
            await join_and_leave(people[number % len(people)], course)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())


@asynccontextmanager
async def talking(here: Chatter, there: Chatter) -> AsyncIterator[list[str]]:
    """Let two users chat in their room. Return the messages received so far."""
    heard: list[str] = []

    async def talk() -> None:
        for number in count():
            await here.say("and you?", str(number))
            await here.receive_until("ack", id=str(number))
            heard.append((await there.receive_until("chat_message", id=str(number)))["id"])

    task = asyncio.create_task(talk())
    try:
        yield heard
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def open_sockets(person: Person) -> float:
    _, metrics, _ = await person.get("/metrics")
    return next(float(line.split()[1]) for line in metrics.splitlines() if line.startswith("educa_chat_sockets "))


@pytest.fixture
async def node(postgres: Postgres) -> AsyncIterator[tuple[Process, int, list[str]]]:
    """A process, a room in it, and the room's users."""
    url = await postgres.create_chat_database(demo=True)
    async with open_database(url, 1) as database:
        course, usernames = await add_room(database, PEOPLE)
    async with open_node(url, limits_messages_per_second=0) as process:
        yield process, course, usernames


async def test_hundreds_of_joins_leak_nothing_and_do_not_delay_others(node: tuple[Process, int, list[str]]) -> None:
    process, course, usernames = node
    async with AsyncExitStack() as stack:
        ana, luis, *people = [
            await stack.enter_async_context(Person(process.url, username)) for username in ("ana", "luis", *usernames)
        ]
        here, there = await ana.enter(), await luis.enter()
        memory = psutil.Process(process.pid)
        await join_often(people, course, WARM_UP_JOINS)
        before = memory.memory_info().rss
        async with talking(here, there) as heard:
            await join_often(people, course, JOINS)
        assert len(heard) > 10
        async with asyncio.timeout(30):
            while await open_sockets(ana) > 2:
                await asyncio.sleep(0.05)
        assert memory.memory_info().rss - before < GROWTH_BYTES
    assert "Traceback" not in process.output
    assert process.output.count("the socket is open") == WARM_UP_JOINS + JOINS + 2

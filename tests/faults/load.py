"""Users who keep posting whatever happens, and the checks on a room afterwards."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp

from educa_chat.storage.log import APPEND_TIMEOUT_S
from educa_chat.storage.pool import Database, open_database
from tests.faults.impatient import PATIENCE_S
from tests.faults.proof import read_log
from tests.postgres_server import PostgresServer
from tests.processes import Process
from tests.serving import Chatter, Person, add_room

ANSWER_TIMEOUT_S = 20.0
PAUSE_S = 0.05
RETRY_PAUSE_S = 0.2
TALK_PAUSE_S = 0.1
WRITERS = 4
LONGEST_WAIT_S = PATIENCE_S + APPEND_TIMEOUT_S + 1.0
"""A command that waits for PATIENCE_S may wait for one more append."""


class Talker:
    """A user in a room who sends one message after the other, each repeatedly with the same id until it is
    acknowledged.
    """

    def __init__(self, socket: Chatter, name: str) -> None:
        self.name = name
        self.events: list[dict[str, Any]] = []
        self.acked: dict[str, tuple[int, str]] = {}
        self.unavailable = 0
        self.longest_wait_s = 0.0
        self.close_code: int | None = None
        self._socket = socket
        self._answers: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for frame in self._socket.socket:
            assert frame.type is aiohttp.WSMsgType.TEXT
            decoded = json.loads(frame.data)
            if decoded["type"] in ("ack", "error"):
                self._answers.pop(decoded["id"]).set_result(decoded)
            elif "seq" in decoded:
                self.events.append(decoded)
        self.close_code = self._socket.socket.close_code

    async def ask(self, id: str) -> dict[str, Any]:
        """Send a message with `id`, and return the answer: an ack or an error."""
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[id] = answer
        begun = time.monotonic()
        await self._socket.say(f"{self.name} says {id}", id=id)
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            frame = await answer
        self.longest_wait_s = max(self.longest_wait_s, time.monotonic() - begun)
        return frame

    async def say(self, id: str) -> None:
        """Send a message with `id` until it is acknowledged. The only allowed error is `unavailable`."""
        while (frame := await self.ask(id))["type"] != "ack":
            assert frame["code"] == "unavailable", frame
            self.unavailable += 1
            await asyncio.sleep(RETRY_PAUSE_S)
        self.acked[id] = frame["seq"], frame["datetime"]

    async def talk(self, enough: asyncio.Event) -> None:
        """Continue until stopped."""
        for number in itertools.count():
            if enough.is_set():
                break
            await self.say(f"{self.name}-{number}")
            await asyncio.sleep(TALK_PAUSE_S)

    async def has_seen(self, seq: int) -> None:
        """Wait until the event `seq` has arrived."""
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            while not self.events or self.events[-1]["seq"] < seq:
                assert not self._listening.done(), self.close_code
                await asyncio.sleep(PAUSE_S)

    async def leave(self) -> None:
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)


@asynccontextmanager
async def talkers(urls: Sequence[str], course: int, usernames: Sequence[str]) -> AsyncIterator[list[Talker]]:
    """Connect `usernames` to `course`, alternating between the nodes at `urls`."""
    async with AsyncExitStack() as stack:
        people = []
        for number, username in enumerate(usernames):
            person = await stack.enter_async_context(Person(urls[number % len(urls)], username))
            talker = Talker(await person.enter(course), username)
            stack.push_async_callback(talker.leave)
            people.append(talker)
        yield people


@asynccontextmanager
async def talking(people: Sequence[Talker]) -> AsyncIterator[None]:
    """Let all of `people` post while the context lasts, and a little longer: each gets another ack before and after."""
    enough = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for talker in people:
            group.create_task(talker.talk(enough))
        async with asyncio.timeout(2 * ANSWER_TIMEOUT_S):
            await more_acks(people, 2)
        yield
        async with asyncio.timeout(2 * ANSWER_TIMEOUT_S):
            await more_acks(people, 2)
        enough.set()


async def more_acks(people: Sequence[Talker], count: int) -> None:
    """Wait until each of `people` has received `count` more acks."""
    goals = [len(talker.acked) + count for talker in people]
    while any(len(talker.acked) < goal for talker, goal in zip(people, goals, strict=True)):
        await asyncio.sleep(PAUSE_S)


async def refused(people: Sequence[Talker]) -> None:
    """Wait until a message of each of `people` has been refused as `unavailable`."""
    async with asyncio.timeout(2 * ANSWER_TIMEOUT_S):
        while not all(talker.unavailable for talker in people):
            await asyncio.sleep(PAUSE_S)


Fault = Callable[[PostgresServer, Sequence[Talker]], Awaitable[None]]
"""Causes a fault in a server that some people depend on, and ends it again."""


async def check_room(database: Database, course: int, people: Sequence[Talker]) -> None:
    """Check every promise: stored once at the acknowledged seq, no gap, no time going backwards, and seen by all in one
    order.
    """
    log = await read_log(database, course)
    stored = {event["id"]: (event["seq"], event["datetime"]) for event in log}
    acked = {id: answer for talker in people for id, answer in talker.acked.items()}
    assert acked == {id: stored.get(id) for id in acked}, "an ack that the log knows nothing of"
    assert stored.keys() == acked.keys(), "something that nobody said"
    for talker in people:
        seqs = [seq for seq, _ in talker.acked.values()]
        assert seqs == sorted(seqs), "acked in another order than stored"
        await talker.has_seen(len(log))
        assert talker.close_code is None
        assert talker.events == log, talker.name


async def check_fault(fault: Fault, postgres: PostgresServer, nodes: Sequence[Process]) -> None:
    """Let users post on `nodes` during `fault` in `postgres`, and check every promise afterwards."""
    async with open_database(postgres.url, 2) as database:
        course, usernames = await add_room(database, WRITERS)
        async with talkers([node.url for node in nodes], course, usernames) as people:
            async with talking(people):
                await fault(postgres, people)
            await check_room(database, course, people)
            waits = [talker.longest_wait_s for talker in people]
            assert max(waits) < LONGEST_WAIT_S
    for node in nodes:
        assert "Traceback" not in node.output, node.output

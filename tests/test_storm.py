"""A reconnect storm: a node is lost, and its users reconnect to a node where none of their rooms is open."""

import asyncio
import random
import re
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack
from urllib.parse import quote

import pytest

from educa_chat.handlers.keys import DATABASE
from educa_chat.people.own import OwnIdentity
from educa_chat.storage.sessions import Visitor
from tests.conftest import Postgres
from tests.serving import Chatter, Person, Server, add_person, add_room, open_server, settings_for

ROOMS = 5
SOCKETS = 100
HEAD = 40


@pytest.fixture
async def database_url(postgres: Postgres) -> str:
    return await postgres.create_chat_database(demo=True)


@pytest.fixture
async def server(database_url: str) -> AsyncIterator[Server]:
    async with open_server(settings_for(database_url, limits_sockets_per_user=0)) as opened:
        yield opened


async def log_reads(person: Person) -> dict[str, int]:
    """Return the number of the server's log reads, by reason."""
    _, exposed, _ = await person.get("/metrics")
    found = re.findall(r'^educa_chat_log_reads_total\{purpose="(\w+)"\} (\d+)', exposed, re.MULTILINE)
    return {purpose: int(count) for purpose, count in found}


async def test_a_reconnect_storm_costs_one_replay_per_room_and_few_user_queries(
    database_url: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = server.app[DATABASE]
    teacher = await add_person(database, is_superuser=True)
    async with AsyncExitStack() as stack:
        courses = [(await add_room(database, 0))[0] for _ in range(ROOMS)]
        times: dict[int, list[str]] = {}
        async with (
            open_server(settings_for(database_url, limits_messages_per_second=0)) as lost,
            Person(lost.url, teacher) as person,
        ):
            for course in courses:
                socket = await person.enter(course)
                for number in range(HEAD):
                    await socket.say(f"{number}", id=f"{number}")
                times[course] = [event["datetime"] for event in await socket.events(HEAD)]
        returning = await stack.enter_async_context(Person(server.url, teacher))
        before = await log_reads(returning)
        questions = 0
        ask = OwnIdentity.visitors

        async def count(identity: OwnIdentity, session_ids: Collection[str]) -> list[Visitor]:
            nonlocal questions
            questions += 1
            return await ask(identity, session_ids)

        monkeypatch.setattr(OwnIdentity, "visitors", count)

        async def come_back(course: int, after: int) -> Chatter:
            at = quote(times[course][after - 1])
            return await returning.enter(course, query=f"?after={after}&at={at}")

        afters = [(course, random.randrange(1, HEAD)) for course in courses * (SOCKETS // ROOMS)]
        sockets = await asyncio.gather(*(come_back(*one) for one in afters))
        for (_, after), chatter in zip(afters, sockets, strict=True):
            assert [event["seq"] for event in await chatter.events(HEAD - after)] == list(range(after + 1, HEAD + 1))
        now = await log_reads(returning)
        assert now["replay"] - before["replay"] == ROOMS
        # The read by a room after subscribing to the bus, which only checks the head.
        assert now["catch_up"] - before["catch_up"] == ROOMS
        assert questions < SOCKETS

"""The promises that must hold after recovery, checked against the log in the database."""

import asyncio
import itertools
import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from educa_chat.storage.log import Log
from educa_chat.storage.pool import Database, open_database
from tests.faults.client import Client
from tests.faults.cluster import Cluster

LEVEL_TIMEOUT_S = 60.0


class Account(NamedTuple):
    """The amount of data that was checked."""

    acked: int
    seen: int
    resets: int
    connections: int


async def prove(cluster: Cluster, clients: Sequence[Client]) -> Account:
    """Wait until all clients are up to date, and raise AssertionError for any broken promise."""
    for client in clients:
        client.is_talking = False
    history = await _level(cluster, clients)
    for client in clients:
        assert not client.contradictions, (client.username, client.contradictions)
        log = history[client.course]
        _prove_acks(client, log)
        _prove_stream(client, log)
    for line in cluster.output().splitlines():
        assert "Traceback" not in line and " CRITICAL " not in line, cluster.output()
    return Account(
        sum(len(client.acks) for client in clients),
        sum(len(client.events) for client in clients),
        sum(len(client.resets) - 1 for client in clients),
        sum(len(client.closes) + 1 for client in clients),
    )


async def read_log(database: Database, course: int) -> list[dict[str, Any]]:
    """Return the log of a room with only messages. Check that it is complete, without duplicates, and consistent with
    the other tables.
    """
    count = await database.fetchval("select count(*) from educa_chat.event where course = $1", course)
    log = [json.loads(event.student) for event in await Log(database).read(course, 0, count)]
    assert [event["seq"] for event in log] == list(range(1, len(log) + 1)), f"room {course} has a hole"
    assert all(one["datetime"] <= two["datetime"] for one, two in itertools.pairwise(log)), "time runs backwards"
    assert len({event["id"] for event in log}) == len(log), f"room {course} has something twice"
    if log:
        assert await database.fetchval("select head from educa_chat.room where course = $1", course) == len(log)
    assert await database.fetchval("select count(*) from educa_chat.message where course = $1", course) == len(log)
    return log


async def _level(cluster: Cluster, clients: Sequence[Client]) -> dict[int, list[dict[str, Any]]]:
    """Return the log of each course once every client has seen all of it and has no unanswered commands."""
    async with open_database(cluster.postgres.url, 2) as database:
        with suppress(TimeoutError):
            async with asyncio.timeout(LEVEL_TIMEOUT_S):
                while not all(client.is_level for client in clients):
                    await asyncio.sleep(0.05)
        history = {course: await read_log(database, course) for course in cluster.courses}
        with suppress(TimeoutError):
            async with asyncio.timeout(LEVEL_TIMEOUT_S):
                while any(client.head < len(history[client.course]) for client in clients):
                    await asyncio.sleep(0.05)
    for client in clients:
        assert client.is_level, f"{client.username} is owed an answer, or can't come back\n{cluster.output()[-8000:]}"
        assert client.head == len(history[client.course]), (client.username, client.head, cluster.output()[-8000:])
    return history


def _prove_acks(client: Client, log: list[dict[str, Any]]) -> None:
    """Check that every acknowledged command is in the log once, at the acknowledged seq."""
    for id, (seq, datetime) in client.acks.items():
        assert seq <= len(log), f"{id} was acked and is lost"
        event = log[seq - 1]
        assert (event["id"], event["user"], event["datetime"]) == (id, client.username, datetime), id


def _prove_stream(client: Client, log: list[dict[str, Any]]) -> None:
    """Check that the client saw exactly the events of its room, once and in order, or received a `reset`."""
    resets = [*client.resets, (len(client.events), None)]
    for (start, after), (end, _) in itertools.pairwise(resets):
        assert after is not None
        seen = client.events[start:end]
        for number, (one, other) in enumerate(itertools.zip_longest(seen, log[after : after + len(seen)])):
            assert one == other, f"{client.username}, {number} behind {after}: {_around(seen, number)}"


def _around(events: list[dict[str, Any]], number: int) -> list[int]:
    return [event["seq"] for event in events[max(0, number - 3) : number + 4]]

"""Postgres under fire: whatever happens to it while people write, what is acked is stored once and seen by all."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from educa_chat.storage.pool import open_database
from tests.faults.load import check_room, talkers, talking
from tests.postgres_server import PostgresServer
from tests.processes import Process, open_node
from tests.redis_server import RedisServer
from tests.serving import add_room

WRITERS = 8
LONGEST_WAIT_S = 8.0
"""PATIENCE_S and one append more."""


@pytest.fixture
async def nodes(own_postgres: PostgresServer, redis_server: RedisServer) -> AsyncIterator[tuple[Process, Process]]:
    settings = {"limits_messages_per_second": 0}
    async with (
        open_node(own_postgres.url, redis_server.url, **settings) as one,
        open_node(own_postgres.url, redis_server.url, **settings) as two,
    ):
        yield one, two


async def restart(postgres: PostgresServer) -> None:
    await asyncio.to_thread(postgres.stop)
    await asyncio.to_thread(postgres.start)


async def stay_away(postgres: PostgresServer) -> None:
    await asyncio.to_thread(postgres.stop)
    await asyncio.sleep(6.0)
    await asyncio.to_thread(postgres.start)


async def restart_at_once(postgres: PostgresServer) -> None:
    await asyncio.to_thread(postgres.stop, "immediate")
    await asyncio.to_thread(postgres.start)


async def crash(postgres: PostgresServer) -> None:
    await asyncio.to_thread(postgres.kill)
    await asyncio.to_thread(postgres.start)


async def crash_again_and_again(postgres: PostgresServer) -> None:
    for _ in range(4):
        await crash(postgres)
        await asyncio.sleep(0.3)


async def cut_again_and_again(postgres: PostgresServer) -> None:
    for _ in range(60):
        await postgres.terminate_connections()
        await asyncio.sleep(0.05)


async def pause(postgres: PostgresServer) -> None:
    postgres.freeze()
    await asyncio.sleep(6.0)
    postgres.thaw()


@pytest.mark.parametrize(
    "fault",
    [restart, stay_away, restart_at_once, crash, crash_again_and_again, cut_again_and_again, pause],
    ids=lambda fault: fault.__name__,
)
async def test_what_is_acked_is_stored_once_in_order_and_seen_by_all(
    own_postgres: PostgresServer,
    nodes: tuple[Process, Process],
    fault: Callable[[PostgresServer], Awaitable[None]],
) -> None:
    async with open_database(own_postgres.url, 2) as database:
        course, usernames = await add_room(database, WRITERS)
        async with talkers([node.url for node in nodes], course, usernames) as people:
            async with talking(people):
                await fault(own_postgres)
            await check_room(database, course, people)
            waits = [talker.longest_wait_s for talker in people]
            assert max(waits) < LONGEST_WAIT_S
    for node in nodes:
        assert "Traceback" not in node.output, node.output

"""Postgres refuses requests, or a lock prevents writes: acknowledged messages are stored once and seen by all."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress

import asyncpg
import pytest

from educa_chat.storage.log import APPEND_TIMEOUT_S, PATIENCE_S
from educa_chat.storage.pool import open_database
from tests.faults.load import (
    ANSWER_TIMEOUT_S,
    PAUSE_S,
    WRITERS,
    Fault,
    Talker,
    check_fault,
    check_room,
    more_acks,
    refused,
    talkers,
    talking,
)
from tests.postgres_server import PostgresServer
from tests.processes import Process, open_node
from tests.redis_server import RedisServer
from tests.serving import add_room

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def time_out_every_read(postgres: PostgresServer, people: Sequence[Talker]) -> None:
    """Messages are still stored, because appends have their own time limit."""
    await postgres.execute("alter role postgres set statement_timeout = '1ms'")
    await postgres.terminate_connections()
    async with asyncio.timeout(ANSWER_TIMEOUT_S):
        await more_acks(people, 10)
    await postgres.execute("alter role postgres reset statement_timeout")
    await postgres.terminate_connections()


async def refuse_connections(postgres: PostgresServer, people: Sequence[Talker]) -> None:
    """All connections of the server are taken: 'sorry, too many clients already'."""
    await postgres.execute("alter system set max_connections = 20")
    await asyncio.to_thread(postgres.restart)
    # Now, while a connection is free. It takes effect with the next start.
    await postgres.execute("alter system reset max_connections")
    taken = []
    async with asyncio.timeout(2 * ANSWER_TIMEOUT_S):
        while not all(talker.unavailable for talker in people):
            try:
                taken.append(await asyncpg.connect(postgres.url))
            except asyncpg.TooManyConnectionsError:
                with suppress(asyncpg.PostgresError, ValueError, IndexError):
                    # Including the nodes' own connections.
                    await taken[0].execute(
                        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'educa-chat'"
                    )
                await asyncio.sleep(PAUSE_S)
    for connection in taken:
        connection.terminate()
    await asyncio.to_thread(postgres.restart)


async def allow_reading_alone(postgres: PostgresServer, people: Sequence[Talker]) -> None:
    await postgres.execute("alter database postgres set default_transaction_read_only = on")
    await postgres.terminate_connections()
    await refused(people)
    await postgres.execute("alter database postgres reset default_transaction_read_only")
    await postgres.terminate_connections()


async def take_the_tables_away(postgres: PostgresServer, people: Sequence[Talker]) -> None:
    """The tables are missing, as while a backup is restored into the database that all nodes are connected to."""
    await postgres.execute("alter schema educa_chat rename to away")
    await refused(people)
    await postgres.execute("alter schema away rename to educa_chat")


@pytest.mark.parametrize(
    "fault",
    [
        time_out_every_read,
        refuse_connections,
        allow_reading_alone,
        take_the_tables_away,
    ],
    ids=lambda fault: fault.__name__,
)
async def test_acknowledged_messages_are_stored_once_in_order_and_seen_by_all(
    fault: Fault, module_postgres: PostgresServer, module_nodes: tuple[Process, Process]
) -> None:
    await check_fault(fault, module_postgres, module_nodes)


async def test_a_locked_room_delays_others_at_most_once_and_continues_when_unlocked(
    module_postgres: PostgresServer, redis_server: RedisServer
) -> None:
    """Locks are taken in the order of the rooms: waiting for one keeps the earlier ones locked."""
    async with open_database(module_postgres.url, 3) as database, AsyncExitStack() as stack:
        # Impatient nodes would refuse the neighbours, because they wait for less time than Postgres waits for a lock.
        nodes = [
            await stack.enter_async_context(
                open_node(module_postgres.url, redis_server.url, limits_messages_per_second=0)
            )
            for _ in range(2)
        ]
        urls = [node.url for node in nodes]
        rooms = [await add_room(database, WRITERS) for _ in range(3)]
        before, locked_out, behind = [
            await stack.enter_async_context(talkers(urls, course, usernames)) for course, usernames in rooms
        ]
        locked, _ = rooms[1]
        neighbours = [*before, *behind]
        async with talking([*locked_out, *neighbours]):
            async with database.connection() as connection, connection.transaction():
                await connection.execute("select from educa_chat.room where course = $1 for update", locked)
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    await more_acks(neighbours, 12)
                    await refused(locked_out)
        assert sum(talker.unavailable for talker in neighbours) == 0
        assert max(talker.longest_wait_s for talker in neighbours) < 5.0
        assert max(talker.longest_wait_s for talker in locked_out) < PATIENCE_S + APPEND_TIMEOUT_S + 1.0
        for (course, _), people in zip(rooms, (before, locked_out, behind), strict=True):
            await check_room(database, course, people)
    for node in nodes:
        assert "Traceback" not in node.output, node.output

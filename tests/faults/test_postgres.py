"""Postgres under fire: whatever happens to it while people write, what is acked is stored once and seen by all."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
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


async def time_out_every_statement(postgres: PostgresServer) -> None:
    await postgres.execute("alter role postgres set statement_timeout = '1ms'")
    await postgres.terminate_connections()
    await asyncio.sleep(6.0)
    await postgres.execute("alter role postgres reset statement_timeout")
    await postgres.terminate_connections()


async def refuse_connections(postgres: PostgresServer) -> None:
    """All connections that the server allows are taken: 'sorry, too many clients already'."""
    await postgres.execute("alter system set max_connections = 30")
    await restart(postgres)
    taken = []
    try:
        async with asyncio.timeout(6.0):
            while True:
                try:
                    taken.append(await asyncpg.connect(postgres.url))
                except asyncpg.TooManyConnectionsError:
                    with suppress(asyncpg.PostgresError, ValueError, IndexError):
                        # The nodes' own are taken as well.
                        await taken[0].execute(
                            "select pg_terminate_backend(pid) from pg_stat_activity"
                            " where application_name = 'educa-chat'"
                        )
                    await asyncio.sleep(0.02)
    except TimeoutError:
        pass
    for connection in taken:
        connection.terminate()


async def allow_reading_alone(postgres: PostgresServer) -> None:
    await postgres.execute("alter database postgres set default_transaction_read_only = on")
    await postgres.terminate_connections()
    await asyncio.sleep(6.0)
    await postgres.execute("alter database postgres reset default_transaction_read_only")
    await postgres.terminate_connections()


async def take_the_tables_away(postgres: PostgresServer) -> None:
    """As they are while a backup is restored into the database that everybody is connected to."""
    await postgres.execute("alter schema educa_chat rename to away")
    await asyncio.sleep(6.0)
    await postgres.execute("alter schema away rename to educa_chat")


@pytest.mark.parametrize(
    "fault",
    [
        restart,
        stay_away,
        restart_at_once,
        crash,
        crash_again_and_again,
        cut_again_and_again,
        pause,
        time_out_every_statement,
        refuse_connections,
        allow_reading_alone,
        take_the_tables_away,
    ],
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


@pytest.fixture
def small_disk(own_postgres: PostgresServer) -> Iterator[Path]:
    """A disk of 64 MiB that has the write-ahead log of `own_postgres` and nothing else."""
    disk = own_postgres.new_folder()
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "educa-chat-test", str(disk)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("a disk can't be mounted here")
    try:
        own_postgres.stop()
        wal = own_postgres.folder / "pg_wal"
        shutil.move(wal, disk / "wal")
        wal.symlink_to(disk / "wal")
        own_postgres.own(disk)
        own_postgres.start()
        yield disk
        own_postgres.kill()
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


async def test_a_full_disk_is_unavailable_and_what_was_acked_is_there_when_it_has_room_again(
    small_disk: Path, own_postgres: PostgresServer, nodes: tuple[Process, Process]
) -> None:
    async def panicked() -> None:
        while True:
            try:
                await own_postgres.execute("create table if not exists filler (x int); insert into filler values (1)")
                await own_postgres.execute("select pg_switch_wal()")
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                if "No space left on device" in own_postgres.log.read_text():
                    return
            await asyncio.sleep(0.05)

    async with open_database(own_postgres.url, 2) as database:
        course, usernames = await add_room(database, WRITERS)
        async with talkers([node.url for node in nodes], course, usernames) as people:
            async with talking(people):
                with suppress(OSError), (small_disk / "ballast").open("wb", buffering=0) as ballast:
                    while True:
                        ballast.write(bytes(65536))
                async with asyncio.timeout(30):
                    await panicked()
                async with asyncio.timeout(30):
                    while not all(talker.unavailable for talker in people):
                        await asyncio.sleep(0.05)
                (small_disk / "ballast").unlink()
                own_postgres.kill()
                await asyncio.to_thread(own_postgres.start)
            await check_room(database, course, people)
            assert max(talker.longest_wait_s for talker in people) < LONGEST_WAIT_S
    for node in nodes:
        assert "Traceback" not in node.output, node.output


@pytest.mark.parametrize("is_first", [True, False], ids=["before", "behind"])
async def test_a_locked_room_holds_the_others_up_once_and_goes_on_when_it_is_free(
    own_postgres: PostgresServer, nodes: tuple[Process, Process], is_first: bool
) -> None:
    """Locks are taken in the order of the rooms: one that is waited for keeps those before it locked."""
    urls = [node.url for node in nodes]
    async with open_database(own_postgres.url, 3) as database:
        rooms = [await add_room(database, WRITERS) for _ in range(2)]
        (locked, usernames), (free, others) = rooms if is_first else reversed(rooms)
        async with talkers(urls, locked, usernames[:2]) as locked_out, talkers(urls, free, others) as neighbours:
            async with talking([*locked_out, *neighbours]):
                async with database.connection() as connection, connection.transaction():
                    await connection.execute("select from educa_chat.room where course = $1 for update", locked)
                    started = [len(talker.acked) for talker in neighbours]
                    await asyncio.sleep(5.0)
                    acked = [len(talker.acked) - count for talker, count in zip(neighbours, started, strict=True)]
            assert min(acked) > 20, acked
            assert sum(talker.unavailable for talker in neighbours) == 0
            assert max(talker.longest_wait_s for talker in neighbours) < 5.0
            assert max(talker.longest_wait_s for talker in locked_out) < LONGEST_WAIT_S
            await check_room(database, locked, locked_out)
            await check_room(database, free, neighbours)
    for node in nodes:
        assert "Traceback" not in node.output, node.output


async def test_nothing_is_acked_that_a_synchronous_standby_lacks(
    own_postgres: PostgresServer, nodes: tuple[Process, Process]
) -> None:
    standby = await asyncio.to_thread(own_postgres.standby)
    try:
        await own_postgres.execute("alter system set synchronous_standby_names = '*'")
        # What others may do without is not for the log.
        await own_postgres.execute("alter system set synchronous_commit = 'local'")
        await own_postgres.execute("select pg_reload_conf()")
        async with open_database(own_postgres.url, 2) as database:
            course, usernames = await add_room(database, WRITERS)
            async with talkers([node.url for node in nodes], course, usernames) as people:
                async with talking(people):
                    standby.freeze()
                    await asyncio.sleep(1.0)
                    acked = [len(talker.acked) for talker in people]
                    await asyncio.sleep(10.0)
                    assert [len(talker.acked) for talker in people] == acked
                    standby.thaw()
                await check_room(database, course, people)
                assert max(talker.longest_wait_s for talker in people) < LONGEST_WAIT_S
    finally:
        standby.discard()
    for node in nodes:
        assert "Traceback" not in node.output, node.output

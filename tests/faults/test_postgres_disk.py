"""A full disk or a hanging standby of Postgres: acknowledged messages are stored once and seen by all."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest

from educa_chat.storage.pool import open_database
from tests.conftest import skip_without
from tests.faults.impatient import SCRIPT
from tests.faults.load import LONGEST_WAIT_S, WRITERS, check_room, refused, talkers, talking
from tests.postgres_server import PostgresServer
from tests.processes import Process, open_scripted_node
from tests.redis_server import RedisServer
from tests.serving import add_room


@pytest.fixture
async def nodes(own_postgres: PostgresServer, redis_server: RedisServer) -> AsyncIterator[tuple[Process, Process]]:
    settings = {"limits_messages_per_second": 0}
    async with (
        open_scripted_node(SCRIPT, own_postgres.url, redis_server.url, **settings) as one,
        open_scripted_node(SCRIPT, own_postgres.url, redis_server.url, **settings) as two,
    ):
        yield one, two


@pytest.fixture
def small_disk(own_postgres: PostgresServer) -> Iterator[Path]:
    """A disk of 64 MiB with only the write-ahead log of `own_postgres`."""
    disk = own_postgres.new_folder()
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "educa-chat-test", str(disk)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        skip_without("mount", "this user can't mount a disk")
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


async def test_a_full_disk_is_reported_as_unavailable_and_loses_no_acknowledged_message(
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
                await refused(people)
                (small_disk / "ballast").unlink()
                own_postgres.kill()
                await asyncio.to_thread(own_postgres.start)
            await check_room(database, course, people)
            assert max(talker.longest_wait_s for talker in people) < LONGEST_WAIT_S
    for node in nodes:
        assert "Traceback" not in node.output, node.output


async def test_messages_are_acknowledged_only_once_the_synchronous_standby_has_them(
    own_postgres: PostgresServer, nodes: tuple[Process, Process]
) -> None:
    standby = await asyncio.to_thread(own_postgres.standby)
    try:
        await own_postgres.execute("alter system set synchronous_standby_names = '*'")
        # Other transactions may skip the standby, but not the log's.
        await own_postgres.execute("alter system set synchronous_commit = 'local'")
        await own_postgres.execute("select pg_reload_conf()")
        async with open_database(own_postgres.url, 2) as database:
            course, usernames = await add_room(database, WRITERS)
            async with talkers([node.url for node in nodes], course, usernames) as people:
                async with talking(people):
                    standby.freeze()
                    acked = [len(talker.acked) for talker in people]
                    await refused(people)
                    for talker, before in zip(people, acked, strict=True):
                        # The standby may have had the message that was in progress.
                        assert len(talker.acked) <= before + 1
                    standby.thaw()
                await check_room(database, course, people)
                assert max(talker.longest_wait_s for talker in people) < LONGEST_WAIT_S
    finally:
        standby.discard()
    for node in nodes:
        assert "Traceback" not in node.output, node.output

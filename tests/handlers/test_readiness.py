"""Readiness checks: at most one a second, however many requests there are, and without leaving anything behind."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from educa_chat.handlers.keys import DATABASE
from educa_chat.handlers.readiness import FRESH_S, Readiness
from educa_chat.storage.pool import Database, open_database
from educa_chat.storage.writing import require_writable
from tests.conftest import Postgres
from tests.serving import Person, Server

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest_asyncio.fixture(loop_scope="module")
async def counted(postgres: Postgres) -> AsyncIterator[Database]:
    """A database that counts the changes that checks make in it."""
    async with open_database(await postgres.create_chat_database(), 5) as database:
        await count_checks(database)
        yield database


async def count_checks(database: Database) -> None:
    await database.execute("create sequence checks")
    await database.execute(
        "create function count_check() returns trigger language plpgsql as"
        " 'begin perform nextval(''checks''); return null; end'"
    )
    await database.execute(
        "create trigger count_check after update on educa_chat.schema_version execute function count_check()"
    )


async def checks(database: Database) -> int:
    return int(await database.fetchval("select case when is_called then last_value else 0 end from checks"))


async def test_requests_within_a_second_share_one_check(counted: Database) -> None:
    clock = Clock()
    readiness = Readiness(counted, clock)
    assert set(await asyncio.gather(*(readiness.database() for _ in range(100)))) == {"ok"}
    assert await checks(counted) == 1
    clock.now += FRESH_S / 2
    assert await readiness.database() == "ok"
    assert await checks(counted) == 1
    clock.now += FRESH_S / 2
    await asyncio.gather(*(readiness.database() for _ in range(100)))
    assert await checks(counted) == 2


async def test_a_cancelled_request_does_not_cancel_a_shared_check(counted: Database) -> None:
    readiness = Readiness(counted, Clock())
    impatient = asyncio.create_task(readiness.database())
    patient = asyncio.create_task(readiness.database())
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient == "ok"
    assert impatient.cancelled()
    assert await checks(counted) == 1


async def test_a_problem_and_its_end_are_each_logged_once(counted: Database, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    readiness = Readiness(counted, clock)

    async def states(count: int) -> list[str]:
        found: list[str] = []
        for _ in range(count):
            clock.now += FRESH_S
            found.append(await readiness.database())
        return found

    assert await states(2) == ["ok"] * 2
    await counted.execute("insert into educa_chat.schema_version (number, name) values (9999, 'future')")
    assert await states(3) == ["of another schema"] * 3
    await counted.execute("delete from educa_chat.schema_version where number = 9999")
    assert await states(3) == ["ok"] * 3
    first, last = [record.getMessage() for record in caplog.records if record.name.endswith("readiness")]
    assert first.startswith("the database is of another schema: ")
    assert last == "the database is ok again"


async def test_parallel_requests_make_few_checks(server: Server) -> None:
    database = server.app[DATABASE]
    await count_checks(database)
    async with Person(server.url) as prober:
        answers = await asyncio.gather(*(prober.get("/health/ready") for _ in range(100)))
    assert {status for status, _, _ in answers} == {200}
    assert await checks(database) < 10, "one for each second that the hundred took"


async def test_checks_leave_no_bloat_or_temporary_files(counted: Database) -> None:
    for _ in range(300):
        await require_writable(counted)
    assert await counted.fetchval("select pg_relation_size('educa_chat.schema_version')") <= 2 * 8192
    assert await counted.fetchval("select count(*) from pg_ls_tmpdir()") == 0

"""Migrations are applied once and never change, functions match the program, and old programs keep working."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from educa_chat.errors import SchemaMismatch
from educa_chat.events.kind import Entry, Sender
from educa_chat.events.registry import BY_COMMAND, KINDS
from educa_chat.events.room_rules import Close
from educa_chat.metrics import Metrics
from educa_chat.protocol import Role
from educa_chat.storage import migrate as runner
from educa_chat.storage.log import Accepted, Appender, Outcome
from educa_chat.storage.migrate import Functions, Migration, functions, migrate, migrations, require_current_schema
from educa_chat.storage.pool import Database, open_database
from educa_chat.tasks import running
from tests.conftest import Postgres
from tests.serving import TIMEOUT_S
from tests.storage.platform import add_class, entry

TEACHER = 1000


@pytest.fixture
async def empty(postgres: Postgres) -> AsyncIterator[Database]:
    async with open_database(await postgres.create_database(), 3) as opened:
        yield opened


def program_with(monkeypatch: pytest.MonkeyPatch, *added: Migration, functions_sql: str | None = None) -> None:
    """Make the migration runner that of a newer program."""
    known = [*migrations(), *added]
    monkeypatch.setattr(runner, "migrations", lambda: known)
    if functions_sql is not None:
        newer = Functions(functions_sql)
        monkeypatch.setattr(runner, "functions", lambda: newer)


async def test_each_migration_is_applied_once_together_with_the_functions(empty: Database) -> None:
    with pytest.raises(SchemaMismatch, match="version 0 and this program needs"):
        await require_current_schema(empty)
    applied = await migrate(empty)
    assert applied == [*(migration.file_name.removesuffix(".sql") for migration in migrations()), "functions"]
    await require_current_schema(empty)
    assert await migrate(empty) == []


async def test_an_edited_migration_is_named(empty: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    await migrate(empty)
    first, second, *others = migrations()
    edited = second._replace(sql=second.sql + "-- edited\n")
    monkeypatch.setattr(runner, "migrations", lambda: [first, edited, *others])
    for check in (migrate, require_current_schema):
        with pytest.raises(SchemaMismatch, match=edited.file_name):
            await check(empty)


async def test_a_database_from_before_0_2_0_is_refused_with_the_reason(empty: Database) -> None:
    await empty.execute("create schema educa_chat")
    await empty.execute("create table educa_chat.schema_version (number integer primary key, name text not null)")
    for check in (migrate, require_current_schema):
        with pytest.raises(SchemaMismatch, match=r"before 0\.2\.0"):
            await check(empty)


async def test_the_program_starts_only_after_changed_functions_are_applied(
    empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await migrate(empty)
    newer = functions().sql + "\ncreate or replace function educa_chat.news() returns integer language sql return 1;\n"
    program_with(monkeypatch, functions_sql=newer)
    with pytest.raises(SchemaMismatch, match="functions"):
        await require_current_schema(empty)
    assert await migrate(empty) == ["functions"]
    assert await empty.fetchval("select educa_chat.news()") == 1
    await require_current_schema(empty)


async def test_an_older_program_does_not_replace_newer_functions(
    empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await migrate(empty)
    with monkeypatch.context() as newer_program:
        newer = functions().sql + "\ncreate or replace function educa_chat.lead(seq bigint, at timestamptz)"
        newer += " returns bytea language sql stable return convert_to('newer', 'utf8');\n"
        program_with(newer_program, functions_sql=newer)
        await migrate(empty)
    assert await migrate(empty) == []
    assert await empty.fetchval("select educa_chat.lead(1, now())") == b"newer"


NEWER = Migration(len(migrations()) + 1, "newer", "alter table educa_chat.room add column topic text;\n")
BREAKING = Migration(NEWER.number, "breaking", "-- breaking: why\ncreate table educa_chat.x ();\n")


async def test_a_node_keeps_storing_during_and_after_a_compatible_migration(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_class(database, courses=1, students=2)
    appender = Appender(database, lambda _: None, Metrics())
    async with running(appender.run(), "appender"):
        for number in range(3):
            if number == 1:
                with monkeypatch.context() as newer_program:
                    program_with(newer_program, NEWER, functions_sql=functions().sql + "\n-- newer\n")
                    assert await migrate(database) == [NEWER.file_name.removesuffix(".sql"), "functions"]
                await require_current_schema(database)
            await asyncio.gather(stored(appender, entry(f"{number}")), stored(appender, close(f"close {number}")))


async def stored(appender: Appender, entry: Entry) -> None:
    """Append `entry`, and wait until it is accepted."""
    outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    appender.append(entry, outcome.set_result)
    assert isinstance(await asyncio.wait_for(outcome, TIMEOUT_S), Accepted)


def close(client_id: str) -> Entry:
    """An entry that isn't a message: the function of its kind stores it."""
    sender = Sender(TEACHER, "user", "User", 1, Role.INSTRUCTOR, client_id, datetime.now(UTC))
    return BY_COMMAND[Close].entry(Close(on=False), sender, "")


async def test_a_breaking_migration_stops_older_programs(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as newer_program:
        program_with(newer_program, BREAKING)
        await migrate(database)
    for check in (migrate, require_current_schema):
        with pytest.raises(SchemaMismatch, match="install the newer educa-chat"):
            await check(database)


def test_every_kind_of_event_has_its_function() -> None:
    for kind in KINDS:
        registration = (
            f"insert into educa_chat.kind (number, name, is_system_message) values ({kind.number}, '{kind.name}', "
        )
        assert registration in functions().sql
        assert kind.name == "chat_message" or f"function educa_chat.apply_{kind.name}(" in functions().sql

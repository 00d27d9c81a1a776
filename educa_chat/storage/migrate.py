"""Brings the schema up to date: numbered SQL files, each in one transaction with the row that says so.

The triggers on the learning platform's tables stand apart, in a file without a number: they are asked for by name.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from importlib import resources

import asyncpg

from educa_chat.errors import PlatformBusy, RightMissing, SchemaMismatch
from educa_chat.storage.pool import Database

LOCK_TIMEOUT_S = 600.0
_ADVISORY_LOCK = 0x65647563615F6368  # "educa_ch": two nodes may migrate at once, and one waits
_WATCHED = ("auth_user", "courses_course", "courses_course_students", "django_session")
"""The tables whose changes may end somebody's place in a room; a stand-alone chat has no `django_session`."""


@cache  # Each probe of the readiness asks.
def migrations() -> list[tuple[int, str, str]]:
    """Every migration as (number, name, SQL), in order. Raises SchemaMismatch when the numbers have a gap."""
    found = sorted(
        (int(named[1]), named[2], file.read_text(encoding="utf-8"))
        for file in resources.files("educa_chat.storage").joinpath("migrations").iterdir()
        if (named := re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name))
    )
    if [number for number, _, _ in found] != list(range(1, len(found) + 1)):
        raise SchemaMismatch("the numbers of the migrations have a gap")
    return found


async def applied_version(database: Database) -> int:
    """The number of the newest migration that the database has; 0 when it has none."""
    if await database.fetchval("select to_regclass('educa_chat.schema_version')") is None:
        return 0
    version: int = await database.fetchval("select coalesce(max(number), 0) from educa_chat.schema_version")
    return version


async def migrate(database: Database) -> list[str]:
    """Apply what is missing and return the names of what was applied.

    Where it makes the platform's tables itself it watches them from the start: they are ours, so nobody need be asked.
    Raises SchemaMismatch when the database is newer than this program, and when it has only some of the platform's
    tables.
    """
    applied: list[str] = []
    known = migrations()
    async with _alone(database) as connection:
        # Not `if not exists`: that wants the right to create even where there is nothing to be created.
        if await connection.fetchval("select to_regnamespace('educa_chat')") is None:
            await connection.execute("create schema educa_chat")
        await connection.execute(
            "create table if not exists educa_chat.schema_version ("
            " number integer primary key, name text not null,"
            " applied_at timestamptz not null default now())",
            timeout=60,
        )
        version = await connection.fetchval("select coalesce(max(number), 0) from educa_chat.schema_version")
        _refuse_newer(version, len(known))
        is_ours = version == 0 and await connection.fetchval("select to_regclass('auth_user')") is None
        for number, name, sql in known[version:]:
            async with connection.transaction():
                try:
                    await connection.execute(sql, timeout=600)
                except asyncpg.RaiseError as error:
                    raise SchemaMismatch(str(error)) from error
                await connection.execute(
                    "insert into educa_chat.schema_version (number, name) values ($1, $2)", number, name
                )
            applied.append(f"{number:04}_{name}")
        if is_ours:
            await _watch_enrolments(connection)
    return applied


async def watch_enrolments(database: Database) -> None:
    """Put triggers on the platform's tables that tell every process at once who may have to leave; again does no harm.

    Raises RightMissing, and PlatformBusy when a long transaction holds a table.
    """
    async with _alone(database) as connection:
        unwatchable = await connection.fetch(
            "select name from unnest($1::text[]) with ordinality t (name, place)"
            " where to_regclass(name) is not null and not has_table_privilege(name, 'trigger') order by place",
            _WATCHED,
        )
        if unwatchable:
            tables = ", ".join(row["name"] for row in unwatchable)
            role = await connection.fetchval("select quote_ident(current_user)")
            raise RightMissing(f"the triggers need a right that {role} has not: grant trigger on {tables} to {role}")
        await _watch_enrolments(connection)


async def enrolments_are_watched(database: Database) -> bool:
    """Whether each of the platform's tables that are there has its triggers."""
    watched: bool = await database.fetchval(
        "select coalesce(bool_and(exists (select from pg_trigger where tgrelid = to_regclass(name)"
        "  and tgfoid = to_regproc('educa_chat.notify_of_change') and tgenabled <> 'D')), false)"
        " from unnest($1::text[]) name where to_regclass(name) is not null",
        _WATCHED,
    )
    return watched


async def _watch_enrolments(connection: asyncpg.pool.PoolConnectionProxy[asyncpg.Record]) -> None:
    sql = resources.files("educa_chat.storage").joinpath("migrations", "watch_enrolments.sql")
    try:
        async with connection.transaction():
            await connection.execute(sql.read_text(encoding="utf-8"), timeout=60)
    except asyncpg.InsufficientPrivilegeError as error:
        raise RightMissing(f"the triggers can't be made: {error}") from error
    except asyncpg.LockNotAvailableError as error:
        raise PlatformBusy("a long transaction holds a table of the learning platform: try again later") from error


@asynccontextmanager
async def _alone(database: Database) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy[asyncpg.Record]]:
    """A connection that changes the schema while no other does."""
    async with database.connection() as connection:
        await connection.execute("select pg_advisory_lock($1)", _ADVISORY_LOCK, timeout=LOCK_TIMEOUT_S)
        try:
            yield connection
        finally:
            await connection.execute("select pg_advisory_unlock($1)", _ADVISORY_LOCK)


async def require_current_schema(database: Database) -> None:
    """Raises SchemaMismatch unless the database has exactly the schema of this program."""
    version = await applied_version(database)
    newest = len(migrations())
    _refuse_newer(version, newest)
    if version < newest:
        raise SchemaMismatch(
            f"the database has schema version {version} and this program needs {newest}: run `educa-chat migrate`"
        )


def _refuse_newer(version: int, newest: int) -> None:
    if version > newest:
        raise SchemaMismatch(
            f"the database has schema version {version}, newer than this program's {newest}: "
            "install the newer educa-chat"
        )

"""Brings the schema up to date: numbered migrations, and the functions that the server calls.

A migration is one SQL file, applied once, in one transaction with the row that says so. It never changes after it has
landed: its checksum is stored with that row and compared ever after. The functions are `create or replace`. Those of
this program are applied together, in one transaction, when the database has never had them.

The triggers on the learning platform's tables stand apart, in a file without a number: they are asked for by name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import NamedTuple

import asyncpg

from educa_chat.errors import PlatformBusy, RightMissing, SchemaMismatch
from educa_chat.storage.pool import Database

LOCK_TIMEOUT_S = 600.0
_ADVISORY_LOCK = 0x65647563615F6368  # "educa_ch": two nodes may migrate at once, and one waits
_WATCHED = ("auth_user", "courses_course", "courses_course_students", "django_session")
"""The tables whose changes may end somebody's place in a room; a stand-alone chat has no `django_session`."""


class Migration(NamedTuple):
    """A file of the folder `migrations`."""

    number: int
    name: str
    sql: str

    @property
    def file_name(self) -> str:
        return f"{self.number:04}_{self.name}.sql"

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def is_breaking(self) -> bool:
        """Whether a program without this migration can't go on serving once it is applied.

        The first line of such a file says so. All others only add what older programs don't look at.
        """
        return self.sql.startswith("-- breaking")


class Functions(NamedTuple):
    """The files of the folder `functions`, as one script."""

    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


@cache  # Each probe of the readiness asks.
def migrations() -> list[Migration]:
    """Every migration, in order. Raises SchemaMismatch when the numbers have a gap."""
    found = sorted(
        Migration(int(named[1]), named[2], file.read_text(encoding="utf-8"))
        for file in resources.files("educa_chat.storage").joinpath("migrations").iterdir()
        if (named := re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name))
    )
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise SchemaMismatch("the numbers of the migrations have a gap")
    return found


@cache
def functions() -> Functions:
    """All functions of this program, each file after those whose names come first."""
    return Functions("\n".join(_read(resources.files("educa_chat.storage").joinpath("functions"))))


def _read(folder: Traversable) -> Iterator[str]:
    for entry in sorted(folder.iterdir(), key=lambda one: (one.is_dir(), one.name)):
        if entry.is_dir():
            yield from _read(entry)
        elif entry.name.endswith(".sql"):
            yield entry.read_text(encoding="utf-8")


async def migrate(database: Database) -> list[str]:
    """Apply what is missing and return the names of what was applied.

    Where it makes the platform's tables itself it watches them from the start: they are ours, so nobody need be asked.
    Raises SchemaMismatch when the database has a migration that this program can't work with, when an applied migration
    has been edited since, and when the database has only some of the platform's tables.
    """
    applied: list[str] = []
    async with _alone(database) as connection:
        # Not `if not exists`: that wants the right to create even where there is nothing to be created.
        if await connection.fetchval("select to_regnamespace('educa_chat')") is None:
            await connection.execute("create schema educa_chat")
        await _make_records(connection)
        version = _require_compatible(await _records(connection))
        is_ours = version == 0 and await connection.fetchval("select to_regclass('auth_user')") is None
        for migration in migrations()[version:]:
            async with connection.transaction():
                try:
                    await connection.execute(migration.sql, timeout=600)
                except asyncpg.RaiseError as error:
                    raise SchemaMismatch(str(error)) from error
                await connection.execute(
                    "insert into educa_chat.schema_version (number, name, checksum, is_breaking)"
                    " values ($1, $2, $3, $4)",
                    *(migration.number, migration.name, migration.checksum, migration.is_breaking),
                )
            applied.append(migration.file_name.removesuffix(".sql"))
        # A newer program may have replaced ours meanwhile, by functions that serve us too: those stay.
        if not await connection.fetchval(_HAS_FUNCTIONS, functions().checksum):
            async with connection.transaction():
                await connection.execute(functions().sql, timeout=60)
                await connection.execute(
                    "insert into educa_chat.schema_functions (checksum) values ($1)", functions().checksum
                )
            applied.append("functions")
        if is_ours:
            await _watch_enrolments(connection)
    return applied


async def _make_records(connection: asyncpg.pool.PoolConnectionProxy[asyncpg.Record]) -> None:
    """Make the tables that say what was applied."""
    await connection.execute(
        "create table if not exists educa_chat.schema_version ("
        " number integer primary key, name text not null, checksum text not null default '',"
        " is_breaking boolean not null default true, applied_at timestamptz not null default now());"
        "create table if not exists educa_chat.schema_functions ("
        " checksum text primary key, applied_at timestamptz not null default now())",
        timeout=60,
    )


_HAS_FUNCTIONS = "select exists (select from educa_chat.schema_functions where checksum = $1)"


class _Record(NamedTuple):
    """A row of `schema_version`: a migration that was applied."""

    number: int
    name: str
    checksum: str
    is_breaking: bool


async def _records(connection: asyncpg.pool.PoolConnectionProxy[asyncpg.Record]) -> list[_Record]:
    try:
        rows = await connection.fetch(
            "select number, name, checksum, is_breaking from educa_chat.schema_version order by number"
        )
    except asyncpg.UndefinedColumnError:
        raise SchemaMismatch(
            "the database was made by a version before 0.2.0, from which no migration leads here: start with a new one"
        ) from None
    return [_Record(*row) for row in rows]


def _require_compatible(records: list[_Record]) -> int:
    """How many of this program's migrations were applied. Raises SchemaMismatch where it can't work with the others."""
    known = migrations()
    for record in records:
        if record.number > len(known):
            if record.is_breaking:
                raise SchemaMismatch(
                    f"the database has schema version {record.number}, newer than this program's {len(known)}: "
                    "install the newer educa-chat"
                )
        elif record.checksum != known[record.number - 1].checksum:
            raise SchemaMismatch(
                f"the migration {known[record.number - 1].file_name} has been edited since it was applied to this "
                "database: restore the file, and put the change into a new migration"
            )
    return min(len(records), len(known))


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
    """Raise SchemaMismatch unless this program can work with the database.

    It can where all of its migrations and functions were applied. A newer program may have applied more since, as long
    as none of it is breaking: so nodes of the old version go on while the new one is brought out.
    """
    if await database.fetchval("select to_regclass('educa_chat.schema_version')") is None:
        version = 0
    else:
        async with database.connection() as connection:
            version = _require_compatible(await _records(connection))
    newest = len(migrations())
    if version < newest:
        raise SchemaMismatch(
            f"the database has schema version {version} and this program needs {newest}: run `educa-chat migrate`"
        )
    if not await database.fetchval(_HAS_FUNCTIONS, functions().checksum):
        raise SchemaMismatch("the database does not have this program's functions: run `educa-chat migrate`")


async def applied_version(database: Database) -> int:
    """The number of the newest migration that the database has; 0 when it has none."""
    if await database.fetchval("select to_regclass('educa_chat.schema_version')") is None:
        return 0
    version: int = await database.fetchval("select coalesce(max(number), 0) from educa_chat.schema_version")
    return version

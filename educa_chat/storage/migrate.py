"""Updates the schema: numbered migrations, and the functions that the server calls.

A migration is one SQL file. It is applied once, in one transaction with a row that records it. It never changes after
it was merged: the row has its checksum, which is compared at each start. The functions are `create or replace`. Those
of this program are applied together, in one transaction, if the database has never had this set.

The triggers on the learning platform's tables are in a separate file, which is applied only on request.
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
_ADVISORY_LOCK = 0x65647563615F6368  # "educa_ch". If two nodes migrate at the same time, one waits.
_WATCHED = ("auth_user", "courses_course", "courses_course_students", "django_session")
"""The tables whose changes may end a user's access to a room. A stand-alone chat has no `django_session`."""


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
        """Whether programs without this migration stop working once it is applied.

        The first line of such a file says so. All other migrations only add things that older programs ignore.
        """
        return self.sql.startswith("-- breaking")


class Functions(NamedTuple):
    """The files of the folder `functions` as one script."""

    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


@cache  # Each readiness check calls it.
def migrations() -> list[Migration]:
    """Return all migrations in order. Raises SchemaMismatch if the numbers have a gap."""
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
    """Return all functions of this program, with the files in the order of their names."""
    return Functions("\n".join(_read(resources.files("educa_chat.storage").joinpath("functions"))))


def _read(folder: Traversable) -> Iterator[str]:
    for entry in sorted(folder.iterdir(), key=lambda one: (one.is_dir(), one.name)):
        if entry.is_dir():
            yield from _read(entry)
        elif entry.name.endswith(".sql"):
            yield entry.read_text(encoding="utf-8")


async def migrate(database: Database) -> list[str]:
    """Apply missing migrations and functions, and return their names.

    If this creates the platform's tables, it also adds the triggers to them, because they are ours. Raises
    SchemaMismatch if the database has a migration that this program can't work with, if an applied migration was edited
    later, and if the database has only some of the platform's tables.
    """
    applied: list[str] = []
    async with _alone(database) as connection:
        # `create schema if not exists` would need the privilege to create one even if the schema exists.
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
        # A newer program may have replaced our functions by ones that work for us too. Keep those.
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
    """Create the tables that record what was applied."""
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
    """A row of `schema_version`: an applied migration."""

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
            "the database was made by a version before 0.2.0, which can't be migrated: start with a new one"
        ) from None
    return [_Record(*row) for row in rows]


def _require_compatible(records: list[_Record]) -> int:
    """Return how many of our migrations were applied. Raises SchemaMismatch if there are others we can't work with."""
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
    """Add triggers to the platform's tables that notify every process of access changes. May be called repeatedly.

    Raises RightMissing, and PlatformBusy if a long transaction holds a table.
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
            raise RightMissing(f"the triggers need a privilege that {role} lacks: grant trigger on {tables} to {role}")
        await _watch_enrolments(connection)


async def enrolments_are_watched(database: Database) -> bool:
    """Return whether every existing table of the platform has its triggers."""
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
    """Yield a connection that holds the lock on schema changes."""
    async with database.connection() as connection:
        await connection.execute("select pg_advisory_lock($1)", _ADVISORY_LOCK, timeout=LOCK_TIMEOUT_S)
        try:
            yield connection
        finally:
            await connection.execute("select pg_advisory_unlock($1)", _ADVISORY_LOCK)


async def require_current_schema(database: Database) -> None:
    """Raise SchemaMismatch unless this program can work with the database.

    All of its migrations and functions must have been applied. A newer program may have applied more, unless one of
    them is breaking. So nodes of the old version work during an upgrade.
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
        raise SchemaMismatch("the database doesn't have the functions of this version: run `educa-chat migrate`")


async def applied_version(database: Database) -> int:
    """Return the number of the newest applied migration, or 0 if there is none."""
    if await database.fetchval("select to_regclass('educa_chat.schema_version')") is None:
        return 0
    version: int = await database.fetchval("select coalesce(max(number), 0) from educa_chat.schema_version")
    return version

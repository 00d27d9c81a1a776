"""The connections to Postgres, and the translation of their errors to ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import asyncpg

from educa_chat.errors import DatabaseBusy, DatabaseUnavailable, SettingsInvalid
from educa_chat.storage.embedded import open_embedded

Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
"""A connection that the pool has lent."""

ACQUIRE_TIMEOUT_S = 3.0
COMMAND_TIMEOUT_S = 5.0

_UNAVAILABLE = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # Raised if a connection is cut while asyncpg looks up a type.
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.TransactionRollbackError,
    asyncpg.ObjectNotInPrerequisiteStateError,
    asyncpg.PostgresSystemError,
    asyncpg.InternalServerError,
    asyncpg.InvalidSchemaNameError,  # This and the following: the database is being restored.
    asyncpg.UndefinedFunctionError,
    asyncpg.UndefinedTableError,
    asyncpg.InvalidColumnReferenceError,  # `on conflict` while an index is still missing.
)
"""Errors that the statement did not cause: it may succeed later."""


@contextmanager
def database_errors() -> Iterator[None]:
    """Raise DatabaseUnavailable for every error that the database caused, and not the statement."""
    try:
        yield
    except ValueError:
        # An argument that can't be encoded is an InterfaceError too.
        raise
    except (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError) as error:
        raise DatabaseBusy(str(error)) from error
    except _UNAVAILABLE as error:
        # Only the first line: DETAIL, on the second line, may quote a row with the text of a message.
        message = str(error).partition("\n")[0]
        raise DatabaseUnavailable(f"{type(error).__name__}: {message}") from error


async def _connect(*arguments: Any, **options: Any) -> asyncpg.Connection[asyncpg.Record]:
    """Connect. Raises SettingsInvalid if asyncpg can't use the URL, and asyncpg's own errors."""
    try:
        return await asyncpg.connect(*arguments, **options)
    except (asyncpg.ClientConfigurationError, UnicodeError) as error:
        # None of these messages contains the password of the URL.
        raise SettingsInvalid(f"database.url: {error}") from error


class Queries(Protocol):
    """The common interface of a database and of one of its connections, with or without a transaction."""

    async def fetch(self, sql: str, /, *arguments: Any) -> list[asyncpg.Record]: ...

    async def fetchval(self, sql: str, /, *arguments: Any) -> Any: ...

    async def execute(self, sql: str, /, *arguments: Any) -> Any: ...


class Database:
    """A pool of connections. Every method raises DatabaseUnavailable if the database can't be reached."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], url: str) -> None:
        self._pool = pool
        self.url = url
        self.losses = 0
        """How often a connection outside the pool was lost or refused, which happens when a server is replaced."""

    async def connect(self, **server_settings: str) -> asyncpg.Connection[asyncpg.Record]:
        """Open a connection outside the pool, for the log and the access changes. Raises DatabaseUnavailable."""
        try:
            with database_errors():
                connection = await _connect(
                    self.url,
                    timeout=ACQUIRE_TIMEOUT_S,
                    command_timeout=COMMAND_TIMEOUT_S,
                    server_settings={"application_name": "educa-chat", "jit": "off"} | server_settings,
                )
        except DatabaseUnavailable:
            self.losses += 1
            raise
        connection.add_termination_listener(self._lost)
        return connection

    def _lost(self, _: object) -> None:
        self.losses += 1

    @property
    def busy_connections(self) -> int:
        return self._pool.get_size() - self._pool.get_idle_size()

    @property
    def idle_connections(self) -> int:
        return self._pool.get_idle_size()

    async def fetch(self, sql: str, *arguments: Any) -> list[asyncpg.Record]:
        async with self.connection() as connection:
            return await connection.fetch(sql, *arguments)

    async def fetchrow(self, sql: str, *arguments: Any) -> asyncpg.Record | None:
        async with self.connection() as connection:
            return await connection.fetchrow(sql, *arguments)

    async def fetchval(self, sql: str, *arguments: Any) -> Any:
        async with self.connection() as connection:
            return await connection.fetchval(sql, *arguments)

    async def execute(self, sql: str, *arguments: Any) -> None:
        async with self.connection() as connection:
            await connection.execute(sql, *arguments)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection of the pool for a short time, never for the lifetime of a socket."""
        with database_errors():
            async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
                yield connection


async def _reset(_: object) -> None:
    """Return a connection to the pool without a reset.

    asyncpg has already rolled back open transactions. We never change the settings of a pool's connection, listen on it
    or keep a cursor or a lock, so a reset would only double the round trips of each query.
    """


@asynccontextmanager
async def open_database(url: str, pool_size: int) -> AsyncIterator[Database]:
    """Open the pool on `url`. If `url` names an embedded server, start it first.

    This doesn't connect yet, so an unreachable database raises at the first query.
    """
    async with AsyncExitStack() as stack:
        if url.startswith("embedded:"):
            url = await stack.enter_async_context(open_embedded(Path(url.removeprefix("embedded:"))))
        pool = asyncpg.create_pool(
            url,
            connect=_connect,
            min_size=0,
            max_size=pool_size,
            timeout=ACQUIRE_TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            reset=_reset,
            server_settings={"application_name": "educa-chat", "jit": "off"},
        )
        await pool
        stack.callback(pool.terminate)
        yield Database(pool, url)

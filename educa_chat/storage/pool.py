"""The connections to Postgres, and what their failures are called here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import asyncpg

from educa_chat.errors import DatabaseBusy, DatabaseUnavailable, SettingsInvalid
from educa_chat.storage.embedded import open_embedded

ACQUIRE_TIMEOUT_S = 3.0
COMMAND_TIMEOUT_S = 5.0

_UNAVAILABLE = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a connection that was cut while asyncpg looked up a type leaves it in confusion
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
    asyncpg.InvalidSchemaNameError,  # this and what follows: it is being restored
    asyncpg.UndefinedFunctionError,
    asyncpg.UndefinedTableError,
    asyncpg.InvalidColumnReferenceError,  # `on conflict` while an index is still missing
)
"""What says nothing against the statement: the same may succeed later."""


@contextmanager
def database_errors() -> Iterator[None]:
    """Raise DatabaseUnavailable for every failure that is the database's and not the statement's."""
    try:
        yield
    except ValueError:
        # An argument that can't be encoded: asyncpg makes this one an InterfaceError too.
        raise
    except (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError) as error:
        raise DatabaseBusy(str(error)) from error
    except _UNAVAILABLE as error:
        # The first line alone: DETAIL, on the second, may quote a row, and a row is what somebody said.
        message = str(error).partition("\n")[0]
        raise DatabaseUnavailable(f"{type(error).__name__}: {message}") from error


async def _connect(*arguments: Any, **options: Any) -> asyncpg.Connection[asyncpg.Record]:
    """Connect. Raises SettingsInvalid if asyncpg can't use the URL, and what asyncpg raises."""
    try:
        return await asyncpg.connect(*arguments, **options)
    except (asyncpg.ClientConfigurationError, UnicodeError) as error:
        # The password of the URL is in none of these messages.
        raise SettingsInvalid(f"database.url: {error}") from error


class Database:
    """A pool of connections. Every method raises DatabaseUnavailable when the database can't be asked."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], url: str) -> None:
        self._pool = pool
        self.url = url
        self.losses = 0
        """How often a connection outside the pool was lost, or could not be had: as when a server is replaced."""

    async def connect(self, **server_settings: str) -> asyncpg.Connection[asyncpg.Record]:
        """Make a connection outside the pool, for the log and the access changes. Raises DatabaseUnavailable."""
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
    async def connection(self) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy[asyncpg.Record]]:
        """A connection of the pool for a moment, never for a socket's life."""
        with database_errors():
            async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
                yield connection


async def _reset(_: object) -> None:
    """Leave a connection that goes back to the pool as it is.

    asyncpg itself has rolled back what was open. Nobody here changes the settings of a pool's connection, listens on it
    or keeps a cursor or a lock there, so to undo all that would only double the round trips of every question.
    """


@asynccontextmanager
async def open_database(url: str, pool_size: int) -> AsyncIterator[Database]:
    """Open the pool on `url`, and the embedded server first where `url` names one.

    Nothing is connected yet, so a database that is away shows at the first question.
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

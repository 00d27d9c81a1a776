"""Faults of Redis and of the connection to it: the bus reports them within a second, and recovers by itself."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Set
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from redis import Redis as BlockingRedis
from redis.asyncio import Redis

from educa_chat.bus.protocol import MAX_PAYLOAD_BYTES
from educa_chat.bus.redis import open_redis_bus
from educa_chat.errors import BusUnavailable, SubscriptionLost
from tests.bus.waiting import at_once, beating, carries, received, until
from tests.proxy import ANSWERS, QUESTIONS, Flow, Proxy
from tests.redis_server import RedisServer
from tests.stopwatch import Stopwatch

PREFIX = "educa-chat:"

Fault = Callable[[RedisServer, Proxy], AbstractAsyncContextManager[None]]
"""A fault that lasts as long as its context."""


@asynccontextmanager
async def killed(server: RedisServer, proxy: Proxy) -> AsyncIterator[None]:
    server.stop()
    yield
    server.start()


@asynccontextmanager
async def frozen(server: RedisServer, proxy: Proxy) -> AsyncIterator[None]:
    server.freeze()
    yield
    server.thaw()


@asynccontextmanager
async def subscribers_killed(server: RedisServer, proxy: Proxy) -> AsyncIterator[None]:
    assert server.ask("CLIENT", "KILL", "TYPE", "pubsub") == 1
    yield


def paused(mode: str) -> Fault:
    @asynccontextmanager
    async def fault(server: RedisServer, proxy: Proxy) -> AsyncIterator[None]:
        server.ask("CLIENT", "PAUSE", 3000, mode)
        yield
        # Answered when the pause is over.
        await asyncio.to_thread(server.ask, "PUBLISH", "nobody", "")

    return fault


def swallowed(flows: Set[Flow]) -> Fault:
    @asynccontextmanager
    async def fault(server: RedisServer, proxy: Proxy) -> AsyncIterator[None]:
        proxy.swallows = flows
        yield
        proxy.swallows = set()

    return fault


@asynccontextmanager
async def undelivered(server: RedisServer, proxy: Proxy) -> AsyncIterator[None]:
    """Redis answers every command and counts a receiver for each publish, but delivers nothing."""
    proxy.delivers = False
    yield
    proxy.delivers = True


FAULTS = {
    "killed": killed,
    "frozen": frozen,
    "subscribers killed": subscribers_killed,
    "paused": paused("ALL"),
    "paused for writes": paused("WRITE"),
    "questions swallowed": swallowed(QUESTIONS),
    "answers swallowed": swallowed(ANSWERS),
    "questions and answers swallowed": swallowed(QUESTIONS | ANSWERS),
    "the publisher's questions swallowed": swallowed({("asker", "questions")}),
    "the publisher's answers swallowed": swallowed({("asker", "answers")}),
    "the listener's answers swallowed": swallowed({("listener", "answers")}),
    "nothing delivered": undelivered,
}


async def lost(subscription: AsyncIterator[bytes]) -> None:
    with pytest.raises(SubscriptionLost):
        await received(subscription)


async def read_out(subscription: AsyncIterator[bytes]) -> None:
    async for _ in subscription:
        pass


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A Redis that the test can break."""
    server = RedisServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def servers() -> Iterator[list[RedisServer]]:
    """One Redis for each fault."""
    servers = [RedisServer() for _ in FAULTS]
    for server in servers:
        server.start()
    yield servers
    for server in servers:
        server.stop()


async def test_every_fault_is_reported_within_a_second_and_the_bus_recovers(servers: list[RedisServer]) -> None:
    pairs = zip(FAULTS.items(), servers, strict=True)
    await at_once({name: check_fault(fault, server) for (name, fault), server in pairs})


async def check_fault(fault: Fault, server: RedisServer) -> None:
    async with Proxy(server.port).open() as proxy, open_redis_bus(f"redis://{proxy.address}", PREFIX) as bus:
        async with bus.subscribe("room") as subscription:
            await beating(bus)
            losing = asyncio.create_task(lost(subscription))
            stopwatch = Stopwatch()
            async with fault(server, proxy):
                await until(lambda: bus.silence_s > 1 or losing.done())
                # One heartbeat may still have arrived half a second after the fault.
                assert stopwatch.own_s < 1.8
                await losing
                assert stopwatch.own_s < 3.5
        stopwatch = Stopwatch()
        await carries(bus)
        await until(lambda: bus.silence_s < 0.6)
        assert stopwatch.own_s < 5


async def test_a_listener_that_redis_does_not_answer_is_replaced(server: RedisServer) -> None:
    # The worse half of a half-open connection: heartbeats and messages still arrive, so there is no silence.
    async with Proxy(server.port).open() as proxy, open_redis_bus(f"redis://{proxy.address}", PREFIX) as bus:
        async with bus.subscribe("room") as subscription:
            await beating(bus)
            proxy.swallows = {("listener", "questions")}
            with pytest.raises(BusUnavailable):
                async with bus.subscribe("hall"):
                    pass
            await bus.publish("room", b"still heard")
            assert await received(subscription) == b"still heard"
            stopwatch = Stopwatch()
            await lost(subscription)
            assert stopwatch.own_s < 1.8
        proxy.swallows = set()
        stopwatch = Stopwatch()
        await carries(bus, "hall")
        assert stopwatch.own_s < 5


async def test_subscribers_learn_that_redis_disconnected_their_slow_listener(server: RedisServer) -> None:
    server.ask("CONFIG", "SET", "client-output-buffer-limit", "pubsub 65536 0 0")
    async with (
        open_redis_bus(server.url, PREFIX) as bus,
        bus.subscribe("room") as flooded,
        bus.subscribe("hall") as quiet,
    ):
        # In one write without a turn for other tasks, so that nothing is read in between.
        with BlockingRedis.from_url(server.url) as blocking, blocking.pipeline(transaction=False) as publishes:
            for _ in range(400):
                publishes.publish(f"{PREFIX}room", bytes(MAX_PAYLOAD_BYTES))
            receivers = publishes.execute()
        assert receivers[0] == 1 and receivers[-1] == 0
        await lost(quiet)
        with pytest.raises(SubscriptionLost):
            await asyncio.wait_for(read_out(flooded), 30)
        await carries(bus)


async def test_a_refused_channel_does_not_end_other_subscriptions(server: RedisServer) -> None:
    async with (
        open_redis_bus(server.url, PREFIX) as bus,
        Redis.from_url(server.url, socket_timeout=None) as client,
    ):
        async with bus.subscribe("room") as subscription:
            await beating(bus)
            pattern = f"{PREFIX}[br][eo][ao]*"
            await client.acl_setuser("default", reset_channels=True, channels=[pattern])
            with pytest.raises(BusUnavailable, match="refused"):
                async with bus.subscribe("hall"):
                    pass
            await bus.publish("room", b"still here")
            assert await received(subscription) == b"still here"
        await client.acl_setuser("default", channels=["*"])
        await carries(bus, "hall")

"""The contract of MessageBus: one test per promise, for each implementation."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest

from educa_chat.bus import inbox, open_bus
from educa_chat.bus.inbox import INBOX_BYTES
from educa_chat.bus.protocol import MAX_PAYLOAD_BYTES, MessageBus
from educa_chat.errors import SubscriptionLost
from tests.redis_server import RedisCluster, RedisServer


@pytest.fixture(params=["memory", "redis_server", "redis_cluster"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "memory":
        return "memory:"
    broker: RedisServer | RedisCluster = request.getfixturevalue(request.param)
    return broker.url


@pytest.fixture
async def bus(url: str, patient_redis: None) -> AsyncIterator[MessageBus]:
    async with open_bus(url, f"test-{uuid.uuid4().hex}:") as opened:
        yield opened


async def received(subscription: AsyncIterator[bytes], count: int) -> list[bytes]:
    async with asyncio.timeout(30):
        return [await anext(subscription) for _ in range(count)]


class TestMessageBus:
    async def test_a_bus_with_a_broker_reaches_other_processes(self, bus: MessageBus, url: str) -> None:
        assert bus.reaches_others is (url != "memory:")

    async def test_a_publisher_receives_its_own_payloads(self, bus: MessageBus) -> None:
        async with bus.subscribe("room") as subscription:
            await bus.publish("room", b"hello")
            assert await received(subscription, 1) == [b"hello"]

    async def test_publishes_awaited_in_turn_keep_their_order(self, bus: MessageBus) -> None:
        payloads = [b"%d" % number for number in range(500)]
        async with bus.subscribe("room") as subscription:
            for payload in payloads:
                await bus.publish("room", payload)
            assert await received(subscription, len(payloads)) == payloads

    async def test_concurrent_publishes_all_arrive_in_the_order_of_their_calls(self, bus: MessageBus) -> None:
        payloads = [b"%d" % number for number in range(2000)]
        async with bus.subscribe("room") as subscription:
            await asyncio.gather(*(bus.publish("room", payload) for payload in payloads))
            assert await received(subscription, len(payloads)) == payloads

    async def test_a_subscription_is_live_once_entered(self, bus: MessageBus) -> None:
        for number in range(50):
            topic = f"room {number}"
            async with bus.subscribe(topic) as subscription:
                await bus.publish(topic, b"at once")
                assert await received(subscription, 1) == [b"at once"]

    async def test_leaving_ends_a_subscription(self, bus: MessageBus) -> None:
        async with bus.subscribe("room") as left:
            await bus.publish("room", b"before")
        with pytest.raises(SubscriptionLost):
            await received(left, 1)

    async def test_a_new_subscription_receives_no_earlier_payloads(self, bus: MessageBus) -> None:
        async with bus.subscribe("room"):
            pass
        await bus.publish("room", b"between")
        async with bus.subscribe("room") as subscription:
            await bus.publish("room", b"after")
            assert await received(subscription, 1) == [b"after"]

    async def test_both_subscriptions_to_a_topic_receive(self, bus: MessageBus) -> None:
        async with bus.subscribe("room") as one, bus.subscribe("room") as other:
            await bus.publish("room", b"both")
            assert await received(one, 1) == await received(other, 1) == [b"both"]

    async def test_one_of_two_subscribers_can_leave(self, bus: MessageBus) -> None:
        async with bus.subscribe("room") as stays:
            async with bus.subscribe("room"):
                pass
            await bus.publish("room", b"still here")
            assert await received(stays, 1) == [b"still here"]

    async def test_subscribers_receive_only_their_topic(self, bus: MessageBus) -> None:
        async with bus.subscribe("room") as subscription, bus.subscribe("room 2") as other:
            await bus.publish("room 2", b"other")
            await bus.publish("room", b"own")
            assert await received(subscription, 1) == [b"own"]
            assert await received(other, 1) == [b"other"]

    async def test_payloads_are_opaque_bytes(self, bus: MessageBus) -> None:
        every_byte = bytes(range(256))
        async with bus.subscribe("room") as subscription:
            for payload in (b"", b"\r\n$5\r\n", b"\xc3\x28", every_byte, every_byte * (MAX_PAYLOAD_BYTES // 256)):
                await bus.publish("room", payload)
                assert await received(subscription, 1) == [payload]

    async def test_a_payload_over_64_kib_is_refused(self, bus: MessageBus) -> None:
        async with bus.subscribe("room") as subscription:
            with pytest.raises(ValueError, match="65537"):
                await bus.publish("room", bytes(MAX_PAYLOAD_BYTES + 1))
            await bus.publish("room", b"smaller")
            assert await received(subscription, 1) == [b"smaller"]

    async def test_publish_never_waits_for_a_subscriber_that_does_not_read(self, bus: MessageBus) -> None:
        payload = bytes(MAX_PAYLOAD_BYTES)
        async with bus.subscribe("room"), asyncio.timeout(30):
            for _ in range(3 * INBOX_BYTES // MAX_PAYLOAD_BYTES):
                await bus.publish("room", payload)

    @pytest.mark.parametrize(
        ("payload", "fitting"),
        [(bytes(MAX_PAYLOAD_BYTES), INBOX_BYTES // MAX_PAYLOAD_BYTES), (b"", 100)],
        ids=["bytes", "payloads"],
    )
    async def test_overflow_ends_only_the_slow_readers_subscription(
        self, bus: MessageBus, monkeypatch: pytest.MonkeyPatch, payload: bytes, fitting: int
    ) -> None:
        monkeypatch.setattr(inbox, "INBOX_PAYLOADS", 100)
        async with bus.subscribe("room") as slow, bus.subscribe("room") as fast:
            for _ in range(fitting + 1):
                await bus.publish("room", payload)
                await received(fast, 1)
            with pytest.raises(SubscriptionLost, match="too far behind"):
                await received(slow, 1)
            await bus.publish("room", b"on it goes")
            assert await received(fast, 1) == [b"on it goes"]
            with pytest.raises(SubscriptionLost):
                await received(slow, 1)

    async def test_a_reader_keeps_up_with_a_publisher_in_a_loop(
        self, bus: MessageBus, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(inbox, "INBOX_PAYLOADS", 1000)

        async def publish_all() -> None:
            for _ in range(1001):
                await bus.publish("room", b"")

        async with bus.subscribe("room") as subscription, asyncio.TaskGroup() as tasks:
            tasks.create_task(publish_all())
            await received(subscription, 1001)

    async def test_payloads_that_fit_are_queued_for_a_slow_reader(self, bus: MessageBus) -> None:
        payloads = [bytes([number]) * MAX_PAYLOAD_BYTES for number in range(INBOX_BYTES // MAX_PAYLOAD_BYTES)]
        # Twice, to check that reading frees space.
        async with bus.subscribe("room") as subscription:
            for _ in range(2):
                for payload in payloads:
                    await bus.publish("room", payload)
                assert await received(subscription, len(payloads)) == payloads


@pytest.mark.parametrize("url", ["", "memory", "unix:///tmp/redis", "kafka+cluster://user:secret@host"])
def test_an_unknown_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="is expected") as refusal:
        open_bus(url, "educa-chat:")
    assert "secret" not in str(refusal.value)

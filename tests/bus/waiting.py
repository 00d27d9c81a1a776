"""Conditions that tests of a bus over a broker wait for."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import suppress

from educa_chat.bus.protocol import MessageBus
from educa_chat.errors import BusUnavailable, SubscriptionLost


async def received(subscription: AsyncIterator[bytes]) -> bytes:
    async with asyncio.timeout(30):
        return await anext(subscription)


async def carries(bus: MessageBus, topic: str = "probe") -> None:
    """Wait until a new subscription to `topic` receives a new payload."""
    async with asyncio.timeout(30):
        while True:
            with suppress(BusUnavailable, SubscriptionLost):
                async with bus.subscribe(topic) as subscription:
                    await bus.publish(topic, b"probe")
                    assert await received(subscription) == b"probe"
                    return
            await asyncio.sleep(0.05)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def beating(bus: MessageBus) -> None:
    """Wait until a heartbeat has just been received."""
    await until(lambda: bus.silence_s < 0.1)


async def at_once(checks: Mapping[str, Coroutine[None, None, None]]) -> None:
    """Run `checks` at the same time, because a bus mostly waits. An error is noted with the name of its check."""

    async def run(name: str, check: Coroutine[None, None, None]) -> None:
        try:
            await check
        except Exception as error:
            error.add_note(name)
            raise

    async with asyncio.TaskGroup() as tasks:
        for name, check in checks.items():
            tasks.create_task(run(name, check))

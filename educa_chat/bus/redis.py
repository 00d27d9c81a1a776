"""A bus over the pub/sub of one Redis."""

import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from educa_chat.bus.redis_link import PLAIN, Link, connection_options, open_link


@asynccontextmanager
async def open_redis_bus(
    url: str, prefix: str, *, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator["RedisBus"]:
    """Own a bus over the Redis at `url` while the context lasts; `prefix` stands before every topic.

    Redis need not be up: the bus is silent then, and connects when it can. Leaving ends every subscription.
    `clock` tells the seconds by which `silence_s` is measured. Raises ValueError for an impossible URL.
    """
    beat_channel = f"{prefix}beat:{uuid.uuid4().hex}".encode()
    async with open_link(connection_options(url), PLAIN, beat_channel, clock) as link:
        yield RedisBus(link, prefix)


class RedisBus:
    """A MessageBus of one link; `open_redis_bus` makes it."""

    reaches_others = True

    def __init__(self, link: Link, prefix: str) -> None:
        self._link = link
        self._prefix = prefix

    @property
    def silence_s(self) -> float:
        """Seconds since a beat of this process last came back; opening counts as one."""
        return self._link.silence_s

    async def publish(self, topic: str, payload: bytes) -> None:
        """Offer `payload` to every subscription to `topic` in every process; raises what Link.publish raises."""
        await self._link.publish(self._channel(topic), payload)

    def subscribe(self, topic: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Receive what is published to `topic` while the context lasts; raises what Link.subscribe raises."""
        return self._link.subscribe(self._channel(topic))

    def _channel(self, topic: str) -> bytes:
        return (self._prefix + topic).encode()

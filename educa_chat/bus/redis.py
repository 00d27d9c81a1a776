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
    """Open a bus over the Redis at `url`, and close it with all subscriptions when the context ends.

    Every topic begins with `prefix`. Redis needn't be up: the bus connects as soon as it can. `clock` returns the
    seconds by which `silence_s` is measured. Raises SettingsInvalid for an invalid URL.
    """
    beat_channel = f"{prefix}beat:{uuid.uuid4().hex}".encode()
    async with open_link(connection_options(url), PLAIN, beat_channel, clock) as link:
        yield RedisBus(link, prefix)


class RedisBus:
    """A MessageBus with one link. Made by `open_redis_bus`."""

    reaches_others = True

    def __init__(self, link: Link, prefix: str) -> None:
        self._link = link
        self._prefix = prefix

    @property
    def silence_s(self) -> float:
        """Seconds since a heartbeat of this process last came back, or since the start."""
        return self._link.silence_s

    async def publish(self, topic: str, payload: bytes) -> None:
        """Deliver `payload` to every subscription to `topic` in every process. Raises like Link.publish."""
        await self._link.publish(self._channel(topic), payload)

    def subscribe(self, topic: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Yield the payloads that are published to `topic` until the context ends. Raises like Link.subscribe."""
        return self._link.subscribe(self._channel(topic))

    def _channel(self, topic: str) -> bytes:
        return (self._prefix + topic).encode()

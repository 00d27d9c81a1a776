"""A bus within one process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from educa_chat.bus.inbox import Inbox
from educa_chat.bus.protocol import MAX_PAYLOAD_BYTES


class MemoryBus:
    """A MessageBus for a deployment of one process. It is always available."""

    silence_s = 0.0
    reaches_others = False

    def __init__(self) -> None:
        self._inboxes: dict[str, set[Inbox]] = {}

    async def publish(self, topic: str, payload: bytes) -> None:
        """Deliver `payload` to every subscription to `topic`. Raises ValueError if it is over MAX_PAYLOAD_BYTES."""
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise ValueError(f"the payload has {len(payload)} bytes, but may have at most {MAX_PAYLOAD_BYTES}")
        for inbox in self._inboxes.get(topic, ()):
            inbox.offer(payload)
        # Let the readers run. Otherwise a publisher in a loop would fill their inboxes before they read anything.
        await asyncio.sleep(0)

    @asynccontextmanager
    async def subscribe(self, topic: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Yield the payloads that are published to `topic` until the context ends.

        Iterating raises SubscriptionLost if this reader was too slow, or after the context has ended.
        """
        inbox = Inbox()
        inboxes = self._inboxes.setdefault(topic, set())
        inboxes.add(inbox)
        try:
            yield inbox
        finally:
            inboxes.remove(inbox)
            if not inboxes:
                del self._inboxes[topic]
            inbox.end("the subscription has ended")

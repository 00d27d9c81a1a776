"""A bus within one process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from educa_chat.bus.inbox import Inbox
from educa_chat.bus.protocol import MAX_PAYLOAD_BYTES


class MemoryBus:
    """A MessageBus whose deployment is one process. Never unavailable."""

    silence_s = 0.0
    """It can't fail."""
    reaches_others = False

    def __init__(self) -> None:
        self._inboxes: dict[str, set[Inbox]] = {}

    async def publish(self, topic: str, payload: bytes) -> None:
        """Offer `payload` to every subscription to `topic`. Raises ValueError over MAX_PAYLOAD_BYTES."""
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise ValueError(f"a payload of {len(payload)} bytes, over {MAX_PAYLOAD_BYTES}")
        for inbox in self._inboxes.get(topic, ()):
            inbox.offer(payload)
        # The readers' turn: a publisher in a loop would otherwise fill their inboxes before they ever ran.
        await asyncio.sleep(0)

    @asynccontextmanager
    async def subscribe(self, topic: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Receive what is published to `topic` while the context lasts.

        Iterating raises SubscriptionLost when this reader fell too far behind, or the context was left.
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
            inbox.end("the subscription was left")

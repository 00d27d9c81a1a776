"""The interface between the rooms and the broker that connects the processes of one deployment."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

MAX_PAYLOAD_BYTES = 64 * 1024
"""The largest payload that every implementation accepts."""


class MessageBus(Protocol):
    """Carries payloads between the processes of one deployment, by topic. It stores nothing.

    Each payload is delivered at most once, to its publisher too. Publishes that one process awaits one after another
    keep their order. Payloads are opaque bytes, at most `MAX_PAYLOAD_BYTES`.
    """

    async def publish(self, topic: str, payload: bytes) -> None:
        """Deliver `payload` to every subscription to `topic` in every process, including this one.

        Never waits for a subscriber. Raises BusUnavailable if the broker doesn't accept the payload within a second,
        and ValueError if the payload is over MAX_PAYLOAD_BYTES.
        """

    def subscribe(self, topic: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Yield the payloads that are published to `topic` from when the context has been entered until it ends.

        Entering raises BusUnavailable if the broker can't be reached. Iterating raises SubscriptionLost if payloads may
        have been missed, because the connection was lost or this reader was too slow.
        """

    @property
    def silence_s(self) -> float:
        """Seconds since the bus last proved that it works; 0.0 for a bus that can't fail."""

    @property
    def reaches_others(self) -> bool:
        """Whether another process may receive what this one publishes."""

"""The seam between a room and the wire that joins the processes of one deployment."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

MAX_PAYLOAD_BYTES = 64 * 1024
"""The largest payload that every implementation carries."""


class MessageBus(Protocol):
    """Carries payloads between the processes of one deployment, by topic. A wire, not a store.

    At most once; a publisher receives its own payloads; publishes that one process awaits in turn keep their order;
    payloads are opaque bytes of up to `MAX_PAYLOAD_BYTES`.
    """

    async def publish(self, topic: str, payload: bytes) -> None:
        """Offer `payload` to every subscription to `topic` in every process, this one included.

        Never waits for a subscriber. Gives up after a second. Raises BusUnavailable when the broker could not be
        told, ValueError when the payload is over MAX_PAYLOAD_BYTES.
        """

    def subscribe(self, topic: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Receive what is published to `topic` while the context lasts; live once entered.

        Entering raises BusUnavailable when the broker can't be reached. Iterating raises SubscriptionLost when
        something may have been missed: the broker is gone, or this reader fell too far behind.
        """

    @property
    def silence_s(self) -> float:
        """Seconds since the bus last proved that it carries; 0.0 where it can't fail."""

    @property
    def reaches_others(self) -> bool:
        """Whether another process may receive what this one publishes."""

"""The bounded inbox that every bus gives its subscribers."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from educa_chat.errors import SubscriptionLost

INBOX_PAYLOADS = 4096
"""The most payloads that may wait for one subscriber."""

INBOX_BYTES = 1024 * 1024
"""The most bytes that may wait for one subscriber."""


class Inbox:
    """The payloads that one subscriber has not read yet.

    Iterating yields them in the order in which they were offered. After the inbox has overflowed or was ended,
    iterating raises SubscriptionLost. Payloads that are still waiting then are dropped, because the reader has to catch
    up from the log anyway.
    """

    def __init__(self) -> None:
        self._payloads: deque[bytes] = deque()
        self._bytes = 0
        self._ended: str | None = None
        self._changed = asyncio.Event()

    @property
    def ended(self) -> str | None:
        """The reason why the inbox ended; None while it is open."""
        return self._ended

    def offer(self, payload: bytes) -> None:
        """Append `payload`. If there is no room for it, end the inbox. Does nothing after the end."""
        if self._ended is not None:
            return
        if len(self._payloads) == INBOX_PAYLOADS or self._bytes + len(payload) > INBOX_BYTES:
            self.end("the reader fell too far behind")
            return
        self._payloads.append(payload)
        self._bytes += len(payload)
        self._changed.set()

    def end(self, reason: str) -> None:
        """Drop all waiting payloads, and raise SubscriptionLost for the reader. Only the first `reason` counts."""
        if self._ended is None:
            self._ended = reason
            self._payloads.clear()
            self._changed.set()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self._payloads:
            if self._ended is not None:
                raise SubscriptionLost(self._ended)
            self._changed.clear()
            await self._changed.wait()
        payload = self._payloads.popleft()
        self._bytes -= len(payload)
        return payload

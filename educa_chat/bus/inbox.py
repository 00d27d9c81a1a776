"""The bounded inbox that every bus gives its subscribers."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from educa_chat.errors import SubscriptionLost

INBOX_PAYLOADS = 4096
"""How many payloads wait for one subscriber at most."""

INBOX_BYTES = 1024 * 1024
"""How many bytes wait for one subscriber at most."""


class Inbox:
    """What one subscriber has not read yet.

    Iterating yields the payloads in the order of their offers. It raises SubscriptionLost once the inbox has
    overflowed or was ended: what still waited is dropped, for its reader has to catch up elsewhere anyway.
    """

    def __init__(self) -> None:
        self._payloads: deque[bytes] = deque()
        self._bytes = 0
        self._ended: str | None = None
        self._changed = asyncio.Event()

    @property
    def ended(self) -> str | None:
        """Why nothing comes any more; None as long as something may."""
        return self._ended

    def offer(self, payload: bytes) -> None:
        """Put `payload` last. Over the bounds the inbox ends instead; ended, it takes nothing."""
        if self._ended is not None:
            return
        if len(self._payloads) == INBOX_PAYLOADS or self._bytes + len(payload) > INBOX_BYTES:
            self.end("the reader fell too far behind")
            return
        self._payloads.append(payload)
        self._bytes += len(payload)
        self._changed.set()

    def end(self, reason: str) -> None:
        """Drop what waits; from now on iterating raises SubscriptionLost. The first reason stays."""
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

"""Rate limits, and limits on simultaneous work."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager


class RateLimit:
    """A token bucket for each key: `burst` at once, then `per_second`. No limit if `per_second` is 0.

    Keys that have not been used recently take no memory.
    """

    def __init__(self, per_second: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._burst = max(burst, 1.0)
        self._clock = clock
        self._full_at: dict[Hashable, float] = {}
        self._swept_at = clock()

    def wait_s(self, key: Hashable, amount: float = 1) -> float:
        """Return the seconds until `key` may take `amount`, which is at most the burst. 0.0 means now."""
        if not self._per_second:
            return 0.0
        missing_s = self._full_at.get(key, 0.0) - self._clock()
        return max(0.0, missing_s - (self._burst - min(amount, self._burst)) / self._per_second)

    def take(self, key: Hashable, amount: float = 1) -> float:
        """Take `amount` for `key` and return 0.0, or return the seconds until that is allowed."""
        wait_s = self.wait_s(key, amount)
        if not wait_s:
            self.count(key, amount)
        return wait_s

    def count(self, key: Hashable, amount: float = 1) -> None:
        """Take `amount` for `key` whether or not that is allowed."""
        if self._per_second:
            now = self._clock()
            self._full_at[key] = max(self._full_at.get(key, now), now) + amount / self._per_second
            self._forget_full(now)

    def forgive(self, key: Hashable) -> None:
        """Give back an amount that `count` took."""
        if key in self._full_at:
            self._full_at[key] -= 1 / self._per_second

    def _forget_full(self, now: float) -> None:
        refill_s = self._burst / self._per_second
        if now - self._swept_at > refill_s:
            self._swept_at = now
            self._full_at = {key: full_at for key, full_at in self._full_at.items() if full_at > now}


class Turns:
    """Lets each key do `at_once` things at a time. Others wait for their turn, in order."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._turns: dict[Hashable, tuple[asyncio.Semaphore, list[None]]] = {}
        """By key. Only keys that have a turn or wait for one have an entry."""

    @asynccontextmanager
    async def turn(self, key: Hashable) -> AsyncIterator[None]:
        """Wait for a turn, and keep it while the context lasts."""
        turns, present = self._turns.setdefault(key, (asyncio.Semaphore(self._at_once), []))
        present.append(None)
        try:
            async with turns:
                yield
        finally:
            present.pop()
            if not present:
                del self._turns[key]


def retry_after(wait_s: float) -> float:
    """Return `wait_s` rounded up to tenths, so that a client that waits as told is never too early."""
    return math.ceil(wait_s * 10) / 10

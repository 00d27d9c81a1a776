"""How much of something anybody may do in a while, and at a time."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager


class RateLimit:
    """A token bucket for each key: `burst` at once, then `per_second`; without a limit when `per_second` is 0.

    Holds only the keys that have taken something lately.
    """

    def __init__(self, per_second: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._burst = max(burst, 1.0)
        self._clock = clock
        self._full_at: dict[Hashable, float] = {}
        self._swept_at = clock()

    def wait_s(self, key: Hashable, amount: float = 1) -> float:
        """The seconds until `key` may take `amount`, which is at most the burst; 0.0: now."""
        if not self._per_second:
            return 0.0
        missing_s = self._full_at.get(key, 0.0) - self._clock()
        return max(0.0, missing_s - (self._burst - min(amount, self._burst)) / self._per_second)

    def take(self, key: Hashable, amount: float = 1) -> float:
        """Take `amount` for `key` if it may, and return 0.0; else the seconds until it may."""
        wait_s = self.wait_s(key, amount)
        if not wait_s:
            self.count(key, amount)
        return wait_s

    def count(self, key: Hashable, amount: float = 1) -> None:
        """Take `amount` for `key` whether or not it may."""
        if self._per_second:
            now = self._clock()
            self._full_at[key] = max(self._full_at.get(key, now), now) + amount / self._per_second
            self._forget_full(now)

    def forgive(self, key: Hashable) -> None:
        """Give back what `count` took."""
        if key in self._full_at:
            self._full_at[key] -= 1 / self._per_second

    def _forget_full(self, now: float) -> None:
        refill_s = self._burst / self._per_second
        if now - self._swept_at > refill_s:
            self._swept_at = now
            self._full_at = {key: full_at for key, full_at in self._full_at.items() if full_at > now}


class Turns:
    """Lets each key do `at_once` things at a time; the others wait for their turn, in order."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._turns: dict[Hashable, tuple[asyncio.Semaphore, list[None]]] = {}
        """By key, with an entry for each that has a turn or waits for one."""

    @asynccontextmanager
    async def turn(self, key: Hashable) -> AsyncIterator[None]:
        """Wait for a turn, and have it while the context lasts."""
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
    """`wait_s` as it is told to a client: rounded up to tenths, so that who waits as told is early never."""
    return math.ceil(wait_s * 10) / 10

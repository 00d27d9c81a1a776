"""Loads values in batches: keys that arrive during one query share the next."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping
from contextvars import Context
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class BatchLoader(Generic[Key, Value]):
    """Loads values by key with `load_many`, which receives many keys and returns the values that exist.

    Two thousand simultaneous calls cost a few round trips, and a single call waits for no other. A value is never
    older than the call for it.
    """

    def __init__(self, load_many: Callable[[Collection[Key]], Awaitable[Mapping[Key, Value]]], name: str) -> None:
        self._load_many = load_many
        self._name = name
        self._keys: set[Key] = set()
        self._next: asyncio.Task[Mapping[Key, Value]] | None = None
        self._present: asyncio.Task[Mapping[Key, Value]] | None = None

    async def load(self, key: Key) -> Value | None:
        """Return the value of `key`, or None if there is none. Raises what `load_many` raises for the batch."""
        self._keys.add(key)
        if self._next is None:
            # In a context of its own, because it also loads for other requests than the one that starts it.
            self._next = asyncio.create_task(self._load_batch(), name=self._name, context=Context())
        return (await asyncio.shield(self._next)).get(key)

    async def _load_batch(self) -> Mapping[Key, Value]:
        if self._present is not None:
            await asyncio.wait([self._present])
        self._present, self._next = self._next, None
        keys, self._keys = self._keys, set()
        return await self._load_many(keys)

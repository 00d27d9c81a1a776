"""Questions that many ask of the database at once: those that come while one is under way go together as the next."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping
from contextvars import Context
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Lookup(Generic[Key, Value]):
    """Finds values by key with `find`, which is given many keys and returns what there is.

    Two thousand people who come at once cost a few round trips, and somebody who comes alone waits for nobody. No
    answer is older than its question.
    """

    def __init__(self, find: Callable[[Collection[Key]], Awaitable[Mapping[Key, Value]]], name: str) -> None:
        self._find = find
        self._name = name
        self._keys: set[Key] = set()
        self._next: asyncio.Task[Mapping[Key, Value]] | None = None
        self._present: asyncio.Task[Mapping[Key, Value]] | None = None

    async def find(self, key: Key) -> Value | None:
        """The value of `key`; None: there is none. Raises what `find` raises for any of those asked with it."""
        self._keys.add(key)
        if self._next is None:
            # In a context of its own, for it does not ask for the request that begins it alone.
            self._next = asyncio.create_task(self._ask(), name=self._name, context=Context())
        return (await asyncio.shield(self._next)).get(key)

    async def _ask(self) -> Mapping[Key, Value]:
        if self._present is not None:
            await asyncio.wait([self._present])
        self._present, self._next = self._next, None
        keys, self._keys = self._keys, set()
        return await self._find(keys)

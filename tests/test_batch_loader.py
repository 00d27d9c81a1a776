"""Batched loading: simultaneous calls share a query, and no value is older than its call."""

import asyncio
from collections.abc import Collection

import pytest

from educa_chat.batch_loader import BatchLoader
from educa_chat.errors import DatabaseUnavailable


class Table:
    """A table with a number for each name. It answers while `gate` is open."""

    def __init__(self) -> None:
        self.numbers = {"one": 1, "two": 2}
        self.asked: list[set[str]] = []
        self.is_away = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun = asyncio.Event()

    async def find(self, names: Collection[str]) -> dict[str, int]:
        self.asked.append(set(names))
        found = {name: self.numbers[name] for name in names if name in self.numbers}
        self.begun.set()
        await self.gate.wait()
        if self.is_away:
            raise DatabaseUnavailable("away")
        return found


async def test_simultaneous_calls_share_one_query() -> None:
    table = Table()
    loader = BatchLoader(table.find, "loader")
    answers = await asyncio.gather(*(loader.load(name) for name in ("one", "two", "three", "one")))
    assert answers == [1, 2, None, 1]
    assert table.asked == [{"one", "two", "three"}]


async def test_a_call_during_a_query_gets_the_result_of_the_next() -> None:
    table = Table()
    loader = BatchLoader(table.find, "loader")
    table.gate.clear()
    early = asyncio.create_task(loader.load("one"))
    await table.begun.wait()
    table.numbers.clear()
    late = [asyncio.create_task(loader.load(name)) for name in ("one", "two")]
    await asyncio.sleep(0)
    table.gate.set()
    assert await early == 1
    assert await asyncio.gather(*late) == [None, None]
    assert table.asked == [{"one"}, {"one", "two"}]


async def test_a_failed_query_fails_only_the_calls_that_share_it() -> None:
    table = Table()
    loader = BatchLoader(table.find, "loader")
    table.is_away = True
    answers = await asyncio.gather(loader.load("one"), loader.load("two"), return_exceptions=True)
    assert [type(answer) for answer in answers] == [DatabaseUnavailable] * 2
    table.is_away = False
    assert await loader.load("one") == 1


async def test_a_cancelled_call_does_not_affect_the_others() -> None:
    table = Table()
    loader = BatchLoader(table.find, "loader")
    table.gate.clear()
    first, second = asyncio.create_task(loader.load("one")), asyncio.create_task(loader.load("one"))
    await table.begun.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    table.gate.set()
    assert await second == 1

"""Tasks end with their owner."""

import asyncio
from contextlib import suppress

from educa_chat.tasks import running


async def test_a_task_that_swallows_a_cancellation_still_ends() -> None:
    started, lost = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        started.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        lost.set()
        await asyncio.Event().wait()

    async with asyncio.timeout(30):
        async with running(work(), "a part"):
            await started.wait()
    assert lost.is_set()

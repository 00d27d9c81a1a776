"""Tasks that end with their owner."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from educa_chat.errors import ComponentEnded

logger = logging.getLogger(__name__)

CANCEL_AGAIN_S = 1.0
RESTART_PAUSE_S = 1.0


async def end(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel `tasks` until they have ended.

    One cancellation may not be enough: before Python 3.12, `asyncio.wait_for`, which the drivers use, loses a
    cancellation that arrives just as the wait ends.
    """
    going_on = set(tasks)
    while going_on:
        for task in going_on:
            task.cancel()
        _, going_on = await asyncio.wait(going_on, timeout=CANCEL_AGAIN_S)


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    """Run `work`, which never ends by itself, while the context lasts.

    If it ends anyway, the process is asked to stop, because a server without one of its components would only look
    alive. The context then raises ComponentEnded when it ends, so the process exits with an error code and is
    started again.
    """
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_ended)
    has_ended = False
    try:
        yield
    finally:
        task.remove_done_callback(_ended)
        has_ended = task.done()
        await end([task])
    if has_ended:
        raise ComponentEnded(f"{name} ended unexpectedly")


@asynccontextmanager
async def supervised(work: Callable[[], Coroutine[Any, Any, None]], name: str) -> AsyncIterator[None]:
    """Run `work()` while the context lasts. Restart it after a pause whenever it raises an exception.

    For work that can restart at any moment without missing anything. If it returns, the process stops as in `running`.
    """

    async def persist() -> None:
        while True:
            try:
                return await work()
            except Exception:
                logger.exception("%s failed and is restarted", name)
                await asyncio.sleep(RESTART_PAUSE_S)

    async with running(persist(), name):
        yield


def _ended(task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    logger.critical("%s ended unexpectedly; stopping the process", task.get_name(), exc_info=error)
    os.kill(os.getpid(), signal.SIGTERM)

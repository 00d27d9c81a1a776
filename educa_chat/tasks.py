"""Tasks that live as long as what they work for."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Collection, Coroutine
from contextlib import asynccontextmanager
from typing import Any

logger = logging.getLogger(__name__)

CANCEL_AGAIN_S = 1.0


async def end(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel `tasks` until they have ended.

    Once is not enough: before Python 3.12 `asyncio.wait_for`, which the drivers use, loses a cancellation that comes
    in the moment in which it has what it waited for.
    """
    going_on = set(tasks)
    while going_on:
        for task in going_on:
            task.cancel()
        _, going_on = await asyncio.wait(going_on, timeout=CANCEL_AGAIN_S)


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    """Run `work`, which never ends by itself, while the context lasts.

    Should it end all the same, the process is asked to stop: a server without one of its parts would look alive
    and not be.
    """
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_ended)
    try:
        yield
    finally:
        task.remove_done_callback(_ended)
        await end([task])


def _ended(task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    logger.critical("%s ended, so this process stops", task.get_name(), exc_info=error)
    os.kill(os.getpid(), signal.SIGTERM)

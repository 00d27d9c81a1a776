"""Tasks that live as long as what they work for."""

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

    Should it end all the same, the process is asked to stop: a server that lacks a component would look alive and not
    be. The context then raises ComponentEnded when it is left, so that the process exits with an error code and is
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
        raise ComponentEnded(f"{name} has ended by itself")


@asynccontextmanager
async def supervised(work: Callable[[], Coroutine[Any, Any, None]], name: str) -> AsyncIterator[None]:
    """Run `work()` while the context lasts, and begin it anew after a pause whenever it raises an exception.

    For work that can be begun anew at any moment, since what it has missed comes again. Should it return, the process
    stops as in `running`.
    """

    async def persist() -> None:
        while True:
            try:
                return await work()
            except Exception:
                logger.exception("%s failed, and begins anew", name)
                await asyncio.sleep(RESTART_PAUSE_S)

    async with running(persist(), name):
        yield


def _ended(task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    logger.critical("%s has ended by itself, so this process stops", task.get_name(), exc_info=error)
    os.kill(os.getpid(), signal.SIGTERM)

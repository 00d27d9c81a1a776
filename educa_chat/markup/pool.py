"""Renders markup in a few separate processes, with a time limit and fairly between users."""

import asyncio
import logging
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncIterator
from collections.abc import Set as AbstractSet
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from educa_chat.markup import render_plain
from educa_chat.markup.worker import packed
from educa_chat.tasks import running

logger = logging.getLogger(__name__)

WORKERS = 2
PATIENCE_S = 3.0
"""How long a text may wait for its turn. After that, it is shown as it was typed, for good, so that conversations never
stall."""
ANSWER_TIMEOUT_S = 5.0
"""How long a worker may take to answer before it is killed. Far above its own limit, which counts processor time: on a
busy machine it may not get any for a while."""
START_TIMEOUT_S = 30.0
RESTART_PAUSE_S = 0.1


class _Job:
    """A text to render, and its result."""

    __slots__ = ("html", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.html: asyncio.Future[str] = asyncio.get_running_loop().create_future()


class RenderPool:
    """Renders texts in worker processes. `open_render_pool` makes it.

    Each user has a queue of their own. The workers take one text from each queue in turn, and only one worker at a time
    renders for the same user. So a user who sends many expensive texts delays only their own.
    """

    def __init__(self) -> None:
        self._queues: dict[int, deque[_Job]] = {}
        """By user, in the order of their turns."""
        self._served: set[int] = set()
        """The users whose text a worker is rendering now."""
        self._available = 0
        """The number of workers that are starting or waiting for a text."""
        self._arrival = asyncio.Condition()
        self._has_started = asyncio.Event()
        """Whether the first worker has started or has failed to. Loading its libraries may take a second."""

    async def render(self, user_id: int, text: str) -> str:
        """Return `text` as HTML, like `educa_chat.markup.render`, or as it was typed if that takes too long."""
        job = _Job(text)
        async with self._arrival:
            self._queues.setdefault(user_id, deque()).append(job)
            self._arrival.notify_all()
        await self._has_started.wait()
        await asyncio.wait([job.html], timeout=PATIENCE_S)
        if not job.html.done() and self._withdraw(user_id, job):
            return render_plain(text)
        # Done, or its turn has come, and then the worker's own limits bound the rest.
        return await asyncio.shield(job.html)

    def _withdraw(self, user_id: int, job: _Job) -> bool:
        """Remove `job` from its queue. Return False if a worker has it already."""
        queue = self._queues.get(user_id, deque())
        if job not in queue:
            return False
        queue.remove(job)
        if not queue:
            del self._queues[user_id]
        return True

    async def _next(self) -> tuple[int, _Job]:
        """Take the text whose turn it is, and return it with its user, who is then served."""
        async with self._arrival:
            await self._arrival.wait_for(self._users_to_serve)
            self._available -= 1
            user_id = next(user_id for user_id in self._queues if user_id not in self._served)
            self._served.add(user_id)
            queue = self._queues.pop(user_id)
            job = queue.popleft()
            if queue:
                self._queues[user_id] = queue
            if self._users_to_serve():
                self._arrival.notify_all()
            return user_id, job

    def _users_to_serve(self) -> AbstractSet[int]:
        return self._queues.keys() - self._served

    async def _started(self) -> Process | None:
        """Start a worker as soon as a text waits and no other worker is available. Return None if that failed."""
        async with self._arrival:
            await self._arrival.wait_for(lambda: self._users_to_serve() and not self._available)
            self._available += 1
        try:
            return await _start_worker()
        except (OSError, EOFError, TimeoutError) as error:
            self._available -= 1
            logger.error("no worker can be started: %s", type(error).__name__)
            await asyncio.sleep(RESTART_PAUSE_S)
            return None
        finally:
            self._has_started.set()

    async def work(self) -> None:
        """Keep one worker process and give it what waits, until cancelled."""
        worker: Process | None = None
        try:
            while True:
                if worker is None:
                    # Started before it takes a text, which another worker may have time for sooner.
                    worker = await self._started()
                    continue
                user_id, job = await self._next()
                try:
                    async with asyncio.timeout(ANSWER_TIMEOUT_S):
                        html = await _request(worker, job.text)
                except Exception as error:
                    # An edge: no text may stop the process. It may be the reason, so it isn't given to another worker.
                    is_expected = isinstance(error, (OSError, EOFError))
                    trace = None if is_expected else error
                    logger.error("a text could not be rendered: %s", type(error).__name__, exc_info=trace)
                    job.html.set_result(render_plain(job.text))
                    await _end_worker(worker)
                    worker = None
                    await asyncio.sleep(RESTART_PAUSE_S)
                else:
                    job.html.set_result(html)
                    self._available += 1
                # This worker looks for the next text at once, so it need not wake another one.
                self._served.discard(user_id)
        finally:
            if worker is not None:
                await _end_worker(worker)


async def _start_worker() -> Process:
    """Start a worker, and wait until it has loaded its libraries. Raises OSError, EOFError."""
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "educa_chat.markup.worker", stdin=PIPE, stdout=PIPE
    )
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            await _request(worker, "")
    except BaseException:
        await _end_worker(worker)
        raise
    return worker


async def _request(worker: Process, text: str) -> str:
    """Return the HTML that `worker` makes from `text`. Raises OSError, EOFError if the worker has ended."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(packed(text))
    await worker.stdin.drain()
    length = int.from_bytes(await worker.stdout.readexactly(4), "big")
    return (await worker.stdout.readexactly(length)).decode()


async def _end_worker(worker: Process) -> None:
    with suppress(ProcessLookupError):
        worker.kill()
    await worker.wait()


@asynccontextmanager
async def open_render_pool() -> AsyncIterator[RenderPool]:
    """Yield a RenderPool and stop its processes at the end. Each starts when it is first needed."""
    pool = RenderPool()
    async with AsyncExitStack() as stack:
        for number in range(WORKERS):
            await stack.enter_async_context(running(pool.work(), f"renderer {number}"))
        yield pool

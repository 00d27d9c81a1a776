"""Runs the server: one process, or several that share a port."""

import asyncio
import gc
import logging
import multiprocessing
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.process import BaseProcess

import msgspec
from aiohttp import web

from educa_chat.app import build_app
from educa_chat.errors import EducaChatError
from educa_chat.handlers.keys import CONNECTIONS
from educa_chat.log_lines import configure_logging, log_loop_failure
from educa_chat.settings import Settings
from educa_chat.storage.pool import open_database
from educa_chat.tasks import running

logger = logging.getLogger(__name__)

SHUTDOWN_TIMEOUT_S = 5.0
RESTART_PAUSE_S = 1.0


async def serve(settings: Settings, ready: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM; `ready` is called when people may come."""
    _allow_many_files()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if settings.server.workers > 1:
        await _serve_in_workers(settings, ready, stop)
    else:
        await _serve_here(settings, ready, stop, reuse_port=False)


def _allow_many_files() -> None:
    """Raise the limit of open files as far as it goes: each socket takes one, and 1,024 is usual."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS calls it unlimited, and takes less.
    with suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _serve_here(settings: Settings, ready: Callable[[], None], stop: asyncio.Event, *, reuse_port: bool) -> None:
    asyncio.get_running_loop().set_exception_handler(log_loop_failure)
    app = build_app(settings)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT_S)
    try:
        await runner.setup()
        assert runner.server is not None
        site = web.TCPSite(runner, settings.server.host, settings.server.port, reuse_port=reuse_port or None)
        await site.start()
        # What is here now stays; the collector need not look at it again and again while people wait.
        gc.collect()
        gc.freeze()
        ready()
        async with running(app[CONNECTIONS].watch(runner.server), "watch over the connections"):
            await stop.wait()
            logger.info("stopping")
            # Before the door is closed: as long as anybody is left here, /health/ready says that nobody new may come.
            await runner.shutdown()
    finally:
        await runner.cleanup()


async def _serve_in_workers(settings: Settings, ready: Callable[[], None], stop: asyncio.Event) -> None:
    """Keep `server.workers` processes running, and the embedded database under them where it is one."""
    context = multiprocessing.get_context("spawn")
    async with open_database(settings.database.url, 1) as database:
        one = msgspec.structs.replace(
            settings,
            server=msgspec.structs.replace(settings.server, workers=1),
            database=msgspec.structs.replace(settings.database, url=database.url),
        )

        def start() -> BaseProcess:
            process = context.Process(target=_work, args=(one, logging.getLogger().level))
            process.start()
            return process

        workers = [start() for _ in range(settings.server.workers)]
        ready()
        try:
            while not stop.is_set():
                await _any_end(workers, stop)
                for place, worker in enumerate(workers):
                    if not worker.is_alive() and not stop.is_set():
                        logger.error("worker %s ended with %s and is started again", worker.pid, worker.exitcode)
                        await asyncio.sleep(RESTART_PAUSE_S)
                        workers[place] = start()
        finally:
            for worker in workers:
                worker.terminate()
            await asyncio.gather(*(asyncio.to_thread(worker.join) for worker in workers))


async def _any_end(workers: list[BaseProcess], stop: asyncio.Event) -> None:
    """Wait until a worker ends or `stop` is set."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for worker in workers:
        loop.add_reader(worker.sentinel, ended.set)
    try:
        waits = [asyncio.create_task(event.wait()) for event in (ended, stop)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
    finally:
        for worker in workers:
            loop.remove_reader(worker.sentinel)


def _work(settings: Settings, level: int) -> None:
    configure_logging(level, settings.server.mode)

    async def work() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        # Ctrl-C reaches the whole group of processes; it is the parent that tells the workers to stop.
        loop.add_signal_handler(signal.SIGINT, lambda: None)
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        await _serve_here(settings, lambda: None, stop, reuse_port=True)

    try:
        asyncio.run(work())
    except (EducaChatError, OSError) as error:
        # multiprocessing would write a traceback past the log.
        logger.critical("the worker can't serve: %s", error)
        sys.exit(1)

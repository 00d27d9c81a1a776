"""Runs the server: one process, or several that share a port."""

import asyncio
import gc
import logging
import multiprocessing
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from multiprocessing.connection import Connection

import msgspec
from aiohttp import web
from cryptography.fernet import Fernet

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
ACCEPTS_A_TURN = 16


async def serve(settings: Settings, ready: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM; `ready` is called when people may come.

    Raises ComponentEnded when it has stopped for another reason: a component has ended by itself.
    """
    _allow_many_files()
    settings = _with_session_key(settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if settings.server.workers > 1:
        await _serve_in_workers(settings, ready, stop)
    else:
        await _serve_here(settings, ready, stop, reuse_port=False)


def _with_session_key(settings: Settings) -> Settings:
    """`settings` with a key where there is none: here, since all workers must have the same one."""
    if settings.session.key:
        return settings
    logger.warning("session.key is not set: sign-ins end with this process, and other nodes ignore what it publishes")
    session = msgspec.structs.replace(settings.session, key=Fernet.generate_key().decode())
    return msgspec.structs.replace(settings, session=session)


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
        for listener in _listen(settings.server.host, settings.server.port, reuse_port=reuse_port):
            # What asyncio is told of a queue is also how many it accepts in one turn: few, so that a storm of them
            # leaves the turns to who talks. The queue itself is the kernel's, and as long as it allows.
            await web.SockSite(runner, listener, backlog=ACCEPTS_A_TURN).start()
            listener.listen(socket.SOMAXCONN)
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


def _listen(host: str, port: int, *, reuse_port: bool) -> list[socket.socket]:
    """Sockets on all addresses of `host`. Raises OSError."""
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    addresses = dict.fromkeys((family, address[:2]) for family, _, _, _, address in found)
    return [socket.create_server(address, family=family, reuse_port=reuse_port) for family, address in addresses]


async def _serve_in_workers(settings: Settings, ready: Callable[[], None], stop: asyncio.Event) -> None:
    """Keep `server.workers` processes running, and the embedded database under them where it is one."""
    async with open_database(settings.database.url, 1) as database:
        one = msgspec.structs.replace(
            settings,
            server=msgspec.structs.replace(settings.server, workers=1),
            database=msgspec.structs.replace(settings.database, url=database.url),
        )

        workers = [_Worker(one) for _ in range(settings.server.workers)]
        is_announced = False
        try:
            while not stop.is_set():
                if not is_announced and all(worker.is_ready for worker in workers):
                    ready()
                    is_announced = True
                await _any_change(workers, stop)
                for index, worker in enumerate(workers):
                    if not worker.process.is_alive() and not stop.is_set():
                        pid, code = worker.process.pid, worker.process.exitcode
                        logger.error("worker %s ended with %s and is started again", pid, code)
                        await asyncio.sleep(RESTART_PAUSE_S)
                        workers[index] = _Worker(one)
        finally:
            for worker in workers:
                worker.process.terminate()
            await asyncio.gather(*(asyncio.to_thread(worker.process.join) for worker in workers))


class _Worker:
    """A process that serves, from its start on."""

    def __init__(self, settings: Settings) -> None:
        context = multiprocessing.get_context("spawn")
        self.is_ready = False
        """Whether people may come to it."""
        self.ready_receiver, ready_sender = context.Pipe(duplex=False)
        """What can be read from when it is ready, or has ended."""
        self.process = context.Process(target=_work, args=(settings, logging.getLogger().level, ready_sender))
        self.process.start()
        # Else its end would not be the end of the pipe.
        ready_sender.close()

    def receive(self) -> None:
        """Take in the news."""
        with suppress(EOFError):
            self.ready_receiver.recv_bytes()
            self.is_ready = True


async def _any_change(workers: Iterable[_Worker], stop: asyncio.Event) -> None:
    """Wait until a worker becomes ready or ends, or `stop` is set."""
    loop = asyncio.get_running_loop()
    changed = asyncio.Event()
    for worker in workers:
        loop.add_reader(worker.process.sentinel, changed.set)
        if not worker.is_ready:
            loop.add_reader(worker.ready_receiver, changed.set)
    waits = [asyncio.create_task(event.wait()) for event in (changed, stop)]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    for worker in workers:
        loop.remove_reader(worker.process.sentinel)
        loop.remove_reader(worker.ready_receiver)
        if not worker.is_ready and worker.ready_receiver.poll():
            worker.receive()


def _work(settings: Settings, level: int, ready_sender: Connection) -> None:
    configure_logging(level, settings.server.mode)

    async def work() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        # Ctrl-C reaches the whole group of processes; it is the parent that tells the workers to stop.
        loop.add_signal_handler(signal.SIGINT, lambda: None)
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        parent = multiprocessing.parent_process()
        assert parent is not None

        def stop_alone() -> None:
            # It was killed: nobody else would ever tell this process to stop, and the port would stay taken.
            loop.remove_reader(parent.sentinel)
            logger.critical("the parent has ended")
            stop.set()

        loop.add_reader(parent.sentinel, stop_alone)
        await _serve_here(settings, lambda: ready_sender.send_bytes(b"ready"), stop, reuse_port=True)

    try:
        asyncio.run(work())
    except (EducaChatError, OSError) as error:
        # multiprocessing would write a traceback past the log.
        logger.critical("the worker can't serve: %s", error)
        sys.exit(1)

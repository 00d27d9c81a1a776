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
from educa_chat.errors import ComponentEnded, EducaChatError
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
    """Serve until SIGINT or SIGTERM. Call `ready` once the server accepts connections.

    Raises ComponentEnded when the server stopped because one of its components ended unexpectedly, or a worker did so
    before the server was ready.
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
    """Return `settings` with a random session key if they have none.

    The parent chooses it, because all workers must have the same key.
    """
    if settings.session.key:
        return settings
    logger.warning(
        "session.key is not set: stopping this process signs everyone out, and other nodes ignore what it publishes"
    )
    session = msgspec.structs.replace(settings.session, key=Fernet.generate_key().decode())
    return msgspec.structs.replace(settings, session=session)


def _allow_many_files() -> None:
    """Raise the limit of open files to its maximum: each connection needs one, and the usual limit is 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS reports an unlimited maximum, but refuses to set it.
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
            # asyncio uses `backlog` for two things: the length of the kernel's queue, and how many connections it
            # accepts in one turn of the event loop. The second has to be small, so a reconnect storm can't starve
            # active rooms. Calling listen() again gives the queue the length that the kernel allows.
            await web.SockSite(runner, listener, backlog=ACCEPTS_A_TURN).start()
            listener.listen(socket.SOMAXCONN)
        # Objects that exist now live as long as the process. Freezing them keeps later collections short.
        gc.collect()
        gc.freeze()
        ready()
        async with running(app[CONNECTIONS].watch(runner.server), "watch over the connections"):
            await stop.wait()
            logger.info("stopping")
            # Shut down before closing the listener: until the last client has left, /health/ready answers 503, so
            # the proxy sends new clients elsewhere.
            await runner.shutdown()
    finally:
        await runner.cleanup()


def _listen(host: str, port: int, *, reuse_port: bool) -> list[socket.socket]:
    """Return listening sockets on all addresses of `host`. Raises OSError."""
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    addresses = dict.fromkeys((family, address[:2]) for family, _, _, _, address in found)
    return [socket.create_server(address, family=family, reuse_port=reuse_port) for family, address in addresses]


async def _serve_in_workers(settings: Settings, ready: Callable[[], None], stop: asyncio.Event) -> None:
    """Keep `server.workers` processes running, and the embedded database if there is one.

    Raises ComponentEnded when a worker ends before all have accepted connections.
    """
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
                        if not is_announced:
                            # It would probably fail again and again. The log says why.
                            raise ComponentEnded(f"a worker ended with exit code {code} before the server was ready")
                        logger.error("worker %s ended with exit code %s; restarting it", pid, code)
                        await asyncio.sleep(RESTART_PAUSE_S)
                        workers[index] = _Worker(one)
        finally:
            for worker in workers:
                worker.process.terminate()
            await asyncio.gather(*(asyncio.to_thread(worker.process.join) for worker in workers))


class _Worker:
    """A worker process. Constructing it starts the process."""

    def __init__(self, settings: Settings) -> None:
        context = multiprocessing.get_context("spawn")
        self.is_ready = False
        """Whether the worker accepts connections."""
        self.ready_receiver, ready_sender = context.Pipe(duplex=False)
        """Becomes readable when the worker is ready or has ended."""
        self.process = context.Process(target=_work, args=(settings, logging.getLogger().level, ready_sender))
        self.process.start()
        # Only the worker may hold the sending end, or the pipe would stay open after the worker has ended.
        ready_sender.close()

    def receive(self) -> None:
        """Read from `ready_receiver` and update `is_ready`."""
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
        # Ctrl-C sends SIGINT to every process of the group, but the parent stops the workers, with SIGTERM.
        loop.add_signal_handler(signal.SIGINT, lambda: None)
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        parent = multiprocessing.parent_process()
        assert parent is not None

        def stop_alone() -> None:
            # Without a parent, nothing would stop this process, and it would keep the port.
            loop.remove_reader(parent.sentinel)
            logger.critical("the parent process has ended; stopping")
            stop.set()

        loop.add_reader(parent.sentinel, stop_alone)
        await _serve_here(settings, lambda: ready_sender.send_bytes(b"ready"), stop, reuse_port=True)

    try:
        asyncio.run(work())
    except (EducaChatError, OSError) as error:
        # Otherwise multiprocessing prints a traceback to stderr, which is not a line of the log.
        logger.critical("the worker can't serve: %s", error)
        sys.exit(1)

"""Real `educa-chat` processes."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import psutil

from educa_chat.settings import DEMO_SESSION_KEY
from tests.forks import Fork, fork
from tests.ports import free_port as free_port

START_TIMEOUT_S = 60.0


class Process:
    """A running command, with its output so far."""

    def __init__(self, process: Fork, url: str) -> None:
        self.url = url
        self.output = ""
        self._process = process
        self._reading = asyncio.create_task(self._read())

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.returncode is None

    async def _read(self) -> None:
        while chunk := await self._process.stdout.read(65536):
            self.output += chunk.decode(errors="replace")

    async def ready(self) -> None:
        """Wait until /health/ready answers 200."""
        async with asyncio.timeout(START_TIMEOUT_S), aiohttp.ClientSession() as http:
            while True:
                assert self._process.returncode is None, self.output
                with suppress(aiohttp.ClientError):
                    async with http.get(f"{self.url}/health/ready") as response:
                        if response.status == 200:
                            return
                await asyncio.sleep(0.05)

    async def printed(self, text: str) -> None:
        """Wait until it has printed `text`."""
        async with asyncio.timeout(START_TIMEOUT_S):
            while text not in self.output:
                await asyncio.sleep(0.05)

    async def ended(self) -> int:
        """Wait until it has ended, and return its exit code."""
        async with asyncio.timeout(START_TIMEOUT_S):
            code = await self._process.wait()
            await self._reading
            return code

    def signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            self._process.send_signal(number)

    async def stop(self) -> int:
        """Ask it to stop, and return its exit code."""
        self.signal(signal.SIGTERM)
        return await self.ended()


def is_alive(pid: int) -> bool:
    """Return whether the process `pid` runs; a zombie doesn't."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


async def answers(port: int, process: asyncio.subprocess.Process) -> None:
    """Wait until `process` listens on `port` of this machine."""
    async with asyncio.timeout(START_TIMEOUT_S):
        while True:
            assert process.returncode is None, "the process has ended"
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.02)


@asynccontextmanager
async def open_process(
    *arguments: str, environment: Mapping[str, str], url: str = "", script: Path | None = None
) -> AsyncIterator[Process]:
    """Run `educa-chat`, or `script`, with `arguments`. If it is still running when the context ends, it is killed."""
    process = await fork(*arguments, env={**os.environ, **environment}, script=script)
    running = Process(process, url)
    try:
        yield running
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await running.ended()


def open_node(
    database_url: str, bus_url: str = "memory:", *arguments: str, **overrides: object
) -> AbstractAsyncContextManager[Process]:
    """Run `educa-chat serve` on a free port while the context lasts. It is ready when the context is entered."""
    return open_scripted_node(None, database_url, bus_url, *arguments, **overrides)


@asynccontextmanager
async def open_scripted_node(
    script: Path | None, database_url: str, bus_url: str, *arguments: str, **overrides: object
) -> AsyncIterator[Process]:
    """Do the same with `script` instead of `educa-chat`, if given."""
    port = free_port()
    environment = {
        "EDUCA_CHAT_DATABASE_URL": database_url,
        "EDUCA_CHAT_BUS_URL": bus_url,
        "EDUCA_CHAT_SESSION_KEY": DEMO_SESSION_KEY,
    }
    environment |= {f"EDUCA_CHAT_{name.upper()}": str(value) for name, value in overrides.items()}
    url = f"http://127.0.0.1:{port}"
    command = ("serve", "--port", str(port), *arguments)
    async with open_process(*command, environment=environment, url=url, script=script) as process:
        await process.ready()
        yield process

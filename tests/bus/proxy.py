"""A way to Redis that fails as networks do."""

import asyncio
from collections.abc import AsyncIterator, Set
from contextlib import asynccontextmanager, suppress
from typing import Literal
from urllib.parse import urlsplit

from tests.redis_server import RedisServer

Flow = tuple[Literal["listener", "publisher"], Literal["commands", "answers"]]
"""One direction of the one or the other connection of a bus."""

COMMANDS: Set[Flow] = {("listener", "commands"), ("publisher", "commands")}
ANSWERS: Set[Flow] = {("listener", "answers"), ("publisher", "answers")}


class Proxy:
    """A TCP proxy to a Redis that can swallow or hold back what goes through it, and closes nothing."""

    def __init__(self, server: RedisServer) -> None:
        self._target = urlsplit(server.url)
        self.url = ""
        self.swallows: Set[Flow] = set()
        """What is swallowed; a connection of which something was swallowed is so for ever in that direction."""
        self.delivers = True
        """While false, what was published is swallowed on its way to the listener, and all else goes through."""
        self.flows = asyncio.Event()
        """While clear, answers are held back."""
        self.flows.set()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator["Proxy"]:
        listener = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.url = "redis://{}:{}".format(*listener.sockets[0].getsockname())
        async with listener:
            yield self

    async def _join(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        from_redis, to_redis = await asyncio.open_connection(self._target.hostname, self._target.port)
        # Until it subscribes to something.
        role: Literal["listener", "publisher"] = "publisher"

        async def answer() -> None:
            swallowed = False
            while data := await from_redis.read(65536):
                await self.flows.wait()
                swallowed = swallowed or (role, "answers") in self.swallows
                if role == "listener" and not self.delivers:
                    data = data.partition(b"*3\r\n$7\r\nmessage\r\n")[0]
                if not swallowed:
                    to_client.write(data)
            to_client.close()

        async def ask() -> None:
            nonlocal role
            swallowed = False
            while data := await from_client.read(65536):
                if b"\r\nSUBSCRIBE\r\n" in data:
                    role = "listener"
                swallowed = swallowed or (role, "commands") in self.swallows
                if not swallowed:
                    to_redis.write(data)
            to_redis.close()

        with suppress(ConnectionError):
            await asyncio.gather(ask(), answer())

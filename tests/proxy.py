"""A TCP proxy for tests, which fails like a network."""

import asyncio
from collections.abc import AsyncIterator, Set
from contextlib import asynccontextmanager
from typing import Literal, Self

Flow = tuple[Literal["listener", "asker"], Literal["questions", "answers"]]
"""One direction of all connections of a kind: those that have subscribed to something in Redis, or all others."""

QUESTIONS: Set[Flow] = {("listener", "questions"), ("asker", "questions")}
ANSWERS: Set[Flow] = {("listener", "answers"), ("asker", "answers")}


class Proxy:
    """Forwards connections to `target_port` of this machine. Its own `port` is known once it is open."""

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self.swallows: Set[Flow] = set()
        """What vanishes. A connection that has lost something in a direction loses all else in it, its end too."""
        self.delivers = True
        """While false, what was published vanishes on its way to the listeners, and all else goes through."""
        self.flows = asyncio.Event()
        """While clear, answers are held back."""
        self.flows.set()
        self._target_port = target_port
        self._writers: set[asyncio.StreamWriter] = set()
        self._joints: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Self]:
        listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = listener.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            listener.close()
            self.cut()
            for joint in self._joints:
                joint.cancel()
            await asyncio.gather(*self._joints, return_exceptions=True)

    def cut(self) -> None:
        """Break all current connections."""
        for writer in self._writers:
            writer.transport.abort()

    def _accept(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        joint = asyncio.create_task(self._join(from_client, to_client))
        self._joints.add(joint)
        joint.add_done_callback(self._joints.discard)

    async def _join(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        kind: Literal["listener", "asker"] = "asker"

        async def ask(to_server: asyncio.StreamWriter) -> None:
            nonlocal kind
            is_broken = False
            while data := await from_client.read(65536):
                if b"\r\nSUBSCRIBE\r\n" in data:
                    kind = "listener"
                is_broken = is_broken or (kind, "questions") in self.swallows
                if not is_broken:
                    to_server.write(data)
                    await to_server.drain()
            if not is_broken:
                to_server.close()

        async def answer(from_server: asyncio.StreamReader) -> None:
            is_broken = False
            while data := await from_server.read(65536):
                await self.flows.wait()
                is_broken = is_broken or (kind, "answers") in self.swallows
                if kind == "listener" and not self.delivers:
                    data = data.partition(b"*3\r\n$7\r\nmessage\r\n")[0]
                if not is_broken:
                    to_client.write(data)
                    await to_client.drain()
            if not is_broken:
                to_client.close()

        self._writers.add(to_client)
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self._target_port)
            self._writers.add(to_server)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(ask(to_server))
                    group.create_task(answer(from_server))
            finally:
                self._writers.discard(to_server)
                to_server.transport.abort()
        except* OSError:
            # Whichever side broke the connection, break the other side too.
            pass
        finally:
            self._writers.discard(to_client)
            to_client.transport.abort()

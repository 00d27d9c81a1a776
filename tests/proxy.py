"""A TCP proxy of a test's own, which can lose what it should carry."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Proxy:
    """Carries connections to `host` and `port`, which may be set anew; `port` of its own is known once it is open."""

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.port = 0
        self.swallows_questions = False
        self.swallows_answers = False
        """While one is true, those bytes vanish; a connection that has lost some is of no use any more, and stays."""
        self.swallowed = asyncio.Event()
        """Set when an answer has vanished."""
        self._writers: set[asyncio.StreamWriter] = set()
        self._joints: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = listener.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            listener.close()
            self.cut()
            for joint in self._joints:
                joint.cancel()
            await asyncio.gather(*self._joints, return_exceptions=True)

    def swallow(self, is_on: bool) -> None:
        """Lose everything in both directions from now on, or carry new connections again."""
        self.swallows_questions = self.swallows_answers = is_on

    def cut(self) -> None:
        """Break every connection that there is."""
        for writer in self._writers:
            writer.transport.abort()

    def _accept(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        joint = asyncio.create_task(self._join(from_client, to_client))
        self._joints.add(joint)
        joint.add_done_callback(self._joints.discard)

    async def _join(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        self._writers.add(to_client)
        try:
            with suppress(OSError):
                from_server, to_server = await asyncio.open_connection(*self.target)
                self._writers.add(to_server)
                try:
                    async with asyncio.TaskGroup() as group:
                        group.create_task(self._carry(from_client, to_server, is_answer=False))
                        group.create_task(self._carry(from_server, to_client, is_answer=True))
                finally:
                    self._writers.discard(to_server)
                    to_server.transport.abort()
        finally:
            self._writers.discard(to_client)
            to_client.transport.abort()

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_answer: bool) -> None:
        is_broken = False
        with suppress(OSError):
            while data := await source.read(65536):
                if is_broken or (self.swallows_answers if is_answer else self.swallows_questions):
                    is_broken = True
                    if is_answer:
                        self.swallowed.set()
                    continue
                sink.write(data)
                await sink.drain()
            if not is_broken:
                sink.close()

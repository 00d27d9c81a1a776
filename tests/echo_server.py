"""A server that echoes text messages, built from our own handshake and WebSocket."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NoReturn

from aiohttp import web

from educa_chat.frames import Message, Ping, Text
from educa_chat.handlers.upgrade import check_handshake, upgrade
from educa_chat.protocol import pong_frame, text_frame
from educa_chat.websocket_protocol import ReadingTime, WebSocket
from tests.serving import TIMEOUT_S

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
_VALID = {
    "Host": ["here"],
    "Upgrade": ["websocket"],
    "Connection": ["Upgrade"],
    "Sec-WebSocket-Key": [KEY],
    "Sec-WebSocket-Version": ["13"],
}


def request(line: str = "GET /socket HTTP/1.1", body: bytes = b"", **changes: list[str]) -> bytes:
    """Return a valid handshake except for `changes`: the lines of each header, none to omit it."""
    headers = _VALID | {name.replace("_", "-"): values for name, values in changes.items()}
    lines = [line, *(f"{name}: {value}" for name, values in headers.items() for value in values), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


class Echo(WebSocket):
    """Echoes texts and answers pings."""

    def __init__(
        self,
        max_message_bytes: int = 1000,
        on_message: Callable[[Message], object] = lambda _: None,
        reading_time: ReadingTime | None = None,
    ) -> None:
        super().__init__(max_message_bytes, reading_time or ReadingTime())
        self.has_left = False
        self._on_message = on_message

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.release()

    def receive(self, message: Message) -> None:
        self._on_message(message)
        if isinstance(message, Text):
            self.transmit(text_frame(message.text.encode()))
        elif isinstance(message, Ping):
            self.transmit(pong_frame(message.payload))

    def leave(self) -> None:
        self.has_left = True


class EchoServer:
    """A running server. `sockets` contains all sockets that it has ever accepted, in order."""

    def __init__(self, new_socket: Callable[[], Echo]) -> None:
        self.url = ""
        self.sockets: list[Echo] = []
        self._new_socket = new_socket
        app = web.Application()
        app.router.add_route("*", "/socket", self._socket)
        self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    @property
    def connections(self) -> int:
        """The number of connections that aiohttp has."""
        assert self.runner.server is not None
        return len(self.runner.server.connections)

    async def closed(self) -> None:
        """Wait until all sockets are closed."""
        async with asyncio.timeout(TIMEOUT_S):
            while not all(socket.is_closed for socket in self.sockets):
                await asyncio.sleep(0.01)

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        handshake = check_handshake(request, "echo")
        socket = self._new_socket()
        self.sockets.append(socket)
        return await upgrade(request, handshake, socket)


@asynccontextmanager
async def open_echo_server(new_socket: Callable[[], Echo] = Echo) -> AsyncIterator[EchoServer]:
    """Serve on a free port. `new_socket` makes the socket of each client."""
    server = EchoServer(new_socket)
    try:
        await server.runner.setup()
        await web.TCPSite(server.runner, "127.0.0.1", 0).start()
        host, port = server.runner.addresses[0][:2]
        server.url = f"http://{host}:{port}"
        yield server
    finally:
        for socket in server.sockets:
            socket.abort()
        await server.runner.cleanup()


class Iterations:
    """Counts the iterations of the event loop while the context lasts."""

    def __init__(self) -> None:
        self.count = 0

    async def __aenter__(self) -> "Iterations":
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> NoReturn:
        while True:
            self.count += 1
            await asyncio.sleep(0)

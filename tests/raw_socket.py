"""A WebSocket client that does nothing by itself: the test decides which bytes it sends, and when it reads."""

import asyncio
import json
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from tests.serving import SIGNALS, TIMEOUT_S, Person

FIN, RSV1, RSV2, RSV3 = 0x80, 0x40, 0x20, 0x10
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

_SIGNALS = tuple(f'{{"type":"{signal}"'.encode() for signal in SIGNALS)


class RawSocket:
    """An open socket, byte by byte."""

    def __init__(self, connection: socket.socket, rest: bytes = b"") -> None:
        self._connection = connection
        self._received = bytearray(rest)

    async def send(self, data: bytes) -> None:
        """Send `data`, or as much as the server accepts before it disconnects."""
        with suppress(ConnectionError):
            async with asyncio.timeout(TIMEOUT_S):
                await asyncio.get_running_loop().sock_sendall(self._connection, data)

    def end(self) -> None:
        """Close the sending direction, and continue reading."""
        self._connection.shutdown(socket.SHUT_WR)

    async def receive(self) -> tuple[int, bytes] | None:
        """Return the opcode and payload of the next frame that isn't a signal; None at the end."""
        while (frame := await self._receive()) is not None:
            if frame[0] != TEXT or not frame[1].startswith(_SIGNALS):
                break
        return frame

    async def _receive(self) -> tuple[int, bytes] | None:
        if (head := await self._take(2)) is None:
            return None
        assert head[0] & (RSV1 | RSV2 | RSV3) == 0
        assert head[1] & 0x80 == 0
        length = head[1] & 0x7F
        if length >= 126:
            wide = await self._take(2 if length == 126 else 8)
            assert wide is not None
            length = int.from_bytes(wide, "big")
        payload = await self._take(length)
        return None if payload is None else (head[0] & 0xF, payload)

    async def json(self) -> dict[str, Any]:
        """Return the JSON of the next text frame that isn't a signal, skipping others."""
        while (frame := await self.receive()) is not None:
            if frame[0] == TEXT:
                decoded: dict[str, Any] = json.loads(frame[1])
                if decoded["type"] not in SIGNALS:
                    return decoded
        raise AssertionError("the server has hung up")

    async def control(self) -> tuple[int, bytes]:
        """Return the next control frame, skipping others."""
        while (frame := await self.receive()) is not None:
            if frame[0] >= CLOSE:
                return frame
        raise AssertionError("the server has hung up")

    async def close_code(self) -> int | None:
        """Read to the end, and return the server's close code."""
        code = None
        while (frame := await self.receive()) is not None:
            if frame[0] == CLOSE:
                code = int.from_bytes(frame[1][:2], "big")
        return code

    async def head(self) -> bytes:
        """Read the head of an HTTP response."""
        async with asyncio.timeout(TIMEOUT_S):
            while b"\r\n\r\n" not in self._received:
                data = await asyncio.get_running_loop().sock_recv(self._connection, 65536)
                assert data, "the server has hung up"
                self._received += data
        head, _, rest = self._received.partition(b"\r\n\r\n")
        self._received = rest
        return bytes(head)

    async def ended(self) -> None:
        """Read to the end."""
        with suppress(ConnectionError):
            async with asyncio.timeout(TIMEOUT_S):
                while await asyncio.get_running_loop().sock_recv(self._connection, 65536):
                    pass

    async def _take(self, count: int) -> bytes | None:
        async with asyncio.timeout(TIMEOUT_S):
            while len(self._received) < count:
                try:
                    data = await asyncio.get_running_loop().sock_recv(self._connection, 65536)
                except ConnectionError:
                    return None
                if not data:
                    return None
                self._received += data
        taken = bytes(self._received[:count])
        del self._received[:count]
        return taken


@asynccontextmanager
async def open_connection(url: str, window_bytes: int | None = None) -> AsyncIterator[RawSocket]:
    """Open a connection. A small `window_bytes` fills up soon, and then the server can't send more."""
    address = urlsplit(url)
    with socket.socket() as connection:
        connection.setblocking(False)
        if window_bytes is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window_bytes)
        await asyncio.get_running_loop().sock_connect(connection, (address.hostname, address.port))
        yield RawSocket(connection)


def handshake(person: Person, course: int, query: str = "") -> bytes:
    """Return the handshake for the full socket of `person`."""
    cookies = "; ".join(f"{cookie.key}={cookie.value}" for cookie in person.http.cookie_jar)
    return (
        f"GET /ws/chat/room/{course}/{query} HTTP/1.1\r\nHost: {urlsplit(person.url).netloc}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Protocol: educa-chat.v1\r\nCookie: {cookies}\r\n\r\n".encode()
    )


@asynccontextmanager
async def open_raw(person: Person, course: int, window_bytes: int | None = None) -> AsyncIterator[RawSocket]:
    """Open the full socket of `person`, and receive the welcome."""
    async with open_connection(person.url, window_bytes) as raw:
        await raw.send(handshake(person, course))
        head = await raw.head()
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=" in head.lower()
        assert (await raw.json())["type"] == "welcome"
        yield raw


def frame(first: int, payload: bytes = b"", *, length: int | None = None, mask: bool = True) -> bytes:
    """Return a client's frame; `length` may be wrong."""
    length = len(payload) if length is None else length
    bit = 0x80 if mask else 0
    if length < 126:
        head = struct.pack("!BB", first, bit | length)
    elif length < 65536:
        head = struct.pack("!BBH", first, bit | 126, length)
    else:
        head = struct.pack("!BBQ", first, bit | 127, length)
    if not mask:
        return head + payload
    key = os.urandom(4)
    repeated = key * (len(payload) // 4 + 1)
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(repeated[: len(payload)], "big")
    return head + key + masked.to_bytes(len(payload), "big")

"""The way from a request to a WebSocket: aiohttp checks the handshake, answers, and lets go of the connection."""

import hashlib
from base64 import b64encode
from typing import Any, NamedTuple, cast

from aiohttp import web

from educa_chat.websocket_protocol import WebSocket

_KEY_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Handshake(NamedTuple):
    """What a client that may have a WebSocket is answered (RFC 6455 §4.2.2)."""

    accept: str
    subprotocol: str | None


def check_handshake(request: web.Request, subprotocol: str) -> Handshake:
    """The answer to a client's handshake, with `subprotocol` if it asks for it. Raises HTTPBadRequest."""
    ready = web.WebSocketResponse(protocols=(subprotocol,)).can_prepare(request)
    if not ready.ok:
        raise web.HTTPBadRequest
    key = request.headers["Sec-WebSocket-Key"].encode()
    return Handshake(
        b64encode(hashlib.sha1(key + _KEY_SUFFIX, usedforsecurity=False).digest()).decode(), ready.protocol
    )


async def upgrade(request: web.Request, handshake: Handshake, socket: WebSocket) -> web.StreamResponse:
    """Accept, and put `socket` in aiohttp's place under the connection; the response is for the handler to return.

    aiohttp forgets the connection, as if it were lost: nothing of it is left in memory once the handler has returned,
    and its server neither counts nor closes it. Raises ConnectionResetError when the client has gone.
    """
    headers = {"Upgrade": "websocket", "Connection": "upgrade", "Sec-WebSocket-Accept": handshake.accept}
    if handshake.subprotocol is not None:
        headers["Sec-WebSocket-Protocol"] = handshake.subprotocol
    response = web.StreamResponse(status=101, headers=headers)
    await response.prepare(request)
    await response.write_eof()
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the client has gone")
    early = _Early()
    request.protocol.set_parser(cast(Any, early))
    transport.set_protocol(socket)
    socket.connection_made(transport)
    request.protocol.transport = None
    request.protocol.connection_lost(None)
    if early.data:
        socket.data_received(early.data)
    return response


class _Early:
    """Takes what has come behind the request, as the parser that aiohttp takes it for would."""

    def __init__(self) -> None:
        self.data = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        pass

"""Upgrades a request to a WebSocket (RFC 6455 §4.2): checks it, answers, and takes the connection over from aiohttp."""

import hashlib
import re
from base64 import b64encode
from typing import Any, NamedTuple, cast

from aiohttp import HttpVersion11, hdrs, web

from educa_chat.websocket_protocol import WebSocket

_VERSION = "13"
_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")
"""16 bytes in base64."""
_KEY_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Handshake(NamedTuple):
    """The answer to a client's valid handshake (RFC 6455 §4.2.2)."""

    accept: str
    subprotocol: str | None


def check_handshake(request: web.Request, subprotocol: str) -> Handshake:
    """Return the answer to a client's handshake, with `subprotocol` if the client offers it.

    Raises HTTPBadRequest if the request is no WebSocket handshake of version 13 (RFC 6455 §4.2.1).
    """
    if (
        request.method != hdrs.METH_GET
        or request.version < HttpVersion11
        # The server would read the bytes of a body as frames.
        or request.body_exists
        or "websocket" not in map(str.lower, _tokens(request, hdrs.UPGRADE))
        or "upgrade" not in map(str.lower, _tokens(request, hdrs.CONNECTION))
    ):
        raise web.HTTPBadRequest
    if request.headers.getall(hdrs.SEC_WEBSOCKET_VERSION, []) != [_VERSION]:
        # So that the client can try again with a version that the server knows (RFC 6455 §4.4).
        raise web.HTTPBadRequest(headers={hdrs.SEC_WEBSOCKET_VERSION: _VERSION})
    keys = request.headers.getall(hdrs.SEC_WEBSOCKET_KEY, [])
    if len(keys) != 1 or not _KEY.fullmatch(keys[0]):
        raise web.HTTPBadRequest
    digest = hashlib.sha1(keys[0].encode() + _KEY_SUFFIX, usedforsecurity=False).digest()
    is_offered = subprotocol in _tokens(request, hdrs.SEC_WEBSOCKET_PROTOCOL)
    return Handshake(b64encode(digest).decode(), subprotocol if is_offered else None)


def _tokens(request: web.Request, name: str) -> list[str]:
    """Return the tokens of a list-based header, over all of its lines (RFC 9110 §5.6.1)."""
    elements = ",".join(request.headers.getall(name, [])).split(",")
    # Tokens are ASCII, but some other letters have an ASCII letter as their lower case.
    return [token for element in elements if (token := element.strip(" \t")) and token.isascii()]


async def upgrade(request: web.Request, handshake: Handshake, socket: WebSocket) -> web.StreamResponse:
    """Accept the handshake, and give the connection to `socket`; the handler must return the response.

    aiohttp forgets the connection as if it were lost: once the handler has returned, it holds no memory for the
    connection, and its server neither counts nor closes it. Raises ConnectionResetError if the client is gone.
    """
    headers = {hdrs.UPGRADE: "websocket", hdrs.CONNECTION: "upgrade", hdrs.SEC_WEBSOCKET_ACCEPT: handshake.accept}
    if handshake.subprotocol is not None:
        headers[hdrs.SEC_WEBSOCKET_PROTOCOL] = handshake.subprotocol
    response = web.StreamResponse(status=101, headers=headers)
    await response.prepare(request)
    await response.write_eof()
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the client is gone")
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
    """Receives the bytes that arrived after the request, in place of aiohttp's parser."""

    def __init__(self) -> None:
        self.data = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        pass

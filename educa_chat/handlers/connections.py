"""The connections that requests arrive on: how long each may go without a request, and the answer to malformed HTTP.

aiohttp waits without limit for a header or a body that drips in, and for a client to read its answer. It answers
malformed HTTP with its own version and Python's, and logs a traceback.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from aiohttp import HttpVersion10, hdrs, web, web_server
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler
from aiohttp.web_protocol import _ErrInfo

logger = logging.getLogger(__name__)

FIRST_REQUEST_S = 10.0
"""How long a new connection may take to send the complete header of a request."""
NEXT_REQUEST_S = 75.0
"""How long after the start of a request the next one must begin: the time for its body, its answer and a pause.

A proxy keeps an idle connection for less (nginx for 60 s), so it never sends a request into one that we close.
"""
SWEEP_S = 5.0
READ_BYTES = 32 * 1024
"""How much is read from a connection, and parsed, in one iteration of the event loop: at most 8 ms of work.

Large enough for a malformed head to fit into one read: closing a connection with unread data resets it, and the client
would lose the answer (RFC 1122 §4.2.2.13).
"""


class Connection(web.RequestHandler):
    """aiohttp's protocol for one connection, with smaller reads and another answer to malformed HTTP."""

    __slots__ = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # An attribute of asyncio's transports. Its default, 256 KiB, lets a body in chunks of one byte keep the parser
        # busy for 60 ms.
        transport.max_size = READ_BYTES  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        """Take the next bytes, and end the current request's body if they break it."""
        super().data_received(data)
        if self._current_request is not None and self._messages and isinstance(self._messages[-1][0], _ErrInfo):
            # aiohttp would answer them after this request, which would wait for the rest of its body forever.
            body = self._current_request.content
            body.set_exception(web.RequestPayloadError("malformed HTTP in a body"))
            # So that aiohttp doesn't try to read the rest before it closes the connection.
            body.feed_eof()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the answer to malformed HTTP, or to an error that no handler caught."""
        if isinstance(exc, (HttpProcessingError, UnicodeError)):
            # Only the type: the message quotes the request.
            logger.info("%s sent malformed HTTP: %s", request.remote, type(exc).__name__)
            response: web.StreamResponse = web.Response(status=400, text="400: Bad Request")
            response.force_close()
        else:
            response = super().handle_error(request, status, exc, message)
        # The handlers that remove this header from other answers don't run here.
        response.headers[hdrs.SERVER] = "educa-chat"
        return response


# aiohttp has no setting for the class of its connections.
web_server.RequestHandler = Connection  # type: ignore[attr-defined]


@web.middleware
async def check_requests(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse requests that aren't meant for an HTTP/1 server, and make all header values valid Unicode.

    aiohttp decodes bytes that aren't UTF-8 to lone surrogates, which can't be encoded again. They become U+FFFD: in a
    cookie of another application they must not keep its users out.
    """
    if request.version < HttpVersion10 or request.method == hdrs.METH_CONNECT:
        logger.info("%s sent a %s request for HTTP/%d.%d", request.remote, request.method, *request.version)
        refusal = web.HTTPBadRequest()
        refusal.force_close()
        raise refusal
    if not all(map(str.isascii, request.headers.values())):
        request = request.clone(
            headers=[
                (name, value.encode(errors="surrogateescape").decode(errors="replace"))
                for name, value in request.headers.items()
            ]
        )
    return await handler(request)


class Connections:
    """Ends each connection on which no request begins in time, even if bytes arrive.

    A WebSocket no longer belongs to the server; its own heartbeat watches it. `note_request` and `note_upgrade` are for
    the application, and `watch` runs next to its server.
    """

    def __init__(
        self,
        first_request_s: float = FIRST_REQUEST_S,
        next_request_s: float = NEXT_REQUEST_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._first_request_s = first_request_s
        self._next_request_s = next_request_s
        self._clock = clock
        self._end_at: dict[web.RequestHandler, float] = {}

    @web.middleware
    async def note_request(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self._end_at[request.protocol] = self._clock() + self._next_request_s
        return await handler(request)

    async def note_upgrade(self, request: web.Request, response: web.StreamResponse) -> None:
        if response.status == 101:
            # The sockets would keep the objects that served their requests in memory until the next sweep.
            self._end_at.pop(request.protocol, None)

    def sweep(self, connections: Iterable[web.RequestHandler]) -> None:
        """Abort those of the server's `connections` whose time is over, and forget the ones that are gone."""
        now = self._clock()
        self._end_at = {
            connection: self._end_at.get(connection, now + self._first_request_s) for connection in connections
        }
        ended = 0
        for connection, end_at in self._end_at.items():
            if end_at <= now and connection.transport is not None:
                # Aborted, not closed: a client that reads nothing would keep a closing transport open forever.
                connection.transport.abort()
                ended += 1
        if ended:
            logger.info("ended %d connections without a request", ended)

    async def watch(self, server: web.Server) -> None:
        """Sweep the connections of `server` forever."""
        while True:
            await asyncio.sleep(SWEEP_S)
            self.sweep(server.connections)

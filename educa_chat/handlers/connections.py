"""The connections that requests come over, and how long each may be without one.

aiohttp waits for ever: for a header or a body that drips in, and for an answer to be read.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from aiohttp import web
from aiohttp.typedefs import Handler

logger = logging.getLogger(__name__)

FIRST_REQUEST_S = 10.0
"""How long a new connection may take to bring the whole header of a request."""
NEXT_REQUEST_S = 75.0
"""How long after one request has begun the next must have: the time for its body, its answer and a pause.

A proxy keeps an idle connection for less (nginx for 60 s), so that it never sends a request into one that we close.
"""
SWEEP_S = 5.0


class Connections:
    """Ends each connection on which no request begins in time, whatever trickles in.

    A WebSocket has been taken from the server, and is watched by its own heartbeat. `note_request` and `note_upgrade`
    belong into the application, `watch` beside its server.
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
            # What served its request would be kept with it until the next sweep.
            self._end_at.pop(request.protocol, None)

    def sweep(self, connections: Iterable[web.RequestHandler]) -> None:
        """End those of the server's `connections` whose time is over, and forget the ones that are gone."""
        now = self._clock()
        self._end_at = {
            connection: self._end_at.get(connection, now + self._first_request_s) for connection in connections
        }
        ended = 0
        for connection, end_at in self._end_at.items():
            if end_at <= now and connection.transport is not None:
                # Not closed but aborted: who reads nothing would keep a transport that closes for ever.
                connection.transport.abort()
                ended += 1
        if ended:
            logger.info("%d connections without a request are ended", ended)

    async def watch(self, server: web.Server) -> None:
        """Sweep the connections of `server` for ever."""
        while True:
            await asyncio.sleep(SWEEP_S)
            self.sweep(server.connections)

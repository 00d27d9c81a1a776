"""Health checks (is the process alive, and ready for users?) and metrics."""

from collections.abc import Sequence

from aiohttp import web
from aiohttp.typedefs import Handler

from educa_chat.handlers.addresses import membership_test, parse_address
from educa_chat.handlers.keys import HUB, METRICS, READINESS, SOCKETS
from educa_chat.handlers.readiness import OK
from educa_chat.metrics import CONTENT_TYPE


async def live(_: web.Request) -> web.Response:
    return web.json_response({"status": "live"})


async def ready(request: web.Request) -> web.Response:
    """Answer 503 while draining, and unless the database has the right schema and accepts writes.

    A lost bus is reported, but users may still be sent here.
    """
    parts: dict[str, str] = {"database": await request.app[READINESS].database(), "bus": request.app[HUB].bus_state}
    status = "ready" if parts["database"] == OK else "not ready"
    if request.app[SOCKETS].draining:
        status = "draining"
    return web.json_response(
        {"status": status, "parts": parts},
        status=200 if status == "ready" else 503,
        headers={"Cache-Control": "no-store"},
    )


def metrics_for(networks: Sequence[str]) -> Handler:
    """Return a handler that shows the metrics only to clients within `networks`."""
    may_read = membership_test(networks)

    async def metrics(request: web.Request) -> web.Response:
        headers = {"Cache-Control": "no-store"}
        if not may_read(parse_address(request.remote or "")):
            text = f"403: {request.remote} is not in server.metrics_networks\n"
            return web.Response(status=403, text=text, headers=headers)
        return web.Response(body=request.app[METRICS].expose(), headers={"Content-Type": CONTENT_TYPE, **headers})

    return metrics

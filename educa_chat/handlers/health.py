"""Whether this process turns, whether people may be sent to it, and what it counts."""

from aiohttp import web

from educa_chat.errors import DatabaseUnavailable, SchemaMismatch
from educa_chat.handlers.keys import DATABASE, HUB, METRICS, SOCKETS
from educa_chat.metrics import CONTENT_TYPE
from educa_chat.storage.migrate import require_current_schema


async def live(_: web.Request) -> web.Response:
    return web.json_response({"status": "live"})


async def ready(request: web.Request) -> web.Response:
    """503 while draining, or without a database of the right schema. A lost bus is told, and no reason to stay away."""
    parts: dict[str, str] = {"database": "ok", "bus": request.app[HUB].bus_state}
    try:
        await require_current_schema(request.app[DATABASE])
    except DatabaseUnavailable:
        parts["database"] = "unavailable"
    except SchemaMismatch:
        parts["database"] = "of another schema"
    status = "ready" if parts["database"] == "ok" else "not ready"
    if request.app[SOCKETS].draining:
        status = "draining"
    return web.json_response(
        {"status": status, "parts": parts},
        status=200 if status == "ready" else 503,
        headers={"Cache-Control": "no-store"},
    )


async def metrics(request: web.Request) -> web.Response:
    return web.Response(
        body=request.app[METRICS].expose(), headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"}
    )

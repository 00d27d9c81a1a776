"""The middlewares of every request: its id, proxy headers, the log line, and the edge where errors become answers."""

import json
import logging
import re
import secrets
import time
from collections.abc import Mapping, Sequence

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from educa_chat.errors import DatabaseUnavailable
from educa_chat.handlers import embedding
from educa_chat.handlers.addresses import find_client, list_elements, membership_test, parse_address
from educa_chat.handlers.embedding import EMBEDDED_BY, FORM_ACTION
from educa_chat.handlers.keys import FRAME_ANCESTORS, SETTINGS
from educa_chat.handlers.rendering import render_anonymous, render_forbidden, translations_for
from educa_chat.log_lines import logging_request

logger = logging.getLogger(__name__)

_ID: web.RequestKey[str] = web.RequestKey("ID")

RETRY_AFTER_S = 2

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action {form_action}; base-uri 'none'; frame-ancestors {frame_ancestors}; "
    "require-trusted-types-for 'script'; trusted-types educa-chat"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_DOCUMENT_HEADERS = {
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
}
_PARTS = ("text/javascript", "text/css")
"""Only pages get a policy and an id. Their forty files would become a sixth larger with them."""
_CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    429: "rate_limited",
    503: "unavailable",
}
_KEPT = ("Allow", "Retry-After", "Sec-WebSocket-Version")
"""The headers of an HTTPException that are copied to its answer."""


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add the request's id, and to pages the security headers (CSP Level 3 and others)."""
    # The server's name and version needn't be public, and would be in each of the forty answers of a page.
    response.headers.pop("Server", None)
    if response.content_type in _PARTS:
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        return
    if _ID in request:
        response.headers["X-Request-ID"] = request[_ID]
    if response.status == 101:
        return
    policy = _POLICY.format(
        form_action=response.get(FORM_ACTION, "'self'"),
        frame_ancestors=response.get(EMBEDDED_BY) or await _frame_ancestors(request),
    )
    response.headers.setdefault("Content-Security-Policy", policy)
    is_document = response.content_type == "text/html"
    for name, value in (_HEADERS | _DOCUMENT_HEADERS if is_document else _HEADERS).items():
        response.headers.setdefault(name, value)


async def _frame_ancestors(request: web.Request) -> str:
    """Return which sites may embed the answer: learning platforms, if it belongs to a session that one has started."""
    if not request.path.startswith(embedding.PATH) and embedding.embedded_session(request) is None:
        return "'self'"
    try:
        return await request.app[FRAME_ANCESTORS]() if FRAME_ANCESTORS in request.app else "'none'"
    except DatabaseUnavailable:
        return "'none'"


def identify_requests(networks: Sequence[str]) -> Middleware:
    """Give each request an id for its log lines: `X-Request-ID` from peers within `networks`, or else a new one."""
    is_trusted = membership_test(networks)

    @web.middleware
    async def identify(request: web.Request, handler: Handler) -> web.StreamResponse:
        # If there are several, the last one is the proxy's.
        given = request.headers.getall("X-Request-ID", [""])[-1]
        is_taken = is_trusted(parse_address(request.remote or "")) and re.fullmatch(r"[A-Za-z0-9._:=+/-]{1,128}", given)
        request[_ID] = given if is_taken else secrets.token_hex(8)
        with logging_request(request[_ID]):
            return await handler(request)

    return identify


def trust_proxies(networks: Sequence[str]) -> Middleware:
    """Believe `X-Forwarded-For`, `-Proto` and `-Host` from peers within `networks`."""
    is_trusted = membership_test(networks)

    @web.middleware
    async def believe(request: web.Request, handler: Handler) -> web.StreamResponse:
        peer = parse_address(request.remote or "")
        if peer is None or not is_trusted(peer):
            return await handler(request)
        headers = request.headers
        client, taken = find_client(peer, list_elements(headers.getall(hdrs.X_FORWARDED_FOR, [])), is_trusted)

        def reported(header: str, form: str, default: str) -> str:
            """Return the value of the first proxy: each header has one element per proxy, or only one."""
            values = list_elements(headers.getall(header, []))
            value = values[-min(max(taken, 1), len(values))].lower() if values else ""
            return value if re.fullmatch(form, value) else default

        return await handler(
            request.clone(
                remote=str(client),
                scheme=reported(hdrs.X_FORWARDED_PROTO, "https?", request.scheme),
                host=reported(hdrs.X_FORWARDED_HOST, r"[a-z0-9._-]+(:[0-9]+)?|\[[0-9a-f:.]+\](:[0-9]+)?", request.host),
            )
        )

    return believe


@web.middleware
async def log_requests(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Log one line per request, without the query and without message texts."""
    started = time.monotonic()
    status: int | str = "broken off"
    try:
        response = await handler(request)
        status = response.status
        return response
    except web.HTTPException as answer:
        status = answer.status
        raise
    finally:
        logger.info(
            "%s %s %s %s %.0f ms",
            request.remote,
            request.method,
            request.rel_url.raw_path,
            status,
            (time.monotonic() - started) * 1000,
        )


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """One of the three edges: turn errors into a page, or into JSON for the API and the socket."""
    try:
        return await handler(request)
    except web.HTTPException as answer:
        if answer.status < 400:
            raise
        return await _answer(
            request, answer.status, {name: answer.headers[name] for name in _KEPT if name in answer.headers}
        )
    except web.RequestPayloadError:
        # Where this body ends is unknown, so the connection can't carry another request.
        response = await _answer(request, 400)
        response.force_close()
        return response
    except DatabaseUnavailable as error:
        logger.warning("%s: %s", request.rel_url.raw_path, error)
        return await _answer(request, 503)
    except Exception as error:
        if isinstance(error, ConnectionError) and request.transport is None:
            # The client left before its request was complete, so there is no one to read the answer.
            return await _answer(request, 400)
        logger.exception("%s failed", request.rel_url.raw_path)
        return await _answer(request, 500)


async def _answer(request: web.Request, status: int, headers: Mapping[str, str] | None = None) -> web.Response:
    if request.path.startswith(("/chat/api/", "/api/", "/ws/", "/health/")):
        response = _json_answer(request, status)
    elif status == 403:
        response = await render_forbidden(request)
    else:
        response = render_anonymous(request, "error.html", status=status)
    response.headers.update(headers or {})
    if status == 503:
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response


def _json_answer(request: web.Request, status: int) -> web.Response:
    _ = translations_for(request).gettext
    explanations = {
        400: _("The request is malformed."),
        401: _("You are not signed in."),
        403: _("You don't have access to this."),
        404: _("Not found."),
        429: _("Too many requests. Please wait a moment and try again."),
        503: _("The database can't be reached. Please try again in a moment."),
    }
    error = {
        "code": _CODES.get(status, "error"),
        "message": explanations.get(status, _("Something went wrong.")),
    }
    if status == 401:
        is_embedded = embedding.embedded_session(request) is not None
        error["sign_in_url"] = embedding.ENDED_PATH if is_embedded else request.app[SETTINGS].auth.sign_in_url
    return web.json_response(
        {"error": error}, status=status, headers={"Cache-Control": "no-store"}, dumps=_compact_json
    )


def _compact_json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)

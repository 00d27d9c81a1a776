"""Form tokens against forged requests: a stateless keyed hash over a cookie and the session.

The token begins with a salt, so each page has a different one and can safely be compressed.
"""

import asyncio
import hashlib
import hmac
import re
import secrets
from urllib.parse import parse_qsl

from aiohttp import web

from educa_chat.handlers.access import origin_is_allowed
from educa_chat.handlers.embedding import embedded_session, read_credential, use_session
from educa_chat.handlers.keys import CSRF_KEYS, SESSION_ID, SETTINGS

COOKIE = "educa_chat_csrf"
EMBEDDED_SEED = "-" * 32
"""The seed in embedded pages, which have no cookies: only their session, which is secret, identifies the token."""
MAX_FIELDS = 16
"""More than any of our forms has."""
BODY_TIMEOUT_S = 10.0
"""aiohttp itself has no limit, even if the chunks of a body are malformed."""
_SALT_BYTES = 8
_FRESH = web.RequestKey("CSRF_FRESH", str)


async def csrf_token(request: web.Request, *, is_fixed: bool = False) -> str:
    """Return the token for the forms of the page that answers `request`. Call `set_csrf_cookie` afterwards.

    A fixed one is the same on each page, and only for pages that show nothing of the request.
    """
    seed = _seed(request)
    if seed is None:
        seed = request.get(_FRESH) or secrets.token_urlsafe(24)
        request[_FRESH] = seed
    key = request.app[CSRF_KEYS][0]
    salt = bytes(_SALT_BYTES) if is_fixed else secrets.token_bytes(_SALT_BYTES)
    return _token(key, salt.hex(), seed, await request.app[SESSION_ID](request))


def set_csrf_cookie(request: web.Request, response: web.Response) -> None:
    """Set the cookie that belongs to the token, unless the browser has it."""
    if (seed := request.get(_FRESH)) is not None:
        response.set_cookie(COOKIE, seed, httponly=True, samesite="Lax", secure=request.app[SETTINGS].session.secure)


async def posted_form(request: web.Request) -> dict[str, str]:
    """Read the fields of the posted form, without NULs, which can't be stored.

    A form is what browsers send for a `<form>` without files: percent-encoded UTF-8. Raises HTTPBadRequest for anything
    else, HTTPRequestEntityTooLarge, and RequestPayloadError for a body that never ends: its framing is broken, or it
    takes longer than BODY_TIMEOUT_S.
    """
    is_form = request.content_type == "application/x-www-form-urlencoded"
    if not is_form or (request.charset or "utf-8").lower() != "utf-8" or "Content-Encoding" in request.headers:
        raise web.HTTPBadRequest
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            body = await request.read()
    except TimeoutError:
        raise web.RequestPayloadError from None
    if re.search(rb"%(?![0-9A-Fa-f]{2})", body):
        raise web.HTTPBadRequest
    try:
        fields = parse_qsl(
            body.decode(), keep_blank_values=True, encoding="utf-8", errors="strict", max_num_fields=MAX_FIELDS
        )
    except ValueError:
        raise web.HTTPBadRequest from None
    return {name: text.replace("\0", "") for name, text in fields}


async def is_own_form(request: web.Request) -> bool:
    """Return whether the form has a valid token and comes from an allowed origin. Raises HTTPBadRequest."""
    return await is_own_token(request, (await posted_form(request)).get("csrf_token"))


async def is_own_token(request: web.Request, given: str | None) -> bool:
    """Return whether `given` is a valid token for a form that comes from an allowed origin."""
    seed = _seed(request)
    if seed is None or given is None or not origin_is_allowed(request):
        return False
    salt, session_id = given[: 2 * _SALT_BYTES], await request.app[SESSION_ID](request)
    return any(
        hmac.compare_digest(given.encode(), _token(key, salt, seed, session_id).encode())
        for key in request.app[CSRF_KEYS]
    )


async def use_posted_session(request: web.Request) -> bool:
    """Let a form be posted by the embedded session that it contains. Return whether it contains one.

    Only a page that keeps its session has it in its forms. Raises HTTPBadRequest.
    """
    session = read_credential((await posted_form(request)).get("session", ""), is_token=True)
    if session is not None:
        use_session(request, session)
    return session is not None


def keeps_cookies(request: web.Request) -> bool:
    """Return whether the browser has sent back the cookie of the form: without it, no form is accepted."""
    return _seed(request) is not None


def _seed(request: web.Request) -> str | None:
    if embedded_session(request) is not None:
        return EMBEDDED_SEED
    seed = request.cookies.get(COOKIE, "")
    return seed if re.fullmatch(r"[A-Za-z0-9_-]{32}", seed) else None


def _token(key: bytes, salt: str, seed: str, session_id: str | None) -> str:
    # Salt and seed have fixed lengths, so no other three values give the same message.
    message = f"{salt}:{seed}:{session_id or ''}".encode(errors="replace")
    return salt + hmac.new(key, message, hashlib.sha256).hexdigest()

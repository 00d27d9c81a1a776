"""Proof that a form was one of ours: stateless, a keyed hash over a cookie of its own and the session.

The token begins with a salt, so that no two pages have the same: a page may be compressed then.
"""

import hashlib
import hmac
import re
import secrets

from aiohttp import web

from educa_chat.handlers.access import origin_is_allowed
from educa_chat.handlers.keys import CSRF_KEY, SESSION_ID, SETTINGS

COOKIE = "educa_chat_csrf"
_SALT_BYTES = 8
_FRESH = web.RequestKey("CSRF_FRESH", str)


async def csrf_token(request: web.Request) -> str:
    """The token for the forms of the page that answers `request`; `set_csrf_cookie` must follow."""
    seed = _seed(request)
    if seed is None:
        seed = request.get(_FRESH) or secrets.token_urlsafe(24)
        request[_FRESH] = seed
    return _token(request, secrets.token_hex(_SALT_BYTES), seed, await request.app[SESSION_ID](request))


def set_csrf_cookie(request: web.Request, response: web.Response) -> None:
    """Give the browser the cookie that the token goes with, unless it has it."""
    if (seed := request.get(_FRESH)) is not None:
        response.set_cookie(COOKIE, seed, httponly=True, samesite="Lax", secure=request.app[SETTINGS].session.secure)


async def posted_form(request: web.Request) -> dict[str, str]:
    """The texts of the posted form, without what can't be stored. Raises HTTPBadRequest for what is no form."""
    try:
        form = await request.post()
    except (ValueError, LookupError):
        # How aiohttp tells of garbled multipart, of text that is not of its charset, and of charsets that there aren't.
        raise web.HTTPBadRequest from None
    texts = {name: value for name in form if isinstance(value := form[name], str)}
    return {name: text.replace("\0", "").encode(errors="replace").decode() for name, text in texts.items()}


async def is_own_form(request: web.Request) -> bool:
    """Whether the posted form carries our token, and comes from an allowed origin. Raises HTTPBadRequest."""
    seed = _seed(request)
    given = (await posted_form(request)).get("csrf_token")
    if seed is None or given is None or not origin_is_allowed(request):
        return False
    expected = _token(request, given[: 2 * _SALT_BYTES], seed, await request.app[SESSION_ID](request))
    return hmac.compare_digest(given.encode(), expected.encode())


def _seed(request: web.Request) -> str | None:
    seed = request.cookies.get(COOKIE, "")
    return seed if re.fullmatch(r"[A-Za-z0-9_-]{32}", seed) else None


def _token(request: web.Request, salt: str, seed: str, session_id: str | None) -> str:
    # Salt and seed have one length each, so no other three make the same message.
    message = f"{salt}:{seed}:{session_id or ''}".encode(errors="replace")
    return salt + hmac.new(request.app[CSRF_KEY], message, hashlib.sha256).hexdigest()

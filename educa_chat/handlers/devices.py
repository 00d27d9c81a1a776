"""Browsers in which somebody has signed in before.

They have a count of failures of their own, so that a stranger behind the same address, who fails in somebody's name
until the door is shut, shuts it for himself alone. (OWASP, "Slow Down Online Guessing Attacks with Device Cookies".)
"""

import hashlib
import hmac
import secrets

from aiohttp import web

from educa_chat.handlers.keys import DEVICE_KEYS, SETTINGS

COOKIE = "educa_chat_device"
LIFE_S = 180 * 86400


def known_device(request: web.Request, username: str) -> str | None:
    """The name of the browser, where `username` has signed in with it before."""
    name, _, signature = request.cookies.get(COOKIE, "").partition(".")
    is_ours = any(
        hmac.compare_digest(signature.encode(errors="replace"), _signature(key, name, username).encode())
        for key in request.app[DEVICE_KEYS]
    )
    return name if is_ours else None


def remember_device(request: web.Request, response: web.StreamResponse, username: str) -> None:
    """Let the browser prove later that `username` has signed in with it; one that can already stays who it is."""
    if known_device(request, username):
        return
    name = secrets.token_urlsafe(16)
    response.set_cookie(
        COOKIE,
        f"{name}.{_signature(request.app[DEVICE_KEYS][0], name, username)}",
        max_age=LIFE_S,
        path=request.path,
        httponly=True,
        samesite="Lax",
        secure=request.app[SETTINGS].session.secure,
    )


def _signature(key: bytes, name: str, username: str) -> str:
    message = f"{name}:{username}".encode(errors="replace")
    return hmac.new(key, message, hashlib.sha256).hexdigest()

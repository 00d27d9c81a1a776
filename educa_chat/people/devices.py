"""Browsers in which a user has signed in before.

Their failed sign-ins are counted separately. So an attacker behind the same address who fails too often with a user's
name doesn't lock the user out. (OWASP, "Slow Down Online Guessing Attacks with Device Cookies".)
"""

import hashlib
import hmac
import secrets
from collections.abc import Sequence

from aiohttp import web

COOKIE = "educa_chat_device"
LIFE_S = 180 * 86400


class Devices:
    """Reads and writes the cookie of such a browser. The first of `keys` signs, and each of them is accepted."""

    def __init__(self, keys: Sequence[bytes], *, is_secure: bool) -> None:
        self._keys = keys
        self._is_secure = is_secure

    def known(self, request: web.Request, username: str) -> str | None:
        """Return the name of the browser if `username` has signed in with it before."""
        name, _, signature = request.cookies.get(COOKIE, "").partition(".")
        is_ours = any(
            hmac.compare_digest(signature.encode(errors="replace"), _signature(key, name, username).encode())
            for key in self._keys
        )
        return name if is_ours else None

    def remember(self, request: web.Request, response: web.StreamResponse, username: str, path: str) -> None:
        """Set a cookie that proves later, to the form at `path`, that `username` has signed in here.

        A known browser keeps its name.
        """
        if self.known(request, username):
            return
        name = secrets.token_urlsafe(16)
        response.set_cookie(
            COOKIE,
            f"{name}.{_signature(self._keys[0], name, username)}",
            max_age=LIFE_S,
            path=path,
            httponly=True,
            samesite="Lax",
            secure=self._is_secure,
        )


def _signature(key: bytes, name: str, username: str) -> str:
    message = f"{name}:{username}".encode(errors="replace")
    return hmac.new(key, message, hashlib.sha256).hexdigest()

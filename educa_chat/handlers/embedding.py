"""Sessions in pages that a learning platform embeds.

In an iframe of another site, browsers drop our ordinary cookies. So such a session has a cookie of its own, which is
partitioned: it belongs to the site that embeds us. If the browser drops it too, the page keeps the same value, and
sends it with its requests as a bearer token, or as a subprotocol when it opens the socket.
"""

import re
from typing import NamedTuple

from aiohttp import hdrs, web

from educa_chat.translations import LANGUAGES

COOKIE = "educa_chat_embedded"
SUBPROTOCOL_PREFIX = "educa-chat.session."
PATH = "/lti/"
"""The path prefix of the LTI pages, which learning platforms may embed."""
ENDED_PATH = "/lti/ended/"
"""The page that embedded pages redirect to instead of the sign-in form, which no other site may embed."""

FORM_ACTION = web.ResponseKey("FORM_ACTION", str)
"""Other sites that the forms of a page may post to."""
EMBEDDED_BY = web.ResponseKey("EMBEDDED_BY", str)
"""The only sites that may embed a page, if others than usual: a value of `frame-ancestors`."""

_CREDENTIAL = re.compile(rf"([A-Za-z0-9_-]{{43}})\.({'|'.join(LANGUAGES)})")


class EmbeddedSession(NamedTuple):
    """A session that a launch has started; it may have ended."""

    session_id: str
    language: str
    """The language that the platform has asked for."""
    is_token: bool = False
    """Whether the page keeps the session, because the browser drops the cookie."""

    @property
    def credential(self) -> str:
        """The value in the cookie or the page."""
        return f"{self.session_id}.{self.language}"


_EMBEDDED = web.RequestKey("EMBEDDED", EmbeddedSession)


def embedded_session(request: web.Request) -> EmbeddedSession | None:
    """Return the session of a page that a platform embeds, or None if the request comes from no such page."""
    if _EMBEDDED in request:
        return request[_EMBEDDED]
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme.lower() == "bearer" and (session := read_credential(token, is_token=True)):
        return session
    for protocol in request.headers.get(hdrs.SEC_WEBSOCKET_PROTOCOL, "").split(","):
        protocol = protocol.strip()
        if protocol.startswith(SUBPROTOCOL_PREFIX):
            return read_credential(protocol.removeprefix(SUBPROTOCOL_PREFIX), is_token=True)
    return read_credential(request.cookies.get(COOKIE, ""))


def use_session(request: web.Request, session: EmbeddedSession) -> None:
    """Make `request` belong to `session`, whatever else it contains."""
    request[_EMBEDDED] = session


def read_credential(credential: str, *, is_token: bool = False) -> EmbeddedSession | None:
    """Return the session of a credential, or None if it is malformed."""
    found = _CREDENTIAL.fullmatch(credential)
    return EmbeddedSession(found[1], found[2], is_token) if found else None


def remember(response: web.StreamResponse, session: EmbeddedSession, days: int) -> None:
    """Set the cookie of `session`."""
    set_partitioned_cookie(response, COOKIE, session.credential, days * 86400)


def forget(response: web.StreamResponse) -> None:
    """Delete the cookie of an embedded session."""
    set_partitioned_cookie(response, COOKIE, "", 0)


def set_partitioned_cookie(response: web.StreamResponse, name: str, value: str, max_age_s: int) -> None:
    """Set a cookie that belongs to the site that embeds the page. It is deleted if `max_age_s` is 0."""
    # The cookies of the standard library have no such attribute before Python 3.14.
    attributes = f"Max-Age={max_age_s}; Path=/; HttpOnly; Secure; SameSite=None; Partitioned"
    response.headers.add(hdrs.SET_COOKIE, f"{name}={value}; {attributes}")

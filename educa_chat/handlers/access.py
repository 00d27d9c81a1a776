"""The checks before any handler does its work, in the order that the protocol defines."""

import math
import re
from contextlib import AsyncExitStack
from urllib.parse import quote, urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from educa_chat.handlers.embedding import ENDED_PATH, embedded_session
from educa_chat.handlers.keys import MEMBERSHIPS, READING_TURNS, READS, SESSION_ID, SETTINGS, VISITORS
from educa_chat.limits import RateLimit
from educa_chat.log_lines import log_also
from educa_chat.protocol import Role
from educa_chat.storage.courses import MAX_COURSE_ID, Membership
from educa_chat.storage.sessions import Visitor

_VISITOR: web.RequestKey[Visitor | None] = web.RequestKey("VISITOR")
_TURN: web.RequestKey[AsyncExitStack] = web.RequestKey("TURN")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def course_id(request: web.Request) -> int:
    """Return the course id in the path, which must be a canonical decimal number. Raises HTTPForbidden."""
    text = request.match_info["course"]
    if not re.fullmatch(r"[1-9][0-9]{0,18}", text, re.ASCII) or int(text) > MAX_COURSE_ID:
        raise web.HTTPForbidden
    log_also(room=int(text))
    return int(text)


async def find_visitor(request: web.Request) -> Visitor | None:
    """Return the visitor, or None if nobody is signed in. Raises DatabaseUnavailable."""
    if _VISITOR not in request:
        session_id = await request.app[SESSION_ID](request)
        visitor = await request.app[VISITORS].load(session_id) if session_id else None
        request[_VISITOR] = visitor
        if visitor is not None:
            log_also(user=visitor.user_id)
    return request[_VISITOR]


def known_visitor(request: web.Request) -> Visitor | None:
    """Return the visitor if `find_visitor` has been called, or else None."""
    return request.get(_VISITOR)


async def page_visitor(request: web.Request) -> Visitor:
    """Return the visitor of a page. Raises HTTPFound to the sign-in form, and HTTPTooManyRequests."""
    visitor = await find_visitor(request)
    if visitor is None:
        raise web.HTTPFound(sign_in_url(request, request.rel_url.raw_path_qs))
    await _begin_reading(request, visitor)
    return visitor


async def api_visitor(request: web.Request) -> Visitor:
    """Return the user of the API or the socket. Raises HTTPUnauthorized, and HTTPTooManyRequests."""
    visitor = await find_visitor(request)
    if visitor is None:
        raise web.HTTPUnauthorized
    await _begin_reading(request, visitor)
    return visitor


async def _begin_reading(request: web.Request, visitor: Visitor) -> None:
    """Let only a few requests of one user read the database at a time, so that other users get their turn.

    The turn lasts until the request is answered. Raises HTTPTooManyRequests.
    """
    take(request.app[READS], visitor)
    await request[_TURN].enter_async_context(request.app[READING_TURNS].turn(visitor.user_id))


@web.middleware
async def end_turns(request: web.Request, handler: Handler) -> web.StreamResponse:
    """End the turn of a request, if it has one."""
    async with AsyncExitStack() as request[_TURN]:
        return await handler(request)


def take(limit: RateLimit, visitor: Visitor, amount: float = 1) -> None:
    """Take `amount` from the visitor's rate limit. Raises HTTPTooManyRequests if it is exceeded."""
    if wait_s := limit.take(visitor.user_id, amount):
        raise too_many_requests(wait_s)


def too_many_requests(wait_s: float) -> web.HTTPTooManyRequests:
    """Return the answer that asks a client to try again in `wait_s` seconds (RFC 6585 §4)."""
    return web.HTTPTooManyRequests(headers={"Retry-After": str(math.ceil(wait_s))})


async def membership_of(request: web.Request, visitor: Visitor, course: int) -> Membership:
    """Return the visitor's membership. Raises HTTPForbidden, whether or not the course exists."""
    membership = await request.app[MEMBERSHIPS].load((visitor.user_id, course))
    if membership is None:
        raise web.HTTPForbidden
    return membership


async def instructor_of(request: web.Request, visitor: Visitor, course: int) -> Membership:
    """Return the visitor's membership as an instructor. Raises HTTPForbidden for everyone else."""
    return await _membership_as(Role.INSTRUCTOR, request, visitor, course)


async def staff_of(request: web.Request, visitor: Visitor, course: int) -> Membership:
    """Return the visitor's membership as an instructor or assistant. Raises HTTPForbidden for anyone else."""
    return await _membership_as(Role.ASSISTANT, request, visitor, course)


async def _membership_as(role: Role, request: web.Request, visitor: Visitor, course: int) -> Membership:
    membership = await membership_of(request, visitor, course)
    if not membership.role.includes(role):
        raise web.HTTPForbidden
    return membership


def sign_in_url(request: web.Request, next_path: str) -> str:
    """Return the address of the sign-in form that redirects to `next_path`, or in an embedded page, of the
    instructions.
    """
    if embedded_session(request) is not None:
        return ENDED_PATH
    url = request.app[SETTINGS].auth.sign_in_url
    return f"{url}{'&' if '?' in url else '?'}next={quote(next_path, safe='/')}"


def is_site_path(path: str) -> bool:
    """Return whether `path` stays on this site."""
    return (
        re.fullmatch(r"/(?![/\\])[^\\\x00-\x20\x7f]*", path) is not None
        and len(path) <= 2048
        and not any(urlsplit(path)[:2])
    )


def origin_is_allowed(request: web.Request) -> bool:
    """Return whether the request has no Origin, or an allowed one (RFC 6454)."""
    origins = request.headers.getall("Origin", [])
    if not origins:
        return True
    return len(origins) == 1 and is_own_url(request, origins[0])


def is_own_url(request: web.Request, url: str) -> bool:
    """Return whether `url` has an allowed origin, and so belongs to this site."""
    allowed = request.app[SETTINGS].server.origins or (_requested_url(request),)
    origin = _origin(url)
    return origin is not None and any(_origin(one) == origin for one in allowed)


def site_url(request: web.Request) -> str:
    """Return the address of this site without a path: the one in the settings, or else the request's."""
    return request.app[SETTINGS].server.known_url or _requested_url(request)


def _requested_url(request: web.Request) -> str:
    return f"{request.scheme}://{request.host}"


def _origin(url: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port, or None if `url` has no origin, such as `null`."""
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    if port is None or not parts.hostname or parts.username is not None:
        return None
    return parts.scheme, parts.hostname, port

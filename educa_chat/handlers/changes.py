"""Changes by the forms of pages: the reasons for refusals, and the responses to successful changes."""

from collections.abc import Awaitable
from typing import Any

from aiohttp import web

from educa_chat.errors import (
    EducaChatError,
    EmailRefused,
    EmailTaken,
    LastAdministrator,
    LinkRefused,
    NameRefused,
    OutboundFailed,
    OwnerFixed,
    PlatformOwned,
    RecordExists,
    RecordMissing,
    SessionStale,
)
from educa_chat.handlers.access import sign_in_url
from educa_chat.handlers.keys import DATABASE
from educa_chat.storage.sessions import Visitor, signed_in_within

FRESH_MINUTES = 10
"""How long after signing in a user can do irreversible things, or give somebody more rights."""

_FAILURES: dict[type[EducaChatError], str] = {
    EmailRefused: "email",
    EmailTaken: "email_taken",
    LastAdministrator: "last_administrator",
    LinkRefused: "link",
    NameRefused: "name",
    OutboundFailed: "url",
    OwnerFixed: "owner",
    PlatformOwned: "platform",
    RecordExists: "exists",
    RecordMissing: "missing",
    SessionStale: "stale",
}
"""The names of the reasons in the template `changes.html`."""


async def failure_of(work: Awaitable[object]) -> str:
    """Do `work`, and return the name of the reason why it was refused; empty if it was not."""
    try:
        await work
    except tuple(_FAILURES) as refusal:
        return _FAILURES[type(refusal)]
    return ""


async def is_fresh(request: web.Request, visitor: Visitor) -> bool:
    """Return whether the visitor has signed in within FRESH_MINUTES."""
    return await signed_in_within(request.app[DATABASE], visitor, FRESH_MINUTES)


async def require_fresh_session(request: web.Request, visitor: Visitor) -> None:
    """Raise SessionStale unless the visitor has signed in within FRESH_MINUTES."""
    if not await is_fresh(request, visitor):
        raise SessionStale


def refusal_context(request: web.Request) -> dict[str, Any]:
    """Return what the macro `refused` needs to say that a session is stale."""
    return {"fresh_minutes": FRESH_MINUTES, "sign_in_again": sign_in_url(request, request.rel_url.raw_path)}


def see_other(path: str) -> web.Response:
    """Return a redirect after a change, so that reloading the page posts nothing again."""
    return web.Response(status=303, headers={"Location": path, "Cache-Control": "no-store"})

"""Changes to users and courses by the forms of pages: why they are refused, and what follows when they are made."""

from collections.abc import Awaitable

from aiohttp import web

from educa_chat.errors import (
    EducaChatError,
    EmailRefused,
    EmailTaken,
    LastAdministrator,
    NameRefused,
    OwnerFixed,
    PlatformOwned,
    RecordExists,
    RecordMissing,
    SessionStale,
)

_FAILURES: dict[type[EducaChatError], str] = {
    EmailRefused: "email",
    EmailTaken: "email_taken",
    LastAdministrator: "last_administrator",
    NameRefused: "name",
    OwnerFixed: "owner",
    PlatformOwned: "platform",
    RecordExists: "exists",
    RecordMissing: "missing",
    SessionStale: "stale",
}
"""What the template `changes.html` calls the reasons."""


async def failure_of(work: Awaitable[object]) -> str:
    """Do `work`, and return the name of the reason why it was refused; empty if it was not."""
    try:
        await work
    except tuple(_FAILURES) as refusal:
        return _FAILURES[type(refusal)]
    return ""


def see_other(path: str) -> web.Response:
    """Return a redirect after a change, so that reloading the page posts nothing again."""
    return web.Response(status=303, headers={"Location": path, "Cache-Control": "no-store"})

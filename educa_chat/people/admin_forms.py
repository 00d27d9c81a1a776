"""Shared parts of the pages under /admin/: who may see them, their forms, and how they are rendered."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from aiohttp import web

from educa_chat.handlers.access import page_visitor
from educa_chat.handlers.changes import refusal_context, require_fresh_session, see_other
from educa_chat.handlers.csrf import is_own_form, posted_form
from educa_chat.handlers.keys import DATABASE
from educa_chat.handlers.rendering import render
from educa_chat.storage import administration
from educa_chat.storage.pool import Database
from educa_chat.storage.sessions import Visitor

PATH = "/admin/"


class Change(NamedTuple):
    """The data that a change from a form needs."""

    request: web.Request
    database: Database
    by: Visitor
    form: Mapping[str, str]

    def text(self, name: str) -> str:
        return self.form.get(name, "").strip()

    async def require_fresh_session(self) -> None:
        """Raise SessionStale unless the administrator signed in recently."""
        await require_fresh_session(self.request, self.by)


async def administrator(request: web.Request) -> Visitor:
    """Return the visitor of a page. Raises HTTPFound to the sign-in form, and HTTPForbidden unless they administer."""
    visitor = await page_visitor(request)
    if not await administration.is_administrator(request.app[DATABASE], visitor.user_id):
        raise web.HTTPForbidden
    return visitor


async def posted(request: web.Request) -> Change:
    """Return what an administrator has posted. Raises like `administrator`, and HTTPForbidden for a form from another
    site.
    """
    visitor = await administrator(request)
    if not await is_own_form(request):
        raise web.HTTPForbidden
    return Change(request, request.app[DATABASE], visitor, await posted_form(request))


def id_in_path(request: web.Request, name: str) -> int:
    """Return an id of 32 bits from the path, which must be a canonical decimal number. Raises HTTPNotFound."""
    text = request.match_info[name]
    if not re.fullmatch(r"[1-9][0-9]{0,9}", text, re.ASCII) or int(text) >= 2**31:
        raise web.HTTPNotFound
    return int(text)


def done(path: str, what: str) -> web.Response:
    """Return a redirect to a page that confirms the change `what`."""
    return see_other(f"{path}?done={what}")


async def show(request: web.Request, template: str, section: str, *, failure: str = "", **context: Any) -> web.Response:
    """Return a page of `section`. It confirms a change, or says why one was refused."""
    return await render(
        request,
        template,
        status=422 if failure else 200,
        section=section,
        failure=failure,
        done=request.query.get("done", ""),
        **refusal_context(request),
        **context,
    )

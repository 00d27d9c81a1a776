"""The help page about formatting. Its examples are rendered as messages are, so they show what the room shows."""

import asyncio
from functools import cache

import jinja2
from aiohttp import web
from markupsafe import Markup

from educa_chat.handlers.access import find_visitor
from educa_chat.handlers.keys import PAGES
from educa_chat.handlers.rendering import language_of, render
from educa_chat.markup import prepare
from educa_chat.markup import render as render_message

PATH = "/chat/help/formatting/"


def as_message(source: str) -> Markup:
    """Return an example as the room shows it. A filter of the templates, whose translated texts are Markup."""
    return Markup(render_message(str(source)))  # noqa: S704


async def page(request: web.Request) -> web.Response:
    """The help page. It needs no session, because nothing in it is about a course."""
    await find_visitor(request)
    # The first time, loading the lexers takes a moment.
    guide = await asyncio.to_thread(_guide, request.app[PAGES[language_of(request)]])
    return await render(request, "formatting.html", guide=guide)


@cache
def _guide(templates: jinja2.Environment) -> Markup:
    prepare(["python"])
    return Markup(templates.get_template("formatting_guide.html").render())  # noqa: S704

"""Renders templates in the reader's language."""

import asyncio
from collections.abc import Mapping
from gettext import NullTranslations
from types import CodeType
from typing import Any

import aiohttp_jinja2
import jinja2
from aiohttp import web
from jinja2.bccache import Bucket

from educa_chat.errors import DatabaseUnavailable
from educa_chat.handlers.access import find_visitor, known_visitor
from educa_chat.handlers.csrf import csrf_token, set_csrf_cookie
from educa_chat.handlers.embedding import embedded_session
from educa_chat.handlers.keys import PAGES, RENDERING, SETTINGS, STATIC_FILES, TRANSLATIONS
from educa_chat.handlers.static import accepts_gzip
from educa_chat.translations import negotiate_language

COURSES_PATH = "/chat/courses/"
"""Pages link only to addresses under `/chat/`, because all others may belong to a site on the same host."""
PLATFORM_COURSES_PATH = "/students/courses/"
"""The address of a learning platform's list of courses. A stand-alone chat has its list there too."""
ACCOUNT_PATH = "/chat/account/"
SIGN_OUT_PATH = "/chat/sign-out/"
PLATFORM_SIGN_OUT_PATH = "/accounts/logout/"


class CompiledTemplates(jinja2.BytecodeCache):
    """Keeps the compiled templates in memory, so that each is compiled once for all languages."""

    def __init__(self) -> None:
        self._compiled: dict[str, tuple[str, CodeType]] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        checksum, code = self._compiled.get(bucket.key, ("", None))
        if checksum == bucket.checksum:
            bucket.code = code

    def dump_bytecode(self, bucket: Bucket) -> None:
        if bucket.code is not None:
            self._compiled[bucket.key] = (bucket.checksum, bucket.code)


COMPILED = CompiledTemplates()


def translations_for(request: web.Request) -> NullTranslations:
    """Return the catalogue of the language that the reader prefers."""
    return request.app[TRANSLATIONS][language_of(request)]


def language_of(request: web.Request) -> str:
    """Return the language of the answer.

    It is the language that a known visitor has chosen, or else the one that a platform requested in a launch, or else
    the best match for the browser.
    """
    if (visitor := known_visitor(request)) is not None and visitor.language:
        return visitor.language
    if (session := embedded_session(request)) is not None:
        return session.language
    return negotiate_language(request.headers.get("Accept-Language", ""))


def render_strings(environments: Mapping[str, jinja2.Environment]) -> dict[str, bytes]:
    """Return the strings of the parts that a page loads on demand: JSON by path, such as `strings/es/search.json`."""
    return {
        f"strings/{language}/{name.removeprefix('strings/')}": environment.get_template(name).render().encode()
        for language, environment in environments.items()
        for name in environment.list_templates(["json"])
    }


async def render(request: web.Request, template: str, *, status: int = 200, **context: Any) -> web.Response:
    """Return a page made from `template` for the visitor. Raises DatabaseUnavailable."""
    visitor = await find_visitor(request)
    token = await csrf_token(request)
    async with request.app[RENDERING]:
        # One page per iteration of the event loop, because each takes a millisecond or two.
        await asyncio.sleep(0)
    response = render_anonymous(request, template, status=status, visitor=visitor, csrf_token=token, **context)
    set_csrf_cookie(request, response)
    return response


async def render_forbidden(request: web.Request) -> web.Response:
    """Return the page that refuses access, from which the visitor can sign out and use another account.

    It is the same for every address, so it doesn't reveal whether a course exists.
    """
    try:
        visitor = await find_visitor(request)
        token = await csrf_token(request, is_fixed=True)
    except DatabaseUnavailable:
        return render_anonymous(request, "error.html", status=403)
    response = render_anonymous(request, "error.html", status=403, visitor=visitor, csrf_token=token)
    set_csrf_cookie(request, response)
    return response


def render_anonymous(request: web.Request, template: str, *, status: int = 200, **context: Any) -> web.Response:
    """Return a page that doesn't need the database, so it can report that the database is unreachable."""
    language = language_of(request)
    response = aiohttp_jinja2.render_template(
        template,
        request,
        {
            "status": status,
            "visitor": None,
            "csrf_token": "",
            **context,
            "language": language,
            "site": request.app[SETTINGS].site.name,
            "logo": request.app[STATIC_FILES].logo("logo") or request.app[STATIC_FILES].address("logo.svg"),
            "static": request.app[STATIC_FILES].address,
            "scripts": request.app[STATIC_FILES].modules,
            "courses_path": COURSES_PATH,
            "account_path": ACCOUNT_PATH,
            "sign_out_path": SIGN_OUT_PATH,
            "embedded": embedded_session(request),
        },
        app_key=PAGES[language],
        status=status,
    )
    response.headers["Cache-Control"] = "no-store"
    response.headers["Vary"] = "Cookie, Accept-Language, Accept-Encoding"
    if accepts_gzip(request):
        # The only secret of a page, its form token, differs each time, so sizes reveal nothing about it (BREACH).
        response.enable_compression(web.ContentCoding.gzip)
    return response


def redirect(path: str, *, status: int = 302) -> web.Response:
    """Return a redirect to `path`."""
    return web.Response(status=status, headers={"Location": path, "Cache-Control": "no-store"})

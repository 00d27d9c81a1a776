"""JSON over HTTP: the history of a room, the search in it, and what instructors must know of it."""

import math
import re
from collections.abc import Sequence

import msgspec
from aiohttp import web

from educa_chat.handlers.access import api_visitor, course_id, instructor_of, membership_of
from educa_chat.handlers.keys import DATABASE, HUB, SEARCHES
from educa_chat.handlers.static import accepts_gzip
from educa_chat.protocol import MAX_SEQ
from educa_chat.storage.lines import read_lines
from educa_chat.storage.messages import Message, Page, Reader, read_page
from educa_chat.storage.mutes import MutedStudent, read_muted
from educa_chat.storage.reports import reported_messages
from educa_chat.storage.search import Found, search

PAGE = 50
MAX_PAGE = 200
MAX_QUERY = 200
SEARCHES_PER_SECOND = 2
SEARCHES_BURST = 10


class MessagesAnswer(msgspec.Struct):
    """A page of a room's history, oldest first, or what was found, best first; the head is of the same moment."""

    messages: Sequence[Message]
    head: int
    epoch: str
    more: bool
    lines: Sequence[msgspec.Raw] = ()
    """What stands among the messages of a page of the history: events, in the form of who asks."""


class MutedAnswer(msgspec.Struct):
    """Who may not write for now."""

    muted: Sequence[MutedStudent]


class ReportedAnswer(msgspec.Struct):
    """The seqs of the messages that have open reports."""

    reported: Sequence[int]


async def messages(request: web.Request) -> web.Response:
    course = course_id(request)
    visitor = await api_visitor(request)
    membership = await membership_of(request, visitor, course)
    before, after = query_number(request, "before"), query_number(request, "after")
    limit = query_number(request, "limit")
    only = request.query.get("only")
    if (before is not None and after is not None) or limit == 0 or only not in (None, "unanswered"):
        raise web.HTTPBadRequest
    database = request.app[DATABASE]
    reader = Reader(visitor.user_id, membership.is_instructor)
    page = await read_page(
        database,
        course,
        reader,
        before=before,
        after=after,
        limit=min(PAGE if limit is None else limit, MAX_PAGE),
        only_unanswered=only == "unanswered",
    )
    lines = await read_lines(database, course, reader, page, before=before, after=after) if only is None else ()
    return _answer(request, page, lines)


async def muted(request: web.Request) -> web.Response:
    course = course_id(request)
    visitor = await api_visitor(request)
    await instructor_of(request, visitor, course)
    return _json(request, MutedAnswer(await read_muted(request.app[DATABASE], course)))


async def reported(request: web.Request) -> web.Response:
    course = course_id(request)
    visitor = await api_visitor(request)
    await instructor_of(request, visitor, course)
    return _json(request, ReportedAnswer(await reported_messages(request.app[DATABASE], course)))


async def found_messages(request: web.Request) -> web.Response:
    course = course_id(request)
    visitor = await api_visitor(request)
    membership = await membership_of(request, visitor, course)
    words = request.query.get("q", "")
    if not words.strip() or len(words) > MAX_QUERY or not _is_storable(words):
        raise web.HTTPBadRequest
    if wait_s := request.app[SEARCHES].take(visitor.user_id):
        raise web.HTTPTooManyRequests(headers={"Retry-After": str(math.ceil(wait_s))})
    reader = Reader(visitor.user_id, membership.is_instructor)
    return _answer(request, await search(request.app[DATABASE], course, reader, words))


def _answer(request: web.Request, page: Page | Found, lines: Sequence[bytes] = ()) -> web.Response:
    raw_lines = [msgspec.Raw(line) for line in lines]
    return _json(request, MessagesAnswer(page.messages, page.head, request.app[HUB].epoch, page.more, raw_lines))


def _json(request: web.Request, answer: msgspec.Struct) -> web.Response:
    response = web.Response(
        body=msgspec.json.encode(answer),
        content_type="application/json",
        charset="utf-8",
        headers={"Cache-Control": "no-store", "Vary": "Accept-Encoding"},
    )
    if accepts_gzip(request):
        # Who can write something into it, to guess the rest from its size, is a member and may read all of it.
        response.enable_compression(web.ContentCoding.gzip)
    return response


def query_number(request: web.Request, name: str) -> int | None:
    """A number of the query, 0 to 2^53, in ASCII digits; None where it is not there. Raises HTTPBadRequest."""
    text = request.query.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,16}", text, re.ASCII) or int(text) > MAX_SEQ:
        raise web.HTTPBadRequest
    return int(text)


def _is_storable(text: str) -> bool:
    """Whether Postgres takes it: neither NUL nor half of a pair of surrogates is a character there."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)

"""The JSON API: a user's rooms; a room's history, search and members; and its mutes and reports for staff."""

import re
from collections.abc import Sequence
from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo

import msgspec
from aiohttp import web

from educa_chat.handlers.access import api_visitor, course_id, membership_of, staff_of, take
from educa_chat.handlers.keys import DATABASE, HUB, MARKERS, MEMBER_LOOKUPS, READS, SEARCHES
from educa_chat.handlers.static import accepts_gzip
from educa_chat.protocol import MAX_SEQ, json_id
from educa_chat.storage.courses import courses_of, find_members, find_members_named, search_roster
from educa_chat.storage.markers import Unread, mark_first_seen
from educa_chat.storage.messages import Message, Page, Reader, count_unanswered, read_messages, read_page
from educa_chat.storage.mutes import MutedStudent, read_muted
from educa_chat.storage.reports import reported_messages
from educa_chat.storage.search import Found, search
from educa_chat.storage.system_messages import read_system_messages

PAGE = 50
MAX_PAGE = 200
MAX_SEQS = 50
MAX_QUERY = 200
SEARCHES_PER_SECOND = 2
SEARCHES_BURST = 10
ROSTER_PAGE = 100
MAX_ROSTER_PAGE = 10**6
MAX_PREFIX = 50
MAX_NAMED = 50
MEMBER_LOOKUPS_PER_SECOND = 5
MEMBER_LOOKUPS_BURST = 20


class MessagesAnswer(msgspec.Struct):
    """A page of a room's history, oldest first, or of search results, best first. The head is from the same moment."""

    messages: Sequence[Message]
    head: int
    epoch: str
    more: bool
    lines: Sequence[msgspec.Raw] = ()
    """The system messages among those of a history page: events in the reader's variant."""


class UnansweredAnswer(msgspec.Struct):
    """The number of unanswered questions."""

    count: int


class MutedAnswer(msgspec.Struct):
    """The muted students."""

    muted: Sequence[MutedStudent]


class ReportedAnswer(msgspec.Struct):
    """The seqs of the messages that have open reports."""

    reported: Sequence[int]


class FoundMember(msgspec.Struct):
    user: str
    name: str
    role: str


class MembersAnswer(msgspec.Struct):
    members: Sequence[FoundMember]


class RosterMember(msgspec.Struct, omit_defaults=True):
    user: str
    name: str
    role: str
    online: bool | None = None
    """None: the reader isn't allowed to see who is online."""


class RosterAnswer(msgspec.Struct):
    """One page of the members of a course, or of the matches of a search. `total` counts the members on all pages."""

    members: Sequence[RosterMember]
    total: int
    more: bool


class Room(msgspec.Struct, omit_defaults=True):
    """A room of the user, and the number of unread messages in it."""

    id: int | str
    title: str
    unread: int
    mentions: int = 0
    """The number of unread messages that mention the user; omitted if it is 0."""


class RoomsAnswer(msgspec.Struct):
    """The rooms of the visitor's active courses, by title; a superuser has all."""

    rooms: Sequence[Room]


async def rooms(request: web.Request) -> web.Response:
    visitor = await api_visitor(request)
    courses = [one for one in await courses_of(request.app[DATABASE], visitor.user_id) if not one.is_archived]
    await mark_first_seen(request.app[DATABASE], [visitor.user_id])
    found = await request.app[MARKERS].unread([(visitor.user_id, course.id) for course in courses])
    unread = {course.id: found.get((visitor.user_id, course.id), Unread(0, 0)) for course in courses}
    return _answer(
        request,
        RoomsAnswer([Room(json_id(course.id), course.title, *unread[course.id]) for course in courses]),
    )


async def messages(request: web.Request) -> web.Response:
    course = course_id(request)
    visitor = await api_visitor(request)
    membership = await membership_of(request, visitor, course)
    reader = Reader(visitor.user_id, membership.role.is_staff)
    database = request.app[DATABASE]
    if "seqs" in request.query:
        return _page_answer(request, await read_messages(database, course, reader, query_numbers(request, "seqs")))
    before, after = query_number(request, "before"), query_number(request, "after")
    limit = query_number(request, "limit")
    only = request.query.get("only")
    if (before is not None and after is not None) or limit == 0 or only not in (None, "unanswered"):
        raise web.HTTPBadRequest
    limit = min(PAGE if limit is None else limit, MAX_PAGE)
    take(request.app[READS], visitor, max(0, limit // PAGE - 1))
    page = await read_page(
        database,
        course,
        reader,
        before=before,
        after=after,
        limit=limit,
        only_unanswered=only == "unanswered",
    )
    lines = (
        await read_system_messages(database, course, reader, page, before=before, after=after) if only is None else ()
    )
    return _page_answer(request, page, lines)


async def unanswered(request: web.Request) -> web.Response:
    course = course_id(request)
    visitor = await api_visitor(request)
    await membership_of(request, visitor, course)
    return _answer(request, UnansweredAnswer(await count_unanswered(request.app[DATABASE], course)))


async def muted(request: web.Request) -> web.Response:
    course = course_id(request)
    visitor = await api_visitor(request)
    await staff_of(request, visitor, course)
    return _answer(request, MutedAnswer(await read_muted(request.app[DATABASE], course)))


async def reported(request: web.Request) -> web.Response:
    course = course_id(request)
    visitor = await api_visitor(request)
    await staff_of(request, visitor, course)
    return _answer(request, ReportedAnswer(await reported_messages(request.app[DATABASE], course)))


async def found_messages(request: web.Request) -> web.Response:
    course = course_id(request)
    visitor = await api_visitor(request)
    membership = await membership_of(request, visitor, course)
    words = request.query.get("q", "")
    if not words.strip() or len(words) > MAX_QUERY or not is_storable(words):
        raise web.HTTPBadRequest
    take(request.app[SEARCHES], visitor)
    reader = Reader(visitor.user_id, membership.role.is_staff)
    zone = _time_zone(request.query.get("zone", ""))
    return _page_answer(request, await search(request.app[DATABASE], course, reader, words, zone))


async def members(request: web.Request) -> web.Response:
    """Members of a room: those with the given usernames, or suggestions whose names begin with a prefix."""
    course = course_id(request)
    visitor = await api_visitor(request)
    await membership_of(request, visitor, course)
    prefix = request.query.get("q", "").strip()
    if len(prefix) > MAX_PREFIX or not is_storable(prefix):
        raise web.HTTPBadRequest
    take(request.app[MEMBER_LOOKUPS], visitor)
    users = request.query.getall("user", [])
    if len(users) > MAX_NAMED or not all(map(is_storable, users)):
        raise web.HTTPBadRequest
    if users:
        found = await find_members_named(request.app[DATABASE], course, users)
    else:
        found = await find_members(request.app[DATABASE], course, prefix)
    return _answer(
        request,
        MembersAnswer([FoundMember(one.username, one.name, one.role) for one in found]),
    )


async def roster(request: web.Request) -> web.Response:
    """The members of a room with their roles, and who is online unless that is concealed from the visitor."""
    course = course_id(request)
    visitor = await api_visitor(request)
    membership = await membership_of(request, visitor, course)
    words = request.query.get("q", "").strip()
    page = query_number(request, "page") or 1
    if len(words) > MAX_QUERY or not is_storable(words) or page > MAX_ROSTER_PAGE:
        raise web.HTTPBadRequest
    take(request.app[MEMBER_LOOKUPS], visitor)
    presence = await request.app[HUB].presence_of(course)
    if presence is None:
        raise web.HTTPForbidden
    is_concealed = presence.conceals_students and not membership.role.is_staff
    online: frozenset[int] = frozenset() if is_concealed else presence.online
    offset = (page - 1) * ROSTER_PAGE
    found, total = await search_roster(
        request.app[DATABASE], course, words, online=online, offset=offset, limit=ROSTER_PAGE
    )
    members = [
        RosterMember(one.username, one.name, one.role, None if is_concealed else one.id in online) for one in found
    ]
    return _answer(request, RosterAnswer(members, total, offset + len(found) < total))


def _page_answer(request: web.Request, page: Page | Found, lines: Sequence[bytes] = ()) -> web.Response:
    raw_lines = [msgspec.Raw(line) for line in lines]
    return _answer(request, MessagesAnswer(page.messages, page.head, request.app[HUB].epoch, page.more, raw_lines))


def _answer(request: web.Request, answer: msgspec.Struct) -> web.Response:
    response = web.Response(
        body=msgspec.json.encode(answer),
        content_type="application/json",
        charset="utf-8",
        headers={"Cache-Control": "no-store", "Vary": "Accept-Encoding"},
    )
    if accepts_gzip(request):
        # Guessing the content from the compressed size (BREACH) is pointless: only members can add to it, and they may
        # read all of it.
        response.enable_compression(web.ContentCoding.gzip)
    return response


def query_number(request: web.Request, name: str) -> int | None:
    """Return a number from the query, 0 to 2^53, in ASCII digits, or None if it is absent. Raises HTTPBadRequest."""
    text = request.query.get(name)
    return None if text is None else _number(text)


def query_numbers(request: web.Request, name: str) -> list[int]:
    """Return at most 50 different numbers from a comma-separated query parameter. Raises HTTPBadRequest."""
    texts = set(request.query[name].split(",", MAX_SEQS))
    if len(texts) > MAX_SEQS:
        raise web.HTTPBadRequest
    return list({_number(text) for text in texts})


def _number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,16}", text, re.ASCII) or int(text) > MAX_SEQ:
        raise web.HTTPBadRequest
    return int(text)


def _time_zone(name: str) -> tzinfo:
    """The time zone of this name, or UTC: browsers may know zones that this machine does not."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return UTC


def is_storable(text: str) -> bool:
    """Return whether Postgres accepts the text: it refuses NUL and lone surrogates."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)

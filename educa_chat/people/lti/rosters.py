"""Rosters: the members of a course according to the platform (Names and Role Provisioning Services 2.0).

A roster adds people to a course, and removes those who have left. It is fetched when an instructor has launched the
course for the first time, every hour, and when an instructor asks for it.
"""

import asyncio
import logging
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import msgspec
from aiohttp import web

from educa_chat.errors import DatabaseUnavailable, OutboundFailed, RecordMissing, RosterOutdated
from educa_chat.handlers.access import course_id, instructor_of, page_visitor
from educa_chat.handlers.csrf import is_own_form, use_posted_session
from educa_chat.handlers.embedding import embedded_session
from educa_chat.handlers.pages import embedded_room_url, room_url
from educa_chat.handlers.rendering import redirect
from educa_chat.people.lti.claims import ROSTER_SCOPE, names_of, role_of
from educa_chat.people.lti.tool import Tool, message_page
from educa_chat.people.outbound import location
from educa_chat.storage.external_people import ExternalPerson, find_or_add_person, tidy_name
from educa_chat.storage.lti_courses import (
    Roster,
    begin_roster,
    claim_roster,
    find_roster,
    finish_roster,
    known_members,
    note_listed,
    remove_missing,
)
from educa_chat.storage.lti_platforms import Platform, find_platform

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 30.0
MEMBERS_A_PAGE = 200
"""The requested number of members per page. Platforms may send more or fewer."""
MAX_PAGES = 500
MAX_PAGE_BYTES = 4 * 1024 * 1024
MEDIA_TYPE = "application/vnd.ims.lti-nrps.v2.membershipcontainer+json"


class _Member(msgspec.Struct, frozen=True):
    user_id: str | int
    roles: list[str] = []
    status: str | None = None
    name: str | None = None
    given_name: str | None = None
    family_name: str | None = None

    @property
    def is_present(self) -> bool:
        """Whether they may enter. Somebody who is suspended counts as having left."""
        return (self.status or "Active").lower() == "active"


class _Page(msgspec.Struct, frozen=True):
    members: list[_Member]


class _Token(msgspec.Struct, frozen=True):
    access_token: str


class Rosters:
    """Fetches the rosters that are due, and those that an instructor asks for."""

    def __init__(self, tool: Tool) -> None:
        self._tool = tool
        self._wanted = asyncio.Event()

    def set_up(self, app: web.Application) -> None:
        """Add the route."""
        app.router.add_post("/lti/roster/{course}/", self._fetch_now)

    def wake(self) -> None:
        """Look for rosters that are due at once."""
        self._wanted.set()

    async def run(self) -> None:
        """Fetch rosters when they are due, until cancelled. All processes share the work."""
        while True:
            self._wanted.clear()
            try:
                while roster := await claim_roster(self._tool.database):
                    await self.update(roster)
            except DatabaseUnavailable as error:
                logger.warning("rosters can't be updated: %s", error)
            try:
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._wanted.wait()
            except TimeoutError:
                pass

    async def update(self, roster: Roster) -> bool:
        """Fetch a roster, add the people it lists, and remove those it no longer lists. Return whether this succeeded.

        A roster that can't be fetched changes nothing, and one with an empty page removes nobody. One that was asked
        for before another that takes effect changes nothing any more.
        """
        database = self._tool.database
        try:
            platform = await find_platform(database, roster.platform)
            members, is_complete = await self._fetch(platform, roster.url)
        except (OutboundFailed, RecordMissing) as error:
            logger.warning("the roster of course %d can't be fetched: %s", roster.course, error)
            await finish_roster(database, roster.course, is_fetched=False)
            return False
        try:
            await self._apply(platform, roster, members, is_complete=is_complete)
        except RosterOutdated:
            logger.info("a newer roster of course %d has taken effect", roster.course)
        return True

    async def _apply(
        self, platform: Platform, roster: Roster, members: Mapping[str, _Member], *, is_complete: bool
    ) -> None:
        """Add and remove people. Raises RosterOutdated."""
        database = self._tool.database
        await begin_roster(database, roster)
        await self._let_in(platform, roster, members)
        known = await known_members(database, roster.course, platform.people_issuer)
        missing = [member.user_id for member in known if member.subject not in members]
        removed = 0
        if is_complete:
            removed = await remove_missing(database, roster, missing)
        elif missing:
            logger.warning("the roster of course %d has an empty page, so nobody is removed", roster.course)
        await finish_roster(database, roster.course, is_fetched=True)
        logger.info("the roster of course %d has %d members; %d have left", roster.course, len(members), removed)

    async def _fetch(self, platform: Platform, url: str) -> tuple[dict[str, _Member], bool]:
        """Return the present members by their ids, and whether these are certainly all. Raises OutboundFailed."""
        host = self._tool.outbound.require_url(url)
        if host not in platform.hosts:
            raise OutboundFailed(
                f"{location(url)} is not a site of platform {platform.id}. If it should be, run"
                f" educa-chat lti activate {platform.id} --origin https://{host}"
            )
        headers = {"Authorization": f"Bearer {await self._access_token(platform)}", "Accept": MEDIA_TYPE}
        members: dict[str, _Member] = {}
        is_complete = True
        seen: set[str] = set()
        page_url: str | None = _with_limit(url)
        while page_url is not None:
            if page_url in seen or len(seen) >= MAX_PAGES:
                raise OutboundFailed(f"{location(page_url)}: the pages are endless")
            seen.add(page_url)
            page, answer_headers = await self._tool.outbound.get(
                page_url, _Page, hosts=[host], headers=headers, max_bytes=MAX_PAGE_BYTES
            )
            members |= {str(member.user_id): member for member in page.members if member.is_present}
            is_complete = is_complete and bool(page.members)
            page_url = _next_page(page_url, answer_headers)
        return members, is_complete

    async def _access_token(self, platform: Platform) -> str:
        """Return a token for the roster service (Security Framework §4.1). Raises OutboundFailed."""
        assertion = await self._tool.own_keys.sign(
            {"iss": platform.client_id, "sub": platform.client_id, "aud": platform.token_url}
        )
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": assertion,
            "scope": ROSTER_SCOPE,
        }
        answer = await self._tool.outbound.post(platform.token_url, _Token, hosts=platform.hosts, form=form)
        return answer.access_token

    async def _let_in(self, platform: Platform, roster: Roster, members: Mapping[str, _Member]) -> None:
        """Add new `members`, and update those whose role or name has changed. Raises RosterOutdated."""
        database = self._tool.database
        known = {one.subject: one for one in await known_members(database, roster.course, platform.people_issuer)}
        for subject, member in members.items():
            role = role_of(member.roles)
            name = names_of(member.name, member.given_name, member.family_name)
            before = known.get(subject)
            is_same_name = not any(name) or (before is not None and before.name == tuple(map(tidy_name, name)))
            if before is not None and before.is_listed and before.role is role and is_same_name:
                continue
            person = await find_or_add_person(database, ExternalPerson(platform.people_issuer, subject, *name))
            await note_listed(database, roster, person.user_id, role)

    async def _fetch_now(self, request: web.Request) -> web.Response:
        """Fetch the roster because an instructor asks for it, and redirect to the room."""
        course = course_id(request)
        await use_posted_session(request)
        visitor = await page_visitor(request)
        await instructor_of(request, visitor, course)
        if not await is_own_form(request):
            raise web.HTTPForbidden
        roster = await find_roster(self._tool.database, course)
        if roster is None:
            raise web.HTTPNotFound
        session = embedded_session(request)
        if session is not None and session.is_token:
            own_url = f"{embedded_room_url(course)}#{session.credential}"
        else:
            own_url = room_url(course)
        if not await self.update(roster):
            return message_page(request, "unreachable", status=502, room_url=own_url)
        return redirect(own_url, status=303)


def _with_limit(url: str) -> str:
    """Return `url` with a limit of members, because some platforms send everyone in one answer without it."""
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    if any(name == "limit" for name, _ in query):
        return url
    return parts._replace(query=urlencode([*query, ("limit", str(MEMBERS_A_PAGE))])).geturl()


def _next_page(url: str, headers: Mapping[str, str]) -> str | None:
    """Return the address of the page after the one at `url` (RFC 8288), or None."""
    for target, parameters in re.findall(r"<([^<>]*)>([^<]*)", headers.get("Link", "")):
        if re.search(r';\s*rel\s*=\s*"?([^";]*\s)?next\b', parameters, re.IGNORECASE):
            return urljoin(url, str(target))
    return None

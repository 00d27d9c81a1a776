"""The page with the people of a course: instructors can change them, and assistants can only see them. It works without
scripts.
"""

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from educa_chat.handlers.access import course_id, instructor_of, page_visitor, site_url, staff_of
from educa_chat.handlers.changes import failure_of, refusal_context, require_fresh_session, see_other
from educa_chat.handlers.csrf import is_own_form, posted_form
from educa_chat.handlers.keys import DATABASE, HUB, SETTINGS
from educa_chat.handlers.listing import ROWS_A_PAGE, Listing
from educa_chat.handlers.pages import course_url, room_url
from educa_chat.handlers.rendering import COURSES_PATH, render
from educa_chat.protocol import Role
from educa_chat.storage.accounts import is_platform_owned, normalise_username
from educa_chat.storage.courses import Membership, enrol, search_roster, unenrol
from educa_chat.storage.sessions import Visitor
from educa_chat.storage.sign_in_links import LIFE_HOURS, find_linkable_students, link_url, make_student_link


def roster_url(course: int) -> str:
    return f"{course_url(course)}roster/"


async def page(request: web.Request) -> web.Response:
    course = course_id(request)
    visitor = await page_visitor(request)
    return await _show(request, visitor, await staff_of(request, visitor, course))


async def change(request: web.Request) -> web.Response:
    """Add somebody, change their role, or remove them, as the form says."""
    course = course_id(request)
    visitor = await page_visitor(request)
    membership = await instructor_of(request, visitor, course)
    if not await is_own_form(request):
        raise web.HTTPForbidden
    form = await posted_form(request)
    act = form.get("act", "")
    username = normalise_username(form.get("username", ""))
    if act == "link":
        return await _make_link(request, visitor, membership, username)
    if act not in _CHANGES:
        raise web.HTTPBadRequest
    if failure := await failure_of(_CHANGES[act](request, visitor, course, username, form)):
        return await _show(request, visitor, membership, failure=failure, named=username)
    if username == visitor.username:
        # They may have lost their access to this page.
        return see_other(COURSES_PATH)
    return see_other(Listing.of(request).path(request.path, done=act))


async def _enrol(request: web.Request, visitor: Visitor, course: int, username: str, form: Mapping[str, str]) -> None:
    role = form.get("role", "")
    if role not in list(Role):
        raise web.HTTPBadRequest
    await enrol(request.app[DATABASE], username, course, Role(role), by=visitor.user_id)


async def _unenrol(request: web.Request, visitor: Visitor, course: int, username: str, _: Mapping[str, str]) -> None:
    await unenrol(request.app[DATABASE], username, course, by=visitor.user_id)


_CHANGES: dict[str, Callable[[web.Request, Visitor, int, str, Mapping[str, str]], Awaitable[None]]] = {
    "add": _enrol,
    "role": _enrol,
    "remove": _unenrol,
}


async def _make_link(request: web.Request, visitor: Visitor, membership: Membership, username: str) -> web.Response:
    """Show a new sign-in link of a student, in the answer to the post itself: it must not be in an address."""
    link = ""

    async def make() -> None:
        nonlocal link
        await require_fresh_session(request, visitor)
        has_mail = request.app[SETTINGS].email.is_set_up
        token = await make_student_link(
            request.app[DATABASE], username, membership.course, visitor.user_id, has_mail=has_mail
        )
        link = link_url(site_url(request), token)

    failure = await failure_of(make())
    # Filled in, the field for adding somebody would look as if they were not in the course.
    return await _show(request, visitor, membership, failure=failure, link=link, linked=username)


async def _show(
    request: web.Request,
    visitor: Visitor,
    membership: Membership,
    *,
    failure: str = "",
    named: str = "",
    link: str = "",
    linked: str = "",
) -> web.Response:
    course, database, may_change = membership.course, request.app[DATABASE], membership.role is Role.INSTRUCTOR
    is_site = await is_platform_owned(database)
    listing = Listing.of(request)
    presence = await request.app[HUB].presence_of(course)
    online = presence.online if presence is not None else frozenset()
    members, total = await search_roster(
        database, course, listing.words, online=online, offset=listing.offset, limit=ROWS_A_PAGE
    )
    linkable = set()
    if may_change and not is_site:
        has_mail = request.app[SETTINGS].email.is_set_up
        ids = [member.id for member in members]
        linkable = await find_linkable_students(database, course, visitor.user_id, ids, has_mail=has_mail)
    return await render(
        request,
        "roster.html",
        status=422 if failure else 200,
        title=membership.title,
        course_url=course_url(course),
        room_url=room_url(course),
        members=members,
        online=online,
        may_change=may_change,
        is_site=is_site,
        linkable=linkable,
        failure=failure,
        **refusal_context(request),
        link=link,
        link_hours=LIFE_HOURS,
        linked=next((member.name for member in members if member.username == linked), linked),
        named=named,
        done=request.query.get("done", ""),
        **listing.context(total),
    )

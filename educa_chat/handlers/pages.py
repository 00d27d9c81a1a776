"""The pages: the list of courses, a course, and its room."""

from datetime import UTC, datetime

from aiohttp import web

from educa_chat.handlers.access import course_id, membership_of, page_visitor, sign_in_url
from educa_chat.handlers.csrf import is_own_form, posted_form
from educa_chat.handlers.embedding import embedded_session
from educa_chat.handlers.keys import DATABASE, MARKERS, SETTINGS
from educa_chat.handlers.rendering import COURSES_PATH, PLATFORM_COURSES_PATH, render
from educa_chat.protocol import Role, json_id
from educa_chat.storage.administration import is_administrator
from educa_chat.storage.courses import course_page, courses_of
from educa_chat.storage.lti_courses import find_roster
from educa_chat.storage.markers import mark_first_seen
from educa_chat.storage.messages import count_unanswered


def course_url(course: int) -> str:
    return f"/chat/course/{course}/"


def room_url(course: int) -> str:
    return f"/chat/room/{course}/"


async def home(request: web.Request) -> web.Response:
    path = PLATFORM_COURSES_PATH if request.path == "/" else COURSES_PATH
    return web.Response(status=302, headers={"Location": path})


async def my_courses(request: web.Request) -> web.Response:
    visitor = await page_visitor(request)
    courses = await courses_of(request.app[DATABASE], visitor.user_id)
    await mark_first_seen(request.app[DATABASE], [visitor.user_id])
    unread = await request.app[MARKERS].unread_counts(visitor.user_id, [course.id for course in courses])
    # The platform's list links to the platform's pages, and the chat's own list to ours.
    parent = request.path.removesuffix("courses/")
    shown = [
        {**course._asdict(), "url": f"{parent}course/{course.id}/", "unread": unread.get(course.id, 0)}
        for course in courses
    ]
    return await render(
        request,
        "courses.html",
        courses=[course for course in shown if not course["is_archived"]],
        may_administer=await is_administrator(request.app[DATABASE], visitor.user_id),
        archived=[course for course in shown if course["is_archived"]],
    )


async def course(request: web.Request) -> web.Response:
    course = course_id(request)
    visitor = await page_visitor(request)
    membership = await membership_of(request, visitor, course)
    page = await course_page(request.app[DATABASE], course)
    if page is None:
        raise web.HTTPForbidden
    return await render(
        request,
        "course.html",
        course=page,
        modules=page.modules,
        room_url=room_url(course),
        is_archived=membership.is_archived,
    )


def embedded_room_url(course: int) -> str:
    """Return the address of the room for a page that keeps its session itself and posts it."""
    return f"/lti/room/{course}/"


async def room(request: web.Request) -> web.Response:
    """The room page. If the scripts were not loaded, the page posts the text in its composer and finds it in the new
    page.
    """
    return await room_page(request, needs_token=request.method == "POST")


async def room_page(request: web.Request, *, needs_token: bool) -> web.Response:
    """Return the room for the visitor. With `needs_token`, the request is a form and has to have the form token."""
    course = course_id(request)
    visitor = await page_visitor(request)
    membership = await membership_of(request, visitor, course)
    written = ""
    if needs_token:
        if not await is_own_form(request):
            raise web.HTTPForbidden
        written = (await posted_form(request)).get("message", "").replace("\r\n", "\n")
    courses = await courses_of(request.app[DATABASE], visitor.user_id)
    session = embedded_session(request)
    return await render(
        request,
        "room.html",
        course={"id": course, "title": membership.title, "url": course_url(course)},
        course_id_json=json_id(course),
        role=membership.role,
        courses=[
            {"id": one.id, "title": one.title, "room_url": room_url(one.id), "current": one.id == course}
            for one in courses
            if not one.is_archived or one.id == course
        ],
        sign_in_url=sign_in_url(request, request.path),
        has_roster=membership.role is Role.INSTRUCTOR and await find_roster(request.app[DATABASE], course) is not None,
        message_length=request.app[SETTINGS].limits.message_length,
        reload_url=embedded_room_url(course) if session and session.is_token else f"{room_url(course)}reload/",
        written=written,
        unanswered=await count_unanswered(request.app[DATABASE], course),
        now=datetime.now(UTC).isoformat(),
    )

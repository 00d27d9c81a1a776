"""The pages under /admin/, where the administrators of a stand-alone chat manage its users and courses.

They work without scripts. Administrators are the superusers. Beside a Django site, these pages don't exist.
"""

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from educa_chat.errors import NameRefused
from educa_chat.handlers.access import course_id, site_url
from educa_chat.handlers.api import query_number
from educa_chat.handlers.changes import failure_of, is_fresh, see_other
from educa_chat.handlers.keys import DATABASE, SETTINGS
from educa_chat.handlers.listing import ROWS_A_PAGE, Listing
from educa_chat.handlers.rendering import COURSES_PATH, language_of
from educa_chat.handlers.roster import roster_url
from educa_chat.people.admin_forms import PATH, Change, administrator, done, id_in_path, posted, show
from educa_chat.protocol import Role
from educa_chat.storage import accounts, administration, courses
from educa_chat.storage.mail_queue import count_waiting, queue_invitations
from educa_chat.storage.names import is_same_title, require_username
from educa_chat.storage.sign_in_links import LIFE_HOURS, link_url, make_link


def set_up(app: web.Application) -> None:
    """Add the routes of the pages."""
    app.router.add_get(PATH, _home)
    app.router.add_get(f"{PATH}people/", _people)
    app.router.add_get(f"{PATH}people/add/", _new_person)
    app.router.add_post(f"{PATH}people/add/", _add_person)
    app.router.add_get(f"{PATH}people/{{user}}/", _person)
    app.router.add_post(f"{PATH}people/{{user}}/", _change_person)
    app.router.add_get(f"{PATH}courses/", _courses)
    app.router.add_get(f"{PATH}courses/add/", _new_course)
    app.router.add_post(f"{PATH}courses/add/", _add_course)
    app.router.add_get(f"{PATH}courses/{{course}}/", _course)
    app.router.add_post(f"{PATH}courses/{{course}}/", _change_course)
    app.router.add_get(f"{PATH}courses/{{course}}/remove/", _removal)
    app.router.add_post(f"{PATH}courses/{{course}}/remove/", _remove_course)
    app.router.add_get(f"{PATH}log/", _log)


async def _home(request: web.Request) -> web.Response:
    return web.Response(status=302, headers={"Location": f"{PATH}people/"})


# People


async def _people(request: web.Request) -> web.Response:
    await administrator(request)
    listing = Listing.of(request)
    people, total = await administration.search_people(
        request.app[DATABASE], listing.words, offset=listing.offset, limit=ROWS_A_PAGE
    )
    return await show(
        request,
        "admin_people.html",
        "people",
        people=people,
        waiting_mails=await count_waiting(request.app[DATABASE]),
        **listing.context(total),
    )


async def _new_person(request: web.Request) -> web.Response:
    await administrator(request)
    return await _show_new_person(request, {"mail": "1"})


async def _show_new_person(request: web.Request, form: Mapping[str, str], failure: str = "") -> web.Response:
    can_mail = request.app[SETTINGS].email.is_set_up
    return await show(request, "admin_person_new.html", "people", form=form, failure=failure, can_mail=can_mail)


async def _add_person(request: web.Request) -> web.Response:
    change = await posted(request)
    username = accounts.normalise_username(change.text("username"))
    try:
        require_username(username)
    except NameRefused:
        return await _show_new_person(request, change.form, "username")
    failure = await failure_of(
        accounts.add_user(
            change.database,
            username,
            accounts.make_unusable_password(),
            first_name=change.text("first_name"),
            last_name=change.text("last_name"),
            email=change.text("email"),
            by=change.by.user_id,
        )
    )
    if failure:
        return await _show_new_person(request, change.form, "taken" if failure == "exists" else failure)
    what = "person_added"
    if "mail" in change.form and change.text("email") and request.app[SETTINGS].email.is_set_up:
        await queue_invitations(change.database, [change.text("email")], language_of(request))
        what = "person_invited"
    return done(f"{PATH}people/{await accounts.find_user_id(change.database, username)}/", what)


async def _read_person(request: web.Request) -> administration.Person:
    person = await administration.read_person(request.app[DATABASE], id_in_path(request, "user"))
    if person is None:
        raise web.HTTPNotFound
    return person


async def _person(request: web.Request) -> web.Response:
    await administrator(request)
    return await _show_person(request, await _read_person(request))


async def _show_person(
    request: web.Request, person: administration.Person, *, failure: str = "", link: str = ""
) -> web.Response:
    database = request.app[DATABASE]
    return await show(
        request,
        "admin_person.html",
        "people",
        failure=failure,
        person=person,
        person_url=f"{PATH}people/{person.id}/",
        courses=await administration.courses_naming(database, person.id),
        roster_url=roster_url,
        link=link,
        link_hours=LIFE_HOURS,
    )


async def _edit(change: Change, person: administration.Person) -> None:
    await administration.edit_person(
        change.database,
        person.id,
        first_name=change.text("first_name"),
        last_name=change.text("last_name"),
        email=change.text("email"),
        by=change.by.user_id,
    )


async def _deactivate(change: Change, person: administration.Person) -> None:
    await accounts.deactivate(change.database, person.username, by=change.by.user_id)


async def _reactivate(change: Change, person: administration.Person) -> None:
    await accounts.reactivate(change.database, person.username, by=change.by.user_id)


async def _sign_out(change: Change, person: administration.Person) -> None:
    await administration.end_all_sessions(change.database, person.username, by=change.by.user_id)


async def _promote(change: Change, person: administration.Person) -> None:
    await change.require_fresh_session()
    await accounts.promote(change.database, person.username, by=change.by.user_id)


async def _demote(change: Change, person: administration.Person) -> None:
    await accounts.demote(change.database, person.username, by=change.by.user_id)


async def _enrol(change: Change, person: administration.Person) -> None:
    course = await administration.find_course(change.database, change.text("course"))
    role = change.text("role")
    if role not in list(Role):
        raise web.HTTPBadRequest
    await courses.enrol(change.database, person.username, course, Role(role), by=change.by.user_id)


_PERSON_CHANGES: dict[str, Callable[[Change, administration.Person], Awaitable[None]]] = {
    "edit": _edit,
    "deactivate": _deactivate,
    "reactivate": _reactivate,
    "sign_out": _sign_out,
    "promote": _promote,
    "demote": _demote,
    "enrol": _enrol,
}


async def _change_person(request: web.Request) -> web.Response:
    change = await posted(request)
    person = await _read_person(request)
    act = change.text("act")
    if act == "link":
        return await _make_link(change, person)
    if act not in _PERSON_CHANGES:
        raise web.HTTPBadRequest
    if failure := await failure_of(_PERSON_CHANGES[act](change, person)):
        if act == "enrol" and failure == "missing":
            failure = "course_missing"
        return await _show_person(request, person, failure=failure)
    if act == "demote" and person.id == change.by.user_id:
        return see_other(COURSES_PATH)
    return done(request.path, act)


async def _make_link(change: Change, person: administration.Person) -> web.Response:
    """Show a new sign-in link, in the answer to the post itself: it must not be in an address or be stored."""
    token = ""

    async def make() -> None:
        nonlocal token
        if person.is_superuser:
            await change.require_fresh_session()
        token = await make_link(change.database, person.username, by=change.by.user_id)

    failure = await failure_of(make())
    link = link_url(site_url(change.request), token) if token else ""
    return await _show_person(change.request, person, failure=failure, link=link)


# Courses


async def _courses(request: web.Request) -> web.Response:
    await administrator(request)
    listing = Listing.of(request)
    found, total = await administration.search_courses(
        request.app[DATABASE], listing.words, offset=listing.offset, limit=ROWS_A_PAGE
    )
    return await show(request, "admin_courses.html", "courses", courses=found, **listing.context(total))


async def _new_course(request: web.Request) -> web.Response:
    await administrator(request)
    return await show(request, "admin_course_new.html", "courses", form={})


async def _add_course(request: web.Request) -> web.Response:
    change = await posted(request)
    course = 0

    async def add() -> None:
        nonlocal course
        course = await courses.add_course(
            change.database,
            change.text("title"),
            change.text("owner"),
            subject=change.text("subject"),
            overview=change.text("overview"),
            by=change.by.user_id,
        )

    if failure := await failure_of(add()):
        return await show(request, "admin_course_new.html", "courses", form=change.form, failure=failure)
    return done(f"{PATH}courses/{course}/", "course_added")


async def _read_course(request: web.Request) -> administration.ListedCourse:
    course = await administration.read_course(request.app[DATABASE], course_id(request))
    if course is None:
        raise web.HTTPNotFound
    return course


async def _course(request: web.Request) -> web.Response:
    await administrator(request)
    return await _show_course(request, await _read_course(request))


async def _show_course(request: web.Request, course: administration.ListedCourse, *, failure: str = "") -> web.Response:
    return await show(
        request,
        "admin_course.html",
        "courses",
        failure=failure,
        course=course,
        course_url=f"{PATH}courses/{course.id}/",
        roster_url=roster_url(course.id),
    )


async def _rename_course(change: Change, course: int) -> None:
    await administration.rename_course(change.database, course, change.text("title"), by=change.by.user_id)


async def _change_owner(change: Change, course: int) -> None:
    await administration.change_owner(change.database, course, change.text("owner"), by=change.by.user_id)


async def _archive_course(change: Change, course: int) -> None:
    await administration.archive_course(change.database, course, by=change.by.user_id)


async def _restore_course(change: Change, course: int) -> None:
    await administration.restore_course(change.database, course, by=change.by.user_id)


_COURSE_CHANGES: dict[str, Callable[[Change, int], Awaitable[None]]] = {
    "rename": _rename_course,
    "owner": _change_owner,
    "archive": _archive_course,
    "restore": _restore_course,
}


async def _change_course(request: web.Request) -> web.Response:
    change = await posted(request)
    course = await _read_course(request)
    act = change.text("act")
    if act not in _COURSE_CHANGES:
        raise web.HTTPBadRequest
    if failure := await failure_of(_COURSE_CHANGES[act](change, course.id)):
        return await _show_course(request, course, failure=failure)
    return done(request.path, f"course_{act}")


async def _removal(request: web.Request) -> web.Response:
    """Ask for the title of the course, or for a new sign-in first."""
    visitor = await administrator(request)
    failure = "" if await is_fresh(request, visitor) else "stale"
    return await _show_removal(request, await _read_course(request), failure=failure)


async def _show_removal(
    request: web.Request, course: administration.ListedCourse, *, failure: str = ""
) -> web.Response:
    return await show(
        request,
        "admin_course_remove.html",
        "courses",
        failure=failure,
        course=course,
        course_url=f"{PATH}courses/{course.id}/",
    )


async def _remove_course(request: web.Request) -> web.Response:
    change = await posted(request)
    course = await _read_course(request)

    async def remove() -> None:
        await change.require_fresh_session()
        await administration.remove_course(change.database, course.id, by=change.by.user_id)

    failure = "not_confirmed" if not is_same_title(change.text("title"), course.title) else await failure_of(remove())
    if failure:
        return await _show_removal(request, course, failure=failure)
    return done(f"{PATH}courses/", "course_removed")


# The log


async def _log(request: web.Request) -> web.Response:
    await administrator(request)
    entries = await administration.read_admin_log(
        request.app[DATABASE], before=query_number(request, "before"), limit=ROWS_A_PAGE + 1
    )
    return await show(
        request,
        "admin_log.html",
        "log",
        entries=entries[:ROWS_A_PAGE],
        before=entries[ROWS_A_PAGE - 1].id if len(entries) > ROWS_A_PAGE else None,
    )

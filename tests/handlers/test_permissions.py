"""Permissions: the four roles and non-members, for every command and page."""

import re
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
import pytest_asyncio

from educa_chat.events.registry import BY_COMMAND_NAME
from educa_chat.handlers.keys import DATABASE
from educa_chat.protocol import Role
from educa_chat.storage.courses import enrol
from educa_chat.storage.lti_platforms import Registration, add_platform
from tests.serving import Chatter, Classroom, Person, Server, add_classroom, add_person, open_server, settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROLES = ("stranger", "student", "assistant", "instructor", "superuser")

NOBODY = (403, 403, 403, 403, 403)
MEMBERS = (403, 200, 200, 200, 200)
STAFF = (403, 403, 200, 200, 200)
INSTRUCTORS = (403, 403, 403, 200, 200)
SUPERUSERS = (403, 403, 403, 403, 200)
EVERYBODY = (200, 200, 200, 200, 200)

PAGES = {
    "/chat/courses/": EVERYBODY,
    "/students/courses/": EVERYBODY,
    "/chat/account/": EVERYBODY,
    "/chat/course/{}/": MEMBERS,
    "/students/course/{}/": MEMBERS,
    "/chat/course/{}/roster/": STAFF,
    "/chat/course/{}/roster/import/": INSTRUCTORS,
    "/chat/room/{}/": MEMBERS,
    "/chat/room/{}/audit/": INSTRUCTORS,
    "/chat/room/{}/audit.csv": INSTRUCTORS,
    "/chat/room/{}/reports/": STAFF,
    "/chat/api/rooms": EVERYBODY,
    "/chat/api/rooms/{}/messages": MEMBERS,
    "/chat/api/rooms/{}/search?q=x": MEMBERS,
    "/chat/api/rooms/{}/members": MEMBERS,
    "/chat/api/rooms/{}/roster": MEMBERS,
    "/chat/api/rooms/{}/unanswered": MEMBERS,
    "/chat/api/rooms/{}/muted": STAFF,
    "/chat/api/rooms/{}/reports": STAFF,
    "/admin/people/": SUPERUSERS,
    "/admin/people/add/": SUPERUSERS,
    "/admin/people/1/": SUPERUSERS,
    "/admin/courses/": SUPERUSERS,
    "/admin/courses/add/": SUPERUSERS,
    "/admin/courses/{}/": SUPERUSERS,
    "/admin/courses/{}/remove/": SUPERUSERS,
    "/admin/import/": SUPERUSERS,
    "/admin/platforms/": SUPERUSERS,
    "/admin/platforms/add/": SUPERUSERS,
    "/admin/platforms/1/": SUPERUSERS,
    "/admin/platforms/1/remove/": SUPERUSERS,
    "/admin/log/": SUPERUSERS,
}
"""The status of a page for each of ROLES."""

FORMS = {
    "/chat/room/{}/reload/": ({"message": "draft"}, (403, 200, 200, 200, 200)),
    "/chat/room/{}/reports/": ({"act": "settle", "target": "99"}, (403, 403, 303, 303, 303)),
    "/chat/course/{}/roster/": ({"act": "remove", "username": "nobody"}, (403, 403, 403, 422, 422)),
    "/chat/course/{}/roster/?q=link": ({"act": "link", "username": "nobody"}, (403, 403, 403, 422, 422)),
    "/chat/course/{}/roster/import/confirm/": ({"digest": "none"}, (403, 403, 403, 409, 409)),
    "/admin/import/confirm/": ({"digest": "none"}, (403, 403, 403, 403, 409)),
    "/admin/people/add/": ({"username": "not allowed"}, (403, 403, 403, 403, 422)),
    "/admin/people/1/": ({"act": "none"}, (403, 403, 403, 403, 400)),
    "/admin/courses/add/": ({"title": ""}, (403, 403, 403, 403, 422)),
    "/admin/courses/{}/": ({"act": "none"}, (403, 403, 403, 403, 400)),
    "/admin/courses/{}/remove/": ({"title": "wrong"}, (403, 403, 403, 403, 422)),
    "/admin/platforms/": ({"act": "none"}, (403, 403, 403, 403, 400)),
    "/admin/platforms/add/": ({"issuer": ""}, (403, 403, 403, 403, 422)),
    "/admin/platforms/1/": ({"act": "none"}, (403, 403, 403, 403, 400)),
    "/admin/platforms/1/remove/": ({"name": "wrong"}, (403, 403, 403, 403, 422)),
}
"""The form that is posted to a page, and the status for each of ROLES. None of them changes anything."""

OTHERS: dict[str, object] = {"target": "other"}
COMMANDS: dict[str, tuple[dict[str, object], tuple[str, str, str, str]]] = {
    "message": ({"message": "hi"}, ("ack", "ack", "ack", "ack")),
    "edit": ({**OTHERS, "message": "x"}, ("forbidden", "forbidden", "forbidden", "forbidden")),
    "delete": (OTHERS, ("forbidden", "ack", "ack", "ack")),
    "react": ({**OTHERS, "emoji": "🎉", "on": True}, ("ack", "ack", "ack", "ack")),
    "pin": ({**OTHERS, "on": True}, ("forbidden", "ack", "ack", "ack")),
    "question": ({**OTHERS, "on": True}, ("forbidden", "ack", "ack", "ack")),
    "answer": ({"target": "reply", "on": True}, ("forbidden", "ack", "ack", "ack")),
    "endorse": ({**OTHERS, "on": True}, ("forbidden", "ack", "ack", "ack")),
    "mute": ({"user": "luis", "minutes": 0}, ("forbidden", "ack", "ack", "ack")),
    "slow": ({"seconds": 0}, ("forbidden", "forbidden", "ack", "ack")),
    "close": ({"on": False}, ("forbidden", "forbidden", "ack", "ack")),
    "anonymity": ({"on": False}, ("forbidden", "forbidden", "ack", "ack")),
    "report": ({**OTHERS, "reason": ""}, ("ack", "ack", "ack", "ack")),
    "settle": (OTHERS, ("forbidden", "ack", "ack", "ack")),
}
"""A command, and its answer for a student, an assistant, an instructor and a superuser."""


class School(NamedTuple):
    """A course, and a signed-in user for each of ROLES."""

    classroom: Classroom
    people: tuple[Person, ...]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(url: str) -> AsyncIterator[Server]:
    """A server without the rate limit, because one student writes many messages here."""
    async with open_server(settings_for(url, limits_messages_per_second=0)) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def school(server: Server) -> AsyncIterator[School]:
    database = server.app[DATABASE]
    classroom = await add_classroom(database)
    assistant, stranger = await add_person(database), await add_person(database)
    superuser = await add_person(database, is_superuser=True)
    url = "https://lms.example"
    await add_platform(database, Registration("", url, "1", url, url, url), ["1"], is_active=True)
    await enrol(database, assistant, classroom.course, Role.ASSISTANT)
    usernames = (stranger, classroom.ana, assistant, classroom.teacher, superuser)
    people = [Person(server.url, username) for username in usernames]
    for person in people:
        await person.__aenter__()
    # Nothing can be done in a room that nobody has opened yet.
    await (await people[-1].enter(classroom.course)).socket.close()
    yield School(classroom, tuple(people))
    for person in people:
        await person.__aexit__()


async def test_a_page_is_open_only_to_its_roles(server: Server, school: School, subtests: pytest.Subtests) -> None:
    for path, expected in PAGES.items():
        with subtests.test(path=path):
            path_here = path.format(school.classroom.course)
            statuses = [(await person.get(path_here))[0] for person in school.people]
            assert dict(zip(ROLES, statuses, strict=True)) == dict(zip(ROLES, expected, strict=True))
            async with Person(server.url) as anonymous:
                assert (await anonymous.get(path_here))[0] == (401 if "/api/" in path else 302)


async def test_a_form_is_open_only_to_its_roles(school: School, subtests: pytest.Subtests) -> None:
    for path, (fields, expected) in FORMS.items():
        with subtests.test(path=path):
            statuses = []
            for person in school.people:
                data = {"csrf_token": await person.token("/chat/courses/"), **fields}
                url = person.url + path.format(school.classroom.course)
                async with person.http.post(url, data=data, allow_redirects=False) as response:
                    statuses.append(response.status)
            assert dict(zip(ROLES, statuses, strict=True)) == dict(zip(ROLES, expected, strict=True))


async def answer_to(socket: Chatter, command: dict[str, object]) -> dict[str, object]:
    await socket.send(command)
    while (frame := await socket.receive())["type"] not in ("ack", "error") or frame.get("id") != command["id"]:
        pass
    return frame


async def answer_for(actor: Person, luis: Chatter, classroom: Classroom, name: str, fields: dict[str, object]) -> str:
    """Let `actor` give a command about Luis or one of two new messages, and return `ack` or the error code."""
    mark = f"{name}-{actor.username}"
    other = (await answer_to(luis, {"type": "message", "id": f"o-{mark}", "message": "other"}))["seq"]
    reply = {"type": "message", "id": f"r-{mark}", "message": "reply", "reply_to": other}
    meant = {"other": other, "reply": (await answer_to(luis, reply))["seq"], "luis": classroom.luis}
    given = {field: meant.get(str(value), value) for field, value in fields.items()}
    socket = await actor.enter(classroom.course)
    answer = await answer_to(socket, {"type": name, "id": mark, **given})
    await socket.socket.close()
    return str(answer.get("code", "ack"))


async def test_a_command_is_accepted_only_from_its_roles(
    server: Server, school: School, subtests: pytest.Subtests
) -> None:
    async with Person(server.url, school.classroom.luis) as person:
        luis = await person.enter(school.classroom.course)
        for name in BY_COMMAND_NAME:
            fields, expected = COMMANDS[name]
            with subtests.test(name):
                answers = [await answer_for(actor, luis, school.classroom, name, fields) for actor in school.people[1:]]
                assert dict(zip(ROLES[1:], answers, strict=True)) == dict(zip(ROLES[1:], expected, strict=True))


async def test_the_table_covers_every_course_and_admin_page(server: Server) -> None:
    """A new page without a line above has no test of its permissions."""
    known = {path.partition("?")[0].format("{course}") for path in {**PAGES, **FORMS}}
    known = {path.replace("platforms/1/", "platforms/{platform}/").replace("/1/", "/{user}/") for path in known}
    known |= {path.replace("/chat/api/", "/api/") for path in known} | {"/admin/"}
    paths = {resource.canonical for resource in server.app.router.resources()}
    assert {path for path in paths if re.match("/(chat/|students/)?(api/|room/|courses?/|admin/)", path)} <= known

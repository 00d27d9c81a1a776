"""The page with the people of a course: instructors change them, assistants see them, and students don't."""

from collections.abc import AsyncIterator
from html import unescape

import pytest
import pytest_asyncio

from educa_chat.handlers.keys import DATABASE
from educa_chat.protocol import Role
from educa_chat.storage.administration import read_admin_log
from educa_chat.storage.courses import enrol
from tests.handlers.test_admin_pages import post
from tests.serving import Classroom, Person, Server, add_classroom, add_person

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def classroom(server: Server) -> Classroom:
    return await add_classroom(server.app[DATABASE])


@pytest_asyncio.fixture(loop_scope="module")
async def teacher(server: Server, classroom: Classroom) -> AsyncIterator[Person]:
    async with Person(server.url, classroom.teacher) as person:
        yield person


def path_of(classroom: Classroom) -> str:
    return f"/chat/course/{classroom.course}/roster/"


async def shown(person: Person, path: str) -> str:
    status, text, _ = await person.get(path)
    assert status == 200, text
    return unescape(text)


async def test_a_teacher_can_add_people_change_their_roles_and_remove_them(
    server: Server, classroom: Classroom, teacher: Person
) -> None:
    path, username = path_of(classroom), await add_person(server.app[DATABASE])
    async with Person(server.url, username) as person:
        assert (await post(teacher, path, act="add", username=username, role="student"))[0] == 303
        socket = await person.enter(classroom.course)
        assert (await socket.receive())["me"]["role"] == "student"
        assert (await post(teacher, path, act="role", username=username, role="assistant"))[0] == 303
        assert await socket.close_code() == 1001, "it comes back in its new role"
        socket = await person.enter(classroom.course)
        assert (await socket.receive())["me"]["role"] == "assistant"
        assert (await post(teacher, path, act="remove", username=username))[0] == 303
        assert await socket.close_code() == 4003
    assert username not in await shown(teacher, path)
    entries = await read_admin_log(server.app[DATABASE], before=None, limit=3)
    assert [(one.action, one.actor_name, one.username) for one in reversed(entries)] == [
        ("course.enrolled", classroom.teacher, username),
        ("course.enrolled", classroom.teacher, username),
        ("course.unenrolled", classroom.teacher, username),
    ]


async def test_the_page_shows_roles_and_presence_and_can_be_searched(
    server: Server, classroom: Classroom, teacher: Person
) -> None:
    async with Person(server.url, classroom.ana) as ana:
        await (await ana.enter(classroom.course)).receive()
        page = await shown(teacher, path_of(classroom))
    assert page.count("Online") == 1
    assert "3 people" in page
    assert page.count('value="remove"') == 2, "the owner stays"
    assert classroom.luis in await shown(teacher, f"{path_of(classroom)}?q={classroom.luis[:6]}")
    assert classroom.luis not in await shown(teacher, f"{path_of(classroom)}?q={classroom.ana}")


async def test_a_change_keeps_the_search_and_page_of_the_list(classroom: Classroom, teacher: Person) -> None:
    path = f"{path_of(classroom)}?q={classroom.ana}"
    status, location = await post(teacher, path, act="role", username=classroom.ana, role="assistant")
    assert (status, location) == (303, f"{path}&done=role")
    page = await shown(teacher, location)
    assert "The role was changed." in page
    assert classroom.luis not in page


async def test_assistants_can_only_view_the_page_and_students_cannot_open_it(
    server: Server, classroom: Classroom
) -> None:
    path, assistant = path_of(classroom), await add_person(server.app[DATABASE])
    await enrol(server.app[DATABASE], assistant, classroom.course, Role.ASSISTANT)
    async with Person(server.url, assistant) as person:
        page = await shown(person, path)
        assert (classroom.ana in page, 'value="remove"' in page, 'value="add"' in page) == (True, False, False)
        assert (await post(person, path, act="remove", username=classroom.ana))[0] == 403
    async with Person(server.url, classroom.ana) as ana:
        assert (await ana.get(path))[0] == 403
        assert "/roster/" not in await shown(ana, f"/chat/room/{classroom.course}/")


async def test_the_page_says_why_a_change_is_refused(
    classroom: Classroom, teacher: Person, subtests: pytest.Subtests
) -> None:
    for fields, said in (
        ({"act": "add", "username": "nobody", "role": "student"}, "Nobody has this username"),
        ({"act": "add", "username": "{ana}", "role": "student"}, "already has this role"),
        ({"act": "role", "username": "{teacher}", "role": "student"}, "The owner of a course always teaches it"),
        ({"act": "remove", "username": "{teacher}"}, "The owner of a course always teaches it"),
    ):
        with subtests.test(fields=fields):
            given = {name: value.format(**classroom._asdict()) for name, value in fields.items()}
            status, answer = await post(teacher, path_of(classroom), **given)
            assert (status, said in answer) == (422, True)


async def test_a_teacher_who_leaves_their_course_is_redirected_to_the_courses(
    server: Server, classroom: Classroom
) -> None:
    second = await add_person(server.app[DATABASE])
    await enrol(server.app[DATABASE], second, classroom.course, Role.INSTRUCTOR)
    async with Person(server.url, second) as person:
        answer = await post(person, path_of(classroom), act="remove", username=second)
        assert answer == (303, "/chat/courses/")
        assert (await person.get(path_of(classroom)))[0] == 403


async def test_beside_a_django_site_teachers_can_change_only_staff(
    server: Server, classroom: Classroom, teacher: Person
) -> None:
    database, path = server.app[DATABASE], path_of(classroom)
    await database.execute("create table django_migrations (id int)")
    try:
        page = await shown(teacher, path)
        assert "managed on the course website" in page
        assert 'value="remove"' not in page
        status, answer = await post(teacher, path, act="remove", username=classroom.ana)
        assert (status, "managed on the course website" in answer) == (422, True)
        assert (await post(teacher, path, act="add", username=classroom.ana, role="assistant"))[0] == 303
        assert 'value="remove"' in await shown(teacher, path)
        assert (await post(teacher, path, act="remove", username=classroom.ana))[0] == 303
    finally:
        await database.execute("drop table django_migrations")

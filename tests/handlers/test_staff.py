"""Instructors and assistants besides the owner: their permissions, and changes of role, which take effect at once."""

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from educa_chat.errors import OwnerFixed, PlatformOwned, RecordExists, RecordMissing
from educa_chat.handlers.keys import DATABASE
from educa_chat.protocol import Role
from educa_chat.storage.courses import courses_of, enrol, find_memberships, unenrol
from educa_chat.storage.pool import Database
from tests.serving import Classroom, Person, Server, add_classroom, add_person

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def classroom(server: Server) -> Classroom:
    return await add_classroom(server.app[DATABASE])


@pytest_asyncio.fixture(loop_scope="module")
async def assistant(server: Server, classroom: Classroom) -> AsyncIterator[Person]:
    database = server.app[DATABASE]
    username = await add_person(database)
    await enrol(database, username, classroom.course, Role.ASSISTANT)
    async with Person(server.url, username) as person:
        yield person


async def role_of(database: Database, username: str, course: int) -> Role | None:
    user_id = await database.fetchval("select id from auth_user where username = $1", username)
    membership = (await find_memberships(database, [(user_id, course)])).get((user_id, course))
    return membership and membership.role


async def test_assistants_see_what_instructors_see_except_for_the_audit_log(
    classroom: Classroom, assistant: Person, subtests: pytest.Subtests
) -> None:
    for path, status in (
        ("/chat/room/{}/", 200),
        ("/chat/course/{}/", 200),
        ("/chat/room/{}/reports/", 200),
        ("/chat/room/{}/audit/", 403),
        ("/api/rooms/{}/messages", 200),
        ("/api/rooms/{}/muted", 200),
        ("/api/rooms/{}/reports", 200),
    ):
        with subtests.test(path=path):
            assert (await assistant.get(path.format(classroom.course)))[0] == status


async def test_the_room_page_offers_assistants_no_settings(
    server: Server, classroom: Classroom, assistant: Person
) -> None:
    page = (await assistant.get(f"/chat/room/{classroom.course}/"))[1]
    assert "Room settings" not in page
    assert "/reports/" in page
    assert "/audit/" not in page
    async with Person(server.url, classroom.teacher) as teacher:
        page = (await teacher.get(f"/chat/room/{classroom.course}/"))[1]
    assert "Room settings" in page
    assert "/audit/" in page


async def test_the_assistant_role_is_in_the_welcome_events_history_and_deleted_messages(
    server: Server, classroom: Classroom, assistant: Person
) -> None:
    course = classroom.course
    socket = await assistant.enter(course)
    assert (await socket.receive())["me"]["role"] == "assistant"
    async with Person(server.url, classroom.ana) as ana:
        live = await ana.enter(course)
        welcome = await live.receive()
        await socket.say("plain", "p")
        assert (await live.events(1))[0]["role"] == "assistant"
        replayed = await ana.enter(course, query=f"?after={welcome['head']}&epoch={welcome['epoch']}")
        (event,) = await replayed.events(1)
        assert (event["message"], event["role"]) == ("plain", "assistant")
        assert [m["role"] for m in (await ana.messages(course))["messages"]] == ["assistant"]
        await socket.send({"type": "delete", "id": "d", "target": event["seq"]})
        await live.receive_until("deleted")
        replayed = await ana.enter(course, query=f"?after={welcome['head']}&epoch={welcome['epoch']}")
        (event, _) = await replayed.events(2)
        assert (event["deleted"], event["role"]) == (True, "assistant")


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ({"type": "close", "on": False}, "forbidden"),
        ({"type": "slow", "seconds": 0}, "forbidden"),
        ({"type": "anonymity", "on": False}, "forbidden"),
        ({"type": "mute", "user": "{luis}", "minutes": 1}, "ack"),
        ({"type": "mute", "user": "{teacher}", "minutes": 1}, "bad_request"),
        ({"type": "message", "message": "to @all"}, "ack"),
    ],
)
async def test_assistants_can_do_everything_in_a_room_except_its_settings(
    classroom: Classroom, assistant: Person, command: dict[str, object], answer: str
) -> None:
    socket = await assistant.enter(classroom.course)
    await socket.receive()
    if "user" in command:
        command = command | {"user": str(command["user"]).format(**classroom._asdict())}
    await socket.send(command | {"id": "c"})
    while (frame := await socket.receive())["type"] not in ("ack", "error"):
        pass
    assert frame.get("code", "ack") == answer


async def test_assistants_can_post_in_a_closed_room_and_see_anonymous_authors(
    server: Server, classroom: Classroom, assistant: Person
) -> None:
    course = classroom.course
    async with Person(server.url, classroom.teacher) as teacher, Person(server.url, classroom.ana) as ana:
        leader, socket = await teacher.enter(course), await ana.enter(course)
        await leader.send({"type": "anonymity", "id": "a", "on": True})
        await socket.receive_until("anonymity")
        await socket.send({"type": "message", "id": "m", "message": "psst", "anonymous": True})
        await leader.receive_until("chat_message")
        (message,) = (await assistant.messages(course))["messages"]
        assert (message["user"], message["anonymous"]) == (classroom.ana, True)
        await leader.send({"type": "close", "id": "c", "on": True})
        await socket.receive_until("closed")
    helper = await assistant.enter(course)
    await helper.say("still here", "s")
    assert (await helper.receive_until("ack"))["id"] == "s"


async def test_a_new_role_takes_effect_on_open_sockets_and_removal_closes_them(
    server: Server, classroom: Classroom
) -> None:
    database, course = server.app[DATABASE], classroom.course
    async with Person(server.url, classroom.ana) as ana:
        for role in (Role.ASSISTANT, Role.INSTRUCTOR, Role.STUDENT):
            socket = await ana.enter(course)
            assert (await socket.receive())["me"]["role"] != role
            await enrol(database, classroom.ana, course, role)
            assert await socket.close_code() == 1001, "it comes back in its new role"
        await enrol(database, classroom.ana, course, Role.ASSISTANT)
        socket = await ana.enter(course)
        assert (await socket.receive())["me"]["role"] == "assistant"
        await unenrol(database, classroom.ana, course)
        assert await socket.close_code() == 4003
        assert (await ana.get(f"/chat/room/{course}/"))[0] == 403


async def test_a_user_has_one_role_per_course_and_the_owner_is_an_instructor(
    server: Server, classroom: Classroom
) -> None:
    database, course = server.app[DATABASE], classroom.course
    for role in (Role.ASSISTANT, Role.STUDENT, Role.INSTRUCTOR):
        await enrol(database, classroom.luis, course, role)
        assert await role_of(database, classroom.luis, course) is role
        with pytest.raises(RecordExists):
            await enrol(database, classroom.luis, course, role)
        with pytest.raises(OwnerFixed):
            await enrol(database, classroom.teacher, course, role)
    with pytest.raises(OwnerFixed):
        await unenrol(database, classroom.teacher, course)
    await unenrol(database, classroom.luis, course)
    with pytest.raises(RecordMissing):
        await unenrol(database, classroom.luis, course)
    for missing in ((classroom.luis, 2**40), ("nobody", course)):
        with pytest.raises(RecordMissing):
            await enrol(database, *missing)


async def test_members_are_listed_with_the_highest_roles_first(
    server: Server, classroom: Classroom, assistant: Person
) -> None:
    found = json.loads((await assistant.get(f"/api/rooms/{classroom.course}/members?q="))[1])["members"]
    assert [(one["user"], one["role"]) for one in found] == [
        (classroom.teacher, "instructor"),
        (assistant.username, "assistant"),
        (classroom.ana, "student"),
        (classroom.luis, "student"),
    ]


async def test_staff_can_be_mentioned(server: Server, classroom: Classroom, assistant: Person) -> None:
    async with Person(server.url, classroom.ana) as ana:
        socket = await ana.enter(classroom.course)
        await socket.say(f"@{assistant.username} @{classroom.teacher}", "m")
        assert (await socket.events(1))[0]["mentions"] == [assistant.username, classroom.teacher]


async def test_staff_see_their_courses_and_superusers_see_all(
    server: Server, classroom: Classroom, assistant: Person
) -> None:
    database = server.app[DATABASE]
    assert "You assist in this course" in (await assistant.get("/chat/courses/"))[1]
    (course,) = json.loads((await assistant.get("/api/rooms"))[1])["rooms"]
    assert course["id"] == classroom.course
    admin = await add_person(database, is_superuser=True)
    admin_id = await database.fetchval("select id from auth_user where username = $1", admin)
    courses = await courses_of(database, admin_id)
    assert len(courses) == await database.fetchval("select count(*) from courses_course")
    assert {course.role for course in courses} == {Role.INSTRUCTOR}


async def test_beside_a_django_site_the_chat_manages_staff_and_the_site_students(
    server: Server, classroom: Classroom
) -> None:
    database, course = server.app[DATABASE], classroom.course
    stranger = await add_person(database)
    await database.execute("create table django_migrations (id int)")
    try:
        await enrol(database, classroom.ana, course, Role.ASSISTANT)
        await enrol(database, stranger, course, Role.INSTRUCTOR)
        assert await role_of(database, classroom.ana, course) is Role.ASSISTANT
        assert await role_of(database, stranger, course) is Role.INSTRUCTOR
        with pytest.raises(PlatformOwned):
            await enrol(database, stranger, course)
        await unenrol(database, classroom.ana, course)
        assert await role_of(database, classroom.ana, course) is Role.STUDENT, "as the site has it"
        with pytest.raises(PlatformOwned):
            await unenrol(database, classroom.ana, course)
        await unenrol(database, stranger, course)
        assert await role_of(database, stranger, course) is None
        assert await role_of(database, classroom.teacher, course) is Role.INSTRUCTOR
    finally:
        await database.execute("drop table django_migrations")

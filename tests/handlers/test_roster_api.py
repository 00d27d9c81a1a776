"""The roster API: names and roles for every member, and presence unless it is concealed."""

import json
from typing import Any

import pytest
import pytest_asyncio

from educa_chat.handlers.keys import DATABASE
from tests.serving import Classroom, Person, Server, add_classroom, add_person

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def classroom(server: Server) -> Classroom:
    return await add_classroom(server.app[DATABASE])


async def roster(person: Person, course: int, query: str = "") -> dict[str, Any]:
    status, text, _ = await person.get(f"/api/rooms/{course}/roster{query}")
    assert status == 200, text
    answer: dict[str, Any] = json.loads(text)
    return answer


async def test_members_are_listed_by_role_with_their_presence(server: Server, classroom: Classroom) -> None:
    course = classroom.course
    superuser = await add_person(server.app[DATABASE], is_superuser=True)
    async with (
        Person(server.url, classroom.luis) as luis,
        Person(server.url, superuser) as visiting,
        Person(server.url, classroom.ana) as ana,
    ):
        sockets = [await luis.enter(course), await visiting.enter(course)]
        for socket in sockets:
            await socket.receive()
        answer = await roster(ana, course)
        assert [(one["user"], one["role"], one["online"]) for one in answer["members"]] == [
            (classroom.teacher, "instructor", False),
            (superuser, "instructor", True),
            (classroom.luis, "student", True),
            (classroom.ana, "student", False),
        ]
        assert (answer["total"], answer["more"]) == (4, False)
        await sockets[1].socket.close()
        found = await roster(ana, course, f"?q={classroom.luis}")
        assert [one["user"] for one in found["members"]] == [classroom.luis]
        assert (await roster(ana, course, "?page=2"))["members"] == []
        for query in ("?page=x", "?q=%00", f"?q={'x' * 201}"):
            assert (await ana.get(f"/api/rooms/{course}/roster{query}"))[0] == 400


async def test_presence_is_hidden_from_students_while_anonymous_posting_is_on(
    server: Server, classroom: Classroom
) -> None:
    course = classroom.course
    async with Person(server.url, classroom.teacher) as teacher, Person(server.url, classroom.ana) as ana:
        socket = await teacher.enter(course)
        await socket.send({"type": "anonymity", "id": "a", "on": True})
        await socket.receive_until("anonymity")
        assert all("online" not in one for one in (await roster(ana, course))["members"])
        assert {one["user"] for one in (await roster(teacher, course))["members"] if one["online"]} == {
            classroom.teacher
        }

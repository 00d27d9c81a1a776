"""The members API, which suggests names for mentions: permissions and results."""

import asyncio
import json
import uuid
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import quote

import pytest
from yarl import URL

from educa_chat.handlers.api import MAX_PREFIX, MEMBER_LOOKUPS_BURST
from educa_chat.handlers.keys import DATABASE
from educa_chat.storage.accounts import add_user, deactivate
from educa_chat.storage.courses import FOUND_MEMBERS, add_course, enrol, unenrol
from educa_chat.storage.pool import Database
from tests.handlers.test_pages import check_order_of_refusals
from tests.serving import Person, Server, add_person, add_room, quick_hash

pytestmark = pytest.mark.asyncio(loop_scope="module")

PEOPLE = {
    "jose.p": ("José", "Pérez Ibáñez"),
    "Maria7": ("María  José", "Núñez"),
    "inigo@example.org": ("Íñigo", "de la Rosa"),
    "decomposed": ("Lui\u0301s", "O'Neil"),
    "дима": ("Дмитрий", "Иванов"),
}


async def members(person: Person, course: int, prefix: str) -> list[dict[str, Any]]:
    status, body, _ = await person.get(f"/api/rooms/{course}/members?q={quote(prefix)}")
    assert status == 200, body
    found: list[dict[str, Any]] = json.loads(body)["members"]
    return found


async def add_class(database: Database, title: str) -> int:
    """Add a course of `profe` with PEOPLE, whose usernames end with the course's id."""
    course = await add_course(database, title, "profe")
    for username, (first, last) in PEOPLE.items():
        name = f"{username}{course}"
        await add_user(database, name, quick_hash(), first_name=first, last_name=last)
        await enrol(database, name, course)
    return course


async def test_members_are_found_by_username_and_by_each_word_of_the_name(server: Server) -> None:
    course = await add_class(server.app[DATABASE], "Found")
    cases = {
        "jose": ["jose.p", "Maria7"],
        "JOSÉ.": ["jose.p"],
        "perez": ["jose.p"],
        "ib": ["jose.p"],
        "nun": ["Maria7"],
        "maria": ["Maria7"],
        "inigo": ["inigo@example.org"],
        "inigo@ex": ["inigo@example.org"],
        "ín": ["inigo@example.org"],
        "ROSA": ["inigo@example.org"],
        "luis": ["decomposed"],
        "o'n": ["decomposed"],
        "ива": ["дима"],
        "José Pé": ["jose.p"],
        "zz": [],
        "ose": [],
        ".*": [],
        "(": [],
        "[a-z]": [],
        "\\": [],
        "%": [],
        "***": [],
    }
    async with AsyncExitStack() as stack:
        for number, (prefix, expected) in enumerate(cases.items()):
            if number % MEMBER_LOOKUPS_BURST == 0:
                # Nobody may send this many requests.
                someone = await add_person(server.app[DATABASE], course)
                person = await stack.enter_async_context(Person(server.url, someone))
            found = [one["user"] for one in await members(person, course, prefix)]
            assert found == [f"{username}{course}" for username in expected], prefix


async def test_teachers_come_first_and_then_exact_matches(server: Server) -> None:
    database = server.app[DATABASE]
    students = [await add_person(database) for _ in range(FOUND_MEMBERS + 2)]
    owner, other = await add_person(database), "u" * 20
    course = await add_course(database, "Order", owner)
    for student in students:
        await enrol(database, student, course)
    await add_user(database, other, quick_hash(), first_name="Zoe")
    await enrol(database, other, course)
    async with Person(server.url, owner) as teacher:
        everybody = await members(teacher, course, "")
        assert everybody[0] == {"user": owner, "name": owner, "role": "instructor"}
        assert len({one["user"] for one in everybody}) == FOUND_MEMBERS
        assert {one["role"] for one in everybody[1:]} == {"student"}
        found = await members(teacher, course, "u")
        assert len(found) == FOUND_MEMBERS
        assert found[0]["user"] == owner
        assert (await members(teacher, course, other))[0] == {"user": other, "name": "Zoe", "role": "student"}
        exact = f"u{uuid.uuid4().hex[:3]}"
        for _ in range(FOUND_MEMBERS):
            await enrol_new(database, course, f"{exact}{uuid.uuid4().hex[:5]}")
        await enrol_new(database, course, exact)
        assert (await members(teacher, course, exact))[0]["user"] == exact


async def enrol_new(database: Database, course: int, username: str) -> None:
    await add_user(database, username, quick_hash())
    await enrol(database, username, course)


async def test_a_teacher_who_is_also_enrolled_is_listed_once(server: Server) -> None:
    database = server.app[DATABASE]
    owner = await add_person(database)
    course = await add_course(database, "Twice", owner)
    # Only a site enrols an owner.
    await database.execute(
        "insert into courses_course_students (course_id, user_id) select $1, id from auth_user where username = $2",
        course,
        owner,
    )
    async with Person(server.url, owner) as teacher:
        assert await members(teacher, course, owner) == [{"user": owner, "name": owner, "role": "instructor"}]


async def test_only_members_are_found(server: Server) -> None:
    database = server.app[DATABASE]
    course, (ana, luis) = await add_room(database)
    former, stranger, locked_out = [await add_person(database, one) for one in (course, None, course)]
    superuser = await add_person(database, is_superuser=True)
    async with Person(server.url, ana) as student:
        assert [one["user"] for one in await members(student, course, former)] == [former]
        await unenrol(database, former, course)
        await deactivate(database, locked_out)
        for username in (former, stranger, superuser, locked_out):
            assert await members(student, course, username) == []
        assert {one["user"] for one in await members(student, course, "")} == {"profe", ana, luis}


async def test_requests_are_checked_in_the_documented_order(server: Server, subtests: pytest.Subtests) -> None:
    await check_order_of_refusals(server, "members", ("?q=a", "?q=", ""), subtests)


async def test_an_invalid_prefix_is_refused_and_not_counted(server: Server, subtests: pytest.Subtests) -> None:
    username = await add_person(server.app[DATABASE], 1)
    async with Person(server.url, username) as student:
        for query in ("?q=" + "x" * (MAX_PREFIX + 1), "?q=" + "x" * 6000, "?q=a%00b"):
            with subtests.test(query=query):
                for _ in range(MEMBER_LOOKUPS_BURST + 2):
                    status, body, _ = await student.get(f"/api/rooms/1/members{query}")
                    assert (status, json.loads(body)["error"]["code"]) == (400, "bad_request")


async def test_hostile_bytes_in_a_prefix_get_a_response(server: Server, subtests: pytest.Subtests) -> None:
    username = await add_person(server.app[DATABASE], 1)
    async with Person(server.url, username) as student:
        for raw in (
            "%ED%A0%80",
            "%FF%FE",
            "%",
            "%C3%28",
            "%F0%9F%98%80" * 40,
            "%EF%BF%BF",
            "+",
            "%CC%81" * 40,
            "%EF%B7%BA" * 50,
            "%0A",
        ):
            with subtests.test(raw=raw):
                url = URL(f"{server.url}/api/rooms/1/members?q={raw}", encoded=True)
                async with student.http.get(url) as response:
                    assert response.status in (200, 400)


async def test_too_many_requests_get_429_with_retry_after_and_do_not_affect_others(server: Server) -> None:
    course, (ana, luis) = await add_room(server.app[DATABASE])
    async with Person(server.url, ana) as one, Person(server.url, luis) as other:
        # All at once, because a busy machine could answer one after the other as slowly as the limit allows.
        requests = (one.get(f"/api/rooms/{course}/members?q=a") for _ in range(3 * MEMBER_LOOKUPS_BURST))
        answers = await asyncio.gather(*requests)
        refused = [answer for answer in answers if answer[0] != 200]
        assert 0 < len(refused) <= 2 * MEMBER_LOOKUPS_BURST
        for status, body, headers in refused:
            assert (status, json.loads(body)["error"]["code"]) == (429, "rate_limited")
            assert int(headers["Retry-After"]) >= 1
        await members(other, course, "a")

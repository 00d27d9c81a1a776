"""The import of people: the outcome of each row, changes, and limits."""

import time
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
import pytest_asyncio

from educa_chat.protocol import Role
from educa_chat.roster_file import RosterRow
from educa_chat.storage.accounts import add_user, deactivate, find_user_id
from educa_chat.storage.administration import read_roster
from educa_chat.storage.courses import add_course, enrol
from educa_chat.storage.pool import Database, open_database
from educa_chat.storage.roster_import import Change, Import, Outcome, Refusal, Terms, import_roster
from educa_chat.storage.sign_in_links import find_linked_user
from tests.conftest import Postgres

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def database(postgres: Postgres) -> AsyncIterator[Database]:
    async with open_database(await postgres.create_chat_database(), 2) as opened:
        yield opened


class School(NamedTuple):
    """A course for one test: its id and title, its owner and another teacher, an assistant and a student."""

    course: int
    title: str
    owner: str
    teacher: str
    assistant: str
    student: str


_counter = iter(range(1000))


@pytest_asyncio.fixture(loop_scope="module")
async def school(database: Database) -> School:
    number = next(_counter)
    owner, teacher, assistant, student = names = [f"{name}{number}" for name in ("owner", "teacher", "assi", "stud")]
    for name in names:
        await add_user(database, name, "!x", first_name=name.title())
    course = await add_course(database, f"Course {number}", owner)
    for name, role in ((teacher, Role.INSTRUCTOR), (assistant, Role.ASSISTANT), (student, Role.STUDENT)):
        await enrol(database, name, course, role)
    return School(course, f"Course {number}", *names)


def rows(*people: dict[str, str]) -> list[RosterRow]:
    return [RosterRow(line, **person) for line, person in enumerate(people, 2)]


def one(result: Import) -> Outcome:
    (outcome,) = result.outcomes
    return outcome


async def roles(database: Database, course: int) -> dict[str, Role]:
    return {member.username: member.role for member in await read_roster(database, course)}


async def everything(database: Database) -> list[object]:
    return [
        await database.fetch(f"select * from {table} t order by t")
        for table in ("auth_user", "courses_course_students", "educa_chat.staff", "educa_chat.sign_in_link")
    ]


async def test_new_people_are_added_enrolled_and_get_links(database: Database, school: School) -> None:
    people = rows(
        {
            "username": f"Zoë.{school.course}",
            "first_name": "Zoë",
            "last_name": "Núñez",
            "email": f"z{school.course}@x.es",
        },
        {"email": f"Otto{school.course}@x.es", "role": "Ayudante", "course": school.title},
        {"username": f"nobodys{school.course}", "course": str(school.course), "role": "teacher"},
    )
    before = await everything(database)
    preview = await import_roster(database, people, Terms(course=school.course), dry_run=True, with_links=True)
    assert await everything(database) == before
    assert preview.links == []
    result = await import_roster(database, people, Terms(course=school.course), with_links=True)
    assert result.outcomes == preview.outcomes
    assert [outcome.changes for outcome in result.outcomes] == [(Change.ADDED, Change.ENROLLED)] * 3
    assert await roles(database, school.course) == {
        school.owner: Role.INSTRUCTOR, school.teacher: Role.INSTRUCTOR, school.assistant: Role.ASSISTANT,
        school.student: Role.STUDENT, f"Zoë.{school.course}": Role.STUDENT, f"Otto{school.course}": Role.ASSISTANT,
        f"nobodys{school.course}": Role.INSTRUCTOR,
    }  # fmt: skip
    for link in result.links:
        user = await find_linked_user(database, link.token)
        assert user is not None
        assert (user.username, user.name) == (link.username, link.name)
    assert {link.name for link in result.links} == {
        "Zoë Núñez", f"Otto{school.course}", f"nobodys{school.course}",
    }  # fmt: skip
    again = await import_roster(database, people, Terms(course=school.course))
    assert [outcome.changes for outcome in again.outcomes] == [()] * 3


async def test_given_names_and_addresses_are_updated_and_missing_ones_kept(database: Database, school: School) -> None:
    row = {"username": school.student.upper(), "last_name": "Roe", "email": f"{school.student}@x.es"}
    outcome = one(await import_roster(database, rows(row), Terms()))
    assert (outcome.username, outcome.changes) == (school.student, (Change.CHANGED,))
    found = await database.fetchrow(
        "select first_name, last_name, email from auth_user where username = $1", school.student
    )
    assert found is not None
    assert tuple(found) == (school.student.title(), "Roe", f"{school.student}@x.es")


async def test_an_invalid_row_is_refused(database: Database, subtests: pytest.Subtests) -> None:
    for person, refusal in (
        ({"username": ""}, Refusal.USERNAME),
        ({"username": "a b"}, Refusal.USERNAME),
        ({"username": "x" * 151}, Refusal.USERNAME),
        ({"username": "=cmd|'/c calc'!A0"}, Refusal.USERNAME),
        ({"username": "n1", "first_name": "\u202eeoZ"}, Refusal.NAME),
        ({"username": "n1", "last_name": "a\nb"}, Refusal.NAME),
        ({"username": "n1", "last_name": "x" * 151}, Refusal.NAME),
        ({"username": "n1", "email": "nobody"}, Refusal.EMAIL),
        ({"username": "n1", "email": "a@b.es\u200b"}, Refusal.EMAIL),
        ({"username": "n1", "role": "king"}, Refusal.ROLE),
        ({"username": "n1", "course": "Alchemy"}, Refusal.COURSE),
        ({"username": "n1", "course": "9" * 30}, Refusal.COURSE),
    ):
        with subtests.test(person=person):
            before = await everything(database)
            assert one(await import_roster(database, rows(person), Terms())).refusal is refusal
            assert await everything(database) == before


async def test_two_rows_for_one_person_are_reported(database: Database, school: School) -> None:
    name = f"twin{school.course}"
    other = await add_course(database, f"Other {school.course}", school.owner)
    result = await import_roster(
        database,
        rows(
            {"username": name, "first_name": "A", "email": f"{name}@x.es", "course": school.title},
            {"username": name.upper(), "first_name": "A", "email": f"{name}@x.es", "course": school.title},
            {"username": name, "first_name": "A", "email": f"{name}@x.es", "course": str(other)},
            {"username": name, "first_name": "B", "email": f"{name}@x.es"},
            {"username": f"{name}.2", "email": f"{name}@X.ES"},
        ),
        Terms(),
    )
    assert [(outcome.refusal, outcome.earlier_line) for outcome in result.outcomes] == [
        (None, 0), (Refusal.TWICE, 2), (None, 0), (Refusal.CONTRADICTION, 2), (Refusal.EMAIL_TWICE, 2),
    ]  # fmt: skip
    assert [outcome.changes for outcome in result.outcomes[:3:2]] == [
        (Change.ADDED, Change.ENROLLED),
        (Change.ENROLLED,),
    ]


async def test_addresses_of_other_users_and_deactivated_users_are_refused(database: Database, school: School) -> None:
    await import_roster(database, rows({"username": school.student, "email": f"me{school.course}@x.es"}), Terms())
    await deactivate(database, school.assistant)
    result = await import_roster(
        database,
        rows({"username": f"n{school.course}", "email": f"Me{school.course}@x.es"}, {"username": school.assistant}),
        Terms(),
    )
    assert [outcome.refusal for outcome in result.outcomes] == [Refusal.EMAIL_TAKEN, Refusal.INACTIVE]


async def test_the_owner_cannot_be_demoted_and_a_missing_role_demotes_nobody(
    database: Database, school: School
) -> None:
    before = await roles(database, school.course)
    people = rows(*({"username": name} for name in school[2:]))
    result = await import_roster(database, people, Terms(course=school.course))
    assert {outcome.changes for outcome in result.outcomes} == {()}
    for role in ("student", "assistant"):
        row = rows({"username": school.owner, "role": role})
        assert one(await import_roster(database, row, Terms(course=school.course))).refusal is Refusal.OWNER
    assert await roles(database, school.course) == before
    await import_roster(database, rows({"username": school.teacher, "role": "student"}), Terms(course=school.course))
    assert (await roles(database, school.course))[school.teacher] is Role.STUDENT


async def test_sync_removes_only_students_missing_from_the_file(database: Database, school: School) -> None:
    elsewhere = await add_course(database, f"Elsewhere {school.course}", school.owner)
    await enrol(database, school.student, elsewhere)
    people = rows({"username": f"new{school.course}"})
    terms = Terms(course=school.course, removes_missing=True)
    refused = await import_roster(database, [*people, RosterRow(9, username="a b")], terms, dry_run=True)
    assert refused.keeps_missing
    assert refused.count(Change.REMOVED) == 0
    result = await import_roster(database, people, terms)
    removed = [outcome for outcome in result.outcomes if Change.REMOVED in outcome.changes]
    assert [(outcome.username, outcome.line, outcome.course) for outcome in removed] == [
        (school.student, 0, school.title)
    ]
    assert await roles(database, school.course) == {
        school.owner: Role.INSTRUCTOR, school.teacher: Role.INSTRUCTOR, school.assistant: Role.ASSISTANT,
        f"new{school.course}": Role.STUDENT,
    }  # fmt: skip
    assert school.student in await roles(database, elsewhere)


async def test_an_empty_file_removes_nobody(database: Database, school: School) -> None:
    before = await roles(database, school.course)
    result = await import_roster(database, [], Terms(course=school.course, removes_missing=True))
    assert result.outcomes == []
    assert await roles(database, school.course) == before


async def test_a_teacher_can_add_people_to_their_course_but_change_no_account(
    database: Database, school: School
) -> None:
    other = await add_course(database, f"Foreign {school.course}", school.owner)
    terms = Terms(course=school.course, by_teacher=True)
    new = f"fresh{school.course}"
    result = await import_roster(
        database,
        rows(
            {"username": school.student, "first_name": "Mallory", "email": f"m{school.course}@x.es"},
            {"username": new, "first_name": "Fresh", "role": "assistant"},
            {"username": f"{new}2", "role": "teacher"},
            {"username": school.teacher, "role": "student"},
            {"username": school.owner, "course": str(other)},
        ),
        terms,
        with_links=True,
    )
    assert [outcome.refusal for outcome in result.outcomes] == [
        None, None, Refusal.TEACHER, Refusal.TEACHER, Refusal.OTHER_COURSE,
    ]  # fmt: skip
    assert [outcome.changes for outcome in result.outcomes[:2]] == [(), (Change.ADDED, Change.ENROLLED)]
    found = await database.fetchrow("select first_name, email from auth_user where username = $1", school.student)
    assert found is not None
    assert tuple(found) == (school.student.title(), "")
    assert [link.username for link in result.links] == [new]


async def test_ten_thousand_people_are_imported_in_a_few_statements(database: Database, school: School) -> None:
    people = [
        RosterRow(n, f"p{school.course}.{n}", f"p{school.course}.{n}@x.es", "First", f"Last {n}")
        for n in range(2, 10_002)
    ]
    started = time.process_time()
    result = await import_roster(database, people, Terms(course=school.course), with_links=True)
    assert (result.count(Change.ENROLLED), len(result.links)) == (10_000, 10_000)
    # The processor time of this process, which other work on the machine doesn't change much.
    assert time.process_time() - started < 10
    assert await find_user_id(database, f"P{school.course}.77")

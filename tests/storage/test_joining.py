"""Somebody who joins a course has nothing unread from before, in whichever way they join."""

from collections.abc import Awaitable, Callable

import pytest

from educa_chat.protocol import Role
from educa_chat.roster_file import RosterRow
from educa_chat.storage.accounts import find_user_id
from educa_chat.storage.administration import change_owner
from educa_chat.storage.courses import add_course, enrol, unenrol
from educa_chat.storage.lti_courses import begin_roster, find_roster, note_launch, note_listed
from educa_chat.storage.mapped_roles import apply_mapped_roles
from educa_chat.storage.markers import find_markers, mark_first_seen, mark_new_members, write_markers
from educa_chat.storage.pool import Database
from educa_chat.storage.roster_import import Terms, import_roster
from tests.serving import add_person
from tests.test_markers import course_with

HEAD = 10


async def enrol_student(database: Database, course: int, username: str) -> None:
    await enrol(database, username, course)


async def appoint_assistant(database: Database, course: int, username: str) -> None:
    await enrol(database, username, course, Role.ASSISTANT)


async def make_owner(database: Database, course: int, username: str) -> None:
    await change_owner(database, course, username)


async def import_file(database: Database, course: int, username: str) -> None:
    await import_roster(database, [RosterRow(2, username=username, role="student")], Terms(course=course))


async def add_context(database: Database, course: int) -> None:
    await database.execute(
        "with p as (insert into educa_chat.lti_platform"
        "  (name, issuer, client_id, authorization_url, token_url, jwks_url, origins, is_active, owner_id)"
        "  select 'P', 'i' || id, 'c', '', '', '', '{}', true, owner_id from courses_course where id = $1 returning id)"
        " insert into educa_chat.lti_context (course, platform, deployment, context, roster_url)"
        " select $1, id, 'd', 'x', '' from p",
        course,
    )


async def launch(database: Database, course: int, username: str) -> None:
    await add_context(database, course)
    await note_launch(database, course, await find_user_id(database, username), Role.STUDENT)


async def list_in_roster(database: Database, course: int, username: str) -> None:
    await add_context(database, course)
    roster = await find_roster(database, course)
    assert roster is not None
    await begin_roster(database, roster)
    await note_listed(database, roster, await find_user_id(database, username), Role.ASSISTANT)


async def map_role(database: Database, course: int, username: str) -> None:
    user_id = await find_user_id(database, username)
    await apply_mapped_roles(database, user_id, username, "https://issuer.example", {course: Role.STUDENT})


async def enrol_beside_us(database: Database, course: int, username: str) -> None:
    """Enrol somebody as a Django site does, which doesn't know our tables."""
    await database.execute(
        "insert into courses_course_students (course_id, user_id) select $1, id from auth_user where username = $2",
        course,
        username,
    )


WAYS: list[Callable[[Database, int, str], Awaitable[None]]] = [
    enrol_student,
    appoint_assistant,
    make_owner,
    import_file,
    launch,
    list_in_roster,
    map_role,
    enrol_beside_us,
]


async def marker_of(database: Database, course: int, username: str) -> int | None:
    """The marker of somebody who has just been seen."""
    user_id = await find_user_id(database, username)
    await mark_first_seen(database, [user_id])
    return (await find_markers(database, [(user_id, course)])).get((user_id, course))


async def test_whoever_joins_begins_at_the_head_and_whoever_was_there_keeps_their_marker(database: Database) -> None:
    for join in WAYS:
        course = await course_with(database, 0)
        member, username = await add_person(database, course), await add_person(database)
        await database.execute("update educa_chat.room set head = $2 where course = $1", course, HEAD)
        await write_markers(database, {(await find_user_id(database, member), course): 3})
        await join(database, course, username)
        assert await marker_of(database, course, username) == HEAD, join.__name__
        assert await marker_of(database, course, member) == 3, join.__name__


@pytest.mark.parametrize("role", [Role.STUDENT, Role.INSTRUCTOR])
async def test_another_role_keeps_the_marker_and_coming_back_moves_it(database: Database, role: Role) -> None:
    course = await course_with(database, 0)
    username = await add_person(database)
    await enrol(database, username, course, Role.ASSISTANT)
    await database.execute("update educa_chat.room set head = $2 where course = $1", course, HEAD)
    await enrol(database, username, course, role)
    assert await marker_of(database, course, username) == 0
    await unenrol(database, username, course)
    await enrol(database, username, course, role)
    assert await marker_of(database, course, username) == HEAD


async def test_what_is_written_in_a_new_course_is_unread_for_its_first_members(database: Database) -> None:
    teacher = await add_person(database)
    course = await add_course(database, "New", teacher)
    student = await add_person(database, course)
    await database.execute("insert into educa_chat.room (course, head) values ($1, $2)", course, HEAD)
    assert [await marker_of(database, course, username) for username in (teacher, student)] == [0, 0]


@pytest.mark.parametrize("is_watched", [True, False])
async def test_what_is_written_after_a_site_has_enrolled_somebody_is_unread(
    database: Database, is_watched: bool
) -> None:
    course, username = await course_with(database, 0), await add_person(database)
    user_id = await find_user_id(database, username)
    await database.execute("update educa_chat.room set head = $2 where course = $1", course, HEAD)
    if is_watched:
        await enrol_beside_us(database, course, username)
    else:
        await database.execute("alter table courses_course_students disable trigger educa_chat_added")
        await enrol_beside_us(database, course, username)
        await database.execute("alter table courses_course_students enable trigger educa_chat_added")
        assert await find_markers(database, [(user_id, course)]) == {}
        await mark_new_members(database)
    await database.execute("update educa_chat.room set head = $2 where course = $1", course, HEAD + 5)
    await mark_new_members(database)
    assert await marker_of(database, course, username) == HEAD

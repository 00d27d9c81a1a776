"""The single rule for access to a room, and changes to the learning platform's tables."""

import json

import pytest

from educa_chat.protocol import Role
from educa_chat.storage.courses import Membership, find_memberships
from educa_chat.storage.pool import Database

OWNER, SUPERUSER, STUDENT, BOTH, STRANGER, GONE_OWNER, GONE_STUDENT, TEACHER, ASSISTANT, GONE_ASSISTANT = range(1, 11)
COURSE, GONE_OWNERS_COURSE = 1, 2


@pytest.fixture
async def platform(database: Database) -> Database:
    """A course with an owner, staff, students, one of them a superuser and one an assistant; and inactive users."""
    await database.execute(
        "insert into auth_user (id, username, password, first_name, last_name, email,"
        " is_superuser, is_staff, is_active, date_joined)"
        " select n, 'user' || n, '!', '', '', '', n = any ($1::integer[]), false, n <> all ($2::integer[]), now()"
        " from generate_series(1, 10) n",
        [SUPERUSER, BOTH],
        [GONE_OWNER, GONE_STUDENT, GONE_ASSISTANT],
    )
    await database.execute("insert into courses_subject (id, title, slug) values (1, 'Subject', 'subject')")
    await database.execute(
        "insert into courses_course (id, title, slug, overview, created, owner_id, subject_id)"
        " values ($1, 'One', 'one', '', now(), $2, 1), ($3, 'Two', 'two', '', now(), $4, 1)",
        *(COURSE, OWNER, GONE_OWNERS_COURSE, GONE_OWNER),
    )
    await database.execute(
        "insert into courses_course_students (course_id, user_id) select $1, unnest($2::integer[])",
        COURSE,
        [STUDENT, BOTH, GONE_STUDENT, ASSISTANT],
    )
    await database.execute(
        "insert into educa_chat.staff values ($1, $2, 'instructor'), ($1, $3, 'assistant'), ($1, $4, 'assistant')",
        *(COURSE, TEACHER, ASSISTANT, GONE_ASSISTANT),
    )
    return database


async def test_active_owners_superusers_staff_and_students_enter_in_their_highest_role(platform: Database) -> None:
    found = await find_memberships(platform, [(user, course) for user in range(1, 11) for course in (1, 2, 3)])
    teacher, assistant, student = (Membership(COURSE, "One", role) for role in reversed(Role))
    elsewhere = Membership(GONE_OWNERS_COURSE, "Two", Role.INSTRUCTOR)
    assert found == {
        (OWNER, COURSE): teacher,
        (SUPERUSER, COURSE): teacher,
        (SUPERUSER, GONE_OWNERS_COURSE): elsewhere,
        (STUDENT, COURSE): student,
        (BOTH, COURSE): teacher,
        (BOTH, GONE_OWNERS_COURSE): elsewhere,
        (TEACHER, COURSE): teacher,
        (ASSISTANT, COURSE): assistant,
    }


async def test_the_planner_inlines_the_membership_rule(platform: Database) -> None:
    plan = json.loads(
        await platform.fetchval(
            "explain (format json) select from educa_chat.member() where course = 1 and user_id = 1 and is_instructor"
        )
    )
    assert "Function Scan" not in json.dumps(plan)


async def test_the_platform_can_change_each_column_that_the_rule_reads(platform: Database) -> None:
    for table, column in [
        ("courses_course_students", "user_id"),
        ("courses_course_students", "course_id"),
        ("courses_course", "owner_id"),
        ("courses_course", "id"),
        ("auth_user", "id"),
    ]:
        await platform.execute(f"alter table {table} alter column {column} type integer")
        await platform.execute(f"alter table {table} alter column {column} type bigint")
        await platform.execute(f"alter table {table} rename column {column} to renamed")
        await platform.execute(f"alter table {table} rename column renamed to {column}")
    await platform.execute("alter table auth_user drop column is_superuser")

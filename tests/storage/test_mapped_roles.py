"""Roles that the settings give according to an issuer's claims: only these are revoked again."""

from educa_chat.protocol import Role
from educa_chat.storage.accounts import add_user
from educa_chat.storage.courses import add_course, enrol, unenrol
from educa_chat.storage.mapped_roles import MappedRole, apply_mapped_roles, find_rule_courses, next_role
from educa_chat.storage.pool import Database

S, A, T = Role.STUDENT, Role.ASSISTANT, Role.INSTRUCTOR


ROLES: list[tuple[Role | None, MappedRole | None, Role | None, Role | None, MappedRole | None]] = [
    (None, None, None, None, None),
    (None, None, S, S, MappedRole(S, None)),
    (S, MappedRole(S, None), S, S, MappedRole(S, None)),
    (S, MappedRole(S, None), None, None, None),
    (S, MappedRole(S, None), T, T, MappedRole(T, None)),
    (T, MappedRole(T, None), S, S, MappedRole(S, None)),
    # Somebody else gave a role before.
    (S, None, S, S, None),
    (S, None, T, T, MappedRole(T, S)),
    (T, MappedRole(T, S), None, S, None),
    (T, MappedRole(T, S), A, A, MappedRole(A, S)),
    (T, MappedRole(T, S), S, S, None),
    (T, None, S, T, None),
    (T, None, None, T, None),
    # Somebody else has given or revoked a role since.
    (T, MappedRole(S, None), S, T, None),
    (T, MappedRole(S, None), None, T, None),
    (S, MappedRole(T, None), None, S, None),
    (S, MappedRole(T, None), T, T, MappedRole(T, S)),
    (None, MappedRole(S, None), S, S, MappedRole(S, None)),
    (None, MappedRole(S, None), None, None, None),
]


def test_mapped_roles_determine_the_next_role() -> None:
    for current, given, wanted, role, remembered in ROLES:
        assert next_role(current, given, wanted) == (role, remembered), (current, given, wanted)


async def test_each_issuer_revokes_only_the_roles_it_granted(database: Database) -> None:
    await add_user(database, "profe", "!")
    user_id = await add_user(database, "ana", "!")
    courses = [await add_course(database, f"Course {number}", "profe") for number in range(3)]

    async def apply(issuer: str, **wanted: Role) -> list[str | None]:
        by_course = {courses[int(number[1:])]: role for number, role in wanted.items()}
        await apply_mapped_roles(database, user_id, "ana", issuer, by_course)
        return [
            await database.fetchval("select educa_chat.role_of($1, $2)::text", course, user_id) for course in courses
        ]

    await enrol(database, "ana", courses[2])
    assert await apply("one", c0=S, c1=T) == ["student", "instructor", "student"]
    assert await apply("one", c0=S, c1=T) == ["student", "instructor", "student"]
    assert await apply("other", c1=S, c2=A) == ["student", "instructor", "assistant"]
    await unenrol(database, "ana", courses[0])
    assert await apply("one") == [None, None, "assistant"]
    assert await apply("other") == [None, None, "student"]
    assert await database.fetchval("select count(*) from educa_chat.mapped_role") == 0


async def test_owners_and_missing_courses_are_skipped(database: Database) -> None:
    user_id = await add_user(database, "profe", "!")
    course = await add_course(database, "Course", "profe")
    await apply_mapped_roles(database, user_id, "profe", "one", {course: S, 999_999: S})
    await apply_mapped_roles(database, user_id, "profe", "one", {})
    role = await database.fetchval("select educa_chat.role_of($1, $2)::text", course, user_id)
    assert role == "instructor"
    assert await database.fetchval("select count(*) from educa_chat.mapped_role") == 0


async def test_a_rule_refers_to_a_course_by_id_or_slug_but_not_by_title(database: Database) -> None:
    await add_user(database, "profe", "!")
    first, second, third = [await add_course(database, title, "profe") for title in ("Algebra", "Algebra", "X")]
    await database.execute("update courses_course set title = 'algebra' where id = $1", second)
    await database.execute("update courses_course set slug = $1 where id = $2", str(first), third)
    names = ["algebra", "algebra-2", str(first), "Algebra", str(2**70), "-1", "x"]
    assert await find_rule_courses(database, names) == {"algebra": first, "algebra-2": second, str(first): first}

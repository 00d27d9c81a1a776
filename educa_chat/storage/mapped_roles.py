"""The roles in courses that the settings give to users according to an issuer's claims."""

import logging
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import NamedTuple

from educa_chat.errors import OwnerFixed, RecordExists, RecordMissing
from educa_chat.protocol import Role
from educa_chat.storage.courses import enrol, unenrol
from educa_chat.storage.pool import Database

logger = logging.getLogger(__name__)


class MappedRole(NamedTuple):
    """A role that the settings have given, and the role that the user had before."""

    role: Role
    former: Role | None


def next_role(
    current: Role | None, given: MappedRole | None, wanted: Role | None
) -> tuple[Role | None, MappedRole | None]:
    """Return the new role of a user in a course, and the record to keep of it.

    `current` is their role, `given` the role from the settings at the last sign-in, and `wanted` the one from the
    settings now; None stands for no role. The settings take back only what they gave: a role that somebody has changed
    since, and a higher one that somebody else gave, stay.
    """
    own = given.former if given and given.role is current else current
    if wanted is None or (own and own.includes(wanted)):
        return own, None
    return wanted, MappedRole(wanted, own)


async def find_rule_courses(database: Database, names: Collection[str]) -> dict[str, int]:
    """Return the ids of the courses that rules refer to by `names`: an id or a slug. Those that don't exist are left
    out.

    Not by title: teachers can change that.
    """
    rows = await database.fetch(
        "select distinct on (name) name, c.id from unnest($1::text[]) name"
        " join courses_course c on c.slug = name or c.id::text = name order by name, c.id::text = name desc",
        list(names),
    )
    return {row["name"]: row["id"] for row in rows}


async def apply_mapped_roles(
    database: Database, user_id: int, username: str, issuer: str, wanted: Mapping[int, Role]
) -> None:
    """Give the user the roles in `wanted`, by course, and revoke those that `issuer` gave in other courses.

    Courses that don't exist are skipped, and so is the owner of a course.
    """
    given = await _find_mapped_roles(database, user_id, issuer)
    current = await _find_roles(database, user_id)
    for course in sorted({*given, *wanted}):
        before = current.get(course)
        role, remembered = next_role(before, given.get(course), wanted.get(course))
        # Remember first, and forget last: if this is cut off in between, the next sign-in finishes it.
        if remembered and remembered != given.get(course):
            await _remember(database, user_id, issuer, course, remembered)
        with suppress(OwnerFixed, RecordExists, RecordMissing):
            if role and role is not before:
                await enrol(database, username, course, role)
            elif before and not role:
                await unenrol(database, username, course)
        if course in given and not remembered:
            await _forget(database, user_id, issuer, course)


async def _find_mapped_roles(database: Database, user_id: int, issuer: str) -> dict[int, MappedRole]:
    rows = await database.fetch(
        "select course, role::text, former::text from educa_chat.mapped_role where user_id = $1 and issuer = $2",
        user_id,
        issuer,
    )
    return {course: MappedRole(Role(role), Role(former) if former else None) for course, role, former in rows}


async def _find_roles(database: Database, user_id: int) -> dict[int, Role]:
    """Return the user's own roles in courses."""
    rows = await database.fetch(
        "select course, max(role)::text from educa_chat.membership() where user_id = $1 and is_named group by course",
        user_id,
    )
    return {course: Role(role) for course, role in rows}


async def _remember(database: Database, user_id: int, issuer: str, course: int, mapped: MappedRole) -> None:
    await database.execute(
        "insert into educa_chat.mapped_role (user_id, issuer, course, role, former)"
        " select $1, $2, id, $4::text::educa_chat.role, $5::text::educa_chat.role from courses_course where id = $3"
        " on conflict (user_id, issuer, course) do update set role = excluded.role, former = excluded.former",
        user_id,
        issuer,
        course,
        *mapped,
    )


async def _forget(database: Database, user_id: int, issuer: str, course: int) -> None:
    await database.execute(
        "delete from educa_chat.mapped_role where user_id = $1 and issuer = $2 and course = $3", user_id, issuer, course
    )

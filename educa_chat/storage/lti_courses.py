"""The courses of learning platforms, and the members that a platform has named."""

import hashlib
from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

from educa_chat.errors import RosterOutdated
from educa_chat.protocol import Role
from educa_chat.storage.access_changes import notify
from educa_chat.storage.courses import set_role
from educa_chat.storage.external_people import tidy_name
from educa_chat.storage.lti_platforms import Platform
from educa_chat.storage.names import TITLE_CHARACTERS
from educa_chat.storage.pool import Connection, Database

ROSTER_EVERY_S = 3600
ROSTER_LEASE_S = 300
"""How long a process may take to fetch a roster before another one tries."""
VISIT_HOURS = 24
"""How long instructors who aren't in the roster keep access, such as administrators who visit a course."""
LAUNCH_DAYS = 7
"""How long the roster can't lower a role that a launch has set."""


class Roster(NamedTuple):
    """The roster of a course, which somebody or a process has just asked for."""

    course: int
    platform: int
    url: str
    asked_at: datetime
    """When it was asked for, by the database's clock."""


class KnownMember(NamedTuple):
    """A member of a course whom the platform has named."""

    user_id: int
    subject: str
    name: tuple[str, str]
    role: Role | None
    """None if they were removed here."""
    is_listed: bool
    """Whether a roster has ever named them, and not only a launch."""


async def find_or_add_course(
    database: Database, platform: Platform, deployment: str, context: str, *, title: str, roster_url: str | None
) -> int:
    """Return the course for a platform's course, with its current title there. Adds it if there is none."""
    title = tidy_name(title)[:TITLE_CHARACTERS].strip() or platform.name
    digest = hashlib.sha256(f"{deployment}\0{context}".encode(errors="replace")).hexdigest()
    key = (platform.id, deployment, context)
    async with database.connection() as connection, connection.transaction():
        row = await connection.fetchrow(
            "select course, title, roster_url from educa_chat.lti_context x join courses_course c on c.id = x.course"
            " where platform = $1 and deployment = $2 and context = $3",
            *key,
        )
        if row is None:
            await _add_course(connection, platform, f"lti-{platform.id}-{digest[:32]}", title)
            row = await connection.fetchrow(
                "insert into educa_chat.lti_context (course, platform, deployment, context, roster_url)"
                " select id, $1, $2, $3, $5 from courses_course where slug = $4"
                " on conflict (platform, deployment, context) do update set context = excluded.context"
                " returning course, $6::text as title, roster_url",
                *key,
                f"lti-{platform.id}-{digest[:32]}",
                roster_url,
                title,
            )
        assert row is not None
        course: int = row["course"]
        if row["title"] != title:
            await connection.execute("update courses_course set title = $2 where id = $1", course, title)
            await notify(connection, "course", str(course))
        if roster_url is not None and row["roster_url"] != roster_url:
            await connection.execute(
                "update educa_chat.lti_context set roster_url = $2 where course = $1", course, roster_url
            )
    return course


async def _add_course(connection: Connection, platform: Platform, slug: str, title: str) -> None:
    subject_id = await connection.fetchval(
        "insert into courses_subject (title, slug) values ($1, $2)"
        " on conflict (slug) do update set title = excluded.title returning id",
        platform.name,
        f"lti-{platform.id}",
    )
    # The slug is made from the platform's course, so two launches at once add one course.
    await connection.execute(
        "insert into courses_course (title, slug, overview, created, owner_id, subject_id)"
        " values ($1, $2, '', now(), $3, $4) on conflict (slug) do nothing",
        title,
        slug,
        platform.owner_id,
        subject_id,
    )


async def note_launch(database: Database, course: int, user_id: int, role: Role) -> None:
    """Enrol the user in `course` after a launch with `role`, which can raise their role but never lower it.

    The first launch by an instructor makes the roster due.
    """
    async with database.connection() as connection, connection.transaction():
        # Two launches by one person, or a launch and the roster, must not overtake each other.
        await _lock_member(connection, course, user_id)
        held = await _role_of(connection, course, user_id)
        if held is None or not held.includes(role):
            await _give_role(connection, course, user_id, role)
        if held is None or role.includes(held):
            await connection.execute(
                "insert into educa_chat.lti_member (course, user_id, launched_at) values ($1, $2, now())"
                " on conflict (course, user_id) do update set launched_at = excluded.launched_at",
                course,
                user_id,
            )
        if role is Role.INSTRUCTOR:
            await connection.execute(
                "update educa_chat.lti_context set roster_due_at = now()"
                " where course = $1 and roster_due_at is null and roster_url is not null",
                course,
            )


async def claim_roster(database: Database) -> Roster | None:
    """Return a roster that is due, or None. For ROSTER_LEASE_S, no other process gets it."""
    row = await database.fetchrow(
        "update educa_chat.lti_context set roster_due_at = now() + make_interval(secs => $1) where course = ("
        "  select course from educa_chat.lti_context x join educa_chat.lti_platform p on p.id = x.platform"
        "  where roster_due_at <= now() and roster_url is not null and p.is_active"
        "  order by roster_due_at limit 1 for update of x skip locked)"
        " returning course, platform, roster_url, clock_timestamp()",
        ROSTER_LEASE_S,
    )
    return Roster(*row) if row else None


async def find_roster(database: Database, course: int) -> Roster | None:
    """Return the roster of `course`, or None if it has none that can be fetched."""
    row = await database.fetchrow(
        "select course, platform, roster_url, clock_timestamp() from educa_chat.lti_context x"
        " join educa_chat.lti_platform p on p.id = x.platform"
        " where course = $1 and roster_url is not null and p.is_active",
        course,
    )
    return Roster(*row) if row else None


async def begin_roster(database: Database, roster: Roster) -> None:
    """Begin to apply a roster that was fetched. From now on, those that were asked for earlier change nothing.

    Raises RosterOutdated if one that was asked for later has begun.
    """
    if not await database.fetchval(
        "update educa_chat.lti_context set roster_asked_at = $2"
        " where course = $1 and (roster_asked_at is null or roster_asked_at <= $2) returning true",
        roster.course,
        roster.asked_at,
    ):
        raise RosterOutdated


async def _require_newest(connection: Connection, roster: Roster) -> None:
    """Let no newer roster begin until the transaction ends. Raises RosterOutdated if one has begun."""
    if not await connection.fetchval(
        "select true from educa_chat.lti_context where course = $1 and roster_asked_at = $2 for share",
        roster.course,
        roster.asked_at,
    ):
        raise RosterOutdated


async def finish_roster(database: Database, course: int, *, is_fetched: bool) -> None:
    """Record that the roster of `course` was fetched, or that this failed; it is due again in an hour."""
    await database.execute(
        "update educa_chat.lti_context set roster_due_at = now() + make_interval(secs => $2),"
        " roster_fetched_at = case when $3 then now() else roster_fetched_at end where course = $1",
        course,
        ROSTER_EVERY_S,
        is_fetched,
    )


async def known_members(database: Database, course: int, issuer: str) -> list[KnownMember]:
    """Return the members of `course` whom the platform `issuer` has named."""
    rows = await database.fetch(
        "select m.user_id, p.subject, u.first_name, u.last_name,"
        " (select max(role)::text from educa_chat.membership() where course = $1 and user_id = m.user_id and is_named),"
        " m.is_listed"
        " from educa_chat.lti_member m join educa_chat.external_person p on p.user_id = m.user_id and p.issuer = $2"
        " join auth_user u on u.id = m.user_id where m.course = $1",
        course,
        issuer,
    )
    return [
        KnownMember(user_id, subject, (first, last), Role(role) if role else None, is_listed)
        for user_id, subject, first, last, role, is_listed in rows
    ]


async def note_listed(database: Database, roster: Roster, user_id: int, role: Role) -> None:
    """Enrol a person from the roster in its course. Lowers their role unless a launch has set it within LAUNCH_DAYS.

    Raises RosterOutdated.
    """
    course = roster.course
    async with database.connection() as connection, connection.transaction():
        await _lock_member(connection, course, user_id)
        await _require_newest(connection, roster)
        held = await _role_of(connection, course, user_id)
        is_recent = await connection.fetchval(
            "select launched_at > now() - make_interval(days => $3) from educa_chat.lti_member"
            " where course = $1 and user_id = $2",
            course,
            user_id,
            LAUNCH_DAYS,
        )
        await connection.execute(
            "insert into educa_chat.lti_member (course, user_id, is_listed) values ($1, $2, true)"
            " on conflict (course, user_id) do update set is_listed = true",
            course,
            user_id,
        )
        if held is not role and not (held is not None and held.includes(role) and is_recent):
            await _give_role(connection, course, user_id, role)


async def remove_missing(database: Database, roster: Roster, user_ids: Collection[int]) -> int:
    """Remove those of `user_ids` from the course who haven't launched it since the roster was asked for. Return their
    number.

    Their open sockets are closed at once. An instructor whom no roster has ever named stays for VISIT_HOURS after a
    launch. Raises RosterOutdated.
    """
    course = roster.course
    removed = 0
    for user_id in user_ids:
        async with database.connection() as connection, connection.transaction():
            await _lock_member(connection, course, user_id)
            await _require_newest(connection, roster)
            if not await connection.fetchval(
                "delete from educa_chat.lti_member where course = $1 and user_id = $2"
                " and (launched_at is null or launched_at < $3)"
                " and (is_listed or not $4 or launched_at < now() - make_interval(hours => $5)) returning true",
                course,
                user_id,
                roster.asked_at,
                await _role_of(connection, course, user_id) is Role.INSTRUCTOR,
                VISIT_HOURS,
            ):
                continue
            await connection.execute("delete from educa_chat.staff where course = $1 and user_id = $2", course, user_id)
            await connection.execute(
                "delete from courses_course_students where course_id = $1 and user_id = $2", course, user_id
            )
            await notify(connection, "user", str(user_id))
            removed += 1
    return removed


async def _lock_member(connection: Connection, course: int, user_id: int) -> None:
    await connection.execute("select pg_advisory_xact_lock(hashint8($1), $2)", course, user_id)


async def _role_of(connection: Connection, course: int, user_id: int) -> Role | None:
    role = await connection.fetchval(
        "select max(role)::text from educa_chat.membership() where course = $1 and user_id = $2 and is_named",
        course,
        user_id,
    )
    return Role(role) if role else None


async def _give_role(connection: Connection, course: int, user_id: int, role: Role) -> None:
    """Give the user this role and no other, and recheck their sockets."""
    await set_role(connection, course, user_id, role)
    await notify(connection, "user", str(user_id))

"""The users, the courses and the members of courses, as administrators list and change them."""

import json
from datetime import datetime
from typing import Any, NamedTuple

from educa_chat.errors import RecordMissing
from educa_chat.protocol import Role
from educa_chat.storage.access_changes import notify
from educa_chat.storage.accounts import (
    DISPLAY_NAME,
    find_user_id,
    is_platform_owned,
    refuse_platform,
    require_free_email,
)
from educa_chat.storage.admin_log import record
from educa_chat.storage.courses import MAX_COURSE_ID, Member, word_pattern
from educa_chat.storage.markers import mark_joined
from educa_chat.storage.names import require_email, require_name, require_title
from educa_chat.storage.pool import Database
from educa_chat.storage.sessions import end_sessions

REMOVAL_TIMEOUT_S = 600.0


class AdminEntry(NamedTuple):
    """One action of an administrator or a teacher. Users have their current names, or none if they are deleted."""

    id: int
    at: datetime
    action: str
    """Such as `course.archived`."""
    actor: int | None
    """The id of the user who made the change; None: it was made on the command line."""
    actor_name: str
    username: str
    """The user who was changed; empty if there is none."""
    user_name: str
    course: int | None
    title: str
    """The course's current title, or the one it had before it was removed."""
    details: dict[str, Any]


class ListedUser(NamedTuple):
    """A user in the list of all users."""

    username: str
    name: str
    is_active: bool
    is_superuser: bool


class ListedCourse(NamedTuple):
    """A course in the list of all courses."""

    id: int
    title: str
    owner: str
    """Their username."""
    staff: int
    """The number of assistants, and of teachers besides the owner."""
    students: int
    is_archived: bool
    owner_name: str


_COURSES = (
    "select c.id, c.title, u.username,"
    " (select count(*) from educa_chat.staff s where s.course = c.id),"
    " (select count(*) from courses_course_students s where s.course_id = c.id),"
    " exists (select from educa_chat.room r where r.course = c.id and r.archived) as is_archived,"
    f" {DISPLAY_NAME}"
    " from courses_course c join auth_user u on u.id = c.owner_id"
)


async def list_users(database: Database) -> list[ListedUser]:
    """Return all users, by username."""
    rows = await database.fetch(
        f"select u.username, {DISPLAY_NAME}, u.is_active, u.is_superuser from auth_user u order by u.username"
    )
    return [ListedUser(*row) for row in rows]


async def list_courses(database: Database) -> list[ListedCourse]:
    """Return all courses, by title."""
    rows = await database.fetch(f"{_COURSES} order by c.title, c.id")
    return [ListedCourse(*row) for row in rows]


async def read_roster(database: Database, course: int) -> list[Member]:
    """Return everyone with a role in `course`, the highest roles first."""
    rows = await database.fetch(
        f"select u.username, {DISPLAY_NAME}, m.role::text from ("
        "  select user_id, max(role) as role from educa_chat.membership() where course = $1 and is_named"
        "  group by user_id"
        " ) m join auth_user u on u.id = m.user_id order by m.role desc, u.username",
        course,
    )
    return [Member(username, name, Role(role)) for username, name, role in rows]


async def find_course(database: Database, course: str) -> int:
    """Return the id of the course that `course` names by its id, title or slug. Raises RecordMissing."""
    is_id = course.isascii() and course.isdecimal() and len(course) <= 19 and int(course) <= MAX_COURSE_ID
    rows = await database.fetch(
        "select id from courses_course where id = $2 or title = $1 or slug = $1 order by id = $2 desc, id",
        course,
        int(course) if is_id else -1,
    )
    ids = [row["id"] for row in rows]
    if is_id and int(course) in ids:
        return int(course)
    if not ids:
        raise RecordMissing(f"there is no course {course}")
    if len(ids) > 1:
        raise RecordMissing(f"several courses are called {course}: give one of the ids {', '.join(map(str, ids))}")
    course_id: int = ids[0]
    return course_id


async def rename_course(database: Database, course: int, title: str, *, by: int | None = None) -> None:
    """Give a course another title; its address and slug stay. Raises RecordMissing, NameRefused."""
    require_title(title)
    async with database.connection() as connection, connection.transaction():
        former = await connection.fetchval("select title from courses_course where id = $1 for update", course)
        if former is None:
            raise RecordMissing(f"there is no course {course}")
        if former == title:
            return
        await connection.execute("update courses_course set title = $2 where id = $1", course, title)
        await record(connection, by, "course.renamed", course=course, former=former)
        await notify(connection, "course", str(course))


async def change_owner(database: Database, course: int, username: str, *, by: int | None = None) -> None:
    """Make the user the owner of `course`; the former owner remains a teacher of it. Raises RecordMissing."""
    user_id = await find_user_id(database, username)
    async with database.connection() as connection, connection.transaction():
        former = await connection.fetchval("select owner_id from courses_course where id = $1 for update", course)
        if former is None:
            raise RecordMissing(f"there is no course {course}")
        if former == user_id:
            return
        await mark_joined(connection, [(user_id, course)])
        await connection.execute("update courses_course set owner_id = $2 where id = $1", course, user_id)
        await connection.execute("delete from educa_chat.staff where course = $1 and user_id = $2", course, user_id)
        await connection.execute(
            "delete from courses_course_students where course_id = $1 and user_id = any ($2::integer[])",
            course,
            [user_id, former],
        )
        await connection.execute(
            "insert into educa_chat.staff (course, user_id, role) values ($1, $2, 'instructor')"
            " on conflict (course, user_id) do update set role = excluded.role",
            course,
            former,
        )
        await record(connection, by, "course.owner_changed", course=course, user_id=user_id)
        await notify(connection, "course", str(course))


async def archive_course(database: Database, course: int, *, by: int | None = None) -> None:
    """Make a course read-only and take it off the lists, as the user `by` or on the command line.

    Open pages are updated at once. Raises RecordMissing.
    """
    await _set_archived(database, course, by, is_archived=True)


async def restore_course(database: Database, course: int, *, by: int | None = None) -> None:
    """Reverse `archive_course`. Raises RecordMissing."""
    await _set_archived(database, course, by, is_archived=False)


async def _set_archived(database: Database, course: int, by: int | None, *, is_archived: bool) -> None:
    async with database.connection() as connection, connection.transaction():
        if not await connection.fetchval("select true from courses_course where id = $1 for key share", course):
            raise RecordMissing(f"there is no course {course}")
        await connection.execute("insert into educa_chat.room (course) values ($1) on conflict do nothing", course)
        # Waits for commands that are being stored. Later ones are checked against the new state.
        if await connection.fetchval(
            "update educa_chat.room set archived = $2 where course = $1 and archived <> $2 returning true",
            course,
            is_archived,
        ):
            await record(connection, by, "course.archived" if is_archived else "course.restored", course=course)
            await notify(connection, "course", str(course))


async def remove_course(database: Database, course: int, *, by: int | None = None) -> None:
    """Delete a course with its modules, its enrolments, and everything of its room, and close its sockets.

    Raises RecordMissing, and PlatformOwned beside a site.
    """
    await refuse_platform(database)
    async with database.connection() as connection, connection.transaction():
        # From now on, enrolments wait.
        if not await connection.fetchval("select true from courses_course where id = $1 for update", course):
            raise RecordMissing(f"there is no course {course}")
        await record(connection, by, "course.removed", course=course)
        await connection.execute("delete from courses_course_students where course_id = $1", course)
        await connection.execute("delete from courses_module where course_id = $1", course)
        # A trigger deletes what belongs to the room. A long history takes a while.
        await connection.execute("delete from courses_course where id = $1", course, timeout=REMOVAL_TIMEOUT_S)
        await notify(connection, "course", str(course))


async def read_admin_log(database: Database, *, before: int | None, limit: int) -> list[AdminEntry]:
    """Return the newest `limit` entries with an id < `before`, newest first."""
    rows = await database.fetch(
        "select e.id, e.at, e.action, e.actor,"
        f" coalesce((select {DISPLAY_NAME} from auth_user u where u.id = e.actor), '') as actor_name,"
        " coalesce((select username from auth_user where id = e.user_id), e.details ->> 'username', '') as username,"
        f" coalesce((select {DISPLAY_NAME} from auth_user u where u.id = e.user_id), '') as user_name,"
        " e.course,"
        " coalesce((select title from courses_course where id = e.course), e.details ->> 'title', '') as title,"
        " e.details from educa_chat.admin_entry e where e.id < $1 order by e.id desc limit $2",
        before if before is not None else 2**63 - 1,
        limit,
    )
    return [AdminEntry(**dict(row) | {"details": json.loads(row["details"])}) for row in rows]


# The administration pages.


class Person(NamedTuple):
    """A user, as an administrator sees them."""

    id: int
    username: str
    name: str
    first_name: str
    last_name: str
    email: str
    is_active: bool
    is_superuser: bool


class NamedCourse(NamedTuple):
    """A course in which a user has a role, and the role."""

    id: int
    title: str
    role: Role
    is_archived: bool


_PERSON = f"u.id, u.username, {DISPLAY_NAME}, u.first_name, u.last_name, u.email, u.is_active, u.is_superuser"


async def is_administrator(database: Database, user_id: int) -> bool:
    """Return whether the user is an active superuser of a stand-alone chat. A site has its own administration."""
    return not await is_platform_owned(database) and bool(
        await database.fetchval("select is_superuser and is_active from auth_user where id = $1", user_id)
    )


async def search_people(database: Database, words: str, *, offset: int, limit: int) -> tuple[list[Person], int]:
    """Return a page of the users by username, and their total number.

    Only those whose username or e-mail address, or a word of whose name, begins with `words`; accents and case make no
    difference.
    """
    condition = "(u.username || ' ' || u.first_name || ' ' || u.last_name || ' ' || u.email) ~ $1"
    rows = await database.fetch(
        f"select {_PERSON} from auth_user u where {condition} order by u.username limit $2 offset $3",
        word_pattern(words),
        limit,
        offset,
    )
    total: int = await database.fetchval(f"select count(*) from auth_user u where {condition}", word_pattern(words))
    return [Person(*row) for row in rows], total


async def read_person(database: Database, user_id: int) -> Person | None:
    """Return a user, or None if there is none."""
    row = await database.fetchrow(f"select {_PERSON} from auth_user u where u.id = $1", user_id)
    return Person(*row) if row else None


async def courses_naming(database: Database, user_id: int) -> list[NamedCourse]:
    """Return the courses in which an active user has a role, by title."""
    rows = await database.fetch(
        "select c.id, c.title, max(m.role)::text,"
        " coalesce((select archived from educa_chat.room where course = c.id), false)"
        " from educa_chat.membership() m join courses_course c on c.id = m.course"
        " where m.user_id = $1 and m.is_named group by c.id, c.title order by c.title, c.id",
        user_id,
    )
    return [NamedCourse(id, title, Role(role), is_archived) for id, title, role, is_archived in rows]


async def edit_person(
    database: Database, user_id: int, *, first_name: str, last_name: str, email: str, by: int | None
) -> None:
    """Give a user another name and e-mail address, and record which of the two has changed.

    Raises NameRefused, EmailRefused, EmailTaken, and RecordMissing.
    """
    require_name(first_name)
    require_name(last_name)
    require_email(email)
    async with database.connection() as connection, connection.transaction():
        former = await connection.fetchrow(
            "select first_name, last_name, email from auth_user where id = $1 for no key update", user_id
        )
        if former is None:
            raise RecordMissing(f"there is no user with the id {user_id}")
        await require_free_email(connection, email, user_id)
        await connection.execute(
            "update auth_user set first_name = $2, last_name = $3, email = $4 where id = $1",
            user_id,
            first_name,
            last_name,
            email,
        )
        if (former["first_name"], former["last_name"]) != (first_name, last_name):
            await record(connection, by, "user.renamed", user_id=user_id)
        if former["email"] != email:
            await record(connection, by, "user.email_changed", user_id=user_id)
        await notify(connection, "user", str(user_id))


async def end_all_sessions(database: Database, username: str, *, by: int | None = None) -> None:
    """Sign a user out everywhere. Raises RecordMissing."""
    user_id = await find_user_id(database, username)
    async with database.connection() as connection, connection.transaction():
        await end_sessions(connection, user_id)
        await record(connection, by, "user.signed_out", user_id=user_id)


async def search_courses(database: Database, words: str, *, offset: int, limit: int) -> tuple[list[ListedCourse], int]:
    """Return a page of the courses by title, the archived ones last, and their total number.

    Only those with a word in their title that begins with `words`; accents and case make no difference.
    """
    rows = await database.fetch(
        f"{_COURSES} where c.title ~ $1 order by is_archived, c.title, c.id limit $2 offset $3",
        word_pattern(words),
        limit,
        offset,
    )
    total: int = await database.fetchval(
        "select count(*) from courses_course c where c.title ~ $1", word_pattern(words)
    )
    return [ListedCourse(*row) for row in rows], total


async def read_course(database: Database, course: int) -> ListedCourse | None:
    """Return a course, or None if there is none."""
    row = await database.fetchrow(f"{_COURSES} where c.id = $1", course)
    return ListedCourse(*row) if row else None

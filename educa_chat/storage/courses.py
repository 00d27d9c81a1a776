"""The courses and their members.

Only a stand-alone chat may write to the learning platform's tables. The staff of a course is always ours.
"""

import re
import unicodedata
from collections.abc import Collection
from itertools import chain, count
from typing import NamedTuple

from educa_chat.errors import OwnerFixed, RecordExists, RecordMissing
from educa_chat.protocol import Role
from educa_chat.storage.access_changes import notify
from educa_chat.storage.accounts import DISPLAY_NAME, find_user_id, is_platform_owned, refuse_platform
from educa_chat.storage.admin_log import record
from educa_chat.storage.markers import mark_joined
from educa_chat.storage.names import require_title
from educa_chat.storage.pool import Database, Queries

MAX_COURSE_ID = 2**63 - 1
FOUND_MEMBERS = 10


class Membership(NamedTuple):
    """A user's highest role in a course, from the SQL function `educa_chat.membership`."""

    course: int
    title: str
    role: Role
    is_archived: bool = False


class Course(NamedTuple):
    """A course in the list of a user's courses."""

    id: int
    title: str
    subject: str
    role: Role
    is_archived: bool


class Member(NamedTuple):
    """A member of a course, as other members may see them."""

    username: str
    name: str
    role: Role


class Module(NamedTuple):
    title: str
    description: str


class CoursePage(NamedTuple):
    """The content of the page of a course."""

    id: int
    title: str
    subject: str
    overview: str
    owner_name: str
    modules: list[Module]


async def find_memberships(
    database: Database, membership_keys: Collection[tuple[int, int]]
) -> dict[tuple[int, int], Membership]:
    """Return the memberships of active users by (user, course). Those without a membership, or without a course, are
    omitted.
    """
    users, courses = zip(*membership_keys, strict=True) if membership_keys else ((), ())
    rows = await database.fetch(
        "select p.user_id, p.course, c.title, m.role::text, coalesce(r.archived, false)"
        " from unnest($1::integer[], $2::bigint[]) p (user_id, course)"
        " cross join lateral (select role from educa_chat.membership()"
        "  where user_id = p.user_id and course = p.course order by role desc limit 1) m"
        " join courses_course c on c.id = p.course left join educa_chat.room r on r.course = p.course",
        users,
        courses,
    )
    return {
        (user_id, course): Membership(course, title, Role(role), is_archived)
        for user_id, course, title, role, is_archived in rows
    }


async def find_members(database: Database, course: int, prefix: str) -> list[Member]:
    """Return members of `course` whose username, or a word of whose name, begins with `prefix`.

    At most FOUND_MEMBERS: an exact username first, then those whose username or first name begins with `prefix`, then
    the others; among these, the highest roles first. Accents and case make no difference. `prefix` has neither NUL nor
    surrogates.
    """
    matches = "(u.username || ' ' || u.first_name || ' ' || u.last_name) ~ $2"
    begins = "(u.username ~ $4 or u.first_name ~ $4)"
    students = (
        "(select m.user_id, m.role from educa_chat.membership() m"
        " cross join lateral (select * from auth_user where id = m.user_id limit 1) u"
        f" where m.course = $1 and m.role = 'student' and {{}} order by m.user_id limit {FOUND_MEMBERS})"
    )
    rows = await database.fetch(
        f"select u.username, {DISPLAY_NAME} as name, found.role::text from ("
        " select user_id, max(role) as role from ("
        "  select user_id, role from educa_chat.membership() where course = $1 and is_named and role > 'student'"
        "  union select user_id, role from educa_chat.membership() where course = $1 and is_named"
        "   and user_id = (select id from auth_user where username = $3)"
        # Go through an index until there are enough, however many users the course and the site have.
        f"  union {students.format(begins)} union {students.format(matches)}"
        f" ) named group by user_id) found join auth_user u on u.id = found.user_id where {matches}"
        f" order by u.username = $3 desc, {begins} desc, found.role desc, u.id limit {FOUND_MEMBERS}",
        course,
        word_pattern(prefix),
        prefix,
        f"^{_pattern(prefix)}",
    )
    return [Member(username, name, Role(role)) for username, name, role in rows]


async def find_members_named(database: Database, course: int, usernames: Collection[str]) -> list[Member]:
    """Return the members of `course` with these usernames."""
    rows = await database.fetch(
        f"select u.username, {DISPLAY_NAME} as name, max(m.role)::text from auth_user u"
        " join educa_chat.membership() m on m.user_id = u.id and m.course = $1 and m.is_named"
        " where u.username = any($2) group by u.id",
        course,
        list(usernames),
    )
    return [Member(username, name, Role(role)) for username, name, role in rows]


class RosterMember(NamedTuple):
    """A member of a course, as its staff see them."""

    id: int
    username: str
    name: str
    role: Role
    is_owner: bool
    is_named: bool
    """Whether they have a role in the course. Superusers teach every course, but are listed only while they are online.
    """


async def search_roster(
    database: Database, course: int, words: str, *, online: Collection[int], offset: int, limit: int
) -> tuple[list[RosterMember], int]:
    """Return a page of the members of `course`, and their total number.

    The highest roles come first, and then those who are online, by their user ids. Only those are listed whose
    username, or a word of whose name, begins with `words`; accents and case make no difference.
    """
    found = (
        " from (select user_id, max(role) as role, bool_or(is_named) as is_named from educa_chat.membership()"
        "  where course = $1 and (is_named or user_id = any ($3::integer[])) group by user_id) m"
        " join auth_user u on u.id = m.user_id"
        " where (u.username || ' ' || u.first_name || ' ' || u.last_name) ~ $2"
    )
    arguments = (course, word_pattern(words), list(online))
    rows = await database.fetch(
        f"select u.id, u.username, {DISPLAY_NAME} as name, m.role::text,"
        f" u.id = (select owner_id from courses_course where id = $1) as is_owner, m.is_named {found}"
        " order by m.role desc, is_owner desc, u.id = any ($3) desc, name, u.username limit $4 offset $5",
        *arguments,
        limit,
        offset,
    )
    total: int = await database.fetchval(f"select count(*) {found}", *arguments)
    return [
        RosterMember(id, username, name, Role(role), is_owner, is_named)
        for id, username, name, role, is_owner, is_named in rows
    ], total


def word_pattern(prefix: str) -> str:
    """Return a Postgres regular expression for texts with a word that begins with `prefix`, in any case and accents."""
    return rf"(?:^|\s){_pattern(prefix)}"


def _pattern(prefix: str) -> str:
    """Return a Postgres regular expression for `prefix` in any case and accents.

    This is far cheaper than removing the accents from every name.
    """
    return "".join(
        f"[{_LIKE_LETTER.get(letter, letter)}][\u0300-\u036f]*" if letter.isalnum() else f"\\{letter}"
        for letter in _plain(prefix)
    )


def _plain(text: str) -> str:
    """Return `text` in lower case without accents."""
    decomposed = unicodedata.normalize("NFKD", text.lower())
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def _letters_by_plain() -> dict[str, str]:
    """Return the variants in European alphabets of each lower-case letter without an accent."""
    letters: dict[str, str] = {}
    for letter in map(chr, chain(range(0x530), range(0x1E00, 0x2000))):
        plain = _plain(letter)
        if letter.isalpha() and len(plain) == 1:
            letters[plain] = letters.get(plain, "") + letter
    return letters


_LIKE_LETTER = _letters_by_plain()


async def courses_of(database: Database, user_id: int) -> list[Course]:
    """Return the user's courses by title: those in which they have a role, and all for a superuser."""
    rows = await database.fetch(
        "select id, title, subject, max(role)::text,"
        " coalesce((select archived from educa_chat.room where course = id), false) from ("
        # Two queries, because the courses in which a user has a role are found by an index.
        + " union all ".join(
            "select c.id, c.title, s.title as subject, m.role from educa_chat.membership() m"
            " join courses_course c on c.id = m.course join courses_subject s on s.id = c.subject_id"
            f" where m.user_id = $1 and {condition}"
            for condition in ("m.is_named", "not m.is_named")
        )
        + ") mine group by id, title, subject order by title, id",
        user_id,
    )
    return [Course(id, title, subject, Role(role), is_archived) for id, title, subject, role, is_archived in rows]


async def course_page(database: Database, course: int) -> CoursePage | None:
    """Return the content of the page of `course`, or None if there is no such course."""
    row = await database.fetchrow(
        f"select c.id, c.title, s.title as subject, c.overview, {DISPLAY_NAME} as owner_name from courses_course c"
        " join courses_subject s on s.id = c.subject_id join auth_user u on u.id = c.owner_id where c.id = $1",
        course,
    )
    if row is None:
        return None
    modules = await database.fetch(
        'select title, description from courses_module where course_id = $1 order by "order", id', course
    )
    return CoursePage(**row, modules=[Module(**module) for module in modules])


async def add_course(
    database: Database,
    title: str,
    owner: str,
    *,
    subject: str = "General",
    overview: str = "",
    by: int | None = None,
) -> int:
    """Add a course that the user `owner` teaches and return its id. Raises RecordMissing, NameRefused.

    If another course has its slug, it gets a number after it.
    """
    require_title(title)
    require_title(subject)
    owner_id = await find_user_id(database, owner)
    slug = _slug(title)
    async with database.connection() as connection, connection.transaction():
        subject_id = await connection.fetchval(
            "insert into courses_subject (title, slug) values ($1, $2)"
            " on conflict (slug) do update set title = excluded.title returning id",
            subject,
            _slug(subject),
        )
        for number in count(1):
            course: int | None = await connection.fetchval(
                "insert into courses_course (title, slug, overview, created, owner_id, subject_id)"
                " values ($1, $2, $3, now(), $4, $5) on conflict (slug) do nothing returning id",
                title,
                slug if number == 1 else f"{slug[:190]}-{number}",
                overview,
                owner_id,
                subject_id,
            )
            if course is not None:
                await connection.execute(
                    "insert into educa_chat.marker (course, user_id, seq) values ($1, $2, 0)", course, owner_id
                )
                await record(connection, by, "course.added", course=course)
                return course
    raise AssertionError


async def add_module(database: Database, course: int, title: str, description: str) -> None:
    """Add a module at the end of `course`."""
    await database.execute(
        'insert into courses_module (course_id, title, description, "order")'
        ' select $1, $2, $3, coalesce(max("order") + 1, 0) from courses_module where course_id = $1',
        course,
        title,
        description,
    )


async def enrol(
    database: Database, username: str, course: int, role: Role = Role.STUDENT, *, by: int | None = None
) -> None:
    """Give the user `role` in `course` instead of any other, and recheck their sockets.

    Beside a site, its staff is ours and its students are the site's. Raises RecordMissing, RecordExists when they have
    the role already, OwnerFixed when they own the course, and PlatformOwned.
    """
    user_id = await find_user_id(database, username)
    is_site = await is_platform_owned(database)
    if is_site and role is Role.STUDENT:
        await refuse_platform(database)
    async with database.connection() as connection, connection.transaction():
        row = await connection.fetchrow(
            "select owner_id = $2, (select role::text from educa_chat.staff where course = $1 and user_id = $2),"
            " exists (select from courses_course_students where course_id = $1 and user_id = $2)"
            # A course that is being removed accepts nobody any more.
            " from courses_course where id = $1 for key share",
            course,
            user_id,
        )
        if row is None:
            raise RecordMissing(f"there is no course {course}")
        is_owner, staff_role, is_student = row
        if is_owner:
            raise OwnerFixed(f"{username} owns the course {course}, and therefore teaches it")
        if role == (staff_role or (Role.STUDENT if is_student else None)):
            article = "a student" if role is Role.STUDENT else f"an {role}"
            raise RecordExists(f"{username} is already {article} of the course {course}")
        await set_role(connection, course, user_id, role, is_site=is_site)
        await record(connection, by, "course.enrolled", course=course, user_id=user_id, role=role)
        await notify(connection, "user", str(user_id))


async def set_role(connection: Queries, course: int, user_id: int, role: Role, *, is_site: bool = False) -> None:
    """Give the user `role` in `course`, and no other. A site's own student enrolments are not changed."""
    await mark_joined(connection, [(user_id, course)])
    if role is Role.STUDENT:
        await connection.execute("delete from educa_chat.staff where course = $1 and user_id = $2", course, user_id)
        await connection.execute(
            "insert into courses_course_students (course_id, user_id) values ($1, $2) on conflict do nothing",
            course,
            user_id,
        )
        return
    await connection.execute(
        "insert into educa_chat.staff (course, user_id, role) values ($1, $2, $3::text::educa_chat.role)"
        " on conflict (course, user_id) do update set role = excluded.role",
        course,
        user_id,
        role,
    )
    if not is_site:
        await connection.execute(
            "delete from courses_course_students where course_id = $1 and user_id = $2", course, user_id
        )


async def unenrol(database: Database, username: str, course: int, *, by: int | None = None) -> None:
    """Remove the user from `course`, whatever their role, and close their sockets there.

    Raises RecordMissing, OwnerFixed when they own the course, and PlatformOwned when a site has enrolled them.
    """
    user_id = await find_user_id(database, username)
    if await database.fetchval("select owner_id = $2 from courses_course where id = $1", course, user_id):
        raise OwnerFixed(f"{username} owns the course {course}: choose another owner first")
    async with database.connection() as connection, connection.transaction():
        was_staff = await connection.fetchval(
            "delete from educa_chat.staff where course = $1 and user_id = $2 returning true", course, user_id
        )
        was_student = await connection.fetchval(
            "select true from courses_course_students where course_id = $1 and user_id = $2", course, user_id
        )
        if was_student and not (was_staff and await is_platform_owned(connection)):
            await refuse_platform(connection)
            await connection.execute(
                "delete from courses_course_students where course_id = $1 and user_id = $2", course, user_id
            )
        if not was_staff and not was_student:
            raise RecordMissing(f"{username} is not in the course {course}")
        await record(connection, by, "course.unenrolled", course=course, user_id=user_id)
        await notify(connection, "user", str(user_id))


def _slug(title: str) -> str:
    """Return a short name of ASCII letters, digits and hyphens, like Django's slugify."""
    ascii_title = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", ascii_title)).strip("-_") or "course"

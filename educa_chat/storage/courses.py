"""The courses and who is in them: the learning platform's tables, which only a stand-alone chat may write to."""

import re
import unicodedata
from collections.abc import Collection
from itertools import chain
from typing import NamedTuple

import asyncpg

from educa_chat.errors import RecordExists, RecordMissing
from educa_chat.storage.access_changes import notify
from educa_chat.storage.accounts import DISPLAY_NAME
from educa_chat.storage.pool import Database

MAX_COURSE_ID = 2**63 - 1
FOUND_MEMBERS = 10


class Membership(NamedTuple):
    """What a user is in a course, by the rule of the SQL function `educa_chat.member`: instructor, else student."""

    course: int
    title: str
    is_instructor: bool

    @property
    def role(self) -> str:
        """The role's name in the protocol."""
        return "instructor" if self.is_instructor else "student"


class Course(NamedTuple):
    """A course in the list of a user's courses."""

    id: int
    title: str
    subject: str
    teaches: bool


class Member(NamedTuple):
    """A member of a course, as other members may see them."""

    username: str
    name: str
    teaches: bool


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
    """The memberships of active users (user, course), left out where there is none or no such course."""
    users, courses = zip(*membership_keys, strict=True) if membership_keys else ((), ())
    rows = await database.fetch(
        "select p.user_id, p.course, c.title, m.is_instructor"
        " from unnest($1::integer[], $2::bigint[]) p (user_id, course)"
        " cross join lateral (select is_instructor from educa_chat.member()"
        "  where user_id = p.user_id and course = p.course order by is_instructor desc limit 1) m"
        " join courses_course c on c.id = p.course",
        users,
        courses,
    )
    return {(user_id, course): Membership(course, *columns) for user_id, course, *columns in rows}


async def present_memberships(
    database: Database, memberships: Collection[tuple[int, int, bool]]
) -> set[tuple[int, int, bool]]:
    """Return those of `memberships` (user, course, as an instructor) that are still valid."""
    users, courses, instructors = zip(*memberships, strict=True) if memberships else ((), (), ())
    rows = await database.fetch(
        "select m.user_id, m.course, m.is_instructor"
        " from unnest($1::integer[], $2::bigint[], $3::boolean[]) m (user_id, course, is_instructor)"
        " cross join lateral (select from educa_chat.member()"
        "  where user_id = m.user_id and course = m.course and is_instructor = m.is_instructor limit 1) now",
        users,
        courses,
        instructors,
    )
    return {(row["user_id"], row["course"], row["is_instructor"]) for row in rows}


async def find_members(database: Database, course: int, prefix: str) -> list[Member]:
    """Some of the students of `course` and its owner, of whom the username or a word of the name begins with `prefix`.

    At most FOUND_MEMBERS: the owner first, then who is called just so. Accents and case make no difference. `prefix`
    has neither NUL nor surrogates.
    """
    matches = "(u.username || ' ' || u.first_name || ' ' || u.last_name) ~ $2"
    rows = await database.fetch(
        f"select u.username, {DISPLAY_NAME} as name, u.id = c.owner_id as teaches"
        " from courses_course c cross join lateral ("
        "  select user_id from educa_chat.member() where course = c.id and is_named and is_instructor"
        "  union select user_id from educa_chat.member() where course = c.id and is_named"
        "   and user_id = (select id from auth_user where username = $3)"
        # One by one in the order of an index until there are enough, however many users the course and the site have.
        "  union (select m.user_id from educa_chat.member() m"
        "   cross join lateral (select * from auth_user where id = m.user_id limit 1) u"
        f"  where m.course = c.id and not m.is_instructor and {matches}"
        f"  order by m.user_id limit {FOUND_MEMBERS})"
        f" ) found join auth_user u on u.id = found.user_id where c.id = $1 and {matches}"
        f" order by teaches desc, u.username = $3 desc, u.id limit {FOUND_MEMBERS}",
        course,
        _word_pattern(prefix),
        prefix,
    )
    return [Member(*row) for row in rows]


def _word_pattern(prefix: str) -> str:
    """Return a Postgres regular expression for texts with a word that begins with `prefix`, in any case and accents.

    This is far cheaper than removing the accents from every name.
    """
    letters = (
        f"[{_LIKE_LETTER.get(letter, letter)}][\u0300-\u036f]*" if letter.isalnum() else f"\\{letter}"
        for letter in _plain(prefix)
    )
    return rf"(?:^|\s){''.join(letters)}"


def _plain(text: str) -> str:
    """Return `text` in lower case without accents."""
    decomposed = unicodedata.normalize("NFKD", text.lower())
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def _letters_by_plain() -> dict[str, str]:
    """From each lower-case letter without an accent to its variants in European alphabets."""
    letters: dict[str, str] = {}
    for letter in map(chr, chain(range(0x530), range(0x1E00, 0x2000))):
        plain = _plain(letter)
        if letter.isalpha() and len(plain) == 1:
            letters[plain] = letters.get(plain, "") + letter
    return letters


_LIKE_LETTER = _letters_by_plain()


async def courses_of(database: Database, user_id: int) -> list[Course]:
    """The courses that the user has joined or owns, by title."""
    rows = await database.fetch(
        "select c.id, c.title, s.title, c.owner_id = $1 from courses_course c"
        " join courses_subject s on s.id = c.subject_id"
        " where c.id in (select course from educa_chat.member() where user_id = $1 and is_named)"
        " order by c.title, c.id",
        user_id,
    )
    return [Course(*row) for row in rows]


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
    database: Database, title: str, owner: str, *, subject: str = "General", overview: str = ""
) -> int:
    """Add a course that the user `owner` teaches and return its id. Raises RecordMissing, RecordExists."""
    owner_id = await _user_id(database, owner)
    slug = _slug(title)
    try:
        async with database.connection() as connection, connection.transaction():
            subject_id = await connection.fetchval(
                "insert into courses_subject (title, slug) values ($1, $2)"
                " on conflict (slug) do update set title = excluded.title returning id",
                subject,
                _slug(subject),
            )
            course: int = await connection.fetchval(
                "insert into courses_course (title, slug, overview, created, owner_id, subject_id)"
                " values ($1, $2, $3, now(), $4, $5) returning id",
                title,
                slug,
                overview,
                owner_id,
                subject_id,
            )
    except asyncpg.UniqueViolationError:
        raise RecordExists(f"a course with the short name {slug} exists already") from None
    return course


async def add_module(database: Database, course: int, title: str, description: str) -> None:
    """Add a module at the end of `course`."""
    await database.execute(
        'insert into courses_module (course_id, title, description, "order")'
        ' select $1, $2, $3, coalesce(max("order") + 1, 0) from courses_module where course_id = $1',
        course,
        title,
        description,
    )


async def enrol(database: Database, username: str, course: int) -> None:
    """Make the user a student of `course`. Raises RecordMissing, RecordExists."""
    user_id = await _user_id(database, username)
    try:
        await database.execute(
            "insert into courses_course_students (course_id, user_id) values ($1, $2)", course, user_id
        )
    except asyncpg.UniqueViolationError:
        raise RecordExists(f"{username} is a student of the course {course} already") from None
    except asyncpg.ForeignKeyViolationError:
        raise RecordMissing(f"there is no course {course}") from None


async def unenrol(database: Database, username: str, course: int) -> None:
    """Remove the user from `course`, and close their connections to its room. Raises RecordMissing."""
    user_id = await _user_id(database, username)
    gone = await database.fetchval(
        "delete from courses_course_students where course_id = $1 and user_id = $2 returning id",
        course,
        user_id,
    )
    if gone is None:
        raise RecordMissing(f"{username} is no student of the course {course}")
    await notify(database, "user", str(user_id))


async def _user_id(database: Database, username: str) -> int:
    user_id: int | None = await database.fetchval("select id from auth_user where username = $1", username)
    if user_id is None:
        raise RecordMissing(f"there is no user {username}")
    return user_id


def _slug(title: str) -> str:
    """Return a short name of ASCII letters, digits and hyphens, like Django's slugify."""
    ascii_title = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", ascii_title)).strip("-_") or "course"

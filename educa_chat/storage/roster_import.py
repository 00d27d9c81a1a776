"""Imports a file with people: previews the changes, and makes them in one transaction."""

import asyncio
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, TypeVar

from educa_chat.errors import EmailRefused, NameRefused, RecordExists
from educa_chat.protocol import Role
from educa_chat.roster_file import RosterRow, read_role
from educa_chat.storage.access_changes import notify
from educa_chat.storage.accounts import make_unusable_password, normalise_username, refuse_platform
from educa_chat.storage.admin_log import record
from educa_chat.storage.mail_queue import queue_invitations
from educa_chat.storage.markers import mark_joined
from educa_chat.storage.names import require_email, require_name, require_username
from educa_chat.storage.pool import Connection, Database
from educa_chat.storage.sign_in_links import NewLink, make_links

_AT_ONCE = 500
"""How many rows a statement takes, so that encoding its arguments doesn't keep the event loop for long."""
_NOTIFICATIONS = 100
"""Above this number of notifications, rechecking everyone is cheaper."""
_LOCK = 0x494D504F


class Refusal(StrEnum):
    """Why a row of the file is refused."""

    USERNAME = "username"
    """The username is missing, or has characters that a username may not have."""
    NAME = "name"
    EMAIL = "email"
    ROLE = "role"
    COURSE = "course"
    """No course, or several, have this id, title or short name."""
    OTHER_COURSE = "other_course"
    """A teacher can import only into their own course."""
    TWICE = "twice"
    """An earlier line has the same person in the same course."""
    CONTRADICTION = "contradiction"
    """An earlier line has different data for this person."""
    EMAIL_TWICE = "email_twice"
    """An earlier line has the same e-mail address for somebody else."""
    EMAIL_TAKEN = "email_taken"
    """Another user has this e-mail address."""
    AMBIGUOUS = "ambiguous"
    """Several usernames differ from this one only in case."""
    INACTIVE = "inactive"
    OWNER = "owner"
    """The owner of a course teaches it."""
    TEACHER = "teacher"
    """A teacher may neither add teachers nor change the role of one."""


class Change(StrEnum):
    """A change that the import makes to a person."""

    ADDED = "added"
    CHANGED = "changed"
    ENROLLED = "enrolled"
    REMOVED = "removed"


@dataclass(frozen=True)
class Outcome:
    """The outcome for a row, or for somebody who isn't in the file."""

    line: int
    """The line in the file; 0 for somebody who isn't in it."""
    username: str
    name: str
    changes: tuple[Change, ...] = ()
    """Nothing changes if it is empty and there is no refusal."""
    course: str = ""
    """The title of the changed course, or the name in the file of a course that was not found."""
    role: Role | None = None
    """The new role in the course."""
    refusal: Refusal | None = None
    earlier_line: int = 0
    """The line that `refusal` refers to."""


@dataclass
class Import:
    """The outcome of an import, or of its preview."""

    outcomes: list[Outcome]
    links: list[NewLink] = field(default_factory=list)
    mailed: int = 0
    """The number of people who get an e-mail with a sign-in link."""
    unmailed: int = 0
    """The number of people who need a link but have no address."""
    keeps_missing: bool = False
    """Whether people who aren't in the file would have been removed, but stay because rows were refused."""

    def count(self, change: Change) -> int:
        """Return how many rows have this change."""
        return sum(change in outcome.changes for outcome in self.outcomes)

    @property
    def changes_something(self) -> bool:
        """Whether any row changes anything."""
        return any(outcome.changes for outcome in self.outcomes)

    @property
    def refused(self) -> list[Outcome]:
        """The outcomes of the rows that were refused."""
        return [outcome for outcome in self.outcomes if outcome.refusal]


@dataclass(frozen=True)
class Terms:
    """The permissions and options of an import."""

    course: int | None = None
    """The course for rows that name none."""
    removes_missing: bool = False
    """Whether students who aren't in the file are removed from its courses."""
    by_teacher: bool = False
    """Whether the import can only add people, and make people students or assistants in `course`."""
    by: int | None = None
    """The id of the user who imports; None: the command line."""


async def import_roster(
    database: Database,
    rows: Sequence[RosterRow],
    terms: Terms,
    *,
    dry_run: bool = False,
    with_links: bool = False,
    mail_language: str = "",
) -> Import:
    """Add, change and enrol the people in `rows`, or with `dry_run` only return what that would do.

    Rows that are refused change nothing, and the others are imported together. People who aren't in the file are
    removed only if no row is refused, and only if they are students. With `with_links`, everyone in the file who has
    never had a password gets a link; if a teacher imports, only people who are new. With `mail_language`, those of them
    who have an address are mailed their link instead, in this language. Raises PlatformOwned beside a Django site.
    """
    await refuse_platform(database)
    async with database.connection() as connection, connection.transaction():
        await connection.execute("select pg_advisory_xact_lock($1)", _LOCK)
        known = await _read_known(connection, rows, terms)
        plan = await asyncio.to_thread(_plan, rows, known, terms)
        if not dry_run:
            await _apply(connection, plan, terms)
            await _invite(connection, plan, terms, with_links, mail_language)
    return plan.result


class _User(NamedTuple):
    id: int
    username: str
    first_name: str
    last_name: str
    email: str
    is_active: bool


@dataclass
class _Known:
    """The data in the database about the people and courses of a file."""

    users: dict[str, list[_User]]
    """By the normalised username in the file: all users whose usernames differ from it only in case."""
    emails: dict[str, int]
    """Users, by lower-case e-mail address."""
    courses: dict[str, int | None]
    """The ids of courses, by their name in the file."""
    titles: dict[int, str]
    owners: dict[int, int]
    roles: dict[tuple[int, int], Role]
    """Roles, by course and user."""
    names: dict[int, tuple[str, str]]
    """The usernames and names of students, by id."""


@dataclass
class _Person:
    """A valid person of the file."""

    username: str
    first_name: str
    last_name: str
    email: str
    user: _User | None
    line: int
    id: int = 0
    """The user's id, once there is one."""

    @property
    def name(self) -> str:
        """The full name after the import. Teachers can't change names."""
        names = [self.first_name, self.last_name]
        if self.user is not None:
            names = [self.first_name or self.user.first_name, self.last_name or self.user.last_name]
        return " ".join(filter(None, names)) or self.username


@dataclass
class _Plan:
    result: Import
    added: list[_Person] = field(default_factory=list)
    changed: list[_Person] = field(default_factory=list)
    enrolled: list[tuple[_Person, int, Role]] = field(default_factory=list)
    removed: list[tuple[int, int]] = field(default_factory=list)
    """(course, user)."""
    people: list[_Person] = field(default_factory=list)


def _keys(rows: Sequence[RosterRow]) -> tuple[list[str], list[str], list[str]]:
    """Return the usernames, the e-mail addresses in lower case, and the courses in a file."""
    return (
        sorted({_username_of(row) for row in rows}),
        sorted({row.email.lower() for row in rows if row.email}),
        sorted({row.course for row in rows if row.course}),
    )


async def _read_known(connection: Connection, rows: Sequence[RosterRow], terms: Terms) -> _Known:
    known = _Known({}, {}, {}, {}, {}, {}, {})
    usernames, emails, names = await asyncio.to_thread(_keys, rows)
    for part in _parts(usernames):
        for found in await connection.fetch(
            "select n.name, u.id, u.username, u.first_name, u.last_name, u.email, u.is_active"
            " from unnest($1::text[]) n (name) join auth_user u on lower(u.username) = lower(n.name)",
            part,
        ):
            known.users.setdefault(found["name"], []).append(_User(*tuple(found)[1:]))
    for part in _parts(emails):
        for found in await connection.fetch(
            "select lower(email), id from auth_user where lower(email) = any ($1::text[])", part
        ):
            known.emails[found[0]] = found[1]
    for part in _parts(names):
        for name, courses in await connection.fetch(
            # An id takes precedence over titles and slugs.
            "select n.name, array_agg(c.id) from unnest($1::text[]) n (name) join lateral ("
            "  select id from courses_course where id::text = n.name union"
            "  select id from courses_course where (title = n.name or slug = n.name)"
            "   and not exists (select from courses_course where id::text = n.name)"
            " ) c on true group by n.name",
            part,
        ):
            known.courses[name] = courses[0] if len(courses) == 1 else None
    ids = {course for course in [terms.course, *known.courses.values()] if course is not None}
    for course, title, owner in await connection.fetch(
        "select id, title, owner_id from courses_course where id = any ($1::bigint[]) for share", list(ids)
    ):
        known.titles[course], known.owners[course] = title, owner
    for row in await connection.fetch(
        "select s.course_id, u.id, 'student', u.username, u.first_name, u.last_name from courses_course_students s"
        " join auth_user u on u.id = s.user_id where s.course_id = any ($1::bigint[])"
        " union all select s.course, s.user_id, s.role::text, '', '', '' from educa_chat.staff s"
        " where s.course = any ($1::bigint[])",
        list(ids),
    ):
        course, user, role, username, first_name, last_name = row
        held = known.roles.get((course, user))
        if held is None or not held.includes(Role(role)):
            known.roles[course, user] = Role(role)
        if role == Role.STUDENT:
            known.names[user] = username, f"{first_name} {last_name}".strip() or username
    return known


def _plan(rows: Sequence[RosterRow], known: _Known, terms: Terms) -> _Plan:
    """Decide what happens to each row. A pure function that runs in a thread, because many rows take a while."""
    plan = _Plan(Import([]))
    people: dict[str, _Person] = {}
    emails: dict[str, tuple[str, int]] = {}
    lines: dict[tuple[str, int | None], int] = {}
    present: dict[int, set[str]] = {}
    for row in rows:
        outcome = _plan_row(row, known, terms, plan, people, emails, lines)
        plan.result.outcomes.append(outcome)
    for person, course in lines:
        if course is not None:
            present.setdefault(course, set()).add(person)
    if terms.removes_missing:
        plan.result.keeps_missing = bool(plan.result.refused)
        if not plan.result.keeps_missing:
            ids = {course: {people[name].id for name in names} for course, names in present.items()}
            for (course, user), role in known.roles.items():
                if role is Role.STUDENT and course in ids and user not in ids[course]:
                    username, name = known.names[user]
                    plan.removed.append((course, user))
                    plan.result.outcomes.append(
                        Outcome(0, username, name, (Change.REMOVED,), course=known.titles[course])
                    )
    plan.people = list(people.values())
    return plan


def _plan_row(
    row: RosterRow,
    known: _Known,
    terms: Terms,
    plan: _Plan,
    people: dict[str, _Person],
    emails: dict[str, tuple[str, int]],
    lines: dict[tuple[str, int | None], int],
) -> Outcome:
    username = _username_of(row)
    first_name, last_name = (unicodedata.normalize("NFC", name) for name in (row.first_name, row.last_name))
    shown = username[:150], f"{first_name} {last_name}".strip()[:150]

    def refuse(refusal: Refusal, earlier_line: int = 0) -> Outcome:
        return Outcome(row.line, *shown, refusal=refusal, earlier_line=earlier_line)

    if refusal := _refusal_of_texts(username, first_name, last_name, row.email):
        return refuse(refusal)
    role = read_role(row.role)
    if row.role and role is None:
        return refuse(Refusal.ROLE)
    course = known.courses.get(row.course) if row.course else terms.course
    if (row.course and course is None) or (course is not None and course not in known.titles):
        return Outcome(row.line, *shown, refusal=Refusal.COURSE, course=row.course[:150])
    if terms.by_teacher and course != terms.course:
        return refuse(Refusal.OTHER_COURSE)

    users = known.users.get(username, [])
    exact = [user for user in users if user.username == username]
    if len(users) > 1 and not exact:
        return refuse(Refusal.AMBIGUOUS)
    user = next(iter(exact or users), None)
    if user is not None and not user.is_active:
        return refuse(Refusal.INACTIVE)
    key = user.username if user is not None else username.lower()
    if earlier := lines.get((key, course)):
        return refuse(Refusal.TWICE, earlier)
    person = people.get(key)
    if person is not None and (first_name, last_name, row.email.lower()) != (
        person.first_name,
        person.last_name,
        person.email.lower(),
    ):
        return refuse(Refusal.CONTRADICTION, person.line)
    if email := row.email.lower():
        holder, line = emails.get(email, (key, 0))
        if holder != key:
            return refuse(Refusal.EMAIL_TWICE, line)
        if known.emails.get(email, user and user.id) != (user and user.id):
            return refuse(Refusal.EMAIL_TAKEN)
    held = known.roles.get((course, user.id)) if user is not None and course is not None else None
    if user is not None and course is not None and known.owners[course] == user.id:
        if role not in (None, Role.INSTRUCTOR):
            return refuse(Refusal.OWNER)
        role = held = Role.INSTRUCTOR
    # A file without roles adds students, and doesn't change roles.
    role = role or held or Role.STUDENT
    if terms.by_teacher and role is not held and Role.INSTRUCTOR in (role, held):
        return refuse(Refusal.TEACHER)

    changes = []
    if person is None:
        person = _Person(
            user.username if user else username,
            first_name,
            last_name,
            row.email,
            user,
            row.line,
            user.id if user else 0,
        )
        people[key] = person
        if email:
            emails[email] = key, row.line
        if user is None:
            changes.append(Change.ADDED)
            plan.added.append(person)
        elif not terms.by_teacher and _differs(person, user):
            changes.append(Change.CHANGED)
            plan.changed.append(person)
    lines[key, course] = row.line
    if course is not None and role is not held:
        changes.append(Change.ENROLLED)
        plan.enrolled.append((person, course, role))
    return Outcome(
        row.line,
        person.username,
        person.name,
        tuple(changes),
        course=known.titles[course] if course is not None else "",
        role=role if Change.ENROLLED in changes else None,
    )


def _username_of(row: RosterRow) -> str:
    """Return the username of a row, or else the part of the e-mail address before the `@`."""
    return normalise_username(row.username or row.email.partition("@")[0])


def _refusal_of_texts(username: str, first_name: str, last_name: str, email: str) -> Refusal | None:
    try:
        require_username(username)
    except NameRefused:
        return Refusal.USERNAME
    try:
        require_name(first_name)
        require_name(last_name)
        require_email(email)
    except NameRefused:
        return Refusal.NAME
    except EmailRefused:
        return Refusal.EMAIL
    return None


def _differs(person: _Person, user: _User) -> bool:
    """Return whether the file changes anything about a user. Empty cells change nothing."""
    pairs = (
        (person.first_name, user.first_name),
        (person.last_name, user.last_name),
        (person.email, user.email),
    )
    return any(new and new != old for new, old in pairs)


async def _apply(connection: Connection, plan: _Plan, terms: Terms) -> None:
    for people in _parts(plan.added):
        rows = await connection.fetch(
            "insert into auth_user (username, password, first_name, last_name, email,"
            " is_superuser, is_staff, is_active, date_joined)"
            " select n.username, n.password, n.first_name, n.last_name, n.email, false, false, true, now()"
            " from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])"
            "  n (username, password, first_name, last_name, email) returning username, id",
            [person.username for person in people],
            [make_unusable_password() for _ in people],
            [person.first_name for person in people],
            [person.last_name for person in people],
            [person.email for person in people],
        )
        if len(rows) < len(people):
            raise RecordExists("somebody else has just added some of these people. Nothing was changed: try again")
        ids = {row["username"]: row["id"] for row in rows}
        for person in people:
            person.id = ids[person.username]
    for people in _parts(plan.changed):
        await connection.execute(
            "update auth_user u set first_name = coalesce(nullif(n.first_name, ''), u.first_name),"
            " last_name = coalesce(nullif(n.last_name, ''), u.last_name),"
            " email = coalesce(nullif(n.email, ''), u.email)"
            " from unnest($1::integer[], $2::text[], $3::text[], $4::text[]) n (id, first_name, last_name, email)"
            " where u.id = n.id",
            [person.id for person in people],
            [person.first_name for person in people],
            [person.last_name for person in people],
            [person.email for person in people],
        )
    for enrolments in _parts(plan.enrolled):
        courses = [course for _, course, _ in enrolments]
        users = [person.id for person, _, _ in enrolments]
        roles = [role.value for _, _, role in enrolments]
        await mark_joined(connection, list(zip(users, courses, strict=True)))
        await connection.execute(
            "with n as (select * from unnest($1::bigint[], $2::integer[], $3::text[]) n (course, user_id, role)),"
            " left_staff as (delete from educa_chat.staff s using n"
            "  where n.role = 'student' and s.course = n.course and s.user_id = n.user_id),"
            " left_students as (delete from courses_course_students s using n"
            "  where n.role <> 'student' and s.course_id = n.course and s.user_id = n.user_id),"
            " students as (insert into courses_course_students (course_id, user_id)"
            "  select course, user_id from n where role = 'student' on conflict do nothing)"
            " insert into educa_chat.staff (course, user_id, role)"
            " select course, user_id, role::educa_chat.role from n where role <> 'student'"
            " on conflict (course, user_id) do update set role = excluded.role",
            courses,
            users,
            roles,
        )
    for removed in _parts(plan.removed):
        await connection.execute(
            "delete from courses_course_students s using unnest($1::bigint[], $2::integer[]) n (course, user_id)"
            " where s.course_id = n.course and s.user_id = n.user_id",
            [course for course, _ in removed],
            [user for _, user in removed],
        )
    counts = {change.value: plan.result.count(change) for change in Change}
    if any(counts.values()):
        await record(connection, terms.by, "people.imported", course=terms.course, **counts)
        await _notify(
            connection,
            {user for _, user in plan.removed}
            | {person.id for person in plan.changed}
            | {person.id for person, _, _ in plan.enrolled if person.user},
        )


async def _notify(connection: Connection, user_ids: Collection[int]) -> None:
    if len(user_ids) > _NOTIFICATIONS:
        await notify(connection, "everybody", "")
        return
    for user_id in user_ids:
        await notify(connection, "user", str(user_id))


async def _invite(connection: Connection, plan: _Plan, terms: Terms, with_links: bool, mail_language: str) -> None:
    """Give links to people who have never had a password and don't sign in elsewhere."""
    by_id = {person.id: person for person in (plan.added if terms.by_teacher else plan.people)}
    for ids in _parts(list(by_id)):
        rows = await connection.fetch(
            "select u.id, u.email from auth_user u where u.id = any ($1::integer[]) and starts_with(u.password, '!')"
            " and not exists (select from educa_chat.external_person p where p.user_id = u.id) order by u.id",
            ids,
        )
        emails = {row["id"]: row["email"] for row in rows}
        if mail_language:
            addresses = [email for email in emails.values() if email]
            await queue_invitations(connection, addresses, mail_language)
            emails = {id: email for id, email in emails.items() if not email}
            plan.result.mailed += len(addresses)
            plan.result.unmailed += len(emails)
        tokens = await make_links(connection, list(emails)) if with_links else {}
        plan.result.links += [
            NewLink(by_id[id].username, by_id[id].name, email, tokens[id])
            for id, email in emails.items()
            if id in tokens
        ]


_T = TypeVar("_T")


def _parts(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), _AT_ONCE):
        yield items[start : start + _AT_ONCE]

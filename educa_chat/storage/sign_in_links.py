"""Links that let a user choose a password and sign in, without knowing an earlier password.

A link works once, for LIFE_HOURS. It ends early if its user gets another link or another password, or is deactivated. A
link by a teacher also ends when the teacher loses the permission for it (the SQL function `educa_chat.may_make_link`).
"""

import hashlib
import secrets
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from educa_chat.errors import LinkRefused, RecordMissing
from educa_chat.spreadsheet import BYTE_ORDER_MARK, csv_row
from educa_chat.storage.access_changes import notify
from educa_chat.storage.accounts import DISPLAY_NAME, find_user_id, refuse_platform
from educa_chat.storage.admin_log import record
from educa_chat.storage.pool import Connection, Database, Queries

PATH = "/chat/sign-in/link/"
LIFE_HOURS = 24

_VALID = (
    "educa_chat.sign_in_link l join auth_user u on u.id = l.user_id and u.is_active"
    " and sha256(convert_to(u.password, 'utf8')) = l.password_digest"
    " where l.digest = $1 and l.expires_at > now()"
    " and (l.teacher is null or educa_chat.may_make_link(l.teacher, l.course, u.id))"
)
"""The valid link with the digest $1, and its user `u`."""


class LinkedUser(NamedTuple):
    """The user of a valid link."""

    user_id: int
    username: str
    name: str


class NewLink(NamedTuple):
    """A sign-in link of somebody who has no password yet."""

    username: str
    name: str
    email: str
    token: str


class MadeLink(NamedTuple):
    """A sign-in link that somebody else made for a user, as the user sees it."""

    at: datetime
    maker: str
    """The current name of its creator; empty: it was made on the command line, or the creator was deleted."""
    course: str
    """The title of the course in which the creator teaches the user; empty: an administrator made it."""


def link_url(site_url: str, token: str) -> str:
    """Return the address of the page of a link.

    The token is in the query, because no log line of the server contains the query of a request.
    """
    return f"{site_url}{PATH}?token={token}"


def links_csv(site_url: str, links: Sequence[NewLink]) -> bytes:
    """Return a CSV file with `links`. Takes a tenth of a second for 10,000."""
    rows = [csv_row(("username", "name", "email", "link"))]
    rows += [csv_row((link.username, link.name, link.email, link_url(site_url, link.token))) for link in links]
    return (BYTE_ORDER_MARK + "".join(rows)).encode()


async def make_link(database: Database, username: str, *, by: int | None = None) -> str:
    """Make a new link for an active user and return its token. The user's earlier link ends. Raises RecordMissing."""
    user_id = await find_user_id(database, username)
    async with database.connection() as connection, connection.transaction():
        tokens = await make_links(connection, [user_id])
        if user_id not in tokens:
            raise RecordMissing(f"{username} is deactivated: reactivate them first")
        await record(connection, by, "user.link_made", user_id=user_id)
    return tokens[user_id]


async def make_student_link(database: Database, username: str, course: int, teacher: int, *, has_mail: bool) -> str:
    """Make a new link for a student of `course`, by the user `teacher`, and return its token.

    `has_mail` says whether users can request a link by e-mail. Users who can are refused here. Raises RecordMissing,
    LinkRefused, and PlatformOwned.
    """
    await refuse_platform(database)
    student = await find_user_id(database, username)
    async with database.connection() as connection, connection.transaction():
        allowed = await find_linkable_students(connection, course, teacher, [student], has_mail=has_mail)
        # This is checked again when the link is used, so nothing has to be locked now.
        tokens = await make_links(connection, allowed, teacher=teacher, course=course)
        if student not in tokens:
            raise LinkRefused(f"a teacher of the course {course} can't make a sign-in link for {username}")
        await record(connection, teacher, "user.link_made", user_id=student, course=course)
    return tokens[student]


async def find_linkable_students(
    database: Queries, course: int, teacher: int, user_ids: Collection[int], *, has_mail: bool
) -> set[int]:
    """Return those of `user_ids` for whom `teacher` can make a link with `make_student_link`."""
    rows = await database.fetch(
        "select u.id from auth_user u where u.id = any ($3::integer[]) and (not $4 or u.email = '')"
        " and educa_chat.may_make_link($2, $1, u.id)",
        course,
        teacher,
        list(user_ids),
        has_mail,
    )
    return {row["id"] for row in rows}


async def read_made_links(database: Database, user_id: int, limit: int) -> list[MadeLink]:
    """Return the newest `limit` links that others have made for a user, newest first."""
    rows = await database.fetch(
        f"select e.at, coalesce((select {DISPLAY_NAME} from auth_user u where u.id = e.actor), ''),"
        " coalesce(e.details ->> 'title', '') from educa_chat.admin_entry e"
        " where e.action = 'user.link_made' and e.user_id = $1 and e.actor is distinct from $1"
        " order by e.id desc limit $2",
        user_id,
        limit,
    )
    return [MadeLink(*row) for row in rows]


async def make_links(
    connection: Connection, user_ids: Collection[int], *, teacher: int | None = None, course: int | None = None
) -> dict[int, str]:
    """Make a new link for each active user among `user_ids`, and return their tokens by user id.

    With `teacher`, the links are valid only while this user may make them for students of `course`.
    """
    tokens = {user_id: secrets.token_urlsafe(32) for user_id in user_ids}
    await connection.execute("delete from educa_chat.sign_in_link where expires_at < now()")
    rows = await connection.fetch(
        "insert into educa_chat.sign_in_link (user_id, digest, password_digest, expires_at, teacher, course)"
        " select u.id, t.digest, sha256(convert_to(u.password, 'utf8')), now() + make_interval(hours => $3), $4, $5"
        " from unnest($1::integer[], $2::bytea[]) t (user_id, digest)"
        " join auth_user u on u.id = t.user_id and u.is_active"
        " on conflict (user_id) do update set digest = excluded.digest, password_digest = excluded.password_digest,"
        "  expires_at = excluded.expires_at, teacher = excluded.teacher, course = excluded.course"
        " returning user_id",
        list(tokens),
        list(map(_digest, tokens.values())),
        LIFE_HOURS,
        teacher,
        course,
    )
    return {row["user_id"]: tokens[row["user_id"]] for row in rows}


async def find_linked_user(database: Database, token: str) -> LinkedUser | None:
    """Return the user whose valid link has this token. The link stays valid."""
    row = await database.fetchrow(f"select u.id, u.username, {DISPLAY_NAME} from {_VALID}", _digest(token))
    return LinkedUser(*row) if row else None


async def use_link(database: Database, token: str, password: str) -> int | None:
    """Give the link's user an already hashed `password`, which ends the link and their sessions.

    Return their id, or None if the link isn't valid. Of several simultaneous calls with one token, only one succeeds.
    """
    async with database.connection() as connection, connection.transaction():
        # The row lock makes a second call wait until the password has changed.
        user_id: int | None = await connection.fetchval(f"select u.id from {_VALID} for update", _digest(token))
        if user_id is None:
            return None
        await connection.execute("update auth_user set password = $2 where id = $1", user_id, password)
        await connection.execute("delete from educa_chat.sign_in_link where user_id = $1", user_id)
    await notify(database, "user", str(user_id))
    return user_id


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()

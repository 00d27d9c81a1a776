"""The chat's own sessions."""

import hashlib
import secrets
from collections.abc import Collection
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

import msgspec

from educa_chat.errors import DatabaseUnavailable
from educa_chat.storage.access_changes import CHANNEL, notify
from educa_chat.storage.accounts import DISPLAY_NAME
from educa_chat.storage.pool import Database, Queries


class Visitor(msgspec.Struct, frozen=True):
    """A user who is signed in, and one of their sessions."""

    user_id: int
    username: str
    name: str
    """The full name, or the username if there is none."""
    session_id: str
    """A secret: anyone who knows it can act as the user."""
    language: str = ""
    """The language that the user has chosen for the pages; empty: the browser chooses."""

    def __repr__(self) -> str:
        return f"Visitor({self.user_id})"


def session_digest(session_id: str) -> str:
    """Return a name of the session that can be made public: it identifies the session but can't be used to sign in."""
    return hashlib.sha256(session_id.encode(errors="surrogatepass")).hexdigest()


SESSIONS_PER_USER = 20
USED_AT_MINUTES = 5
"""How outdated the time of a session's last use may be."""
_SIGN_IN_LOCK = 0x5E551011
"""The first key of the advisory locks on signing in; the second is the user."""


async def start_session(database: Database, user_id: int, days: int, browser: str = "", system: str = "") -> str:
    """Store a new session of the user and return its id. Removes expired sessions, and all but the user's newest 20.

    `browser` and `system` are names that the user will recognise the session by. The removal of a session that has not
    expired closes its open sockets in every process.
    """
    session_id = secrets.token_urlsafe(32)
    await database.execute("delete from educa_chat.session where expires_at < now()")
    async with database.connection() as connection, connection.transaction():
        # Serialise the sign-ins of a user, so that the next statement sees the session that the last one added.
        await connection.execute("select pg_advisory_xact_lock($1, $2)", _SIGN_IN_LOCK, user_id)
        await connection.execute(
            "with dropped as ("
            "  delete from educa_chat.session where digest in ("
            "   select digest from educa_chat.session where user_id = $2 order by created_at desc, digest offset $4)"
            "  returning digest),"
            " added as ("
            "  insert into educa_chat.session (digest, user_id, password_digest, expires_at, browser, system)"
            "  select sha256($1), id, sha256(convert_to(password, 'utf8')), now() + make_interval(days => $3), $6, $7"
            "  from auth_user where id = $2)"
            " select pg_notify($5, 'session ' || encode(digest, 'hex')) from dropped",
            session_id.encode(),
            user_id,
            days,
            SESSIONS_PER_USER - 1,
            CHANNEL,
            browser,
            system,
        )
    return session_id


async def end_session(database: Database, visitor: Visitor) -> None:
    """Delete a session, and notify every process."""
    await database.execute("delete from educa_chat.session where digest = sha256($1)", visitor.session_id.encode())
    await notify(database, "user", str(visitor.user_id))


async def end_sessions(connection: Queries, user_id: int) -> None:
    """Delete all sessions of a user, and notify every process."""
    await connection.execute("delete from educa_chat.session where user_id = $1", user_id)
    await notify(connection, "user", str(user_id))


async def signed_in_within(database: Database, visitor: Visitor, minutes: int) -> bool:
    """Return whether the visitor's session began within the last `minutes`."""
    return bool(
        await database.fetchval(
            "select created_at > now() - make_interval(mins => $2) from educa_chat.session where digest = sha256($1)",
            visitor.session_id.encode(),
            minutes,
        )
    )


async def find_visitors(database: Database, session_ids: Collection[str]) -> list[Visitor]:
    """Return the users who are signed in with `session_ids`.

    A session is valid until it expires, its user is deactivated, or their password changes.
    """
    rows = await database.fetch(
        f"select u.id, u.username, {DISPLAY_NAME}, i.id as session_id, coalesce(p.language, ''),"
        "  s.used_at < now() - make_interval(mins => $2) as is_stale"
        " from unnest($1::text[]) i (id)"
        " join educa_chat.session s on s.digest = sha256(convert_to(i.id, 'utf8')) and s.expires_at > now()"
        " join auth_user u on u.id = s.user_id and u.is_active"
        " and sha256(convert_to(u.password, 'utf8')) = s.password_digest"
        " left join educa_chat.profile p on p.user_id = u.id",
        list(session_ids),
        USED_AT_MINUTES,
    )
    if stale := [row["session_id"] for row in rows if row["is_stale"]]:
        # A read-only database can still answer.
        with suppress(DatabaseUnavailable):
            await database.execute(
                "update educa_chat.session set used_at = now() where digest = any ("
                " select sha256(convert_to(id, 'utf8')) from unnest($1::text[]) i (id))",
                stale,
            )
    return [Visitor(*row[:5]) for row in rows]


class ListedSession(NamedTuple):
    """A session in the list of its user."""

    digest: str
    """Names the session, but can't be used to sign in."""
    browser: str
    system: str
    used_at: datetime
    is_current: bool


async def list_sessions(database: Database, visitor: Visitor) -> list[ListedSession]:
    """Return the sessions of the user: the one of `visitor` first, and then those that were used last."""
    rows = await database.fetch(
        "select encode(s.digest, 'hex'), s.browser, s.system, s.used_at, s.digest = sha256($2) as is_current"
        " from educa_chat.session s join auth_user u on u.id = s.user_id"
        "  and sha256(convert_to(u.password, 'utf8')) = s.password_digest"
        " where s.user_id = $1 and s.expires_at > now() order by is_current desc, s.used_at desc",
        visitor.user_id,
        visitor.session_id.encode(),
    )
    return [ListedSession(*row) for row in rows]


async def end_session_by_digest(database: Database, user_id: int, digest: str) -> None:
    """Delete the user's session with this `session_digest`, if there is one, and notify every process."""
    await database.execute(
        "delete from educa_chat.session where user_id = $1 and encode(digest, 'hex') = $2", user_id, digest
    )
    await notify(database, "user", str(user_id))


async def end_other_sessions(database: Database, visitor: Visitor) -> None:
    """Delete all sessions of the user except for that of `visitor`, and notify every process."""
    await database.execute(
        "delete from educa_chat.session where user_id = $1 and digest <> sha256($2)",
        visitor.user_id,
        visitor.session_id.encode(),
    )
    await notify(database, "user", str(visitor.user_id))


async def change_password(database: Database, visitor: Visitor, password: str) -> None:
    """Store an already hashed `password` of the user, which ends all of their sessions except for that of `visitor`."""
    async with database.connection() as connection, connection.transaction():
        await connection.execute("update auth_user set password = $2 where id = $1", visitor.user_id, password)
        await connection.execute(
            "delete from educa_chat.session where user_id = $1 and digest <> sha256($2)",
            visitor.user_id,
            visitor.session_id.encode(),
        )
        await connection.execute(
            "update educa_chat.session set password_digest = sha256(convert_to($2, 'utf8')) where digest = sha256($1)",
            visitor.session_id.encode(),
            password,
        )
    await notify(database, "user", str(visitor.user_id))

"""The chat's own sessions."""

import hashlib
import secrets
from collections.abc import Collection

import msgspec

from educa_chat.storage.access_changes import CHANNEL, notify
from educa_chat.storage.accounts import DISPLAY_NAME
from educa_chat.storage.pool import Database


class Visitor(msgspec.Struct, frozen=True):
    """A user who is signed in, and one of their sessions."""

    user_id: int
    username: str
    name: str
    """The full name, or the username if there is none."""
    session_id: str
    """A secret: anyone who knows it can act as the user."""

    def __repr__(self) -> str:
        return f"Visitor({self.user_id})"


def session_digest(session_id: str) -> str:
    """Return a name of the session that can be made public: it identifies the session but can't be used to sign in."""
    return hashlib.sha256(session_id.encode(errors="surrogatepass")).hexdigest()


SESSIONS_PER_USER = 20
_SIGN_IN_LOCK = 0x5E551011
"""The first key of the advisory locks on signing in; the second is the user."""


async def start_session(database: Database, user_id: int, days: int) -> str:
    """Store a new session of the user and return its id. Removes expired sessions, and all but the user's newest 20.

    The removal of a session that has not expired closes its open sockets in every process.
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
            "  insert into educa_chat.session (digest, user_id, password_digest, expires_at)"
            "  select sha256($1), id, sha256(convert_to(password, 'utf8')), now() + make_interval(days => $3)"
            "  from auth_user where id = $2)"
            " select pg_notify($5, 'session ' || encode(digest, 'hex')) from dropped",
            session_id.encode(),
            user_id,
            days,
            SESSIONS_PER_USER - 1,
            CHANNEL,
        )
    return session_id


async def end_session(database: Database, visitor: Visitor) -> None:
    """Delete a session, and notify every process."""
    await database.execute("delete from educa_chat.session where digest = sha256($1)", visitor.session_id.encode())
    await notify(database, "user", str(visitor.user_id))


async def find_visitors(database: Database, session_ids: Collection[str]) -> list[Visitor]:
    """Return the users who are signed in with `session_ids`.

    A session is valid until it expires, its user is deactivated, or their password changes.
    """
    rows = await database.fetch(
        f"select i.id as session_id, u.id, u.username, {DISPLAY_NAME} as name"
        " from unnest($1::text[]) i (id)"
        " join educa_chat.session s on s.digest = sha256(convert_to(i.id, 'utf8')) and s.expires_at > now()"
        " join auth_user u on u.id = s.user_id and u.is_active"
        " and sha256(convert_to(u.password, 'utf8')) = s.password_digest",
        list(session_ids),
    )
    return [Visitor(row["id"], row["username"], row["name"], row["session_id"]) for row in rows]

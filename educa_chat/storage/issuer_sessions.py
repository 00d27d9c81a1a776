"""Our sessions that an OpenID provider has started."""

from typing import NamedTuple

from educa_chat.storage.access_changes import CHANNEL
from educa_chat.storage.pool import Database


class IssuerSession(NamedTuple):
    """The session at an issuer that one of ours belongs to."""

    issuer: str
    subject: str
    sid: str | None
    """The issuer's name for the session, if it has given one."""
    id_token: str


async def record_issuer_session(database: Database, session_id: str, issuer_session: IssuerSession) -> None:
    """Store where the session comes from, until it ends."""
    await database.execute(
        "insert into educa_chat.issuer_session (digest, issuer, subject, sid, id_token)"
        " select digest, $2, $3, $4, $5 from educa_chat.session where digest = sha256($1)",
        session_id.encode(),
        *issuer_session,
    )


async def find_issuer_session(database: Database, session_id: str) -> IssuerSession | None:
    """Return where the session comes from; None if it has another origin, or has ended."""
    row = await database.fetchrow(
        "select issuer, subject, sid, id_token from educa_chat.issuer_session where digest = sha256($1)",
        session_id.encode(),
    )
    return IssuerSession(*row) if row else None


async def end_issuer_sessions(database: Database, issuer: str, subject: str | None, sid: str | None) -> int:
    """End the sessions that `issuer` has started for `subject` and under `sid`; None stands for any.

    Notifies every process, which closes their sockets. Return how many sessions have ended.
    """
    ended: int = await database.fetchval(
        "with ended as ("
        "  delete from educa_chat.session where digest in ("
        "   select digest from educa_chat.issuer_session where issuer = $1"
        "   and ($2::text is null or subject = $2) and ($3::text is null or sid = $3)"
        "   and coalesce($2, $3) is not null)"
        "  returning digest)"
        " select count(pg_notify($4, 'session ' || encode(digest, 'hex'))) from ended",
        issuer,
        subject,
        sid,
        CHANNEL,
    )
    return ended

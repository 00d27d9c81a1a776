"""The audit log: who did what to a room and its messages, when, and the text that was changed or removed."""

import json
from datetime import datetime
from typing import Any, NamedTuple

from educa_chat.events.message import EDITED
from educa_chat.events.registry import AUDITED, BY_NUMBER
from educa_chat.storage.pool import Database


class AuditEntry(NamedTuple):
    """One action of a user."""

    seq: int
    at: datetime
    kind: str
    """The event's type."""
    who: str
    """The current username, or empty if the account was deleted."""
    target: int | None
    """The seq of the message that the action was about."""
    author: str
    """The author of that message, by their username at that time."""
    text: str | None
    """The text of the message before the action."""
    details: dict[str, Any]
    """The other fields of the event."""


async def read_audit_entries(database: Database, course: int, *, before: int | None, limit: int) -> list[AuditEntry]:
    """Return the newest `limit` entries with seq < `before`, newest first."""
    rows = await database.fetch(
        "select e.seq, e.at, e.kind, coalesce(u.username, '') as who, e.target, m.username as author, r.body,"
        " case when e.kind <> $5 then convert_from(coalesce(e.instructor, e.student), 'utf8') end as event"
        " from educa_chat.event e left join auth_user u on u.id = e.actor"
        " left join educa_chat.message m on m.course = e.course and m.seq = e.target"
        " left join educa_chat.revision r on r.course = e.course and r.seq = e.target and r.changed_by = e.seq"
        " where e.course = $1 and e.seq < $2 and e.kind not in (1, 4) and e.kind = any ($4::smallint[])"
        " order by e.seq desc limit $3",
        course,
        before if before is not None else 2**63 - 1,
        limit,
        AUDITED,
        EDITED,
    )
    return [
        AuditEntry(
            seq=row["seq"],
            at=row["at"],
            kind=BY_NUMBER[row["kind"]].name,
            who=row["who"],
            target=row["target"],
            author=row["author"] or "",
            text=row["body"],
            # An edit has no other fields worth listing, and its event is rewritten with its message.
            details={} if row["event"] is None else json.loads(row["event"]),
        )
        for row in rows
    ]

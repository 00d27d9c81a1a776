"""The audit log: the changes to a room and its messages, with authors, times, and the changed or removed text."""

import json
from datetime import datetime
from typing import Any, NamedTuple

from educa_chat.events.message import EDITED
from educa_chat.events.registry import AUDITED, BY_NUMBER
from educa_chat.events.room_rules import MUTED
from educa_chat.storage.accounts import DISPLAY_NAME
from educa_chat.storage.pool import Database


class AuditEntry(NamedTuple):
    """One action of a user. Names are the current ones."""

    seq: int
    at: datetime
    kind: str
    """The event's type."""
    username: str
    """The user who did it; empty if the account was deleted."""
    name: str
    target: int | None
    """The seq of the message that the action was about."""
    author: str
    """The name of that message's author."""
    student: str
    """The name of the student who was muted or unmuted."""
    before: str | None
    """The text of the message that was edited or deleted."""
    after: str | None
    """The text of the message after an edit."""
    details: dict[str, Any]
    """The other fields of the event."""

    @property
    def muted_until(self) -> datetime | None:
        until = self.details.get("until")
        return datetime.fromisoformat(until) if until else None


async def read_audit_entries(database: Database, course: int, *, before: int | None, limit: int) -> list[AuditEntry]:
    """Return the newest `limit` entries with seq < `before`, newest first."""
    rows = await database.fetch(
        "with chosen as ("
        "  select e.seq, e.at, e.kind, e.actor, e.target,"
        # An edit has no other fields worth listing, and its event is rewritten with its message.
        "   case when e.kind <> $5 then convert_from(coalesce(e.instructor, e.student), 'utf8')::jsonb end as event"
        "  from educa_chat.event e"
        "  where e.course = $1 and e.seq < $2 and e.kind not in (1, 4) and e.kind = any ($4::smallint[])"
        "  order by e.seq desc limit $3"
        " )"
        " select e.seq, e.at, e.kind, e.target, e.event, coalesce(actor.username, '') as username,"
        "  coalesce(actor.name, '') as name, coalesce(author.name, m.name, '') as author,"
        "  coalesce(student.name, e.event ->> 'target_user', '') as student, r.body as before,"
        "  case when e.kind = $5 then coalesce(("
        "   select later.body from educa_chat.revision later"
        "   where later.course = $1 and later.seq = e.target and later.changed_by > e.seq"
        "   order by later.changed_by limit 1"
        "  ), m.body) end as after"
        " from chosen e"
        f" left join lateral (select u.username, {DISPLAY_NAME} as name from auth_user u where u.id = e.actor) actor"
        "  on true"
        " left join educa_chat.message m on m.course = $1 and m.seq = e.target"
        f" left join lateral (select {DISPLAY_NAME} as name from auth_user u where u.id = m.author) author on true"
        f" left join lateral (select {DISPLAY_NAME} as name from auth_user u"
        "  where e.kind = $6 and u.username = e.event ->> 'target_user') student on true"
        " left join educa_chat.revision r on r.course = $1 and r.seq = e.target and r.changed_by = e.seq"
        " order by e.seq desc",
        course,
        before if before is not None else 2**63 - 1,
        limit,
        AUDITED,
        EDITED,
        MUTED,
    )
    return [
        AuditEntry(
            seq=row["seq"],
            at=row["at"],
            kind=BY_NUMBER[row["kind"]].name,
            username=row["username"],
            name=row["name"],
            target=row["target"],
            author=row["author"],
            student=row["student"],
            before=row["before"],
            after=row["after"],
            details={} if row["event"] is None else json.loads(row["event"]),
        )
        for row in rows
    ]

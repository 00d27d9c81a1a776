"""The open reports of a room."""

from datetime import datetime
from typing import NamedTuple

import msgspec

from educa_chat.storage.accounts import DISPLAY_NAME
from educa_chat.storage.pool import Database

MAX_REPORTED_MESSAGES = 1000
MAX_REPORTS_PER_MESSAGE = 20


class Report(msgspec.Struct, frozen=True):
    """A user's report of a message."""

    name: str
    at: datetime
    reason: str


_REPORTS = msgspec.json.Decoder(list[Report])


class ReportedMessage(NamedTuple):
    """A message with open reports."""

    newest: int
    """The seq of the event of its newest report."""
    seq: int
    at: datetime
    author: str
    """The author's current name, even if classmates see a pseudonym."""
    text: str
    """The current text of the message."""
    reports: list[Report]
    """The newest 20 at most, newest first."""
    others: int
    """The number of further reports."""


async def reported_messages(database: Database, course: int) -> list[int]:
    """Return the seqs of the messages of `course` with open reports, the newest 1,000 at most, newest first."""
    rows = await database.fetch(
        "select distinct seq from educa_chat.report where course = $1 and settled_by is null"
        " order by seq desc limit $2",
        course,
        MAX_REPORTED_MESSAGES,
    )
    return [row["seq"] for row in rows]


async def read_queue(database: Database, course: int, *, before: int | None, limit: int) -> list[ReportedMessage]:
    """Return messages with open reports whose newest report has a seq < `before`, the newest report first."""
    rows = await database.fetch(
        f"select newest.event, m.seq, m.at, coalesce({DISPLAY_NAME}, m.name) as author, m.body, r.reports, r.others"
        " from ("
        "  select seq, max(event) as event from educa_chat.report where course = $1 and settled_by is null"
        "  group by seq having max(event) < $2 order by event desc limit $3"
        " ) newest"
        " cross join lateral (select * from educa_chat.message where course = $1 and seq = newest.seq limit 1) m"
        " left join auth_user u on u.id = m.author"
        " cross join lateral ("
        "  select count(*) filter (where ordinal > $4) as others, json_agg("
        "   json_build_object('name', name, 'at', educa_chat.iso8601(at), 'reason', reason) order by event desc"
        "  ) filter (where ordinal <= $4) as reports"
        "  from ("
        f"   select coalesce({DISPLAY_NAME}, r.username) as name, r.at, r.reason, r.event,"
        "    row_number() over (order by r.event desc) as ordinal"
        "   from educa_chat.report r left join auth_user u on u.id = r.user_id"
        "   where r.course = $1 and r.seq = m.seq and r.settled_by is null"
        "  ) one"
        " ) r order by newest.event desc",
        course,
        before if before is not None else 2**63 - 1,
        limit,
        MAX_REPORTS_PER_MESSAGE,
    )
    return [
        ReportedMessage(
            newest=row["event"],
            seq=row["seq"],
            at=row["at"],
            author=row["author"],
            text=row["body"],
            reports=_REPORTS.decode(row["reports"]),
            others=row["others"],
        )
        for row in rows
    ]

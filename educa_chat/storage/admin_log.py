"""The log of what administrators did, on the pages or on the command line."""

import json
from datetime import datetime
from typing import Any, NamedTuple

from educa_chat.storage.accounts import DISPLAY_NAME
from educa_chat.storage.pool import Database, Queries


class AdminEntry(NamedTuple):
    """One action of an administrator or a teacher. Users have their current names, or none if they are deleted."""

    id: int
    at: datetime
    action: str
    """Such as `course.archived`."""
    actor: int | None
    """The id of the user who did it; None: it was done on the command line."""
    actor_name: str
    username: str
    """Whom it was about; empty if nobody."""
    user_name: str
    course: int | None
    title: str
    """The course's current title, or the one it had before it was removed."""
    details: dict[str, Any]


async def record(
    connection: Queries,
    by: int | None,
    action: str,
    *,
    user_id: int | None = None,
    course: int | None = None,
    **details: object,
) -> None:
    """Record an action of the user `by` (None: the command line), in the transaction that makes the change.

    `details` keep the names at this time: `username` if the action concerns a user, `title` if it concerns a course.
    """
    await connection.execute(
        "insert into educa_chat.admin_entry (actor, action, user_id, course, details)"
        " select $1, $2, $3, $4, $5::jsonb || jsonb_strip_nulls(jsonb_build_object("
        "  'username', (select username from auth_user where id = $3),"
        "  'title', (select title from courses_course where id = $4)))",
        by,
        action,
        user_id,
        course,
        json.dumps(details),
    )


async def read_admin_log(database: Database, *, before: int | None, limit: int) -> list[AdminEntry]:
    """Return the newest `limit` entries with an id < `before`, newest first."""
    rows = await database.fetch(
        "select e.id, e.at, e.action, e.actor,"
        f" coalesce((select {DISPLAY_NAME} from auth_user u where u.id = e.actor), '') as actor_name,"
        " coalesce((select username from auth_user where id = e.user_id), e.details ->> 'username', '') as username,"
        f" coalesce((select {DISPLAY_NAME} from auth_user u where u.id = e.user_id), '') as user_name,"
        " e.course,"
        " coalesce((select title from courses_course where id = e.course), e.details ->> 'title', '') as title,"
        " e.details from educa_chat.admin_entry e where e.id < $1 order by e.id desc limit $2",
        before if before is not None else 2**63 - 1,
        limit,
    )
    return [AdminEntry(**dict(row) | {"details": json.loads(row["details"])}) for row in rows]

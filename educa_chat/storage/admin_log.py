"""Records the changes that administrators and teachers make to users and courses, on the pages or the command line."""

import json

from educa_chat.storage.pool import Queries


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

"""The system messages of a room, for example that it was closed, that slow mode is on, or that a student was muted."""

from educa_chat.storage.messages import Page, Reader
from educa_chat.storage.pool import Database

MAX_SYSTEM_MESSAGES = 200


async def read_system_messages(
    database: Database, course: int, reader: Reader, page: Page, *, before: int | None, after: int | None
) -> list[bytes]:
    """Return the system messages between the messages of `page`, as in the log, in order, the newest 200 at most.

    Students get only their own mutes, in the instructors' variant with `own` in front. `before` and `after` are those
    of the request for the page. Consecutive pages contain each system message once: if no message bounds a page,
    the request does.
    """
    if after is not None:
        first, last = after + 1, page.messages[-1].seq if page.more else page.head
    else:
        first = page.messages[0].seq if page.more else 1
        last = page.head if before is None else min(before - 1, page.head)
    rows = await database.fetch(
        "select case when concealed_user_id = $4 then convert_to('{\"own\":true,', 'utf8') || substr(variant, 2)"
        "  else variant end as variant from educa_chat.event"
        " cross join lateral ("
        "  select case when $5 or concealed_user_id = $4 then coalesce(instructor, student) else student end as variant"
        " ) f"
        " where course = $1 and seq between $2 and $3 and is_system_message"
        " and ($5 or concealed_user_id = $4 or position(convert_to('\"type\":\"hidden\"', 'utf8') in student) = 0)"
        " order by seq desc limit $6",
        course,
        first,
        last,
        reader.user_id,
        reader.is_staff,
        MAX_SYSTEM_MESSAGES,
    )
    return [row["variant"] for row in reversed(rows)]

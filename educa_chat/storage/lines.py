"""What stands as a line among the messages of a room: that it was closed or slowed down, that somebody was muted."""

from educa_chat.storage.messages import Page, Reader
from educa_chat.storage.pool import Database

MOST_LINES = 200


async def read_lines(
    database: Database, course: int, reader: Reader, page: Page, *, before: int | None, after: int | None
) -> list[bytes]:
    """The events that belong among the messages of `page`, as the log has them, in order: the newest 200 at most.

    Of mutes, students get only their own, in the instructors' form with `own` in front. `before` and `after` are those
    that the page was asked for with. Pages that follow each other have each line once: where no message bounds a page,
    what was asked for does.
    """
    if after is not None:
        first, last = after + 1, page.messages[-1].seq if page.more else page.head
    else:
        first = page.messages[0].seq if page.more else 1
        last = page.head if before is None else min(before - 1, page.head)
    rows = await database.fetch(
        "select case when concealed_user_id = $4 then convert_to('{\"own\":true,', 'utf8') || substr(form, 2)"
        "  else form end as form from educa_chat.event"
        " cross join lateral ("
        "  select case when $5 or concealed_user_id = $4 then coalesce(instructor, student) else student end as form"
        " ) f"
        " where course = $1 and seq between $2 and $3 and is_system_message"
        " and ($5 or concealed_user_id = $4 or position(convert_to('\"type\":\"hidden\"', 'utf8') in student) = 0)"
        " order by seq desc limit $6",
        course,
        first,
        last,
        reader.user_id,
        reader.is_instructor,
        MOST_LINES,
    )
    return [row["form"] for row in reversed(rows)]

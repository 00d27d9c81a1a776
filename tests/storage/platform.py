"""Users and courses for the storage tests."""

from educa_chat.events.kind import Entry
from educa_chat.events.message import MESSAGE, BasicMessage, ChatMessage
from educa_chat.protocol import encode_body
from educa_chat.storage.messages import Reader
from educa_chat.storage.pool import Database

READER = Reader(1000, is_staff=True)
"""The teacher."""


async def clear(database: Database) -> None:
    """Delete all users, courses and rooms with their data. This is faster than creating another database."""
    tables = await database.fetch(
        "select format('%I.%I', schemaname, tablename) as name from pg_tables"
        " where schemaname in ('public', 'educa_chat')"
        " and tablename not in ('kind', 'schema_version', 'schema_functions')"
    )
    deletions = [f"delete from {table['name']}" for table in tables]
    # Foreign keys and triggers don't apply to a replica, so the order of the tables does not matter.
    await database.execute("; ".join(["begin", "set local session_replication_role = replica", *deletions, "commit"]))


async def add_class(database: Database, courses: int = 1, students: int = 3) -> None:
    """Add the users 1 … `students`, all enrolled in the courses 1 … `courses`, and the user 1000, who teaches them."""
    await database.execute(
        "insert into auth_user (id, username, password, first_name, last_name, email,"
        " is_superuser, is_staff, is_active, date_joined)"
        " select id, 'user' || id, '!', '', '', '', false, false, true, now()"
        " from (select generate_series(1, $1::integer) union select 1000) u (id)",
        students,
    )
    await database.execute("insert into courses_subject (id, title, slug) values (1, 'Subject', 'subject')")
    await database.execute(
        "insert into courses_course (id, title, slug, overview, created, owner_id, subject_id)"
        " select id, 'Course ' || id, 'course-' || id, '', now(), 1000, 1 from generate_series(1, $1::bigint) id",
        courses,
    )
    await database.execute(
        "insert into courses_course_students (course_id, user_id)"
        " select c, u from generate_series(1, $1::bigint) c, generate_series(1, $2::integer) u",
        courses,
        students,
    )
    await database.execute("insert into educa_chat.room (course) select id from courses_course")


def entry(
    client_id: str,
    text: str = "hello",
    *,
    course: int = 1,
    actor: int = 1,
    by_instructor: bool = False,
    reply_to: int | None = None,
) -> Entry:
    username = f"user{actor}"
    message = ChatMessage(
        id=client_id,
        user=username,
        name=username,
        role="instructor" if by_instructor else "student",
        message=text,
        html=text,
        reply_to=reply_to,
    )
    return Entry(
        course=course,
        kind=MESSAGE,
        actor=actor,
        by_instructor=by_instructor,
        client_id=client_id,
        student=encode_body(message),
        instructor=None,
        basic=encode_body(BasicMessage(user=username, message=text)),
        username=username,
        name=username,
        body=text,
        html=text,
        mentioned=None,
        target=reply_to,
        argument=None,
    )

"""How far each user has read in each room, and how many messages are unread."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from educa_chat.storage.pool import Database, Queries


async def write_markers(database: Database, seqs: Mapping[tuple[int, int], int]) -> None:
    """Move markers, by user and course. They move only forwards, and never beyond the head of a room."""
    users, courses = zip(*seqs, strict=True) if seqs else ((), ())
    async with database.connection() as connection, connection.transaction():
        # Don't wait for the disk: a crash loses little here.
        await connection.execute("set local synchronous_commit = off")
        # Always in the same order, to avoid deadlocks between processes.
        await connection.execute(
            "insert into educa_chat.marker as m (user_id, course, seq)"
            " select moved.user_id, course, least(moved.seq, r.head)"
            " from unnest($1::integer[], $2::bigint[], $3::bigint[]) moved (user_id, course, seq)"
            " join educa_chat.room r using (course) order by course, moved.user_id"
            " on conflict (course, user_id) do update set seq = excluded.seq where m.seq < excluded.seq",
            users,
            courses,
            list(seqs.values()),
        )


async def find_markers(database: Database, membership_keys: Collection[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """Return the marker of each membership key (user, course) that has one."""
    users, courses = zip(*membership_keys, strict=True) if membership_keys else ((), ())
    rows = await database.fetch(
        "select user_id, course, seq from unnest($1::integer[], $2::bigint[]) p (user_id, course)"
        " join educa_chat.marker using (user_id, course)",
        users,
        courses,
    )
    return {(user_id, course): seq for user_id, course, seq in rows}


async def mark_joined(connection: Queries, membership_keys: Collection[tuple[int, int]]) -> None:
    """Move the markers of users who join a course to its head: what was written before is not unread for them.

    Called before they become members, by (user, course). Those who are members already keep their markers.
    """
    users, courses = zip(*membership_keys, strict=True) if membership_keys else ((), ())
    await connection.execute(
        "insert into educa_chat.marker as k (course, user_id, seq)"
        " select joined.course, joined.user_id, coalesce(r.head, 0)"
        " from (select distinct * from unnest($1::integer[], $2::bigint[]) n (user_id, course)) joined"
        " left join educa_chat.room r using (course)"
        # Each is an index lookup. With `not exists`, the planner may read all memberships instead.
        " where (select max(m.role) from educa_chat.membership() m"
        "  where m.course = joined.course and m.user_id = joined.user_id and m.is_named) is null"
        " order by joined.course, joined.user_id"
        " on conflict (course, user_id) do update set seq = excluded.seq where k.seq < excluded.seq",
        users,
        courses,
    )


async def mark_first_seen(database: Database, users: Collection[int]) -> None:
    """Give the users a marker in each of their courses: the head where they have none.

    A site beside us may enrol people without telling us. They are new when they or `mark_new_members` come first.
    """
    rows = await database.fetch(
        # Each is an index lookup. As joins, the planner may read all courses and markers instead.
        "select distinct known.user_id, c.course from unnest($1::integer[]) known (user_id)"
        " cross join lateral unnest(array("
        "  select m.course from educa_chat.membership() m where m.user_id = known.user_id and m.is_named)) c (course)"
        " where (select seq from educa_chat.marker where course = c.course and user_id = known.user_id) is null",
        list(users),
    )
    if not rows:
        return
    await database.execute(
        "insert into educa_chat.marker (course, user_id, seq) select joined.course, joined.user_id, coalesce(r.head, 0)"
        " from unnest($1::integer[], $2::bigint[]) joined (user_id, course) left join educa_chat.room r using (course)"
        " order by joined.course, joined.user_id on conflict do nothing",
        [row["user_id"] for row in rows],
        [row["course"] for row in rows],
    )


async def mark_new_members(database: Database) -> None:
    """Give all members a marker: the head of the room where they have none."""
    await database.execute(
        "insert into educa_chat.marker (course, user_id, seq)"
        " select distinct m.course, m.user_id, coalesce(r.head, 0)"
        " from educa_chat.membership() m left join educa_chat.room r using (course)"
        " where m.is_named and not exists ("
        "  select from educa_chat.marker k where k.course = m.course and k.user_id = m.user_id)"
        " order by 1, 2 on conflict do nothing"
    )


class Unread(NamedTuple):
    """How many messages of a room a user has not read, and how many of these mention them. Deleted ones don't count."""

    messages: int
    mentions: int


async def find_unread(database: Database, seqs: Mapping[tuple[int, int], int]) -> dict[tuple[int, int], Unread]:
    """Return the unread counts for each user and course after the user's marker, or after the given seq if it is newer.

    Without a marker, all messages are counted. Courses without messages may be omitted.
    """
    users, courses = zip(*seqs, strict=True) if seqs else ((), ())
    rows = await database.fetch(
        # Each is an index lookup. Without `limit 1`, the planner may read all rooms instead.
        "select known.user_id, known.course,"
        " r.said - coalesce((select said from educa_chat.event where course = known.course and seq = after.seq), 0)"
        "  - (select count(*) from educa_chat.message where course = known.course and seq > after.seq and deleted),"
        " (select count(*) from educa_chat.message"
        "  where course = known.course and seq > after.seq and mentions is not null and author <> known.user_id"
        "  and mentions && array['*', (select username from auth_user where id = known.user_id)]::text[])"
        " from unnest($1::integer[], $2::bigint[], $3::bigint[]) known (user_id, course, seq)"
        " cross join lateral (select head, said from educa_chat.room where course = known.course limit 1) r"
        " cross join lateral (select least(r.head, greatest(known.seq, ("
        "  select m.seq from educa_chat.marker m where m.course = known.course and m.user_id = known.user_id"
        " ))) as seq) after",
        users,
        courses,
        list(seqs.values()),
    )
    return {(user_id, course): Unread(messages, mentions) for user_id, course, messages, mentions in rows}


async def unread_counts(database: Database, user_id: int, seqs: Mapping[int, int]) -> dict[int, int]:
    """Return for each course how many messages `find_unread` finds for the user."""
    found = await find_unread(database, {(user_id, course): seq for course, seq in seqs.items()})
    return {course: unread.messages for (_, course), unread in found.items()}


async def read_heads(database: Database, courses: Collection[int]) -> dict[int, int]:
    """Return the head of each room."""
    rows = await database.fetch(
        "select known.course, r.head from unnest($1::bigint[]) known (course)"
        " cross join lateral (select head from educa_chat.room where course = known.course limit 1) r",
        list(courses),
    )
    return {row["course"]: row["head"] for row in rows}


async def read_named_courses(database: Database, users: Collection[int]) -> dict[int, frozenset[int]]:
    """Return the courses of each user, without those that they can enter only as a superuser."""
    rows = await database.fetch(
        "select known.user_id, array(select m.course from educa_chat.membership() m"
        "  where m.user_id = known.user_id and m.is_named)"
        " from unnest($1::integer[]) known (user_id)",
        list(users),
    )
    return {user_id: frozenset(courses) for user_id, courses in rows}

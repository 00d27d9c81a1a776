"""How far each user has read in each room, and how much there is that she has not."""

from collections.abc import Collection, Mapping

from educa_chat.storage.pool import Database


async def write_markers(database: Database, seqs: Mapping[tuple[int, int], int]) -> None:
    """Move markers, by user and course: forwards only, and never beyond the head of a room."""
    users, courses = zip(*seqs, strict=True) if seqs else ((), ())
    async with database.connection() as connection, connection.transaction():
        # What a crash may lose here is not worth the wait for a disk.
        await connection.execute("set local synchronous_commit = off")
        # In one order everywhere, so that two processes never wait for each other in a ring.
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


async def unread_counts(database: Database, user_id: int, seqs: Mapping[int, int]) -> dict[int, int]:
    """How many messages of each course lie behind the user's marker, or behind the seq that is given if it is newer.

    Without a marker all of them do. A course that nobody has said anything in may be left out.
    """
    rows = await database.fetch(
        # Each a probe of an index, which `limit 1` keeps the planner to, rather than to read all rooms.
        "select known.course, r.said - coalesce(("
        "  select e.said from educa_chat.event e where e.course = known.course and e.seq = greatest(known.seq, ("
        "   select m.seq from educa_chat.marker m where m.course = known.course and m.user_id = $1))), 0) as unread"
        " from unnest($2::bigint[], $3::bigint[]) known (course, seq)"
        " cross join lateral (select said from educa_chat.room where course = known.course limit 1) r",
        user_id,
        list(seqs),
        list(seqs.values()),
    )
    return {row["course"]: row["unread"] for row in rows}

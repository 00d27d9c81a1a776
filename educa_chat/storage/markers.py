"""How far each user has read in each room, and how many messages are unread."""

from collections.abc import Collection, Mapping

from educa_chat.storage.pool import Database


async def write_markers(database: Database, seqs: Mapping[tuple[int, int], int]) -> None:
    """Move markers, by user and course. They move only forwards, and never beyond the head of a room."""
    users, courses = zip(*seqs, strict=True) if seqs else ((), ())
    async with database.connection() as connection, connection.transaction():
        # Waiting for the disk isn't worth what a crash may lose here.
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


async def unread_counts(database: Database, user_id: int, seqs: Mapping[int, int]) -> dict[int, int]:
    """Return for each course how many messages come after the user's marker, or after the given seq if it is newer.

    Without a marker, all messages are counted. Courses without messages may be omitted.
    """
    rows = await database.fetch(
        # Each is an index lookup. Without `limit 1`, the planner may read all rooms instead.
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

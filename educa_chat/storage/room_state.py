"""The state of a room for one reader, besides the messages."""

from collections.abc import Collection
from typing import NamedTuple

from educa_chat.storage.pool import Database


class RoomState(NamedTuple):
    """The settings of a room, and the end of the reader's mute in it, from the same moment."""

    slow_seconds: int
    closed: bool
    anonymity: bool
    pinned: list[int]
    """The seqs of the pinned messages, in order."""
    muted_until: str | None


async def find_room_states(
    database: Database, membership_keys: Collection[tuple[int, int]]
) -> dict[tuple[int, int], RoomState]:
    """Return the room state for each membership key (user, course) whose course has a room."""
    users, courses = zip(*membership_keys, strict=True) if membership_keys else ((), ())
    rows = await database.fetch(
        "select p.user_id, p.course, r.slow_seconds, r.closed, r.anonymity,"
        " array(select seq from educa_chat.message where course = r.course and pinned order by seq) as pinned,"
        " (select educa_chat.iso8601(until) from educa_chat.mute"
        "  where course = r.course and user_id = p.user_id and until > now()) as muted_until"
        " from unnest($1::integer[], $2::bigint[]) p (user_id, course) join educa_chat.room r on r.course = p.course",
        users,
        courses,
    )
    return {(user_id, course): RoomState(*columns) for user_id, course, *columns in rows}

"""The muted students of a room."""

from datetime import datetime

import msgspec

from educa_chat.storage.accounts import DISPLAY_NAME
from educa_chat.storage.pool import Database


class MutedStudent(msgspec.Struct, frozen=True):
    """A muted student, and the end of the mute."""

    user: str
    name: str
    until: datetime


async def read_muted(database: Database, course: int) -> list[MutedStudent]:
    """Return the muted students of `course`, the one whose mute ends first at the front."""
    rows = await database.fetch(
        f"select u.username, {DISPLAY_NAME}, m.until from educa_chat.mute m"
        " join auth_user u on u.id = m.user_id"
        " join educa_chat.member() student using (course, user_id)"
        " where m.course = $1 and m.until > now() and not student.is_instructor"
        " and educa_chat.role_of(m.course, m.user_id) = 'student'"
        " order by m.until",
        course,
    )
    return [MutedStudent(*row) for row in rows]

"""Files with people that were uploaded and wait to be confirmed, one for each user at most."""

import hashlib
from typing import NamedTuple

from educa_chat.storage.pool import Database

LIFE_HOURS = 1


class Upload(NamedTuple):
    """An uploaded file, and the terms of its import."""

    course: int | None
    removes_missing: bool
    content: bytes


async def store_upload(database: Database, user_id: int, upload: Upload) -> str:
    """Store a file instead of the one that the user has uploaded before, and return its digest."""
    digest = hashlib.sha256(upload.content)
    await database.execute(
        "delete from educa_chat.roster_upload where uploaded_at < now() - make_interval(hours => $1)", LIFE_HOURS
    )
    await database.execute(
        "insert into educa_chat.roster_upload (user_id, course, removes_missing, content, digest)"
        " values ($1, $2, $3, $4, $5) on conflict (user_id) do update set course = excluded.course,"
        "  removes_missing = excluded.removes_missing, content = excluded.content, digest = excluded.digest,"
        "  uploaded_at = now()",
        user_id,
        *upload,
        digest.digest(),
    )
    return digest.hexdigest()


async def take_upload(database: Database, user_id: int, digest: str) -> Upload | None:
    """Delete and return the user's file if it has this digest and is new enough."""
    row = await database.fetchrow(
        "delete from educa_chat.roster_upload where user_id = $1 and encode(digest, 'hex') = $2"
        " and uploaded_at > now() - make_interval(hours => $3) returning course, removes_missing, content",
        user_id,
        digest,
        LIFE_HOURS,
    )
    return Upload(*row) if row else None

"""The values of valid tokens that must not be accepted a second time."""

import hashlib

from educa_chat.storage.pool import Database


async def use_nonce(database: Database, nonce: str, expires_at: float) -> bool:
    """Return whether `nonce` is used for the first time. It is remembered until `expires_at` (Unix time)."""
    await database.execute("delete from educa_chat.used_nonce where expires_at < now() - interval '5 minutes'")
    return bool(
        await database.fetchval(
            "insert into educa_chat.used_nonce (digest, expires_at)"
            " values ($1, to_timestamp($2)) on conflict do nothing returning true",
            hashlib.sha256(nonce.encode()).digest(),
            expires_at,
        )
    )

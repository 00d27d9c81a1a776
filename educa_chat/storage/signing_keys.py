"""The keys with which the chat signs its own tokens, for all processes. Their private halves are stored encrypted."""

from typing import NamedTuple

from educa_chat.storage.pool import Database

RETIRED_DAYS = 1
"""How long a key stays in the public key set after it has signed its last token."""
_LOCK = 0x4B455953


class StoredKey(NamedTuple):
    """A key: JSON of its public half, and its encrypted private half."""

    kid: str
    public: str
    private: str
    is_retired: bool


async def read_keys(database: Database) -> list[StoredKey]:
    """Return the keys, the oldest first."""
    rows = await database.fetch(
        "select kid, public, private, retired_at is not null from educa_chat.signing_key"
        f" where retired_at is null or retired_at > now() - interval '{RETIRED_DAYS} days' order by number"
    )
    return [StoredKey(*row) for row in rows]


async def add_key(database: Database, key: StoredKey, *, most: int) -> bool:
    """Add `key`, unless there are `most` keys already that are not retired. Return whether it was added."""
    async with database.connection() as connection, connection.transaction():
        await connection.execute("select pg_advisory_xact_lock($1)", _LOCK)
        if await connection.fetchval("select count(*) from educa_chat.signing_key where retired_at is null") >= most:
            return False
        await connection.execute(
            "insert into educa_chat.signing_key (kid, public, private) values ($1, $2, $3)",
            key.kid,
            key.public,
            key.private,
        )
        return True


async def retire_oldest(database: Database) -> None:
    """Retire the oldest key, and delete those that were retired long ago."""
    await database.execute(
        f"delete from educa_chat.signing_key where retired_at < now() - interval '{RETIRED_DAYS} days'"
    )
    await database.execute(
        "update educa_chat.signing_key set retired_at = now() where number = ("
        " select min(number) from educa_chat.signing_key where retired_at is null)"
    )


async def delete_key(database: Database, kid: str) -> None:
    """Delete a key that can't be used."""
    await database.execute("delete from educa_chat.signing_key where kid = $1", kid)

"""The users: the learning platform's table `auth_user`. Only a stand-alone chat may write to it."""

import unicodedata
from collections.abc import Collection, Mapping
from typing import NamedTuple

import asyncpg

from educa_chat.errors import PlatformOwned, RecordExists, RecordMissing
from educa_chat.storage.access_changes import notify
from educa_chat.storage.names import require_name
from educa_chat.storage.pool import Database, Queries

DISPLAY_NAME = "coalesce(nullif(trim(u.first_name || ' ' || u.last_name), ''), u.username)"
"""The full name of the row `u` of auth_user, or the username if there is none."""


class Account(NamedTuple):
    """The columns of a row of `auth_user` that signing in needs."""

    user_id: int
    username: str
    password: str
    is_active: bool


def normalise_username(username: str) -> str:
    """Return `username` as Django's form would normalise it: trimmed and NFKC."""
    return unicodedata.normalize("NFKC", username.strip())


async def find_account(database: Database, username: str) -> Account | None:
    """Return the account of `username`, compared case-sensitively as Django does."""
    if "\0" in username or len(username) > 150:
        return None
    row = await database.fetchrow(
        "select id, username, password, is_active from auth_user where username = $1", username
    )
    return Account(*row) if row else None


async def find_password_kinds(database: Database, parameters: Mapping[str, Collection[int]]) -> list[str]:
    """Return the kinds of hash that the users' passwords have: an algorithm, and its parameters joined by `$`.

    `parameters` has the algorithms, each with the positions of its parameters among what follows its name.

    Reads the whole table: about a millisecond for a thousand users.
    """
    kinds = " ".join(
        f"when '{algorithm}' then '{algorithm}'"
        + "".join(f" || '$' || split_part(password, '$', {position + 1})" for position in positions)
        for algorithm, positions in parameters.items()
    )
    rows = await database.fetch(
        f"select kind from (select distinct case split_part(password, '$', 1) {kinds} end kind from auth_user) kinds"
        " where kind is not null"
    )
    return [row["kind"] for row in rows]


async def is_platform_owned(database: Queries) -> bool:
    """Whether a Django site has made the tables."""
    return await database.fetchval("select to_regclass('django_migrations')") is not None


async def refuse_platform(database: Queries) -> None:
    """Raise PlatformOwned if the tables belong to a Django site."""
    if await is_platform_owned(database):
        raise PlatformOwned("the users and courses of this database belong to a Django site: change them there")


async def add_user(
    database: Database,
    username: str,
    password: str,
    *,
    first_name: str = "",
    last_name: str = "",
    is_superuser: bool = False,
) -> int:
    """Add a user with an already hashed `password` and return the id. Raises RecordExists, NameRefused."""
    require_name(first_name)
    require_name(last_name)
    try:
        user_id: int = await database.fetchval(
            "insert into auth_user (username, password, first_name, last_name, email,"
            " is_superuser, is_staff, is_active, date_joined)"
            " values ($1, $2, $3, $4, '', $5, $5, true, now()) returning id",
            username,
            password,
            first_name,
            last_name,
            is_superuser,
        )
    except asyncpg.UniqueViolationError:
        raise RecordExists(f"the user {username} exists already") from None
    return user_id


async def set_password(database: Database, username: str, password: str) -> None:
    """Store an already hashed `password`, which ends the user's sessions. Raises RecordMissing."""
    await _change(database, username, "update auth_user set password = $2 where username = $1 returning id", password)


async def deactivate(database: Database, username: str) -> None:
    """Deactivate a user and close their connections in every process. Raises RecordMissing."""
    await _change(database, username, "update auth_user set is_active = false where username = $1 returning id")


async def reactivate(database: Database, username: str) -> None:
    """Let a deactivated user sign in again. Raises RecordMissing."""
    await _change(database, username, "update auth_user set is_active = true where username = $1 returning id")


async def rename(database: Database, username: str, first_name: str, last_name: str) -> None:
    """Give a user another name, which they have in messages from now on. Raises RecordMissing, NameRefused."""
    require_name(first_name)
    require_name(last_name)
    await _change(
        database,
        username,
        "update auth_user set first_name = $2, last_name = $3 where username = $1 returning id",
        first_name,
        last_name,
    )


async def _change(database: Database, username: str, sql: str, *arguments: str) -> None:
    user_id = await database.fetchval(sql, username, *arguments)
    if user_id is None:
        raise RecordMissing(f"there is no user {username}")
    await notify(database, "user", str(user_id))

"""The users: the learning platform's table `auth_user`. Only a stand-alone chat may write to it."""

import secrets
import unicodedata
from collections.abc import Collection, Mapping
from typing import NamedTuple

import asyncpg

from educa_chat.errors import EmailTaken, LastAdministrator, PlatformOwned, RecordExists, RecordMissing
from educa_chat.storage.access_changes import notify
from educa_chat.storage.admin_log import record
from educa_chat.storage.names import USERNAME_CHARACTERS, require_email, require_name
from educa_chat.storage.pool import Database, Queries

DISPLAY_NAME = "coalesce(nullif(trim(u.first_name || ' ' || u.last_name), ''), u.username)"
"""The full name of the row `u` of auth_user, or the username if there is none."""
_ADMINISTRATORS = "select id from auth_user where is_superuser and is_active order by id"


class Account(NamedTuple):
    """The columns of a row of `auth_user` that signing in needs."""

    user_id: int
    username: str
    password: str
    is_active: bool


def normalise_username(username: str) -> str:
    """Return `username` as Django's form would normalise it: trimmed and NFKC."""
    return unicodedata.normalize("NFKC", username.strip())


def make_unusable_password() -> str:
    """Return the value that Django stores for a user without a password: unique, and no password matches it."""
    return f"!{secrets.token_urlsafe(30)}"


async def find_account(database: Database, username: str) -> Account | None:
    """Return the account of `username`, or else the only one whose username differs from it in case.

    Reads the whole table: about a millisecond for a thousand users.
    """
    if "\0" in username or len(username) > USERNAME_CHARACTERS:
        return None
    rows = await database.fetch(
        "select id, username, password, is_active from auth_user where lower(username) = lower($1)"
        " order by username = $1 desc limit 2",
        username,
    )
    is_clear = len(rows) == 1 or (rows and rows[0]["username"] == username)
    return Account(*rows[0]) if is_clear else None


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
    email: str = "",
    is_superuser: bool = False,
    by: int | None = None,
) -> int:
    """Add a user with an already hashed `password` and return the id.

    Raises RecordExists, NameRefused, EmailRefused, and EmailTaken.
    """
    require_name(first_name)
    require_name(last_name)
    require_email(email)
    try:
        async with database.connection() as connection, connection.transaction():
            await require_free_email(connection, email)
            user_id: int = await connection.fetchval(
                "insert into auth_user (username, password, first_name, last_name, email,"
                " is_superuser, is_staff, is_active, date_joined)"
                " values ($1, $2, $3, $4, $5, $6, $6, true, now()) returning id",
                username,
                password,
                first_name,
                last_name,
                email,
                is_superuser,
            )
            await record(connection, by, "user.added", user_id=user_id)
    except asyncpg.UniqueViolationError:
        raise RecordExists(f"the user {username} already exists") from None
    return user_id


async def require_free_email(connection: Queries, email: str, user_id: int | None = None) -> None:
    """Raise EmailTaken if a user other than `user_id` has the address `email`, which may be empty."""
    if email and await connection.fetchval(
        "select exists (select from auth_user where lower(email) = lower($1) and id is distinct from $2::integer)",
        email,
        user_id,
    ):
        raise EmailTaken(f"another user has the address {email}")


async def set_password(database: Database, username: str, password: str, *, by: int | None = None) -> None:
    """Store an already hashed `password`, which ends the user's sessions. Raises RecordMissing."""
    await _change(database, by, "user.password_set", username, "password = $2", password)


async def deactivate(database: Database, username: str, *, by: int | None = None) -> None:
    """Deactivate a user and close their connections in every process. Raises RecordMissing, LastAdministrator."""
    await _change(database, by, "user.deactivated", username, "is_active = false", may_end_rights=True)


async def reactivate(database: Database, username: str, *, by: int | None = None) -> None:
    """Let a deactivated user sign in again. Raises RecordMissing."""
    await _change(database, by, "user.reactivated", username, "is_active = true")


async def promote(database: Database, username: str, *, by: int | None = None) -> None:
    """Make a user an administrator, who also teaches every course. Raises RecordMissing."""
    await _change(database, by, "user.promoted", username, "is_superuser = true, is_staff = true")


async def demote(database: Database, username: str, *, by: int | None = None) -> None:
    """Make an administrator an ordinary user. Raises RecordMissing, LastAdministrator."""
    await _change(database, by, "user.demoted", username, "is_superuser = false, is_staff = false", may_end_rights=True)


async def rename(database: Database, username: str, first_name: str, last_name: str, *, by: int | None = None) -> None:
    """Give a user another name, which they have in messages from now on. Raises RecordMissing, NameRefused."""
    require_name(first_name)
    require_name(last_name)
    await _change(database, by, "user.renamed", username, "first_name = $2, last_name = $3", first_name, last_name)


async def find_user_id(database: Database, username: str) -> int:
    """Return the id of a user, whose `username` may differ in case if only one does. Raises RecordMissing."""
    account = await find_account(database, username)
    if account is None:
        raise RecordMissing(f"there is no user {username}")
    return account.user_id


class Profile(NamedTuple):
    """The part of their account that users can see and change."""

    username: str
    first_name: str
    last_name: str
    email: str
    language: str
    """The language of the pages; empty: the browser chooses."""
    has_password: bool
    """Whether the user has a password. Users who sign in elsewhere, or who have never used their link, don't."""


async def read_profile(database: Database, user_id: int) -> Profile:
    """Return the profile of a user. Raises RecordMissing."""
    row = await database.fetchrow(
        "select u.username, u.first_name, u.last_name, u.email, coalesce(p.language, ''),"
        " u.password <> '' and not starts_with(u.password, '!')"
        " from auth_user u left join educa_chat.profile p on p.user_id = u.id where u.id = $1",
        user_id,
    )
    if row is None:
        raise RecordMissing(f"there is no user with the id {user_id}")
    return Profile(*row)


async def change_profile(database: Database, user_id: int, first_name: str, last_name: str, language: str) -> None:
    """Give a user another name and language. Their pages and later messages have it at once. Raises NameRefused."""
    require_name(first_name)
    require_name(last_name)
    async with database.connection() as connection, connection.transaction():
        await connection.execute(
            "update auth_user set first_name = $2, last_name = $3 where id = $1", user_id, first_name, last_name
        )
        await connection.execute(
            "insert into educa_chat.profile (user_id, language) values ($1, $2)"
            " on conflict (user_id) do update set language = excluded.language",
            user_id,
            language,
        )
    await notify(database, "user", str(user_id))


async def _change(
    database: Database,
    by: int | None,
    action: str,
    username: str,
    assignments: str,
    *arguments: str,
    may_end_rights: bool = False,
) -> None:
    """Change a user, record that the user `by` made the change (None: the command line), and notify every process.

    Raises RecordMissing, and LastAdministrator if there would be no administrator left.
    """
    user_id = await find_user_id(database, username)
    async with database.connection() as connection, connection.transaction():
        # Of two administrators who take each other's rights at the same time, the second waits here.
        had_administrators = may_end_rights and await connection.fetch(f"{_ADMINISTRATORS} for update")
        await connection.execute(f"update auth_user set {assignments} where id = $1", user_id, *arguments)
        if had_administrators and not await connection.fetch(_ADMINISTRATORS):
            raise LastAdministrator(f"{username} is the only active administrator: make somebody else one first")
        await record(connection, by, action, user_id=user_id)
        await notify(connection, "user", str(user_id))

"""People who sign in elsewhere: at a learning platform, or at an OpenID Connect issuer.

They are identified by the issuer and their id there (`sub`), and never by an e-mail address, which may be another
person's tomorrow.
"""

import re
import secrets
import unicodedata
from itertools import count
from typing import NamedTuple

from educa_chat.storage.accounts import make_unusable_password
from educa_chat.storage.names import NAME_CHARACTERS
from educa_chat.storage.pool import Connection, Database

_LOCK = 0x45585450


class ExternalPerson(NamedTuple):
    """The identity of a person elsewhere. The names may be empty."""

    issuer: str
    """Identifies the issuer here: the URL of an OpenID Connect issuer, or `lti:PLATFORM`."""
    subject: str
    first_name: str = ""
    last_name: str = ""


class FoundPerson(NamedTuple):
    """A user."""

    user_id: int
    username: str
    is_active: bool


async def find_person(database: Database, issuer: str, subject: str) -> int | None:
    """Return the id of the user whom `issuer` calls `subject`; None if they have never signed in."""
    user_id: int | None = await database.fetchval(
        "select user_id from educa_chat.external_person where issuer = $1 and subject = $2", issuer, subject
    )
    return user_id


async def find_or_add_person(
    database: Database, person: ExternalPerson, *, username: str = "", email: str = ""
) -> FoundPerson:
    """Return the user for `person`, with their current names. Adds the user if there is none.

    A new user's name is made from `username`, or else from their names, with a number if it is taken. Names that are
    empty change nothing. If exactly one user has the address `email`, the person is this user, unless they have
    signed in through the issuer before. The issuer must have verified the address, and be trusted for its domain.
    """
    first_name, last_name = tidy_name(person.first_name), tidy_name(person.last_name)
    async with database.connection() as connection, connection.transaction():
        # Two simultaneous launches by one person must not create two users.
        await connection.execute(
            "select pg_advisory_xact_lock($1, hashtext($2))", _LOCK, f"{person.issuer} {person.subject}"
        )
        row = await connection.fetchrow(
            "select u.id, u.username, u.is_active, u.first_name, u.last_name from educa_chat.external_person p"
            " join auth_user u on u.id = p.user_id where p.issuer = $1 and p.subject = $2",
            person.issuer,
            person.subject,
        )
        if row is not None:
            if (first_name or last_name) and (row["first_name"], row["last_name"]) != (first_name, last_name):
                await connection.execute(
                    "update auth_user set first_name = $2, last_name = $3 where id = $1",
                    row["id"],
                    first_name,
                    last_name,
                )
            return FoundPerson(row["id"], row["username"], row["is_active"])
        found = await _find_by_email(connection, person.issuer, email) or await _add_user(
            connection, username or f"{first_name}.{last_name}", first_name, last_name
        )
        await connection.execute(
            "insert into educa_chat.external_person (issuer, subject, user_id) values ($1, $2, $3)"
            # The user may have been deleted.
            " on conflict (issuer, subject) do update set user_id = excluded.user_id",
            person.issuer,
            person.subject,
            found.user_id,
        )
        return found


async def _find_by_email(connection: Connection, issuer: str, email: str) -> FoundPerson | None:
    """Return the only user with the address `email`, unless `issuer` has named them before."""
    rows = email and await connection.fetch(
        "select u.id, u.username, u.is_active,"
        " exists (select from educa_chat.external_person p where p.user_id = u.id and p.issuer = $1)"
        " from auth_user u where lower(u.email) = lower($2)",
        issuer,
        email,
    )
    if not rows or len(rows) > 1:
        return None
    user_id, username, is_active, is_known = rows[0]
    return None if is_known else FoundPerson(user_id, username, is_active)


async def _add_user(connection: Connection, username: str, first_name: str, last_name: str) -> FoundPerson:
    base = _username(username)
    for number in count(1):
        # Without a name, a counter would reveal the number of users, and finding a free number would take long.
        suffix = secrets.token_hex(3) if number > 20 or not base else str(number) if number > 1 else ""
        name = f"{base or 'member-'}{suffix}"
        user_id: int | None = await connection.fetchval(
            "insert into auth_user (username, password, first_name, last_name, email,"
            " is_superuser, is_staff, is_active, date_joined)"
            " select $1::text, $2, $3, $4, '', false, false, true, now()"
            # Names that differ only in case would be confusing.
            " where not exists (select from auth_user where lower(username) = lower($1::text))"
            " on conflict (username) do nothing returning id",
            name,
            make_unusable_password(),
            first_name,
            last_name,
        )
        if user_id is not None:
            return FoundPerson(user_id, name, is_active=True)
    raise AssertionError


def _username(text: str) -> str:
    """Return a username like `text`: lower-case ASCII letters and digits, with full stops in between."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", ".", ascii_text).strip(".")[:100].strip(".")


def tidy_name(name: str) -> str:
    """Return `name` as an acceptable name: not too long, and without characters that are invisible or reorder text."""
    visible = "".join(
        character
        for character in unicodedata.normalize("NFC", name)
        if unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp") or character in "\u200c\u200d"
    )
    return " ".join(visible.split(" ")).strip()[:NAME_CHARACTERS].strip()

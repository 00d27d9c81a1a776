"""Who somebody is: by our own sessions, or by those of a Django site, and never by both."""

import asyncio
import hmac
from collections.abc import Collection
from typing import Protocol

from educa_chat import django
from educa_chat.passwords import PasswordVerifier
from educa_chat.storage import sessions
from educa_chat.storage.accounts import find_account, find_password_kinds, normalise_username
from educa_chat.storage.pool import Database
from educa_chat.storage.sessions import Visitor


class Identity(Protocol):
    """Says who a session belongs to. Every method raises DatabaseUnavailable when that can't be told."""

    async def visitors(self, session_ids: Collection[str]) -> list[Visitor]:
        """Who is signed in now by which of `session_ids`; the others have ended, or never were."""

    async def sign_out(self, visitor: Visitor) -> None:
        """End the session that `visitor` came with, in every process."""


class OwnIdentity:
    """The identity of a stand-alone chat: a form of its own, and sessions as rows."""

    def __init__(self, database: Database, verifier: PasswordVerifier, days: int) -> None:
        self._database = database
        self._verifier = verifier
        self._days = days
        self._counting_kinds = asyncio.Lock()
        """Held by one sign-in at a time: it reads the whole table, and a burst would leave Postgres to nobody else."""

    async def visitors(self, session_ids: Collection[str]) -> list[Visitor]:
        return await sessions.find_visitors(self._database, session_ids)

    async def authenticate(self, username: str, password: str) -> int | None:
        """Return the id of the user whose username and password these are, if there is one.

        Does the same work whatever is wrong: the name, the password, or the account. The empty password is always
        wrong, even if an account has one. Raises SignInBusy.
        """
        account = await find_account(self._database, normalise_username(username))
        async with self._counting_kinds:
            kinds = await find_password_kinds(self._database)
        is_right = await self._verifier.verify(password, account.password if account else "", kinds)
        return account.user_id if account and account.is_active and is_right and password else None

    async def start_session(self, user_id: int) -> str:
        """Begin a session and return its id."""
        return await sessions.start_session(self._database, user_id, self._days)

    async def sign_out(self, visitor: Visitor) -> None:
        await sessions.end_session(self._database, visitor)


class DjangoIdentity:
    """The identity of a Django site on the same database, which alone signs people in."""

    def __init__(self, database: Database, secret_keys: Collection[str], backends: Collection[str]) -> None:
        self._database = database
        self._secret_keys = secret_keys
        self._backends = backends

    async def visitors(self, session_ids: Collection[str]) -> list[Visitor]:
        rows = await sessions.find_django_sessions(
            self._database, [session_id for session_id in session_ids if django.is_session_key(session_id)]
        )
        claims = [(row.session_id, claim) for row in rows if (claim := self._claim(row.data)) is not None]
        users = await sessions.find_django_users(self._database, {user_id for _, (user_id, _) in claims})
        return [
            Visitor(user.user_id, user.username, user.name, session_id)
            for session_id, (user_id, password_hash) in claims
            if (user := users.get(user_id)) is not None and self._is_hash_of(password_hash, user.password)
        ]

    async def sign_out(self, visitor: Visitor) -> None:
        await sessions.end_django_session(self._database, visitor)

    def _claim(self, data: str) -> tuple[int, str] | None:
        """Whose session it says it is, and the hash of the password that it was begun with."""
        session: dict[str, object] = {}
        for key in self._secret_keys:
            if session := django.decode_session(data, key):
                break
        user_id, password_hash = session.get(django.USER_ID), session.get(django.USER_HASH)
        if (
            session.get(django.USER_BACKEND) not in self._backends
            or not isinstance(user_id, str)
            or not isinstance(password_hash, str)
            or not (user_id.isascii() and user_id.isdecimal() and len(user_id) <= 10)
            or int(user_id) >= 2**31
        ):
            return None
        return int(user_id), password_hash

    def _is_hash_of(self, password_hash: str, password: str) -> bool:
        return any(
            hmac.compare_digest(
                password_hash.encode(errors="replace"), django.session_auth_hash(password, key).encode()
            )
            for key in self._secret_keys
        )

"""Who somebody is: by our own sessions, or by those of a Django site, and never by both."""

import hmac
from collections.abc import Collection
from typing import Protocol

from educa_chat import django
from educa_chat.passwords import PasswordVerifier
from educa_chat.storage import sessions
from educa_chat.storage.accounts import any_password, find_account, normalise_username
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

    async def visitors(self, session_ids: Collection[str]) -> list[Visitor]:
        return await sessions.find_visitors(self._database, session_ids)

    async def sign_in(self, username: str, password: str) -> str | None:
        """Begin a session and return its id; None when the username and password are nobody's.

        Takes as long for an unknown user as for a wrong password. Raises SignInBusy.
        """
        account = await find_account(self._database, normalise_username(username))
        usable = account is not None and account.is_active and "$" in account.password
        stored = account.password if account and usable else await any_password(self._database)
        verified = stored is not None and await self._verifier.verify(password, stored)
        if account is None or not usable or not verified:
            return None
        return await sessions.start_session(self._database, account.user_id, self._days)

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

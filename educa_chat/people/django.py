"""The identity of a Django site on the same database, whose sessions are read without Django.

The formats are those of django.core.signing, django.contrib.sessions and django.contrib.auth.
"""

import hashlib
import hmac
import json
import re
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import msgspec
from aiohttp import web

from educa_chat.handlers.access import page_visitor
from educa_chat.handlers.rendering import ACCOUNT_PATH, render
from educa_chat.settings import Settings
from educa_chat.storage.access_changes import notify
from educa_chat.storage.accounts import DISPLAY_NAME
from educa_chat.storage.pool import Database
from educa_chat.storage.sessions import Visitor

USER_ID = "_auth_user_id"
"""In a session: the user's id, as a string."""

USER_BACKEND = "_auth_user_backend"
"""In a session: which of the site's backends signed the user in."""

USER_HASH = "_auth_user_hash"
"""In a session: the `session_auth_hash` of the user's password at that time."""

SESSION_BYTES = 2**20
"""The maximum size of a decompressed session."""

_SESSION_SALT = "django.contrib.sessions.SessionStore"
_AUTH_SALT = "django.contrib.auth.models.AbstractBaseUser.get_session_auth_hash"


class DjangoIdentity:
    """The sessions of the site. Only the site signs users in."""

    _database: Database

    def __init__(self, settings: Settings) -> None:
        auth = settings.auth
        self._secret_keys = (auth.django_secret_key, *auth.django_secret_key_fallbacks)
        self._backends = auth.django_backends
        self._cookie = auth.django_session_cookie
        self._account_url = auth.account_url
        self._is_secure = settings.session.secure

    def set_up(self, app: web.Application) -> None:
        """Add only a page that leads to the site, which has the form, sets the cookie and changes accounts."""
        app.router.add_get(ACCOUNT_PATH, self._show_account_page)

    async def _show_account_page(self, request: web.Request) -> web.Response:
        await page_visitor(request)
        return await render(request, "account_elsewhere.html", account_url=self._account_url)

    @asynccontextmanager
    async def connect(self, database: Database) -> AsyncIterator[None]:
        self._database = database
        yield

    async def read_session_id(self, request: web.Request) -> str | None:
        return request.cookies.get(self._cookie)

    async def visitors(self, session_ids: Collection[str]) -> list[Visitor]:
        rows = await _find_sessions(
            self._database, [session_id for session_id in session_ids if is_session_key(session_id)]
        )
        claims = [(row.session_id, claim) for row in rows if (claim := self._claim(row.data)) is not None]
        users = await _find_users(self._database, {user_id for _, (user_id, _) in claims})
        return [
            Visitor(user.user_id, user.username, user.name, session_id)
            for session_id, (user_id, password_hash) in claims
            if (user := users.get(user_id)) is not None and self._is_hash_of(password_hash, user.password)
        ]

    async def sign_out_elsewhere(self, request: web.Request, visitor: Visitor) -> None:
        """The site has no other place to sign out of."""

    async def sign_out(self, visitor: Visitor) -> None:
        await _end_session(self._database, visitor)

    async def forget(self, request: web.Request, response: web.Response) -> None:
        # Django keeps the key of a session if its user signs in again, but we have ended this key.
        response.del_cookie(self._cookie, secure=self._is_secure)

    def _claim(self, data: str) -> tuple[int, str] | None:
        """Return the user id in the session, and the hash of the password at its start."""
        session: dict[str, object] = {}
        for key in self._secret_keys:
            if session := decode_session(data, key):
                break
        user_id, password_hash = session.get(USER_ID), session.get(USER_HASH)
        if (
            session.get(USER_BACKEND) not in self._backends
            or not isinstance(user_id, str)
            or not isinstance(password_hash, str)
            or not (user_id.isascii() and user_id.isdecimal() and len(user_id) <= 10)
            or int(user_id) >= 2**31
        ):
            return None
        return int(user_id), password_hash

    def _is_hash_of(self, password_hash: str, password: str) -> bool:
        return any(
            hmac.compare_digest(password_hash.encode(errors="replace"), session_auth_hash(password, key).encode())
            for key in self._secret_keys
        )


class _Session(msgspec.Struct, frozen=True):
    """A row of `django_session` that has not expired and that we have not ended."""

    session_id: str
    data: str


class _User(msgspec.Struct, frozen=True):
    """An active user, with the password field that the session's hash is made over."""

    user_id: int
    username: str
    name: str
    password: str


async def _find_sessions(database: Database, session_ids: Collection[str]) -> list[_Session]:
    """Return the sessions of the site among `session_ids`."""
    rows = await database.fetch(
        "select s.session_key, s.session_data from django_session s"
        " where s.session_key = any ($1::text[]) and s.expire_date > now() and not exists ("
        "  select from educa_chat.ended_session e where e.digest = sha256(convert_to(s.session_key, 'utf8')))",
        list(session_ids),
    )
    return [_Session(*row) for row in rows]


async def _find_users(database: Database, user_ids: Collection[int]) -> dict[int, _User]:
    """Return the active users among `user_ids`. Never cached: signing in on the site may change the password field."""
    rows = await database.fetch(
        f"select u.id, u.username, {DISPLAY_NAME}, u.password from auth_user u"
        " where u.id = any ($1::integer[]) and u.is_active",
        list(user_ids),
    )
    return {row["id"]: _User(*row) for row in rows}


async def _end_session(database: Database, visitor: Visitor) -> None:
    """Record that a session of the site has ended, until it would have expired, and notify every process."""
    await database.execute("delete from educa_chat.ended_session where expires_at < now()")
    await database.execute(
        "insert into educa_chat.ended_session (digest, expires_at)"
        " select sha256(convert_to(session_key, 'utf8')), expire_date from django_session where session_key = $1"
        " on conflict (digest) do update set expires_at = excluded.expires_at",
        visitor.session_id,
    )
    await notify(database, "user", str(visitor.user_id))


def is_session_key(value: str) -> bool:
    """Whether Django could have made this session key: 32 characters of a–z and 0–9.

    Django looks up any cookie of 8 characters or more. But it makes no others, and the database refuses some.
    """
    return re.fullmatch("[a-z0-9]{32}", value) is not None


def decode_session(session_data: str, secret_key: str) -> dict[str, object]:
    """Read `django_session.session_data`, signed with `secret_key`.

    Never raises for any data. The session is empty, and so anonymous, when the signature is not that key's or
    the content can't be read, as with Django; here also when it decompresses to more than SESSION_BYTES.
    """
    if not session_data.isascii():
        return {}
    signed, _, signature = session_data.rpartition(":")
    expected = urlsafe_b64encode(_hmac(f"{_SESSION_SALT}signer", secret_key, signed).digest()).rstrip(b"=")
    if not hmac.compare_digest(signature.encode(), expected):
        return {}
    payload, _, _ = signed.rpartition(":")  # The time of signing doesn't matter.
    try:
        session = json.loads(_content(payload))
    except (ValueError, RecursionError, zlib.error):
        return {}
    return session if isinstance(session, dict) else {}


def session_auth_hash(password_field: str, secret_key: str) -> str:
    """Return the USER_HASH of a session of a user with this `password_field` in `auth_user.password`.

    Compare it in constant time. A session with another hash ended when the password changed.
    """
    return _hmac(_AUTH_SALT, secret_key, password_field).hexdigest()


def _hmac(salt: str, secret_key: str, message: str) -> hmac.HMAC:
    key = hashlib.sha256((salt + secret_key).encode()).digest()
    return hmac.new(key, message.encode(), "sha256")


def _content(payload: str) -> str:
    """Unpack a payload. Raises ValueError or zlib.error."""
    encoded = payload.removeprefix(".")
    content = urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    if payload.startswith("."):
        stream = zlib.decompressobj()
        content = stream.decompress(content, SESSION_BYTES)
        if not stream.eof:
            raise ValueError(f"the content is cut off, or has more than {SESSION_BYTES} bytes")
    return content.decode("latin-1")

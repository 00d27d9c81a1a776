"""Sign-in for a stand-alone chat: a form for usernames and passwords, and sessions in its own table."""

import asyncio
import math
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

import aiohttp_session
from aiohttp import web
from aiohttp_session.cookie_storage import EncryptedCookieStorage
from cryptography.fernet import Fernet, MultiFernet

from educa_chat.errors import SignInBusy
from educa_chat.handlers.access import find_visitor, is_site_path
from educa_chat.handlers.csrf import is_own_form, posted_form
from educa_chat.handlers.rendering import COURSES_PATH, PLATFORM_COURSES_PATH, redirect, render
from educa_chat.people.devices import Devices
from educa_chat.people.passwords import PARAMETERS, PasswordVerifier, open_password_verifier
from educa_chat.people.sign_in_limits import SignInLimits, wait_s
from educa_chat.settings import Settings
from educa_chat.storage import sessions
from educa_chat.storage.accounts import find_account, find_password_kinds, normalise_username
from educa_chat.storage.pool import Database
from educa_chat.storage.sessions import Visitor

SESSION_COOKIE = "educa_chat_session"
SESSION_KEY = "id"
"""The only key in the session cookie."""
SIGN_IN_PATH = "/chat/sign-in/"
PLATFORM_SIGN_IN_PATH = "/accounts/login/"
BUSY_RETRY_AFTER_S = 5


class OwnIdentity:
    """Signs users in by the passwords in `auth_user`."""

    _database: Database
    _verifier: PasswordVerifier

    def __init__(self, settings: Settings) -> None:
        self._session = settings.session
        self._devices = Devices(settings.session.derived_keys("device"), is_secure=settings.session.secure)
        self._limits = SignInLimits(settings.limits.sign_in_failures_per_minute)
        self._counting_kinds = asyncio.Lock()
        """Held by one sign-in at a time, because it reads the whole table, and a burst would overload Postgres."""

    def set_up(self, app: web.Application) -> None:
        for path in (SIGN_IN_PATH, PLATFORM_SIGN_IN_PATH):
            app.router.add_get(path, self._show_form)
            app.router.add_post(path, self._sign_in)
        aiohttp_session.setup(
            app,
            EncryptedCookieStorage(
                _RotatedFernet(self._session.keys),
                cookie_name=SESSION_COOKIE,
                max_age=self._session.days * 86400,
                httponly=True,
                samesite="Lax",
                secure=self._session.secure,
            ),
        )

    @asynccontextmanager
    async def connect(self, database: Database) -> AsyncIterator[None]:
        self._database = database
        async with open_password_verifier() as self._verifier:
            yield

    async def read_session_id(self, request: web.Request) -> str | None:
        session_id = (await aiohttp_session.get_session(request)).get(SESSION_KEY)
        return session_id if isinstance(session_id, str) else None

    async def visitors(self, session_ids: Collection[str]) -> list[Visitor]:
        return await sessions.find_visitors(self._database, session_ids)

    async def authenticate(self, username: str, password: str) -> int | None:
        """Return the id of the user with this username and password, or None.

        Does the same work whatever is wrong: the name, the password, or the account. The empty password is always
        wrong, even if an account has one. Raises SignInBusy.
        """
        account = await find_account(self._database, normalise_username(username))
        async with self._counting_kinds:
            kinds = await find_password_kinds(self._database, PARAMETERS)
        is_right = await self._verifier.verify(password, account.password if account else "", kinds)
        return account.user_id if account and account.is_active and is_right and password else None

    async def start_session(self, user_id: int) -> str:
        """Start a session and return its id."""
        return await sessions.start_session(self._database, user_id, self._session.days)

    async def sign_out(self, visitor: Visitor) -> None:
        await sessions.end_session(self._database, visitor)

    async def forget(self, request: web.Request, response: web.Response) -> None:
        (await aiohttp_session.get_session(request)).invalidate()

    async def _show_form(self, request: web.Request) -> web.Response:
        return await _form(request, next_path=request.query.get("next", ""))

    async def _sign_in(self, request: web.Request) -> web.Response:
        """Start a new session if the credentials are right. All wrong ones get the same answer."""
        form = await posted_form(request)
        next_path, username, password = (form.get(name, "") for name in ("next", "username", "password"))
        if not await is_own_form(request):
            return await _form(request, next_path, username, failure="form_expired", status=403)
        account = normalise_username(username)[:150]
        failures = self._limits.failures(account, request.remote, self._devices.known(request, account))
        successes = self._limits.successes(account, request.remote)
        if wait := wait_s([*failures, *successes]):
            return await _too_many(request, next_path, username, "too_many", math.ceil(wait))
        # Count before the password is checked, so that simultaneous attempts are all counted.
        for limit, key in failures:
            limit.count(key)
        is_failure = False
        try:
            user_id = await self.authenticate(username, password)
            is_failure = user_id is None
        except SignInBusy:
            return await _too_many(request, next_path, username, "busy", BUSY_RETRY_AFTER_S)
        finally:
            if not is_failure:
                for limit, key in failures:
                    limit.forgive(key)
        if user_id is None:
            return await _form(request, next_path, username, failure="credentials")
        # Count successes only now, so that an attacker without the password can't lock the user out.
        if wait := wait_s(successes):
            return await _too_many(request, next_path, username, "too_many", math.ceil(wait))
        for limit, key in successes:
            limit.count(key)
        session_id = await self.start_session(user_id)
        if (visitor := await find_visitor(request)) is not None:
            await self.sign_out(visitor)
        session = await aiohttp_session.new_session(request)
        session[SESSION_KEY] = session_id
        courses_path = COURSES_PATH if request.path == SIGN_IN_PATH else PLATFORM_COURSES_PATH
        response = redirect(next_path if is_site_path(next_path) else courses_path)
        self._devices.remember(request, response, account)
        return response


async def _form(
    request: web.Request,
    next_path: str,
    username: str = "",
    *,
    failure: str | None = None,
    status: int = 200,
    retry_after_s: int = 0,
) -> web.Response:
    return await render(
        request,
        "sign_in.html",
        status=status,
        sign_in_path=request.path,
        next=next_path if is_site_path(next_path) else "",
        username=username[:150],
        failure=failure,
        retry_after_s=retry_after_s,
    )


async def _too_many(
    request: web.Request, next_path: str, username: str, failure: str, retry_after_s: int
) -> web.Response:
    response = await _form(request, next_path, username, failure=failure, status=429, retry_after_s=retry_after_s)
    response.headers["Retry-After"] = str(retry_after_s)
    return response


class _RotatedFernet(Fernet):
    """Encrypts with the first of its keys and decrypts what any of them has encrypted.

    MultiFernet does that too, but EncryptedCookieStorage requires a Fernet.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        super().__init__(keys[0])
        self._all = MultiFernet([Fernet(key) for key in keys])

    def decrypt(self, token: bytes | str, ttl: int | None = None) -> bytes:
        return self._all.decrypt(token, ttl)

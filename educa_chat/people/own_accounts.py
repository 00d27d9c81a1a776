"""The accounts and sessions of a stand-alone chat, as its pages use them."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import aiohttp_session
from aiohttp import web

from educa_chat.handlers import embedding
from educa_chat.handlers.access import find_visitor
from educa_chat.people.browsers import describe_browser
from educa_chat.people.devices import Devices
from educa_chat.people.passwords import PARAMETERS, PasswordVerifier, open_password_verifier
from educa_chat.people.sign_in_limits import SignInLimits
from educa_chat.settings import Settings
from educa_chat.storage import sessions
from educa_chat.storage.accounts import find_account, find_password_kinds, normalise_username
from educa_chat.storage.names import USERNAME_CHARACTERS
from educa_chat.storage.pool import Database
from educa_chat.storage.sessions import Visitor

SESSION_KEY = "id"
"""The only key in the session cookie."""
SIGN_IN_PATH = "/chat/sign-in/"
BUSY_RETRY_AFTER_S = 5


def account_key(username: str) -> str:
    """Return the key under which attempts to sign in as `username` are counted, in any case."""
    return normalise_username(username).lower()[:USERNAME_CHARACTERS]


class OwnAccounts:
    """Verifies the passwords in `auth_user`, and starts, reads and ends sessions. For use within `connect`."""

    database: Database
    passwords: PasswordVerifier

    def __init__(self, settings: Settings) -> None:
        self.devices = Devices(settings.session.derived_keys("device"), is_secure=settings.session.secure)
        self.limits = SignInLimits(settings.limits.sign_in_failures_per_minute)
        self._days = settings.session.days
        self._form_path = urlsplit(settings.auth.sign_in_url).path
        self._reading_the_table = asyncio.Lock()
        """Held by one sign-in at a time, because a burst would overload Postgres."""

    @asynccontextmanager
    async def connect(self, database: Database) -> AsyncIterator[None]:
        self.database = database
        async with open_password_verifier() as self.passwords:
            yield

    async def read_session_id(self, request: web.Request) -> str | None:
        if (embedded := embedding.embedded_session(request)) is not None:
            return embedded.session_id
        session_id = (await aiohttp_session.get_session(request)).get(SESSION_KEY)
        return session_id if isinstance(session_id, str) else None

    async def visitors(self, session_ids: Collection[str]) -> list[Visitor]:
        return await sessions.find_visitors(self.database, session_ids)

    async def authenticate(self, username: str, password: str) -> int | None:
        """Return the id of the user with this username and password, or None.

        Takes the same work whether the name, the password or the account is wrong. The empty password is always wrong,
        even if an account has one. Raises SignInBusy.
        """
        async with self._reading_the_table:
            account = await find_account(self.database, normalise_username(username))
            kinds = await find_password_kinds(self.database, PARAMETERS)
        is_right = await self.passwords.verify(password, account.password if account else "", kinds)
        return account.user_id if account and account.is_active and is_right and password else None

    async def start_session(self, user_id: int, user_agent: str = "") -> str:
        """Start a session in the browser with this `User-Agent`, and return its id."""
        return await sessions.start_session(self.database, user_id, self._days, *describe_browser(user_agent))

    async def sign_in(
        self, request: web.Request, response: web.Response, user_id: int, username: str, form_path: str = ""
    ) -> str:
        """Sign the user in to the browser instead of anybody else, and return the session id.

        The sign-in form will know the browser as theirs.

        `form_path` is the form's path if it isn't the usual one.
        """
        session_id = await self.start_session(user_id, request.headers.get("User-Agent", ""))
        if (visitor := await find_visitor(request)) is not None:
            await self.sign_out(visitor)
        session = await aiohttp_session.new_session(request)
        session[SESSION_KEY] = session_id
        if embedding.embedded_session(request) is not None:
            embedding.forget(response)
        self.devices.remember(request, response, account_key(username), form_path or self._form_path)
        return session_id

    async def sign_out(self, visitor: Visitor) -> None:
        await sessions.end_session(self.database, visitor)

    async def forget(self, request: web.Request, response: web.Response) -> None:
        if embedding.embedded_session(request) is not None:
            embedding.forget(response)
        (await aiohttp_session.get_session(request)).invalidate()

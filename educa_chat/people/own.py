"""Sign-in for a stand-alone chat: a form for usernames and passwords, and sessions in its own table."""

import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp_session
from aiohttp import web
from aiohttp_session.cookie_storage import EncryptedCookieStorage
from cryptography.fernet import Fernet, MultiFernet

from educa_chat.errors import SettingsInvalid, SignInBusy
from educa_chat.handlers.access import is_site_path
from educa_chat.handlers.csrf import is_own_form, keeps_cookies, posted_form
from educa_chat.handlers.keys import SETTINGS
from educa_chat.handlers.rendering import COURSES_PATH, PLATFORM_COURSES_PATH, redirect, render
from educa_chat.people import admin_pages, import_page
from educa_chat.people.account_page import AccountPage
from educa_chat.people.forgotten_page import PATH as FORGOTTEN_PATH
from educa_chat.people.forgotten_page import ForgottenPage
from educa_chat.people.link_page import LinkPage
from educa_chat.people.lti.lti import Lti
from educa_chat.people.mailer import open_mailer
from educa_chat.people.openid_pages import OpenIdPages, SignOutPage, issuer_buttons
from educa_chat.people.outbound import Outbound
from educa_chat.people.own_accounts import BUSY_RETRY_AFTER_S, SIGN_IN_PATH, OwnAccounts, account_key
from educa_chat.people.portal_pages import PortalPages
from educa_chat.people.sign_in_limits import wait_s
from educa_chat.settings import Settings
from educa_chat.storage.accounts import is_platform_owned
from educa_chat.storage.pool import Database
from educa_chat.storage.sessions import Visitor

SESSION_COOKIE = "educa_chat_session"
PLATFORM_SIGN_IN_PATH = "/accounts/login/"


class OwnIdentity(OwnAccounts):
    """Signs users in by the passwords in `auth_user`."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._settings = settings
        self._session = settings.session
        self._account_url = settings.auth.account_url
        self._has_sources = bool(settings.issuers or settings.portals)
        self._outbound = Outbound(settings.outbound.private_networks)
        self._openid = OpenIdPages(settings, self, self._outbound)
        self._portals = PortalPages(settings, self)
        self._lti = Lti(settings, self._outbound)

    def set_up(self, app: web.Application) -> None:
        for path in (SIGN_IN_PATH, PLATFORM_SIGN_IN_PATH):
            app.router.add_get(path, self._show_form)
            app.router.add_post(path, self._sign_in)
        LinkPage(self).set_up(app)
        if self._settings.email.is_set_up:
            ForgottenPage(self).set_up(app)
        AccountPage(self, self._account_url).set_up(app)
        self._openid.set_up(app)
        self._portals.set_up(app)
        admin_pages.set_up(app)
        import_page.set_up(app)
        self._lti.set_up(app)
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
        is_platform = await is_platform_owned(database)
        if self._settings.email.is_set_up and is_platform:
            raise SettingsInvalid(
                "email.host: the passwords of this database belong to a Django site, which resets them"
            )
        if self._has_sources and is_platform:
            # New people would have to be added to the site's users.
            raise SettingsInvalid(
                "issuers, portals: the users of this database belong to a Django site. Connect the site to the "
                "provider, and set auth.django_secret_key"
            )
        async with (
            self._outbound.open(),
            super().connect(database),
            self._lti.connect(database),
            open_mailer(self._settings, database),
        ):
            yield

    async def sign_out_elsewhere(self, request: web.Request, visitor: Visitor) -> SignOutPage | None:
        return await self._openid.sign_out_page(request, visitor)

    async def _show_form(self, request: web.Request) -> web.Response:
        return await _form(request, next_path=request.query.get("next", ""))

    async def _sign_in(self, request: web.Request) -> web.Response:
        """Start a new session if the credentials are right. All wrong ones get the same answer."""
        form = await posted_form(request)
        next_path, username, password = (form.get(name, "") for name in ("next", "username", "password"))
        if not await is_own_form(request):
            return await _form(
                request,
                next_path,
                username,
                failure="form_expired" if keeps_cookies(request) else "cookies",
                status=403,
            )
        account = account_key(username)
        failures = self.limits.failures(account, request.remote, self.devices.known(request, account))
        successes = self.limits.successes(account, request.remote)
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
        courses_path = COURSES_PATH if request.path == SIGN_IN_PATH else PLATFORM_COURSES_PATH
        response = redirect(next_path if is_site_path(next_path) else courses_path)
        await self.sign_in(request, response, user_id, username, form_path=request.path)
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
        forgotten_path=FORGOTTEN_PATH if request.app[SETTINGS].email.is_set_up else "",
        issuers=issuer_buttons(request, next_path if is_site_path(next_path) else ""),
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

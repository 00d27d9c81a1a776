"""The page of the user's own account: their name and language, their password and their sessions."""

import math
from collections.abc import Awaitable, Callable

from aiohttp import web

from educa_chat.errors import NameRefused, PasswordRefused, SignInBusy
from educa_chat.handlers.access import page_visitor
from educa_chat.handlers.changes import see_other
from educa_chat.handlers.csrf import is_own_form, posted_form
from educa_chat.handlers.rendering import ACCOUNT_PATH, render
from educa_chat.people.own_accounts import BUSY_RETRY_AFTER_S, OwnAccounts, account_key
from educa_chat.people.password_policy import PASSWORD_CHARACTERS
from educa_chat.people.sign_in_limits import wait_s
from educa_chat.storage import sessions
from educa_chat.storage.accounts import change_profile, is_platform_owned, read_profile
from educa_chat.storage.sessions import Visitor
from educa_chat.storage.sign_in_links import read_made_links
from educa_chat.translations import LANGUAGES

SHOWN_LINKS = 5
_Change = Callable[[web.Request, Visitor, dict[str, str]], Awaitable[str]]
"""Makes the change in the form. Returns the reason for a refusal, or an empty string."""


class AccountPage:
    """Shows and changes the account of the visitor. Each section of the page has a form of its own."""

    def __init__(self, accounts: OwnAccounts, platform_url: str) -> None:
        self._accounts = accounts
        self._platform_url = platform_url
        """The page of a Django site that owns the users, where they change their name and password."""

    def set_up(self, app: web.Application) -> None:
        app.router.add_get(ACCOUNT_PATH, self._show)
        changes: dict[str, _Change] = {
            "profile": self._change_profile,
            "password": self._change_password,
            "sessions": self._end_sessions,
        }
        for section, change in changes.items():
            app.router.add_post(f"{ACCOUNT_PATH}{section}/", self._handler(section, change))

    def _handler(self, section: str, change: _Change) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            visitor = await page_visitor(request)
            form = await posted_form(request)
            if section != "sessions" and await is_platform_owned(self._accounts.database):
                raise web.HTTPForbidden
            failure = await change(request, visitor, form) if await is_own_form(request) else "form_expired"
            if failure:
                return await self._page(request, visitor, section, failure, form)
            # So that reloading the page posts nothing again.
            location = f"{ACCOUNT_PATH}?saved={section}#{section}"
            return see_other(location)

        return handle

    async def _show(self, request: web.Request) -> web.Response:
        return await self._page(request, await page_visitor(request))

    async def _change_profile(self, _: web.Request, visitor: Visitor, form: dict[str, str]) -> str:
        first_name, last_name = form.get("first_name", "").strip(), form.get("last_name", "").strip()
        language = form.get("language", "")
        if language not in ("", *LANGUAGES):
            raise web.HTTPBadRequest
        try:
            await change_profile(self._accounts.database, visitor.user_id, first_name, last_name, language)
        except NameRefused:
            return "name"
        return ""

    async def _change_password(self, request: web.Request, visitor: Visitor, form: dict[str, str]) -> str:
        account = account_key(visitor.username)
        failures = self._accounts.limits.failures(
            account, request.remote, self._accounts.devices.known(request, account)
        )
        if wait_s(failures):
            return "too_many"
        for limit, key in failures:
            limit.count(key)
        is_failure = False
        try:
            is_failure = await self._accounts.authenticate(visitor.username, form.get("old", "")) != visitor.user_id
            if is_failure:
                return "old_password"
            stored = await self._accounts.passwords.make(
                form.get("password", ""), visitor.username, *visitor.name.split()
            )
        except PasswordRefused as refusal:
            return refusal.reason
        except SignInBusy:
            return "busy"
        finally:
            if not is_failure:
                for limit, key in failures:
                    limit.forgive(key)
        await sessions.change_password(self._accounts.database, visitor, stored)
        return ""

    async def _end_sessions(self, _: web.Request, visitor: Visitor, form: dict[str, str]) -> str:
        if "all" in form:
            await sessions.end_other_sessions(self._accounts.database, visitor)
        else:
            await sessions.end_session_by_digest(self._accounts.database, visitor.user_id, form.get("end", ""))
        return ""

    async def _page(
        self,
        request: web.Request,
        visitor: Visitor,
        section: str = "",
        failure: str = "",
        form: dict[str, str] | None = None,
    ) -> web.Response:
        """Return the page. `failure` says why the form of `section`, filled in as `form`, was refused."""
        profile = await read_profile(self._accounts.database, visitor.user_id)
        shown = form if form is not None and section == "profile" else profile._asdict()
        wait = BUSY_RETRY_AFTER_S if failure == "busy" else 0
        if failure == "too_many":
            account = account_key(visitor.username)
            device = self._accounts.devices.known(request, account)
            wait = math.ceil(wait_s(self._accounts.limits.failures(account, request.remote, device))) or 1
        status = 429 if wait else 403 if failure == "form_expired" else 200
        response = await render(
            request,
            "account_page.html",
            status=status,
            section=section,
            failure=failure,
            retry_after_s=wait,
            saved=request.query.get("saved", ""),
            shown=shown,
            has_password=profile.has_password,
            password_characters=PASSWORD_CHARACTERS,
            platform_url=self._platform_url if await is_platform_owned(self._accounts.database) else "",
            languages={"es": "Español", "en": "English"},
            made_links=await read_made_links(self._accounts.database, visitor.user_id, SHOWN_LINKS),
            sessions=await sessions.list_sessions(self._accounts.database, visitor),
        )
        if wait:
            response.headers["Retry-After"] = str(wait)
        return response

"""The page of a sign-in link, on which a user chooses a password."""

import math

from aiohttp import web

from educa_chat.errors import PasswordRefused, SignInBusy
from educa_chat.handlers.csrf import is_own_form, posted_form
from educa_chat.handlers.rendering import COURSES_PATH, redirect, render
from educa_chat.people.own_accounts import BUSY_RETRY_AFTER_S, SIGN_IN_PATH, OwnAccounts
from educa_chat.people.password_policy import PASSWORD_CHARACTERS
from educa_chat.people.sign_in_limits import wait_s
from educa_chat.storage.sign_in_links import PATH, LinkedUser, find_linked_user, use_link

_REFERRER_POLICY = "strict-origin"
"""No `Referer` contains the token. With `no-referrer`, browsers would post the form with `Origin: null`."""


class LinkPage:
    """Shows the name of the link's user, and signs them in when they have chosen a password.

    Opening the page doesn't use up the link, because mail scanners open every link.
    """

    def __init__(self, accounts: OwnAccounts) -> None:
        self._accounts = accounts

    def set_up(self, app: web.Application) -> None:
        app.router.add_get(PATH, self._show)
        app.router.add_post(PATH, self._choose_password)

    async def _show(self, request: web.Request) -> web.Response:
        token = request.query.get("token", "")
        if wait := self._wait_s(request):
            return await _page(request, token, None, failure="too_many", retry_after_s=wait)
        user = await self._find(request, token)
        return await _page(request, token, user) if user else await _unknown(request)

    async def _choose_password(self, request: web.Request) -> web.Response:
        form = await posted_form(request)
        token, password = form.get("token", ""), form.get("password", "")
        if wait := self._wait_s(request):
            return await _page(request, token, None, failure="too_many", retry_after_s=wait)
        user = await self._find(request, token)
        if user is None:
            return await _unknown(request)
        if not await is_own_form(request):
            return await _page(request, token, user, failure="form_expired", status=403)
        try:
            stored = await self._accounts.passwords.make(password, user.username, *user.name.split())
        except PasswordRefused as refusal:
            return await _page(request, token, user, failure=refusal.reason)
        except SignInBusy:
            return await _page(request, token, user, failure="busy", retry_after_s=BUSY_RETRY_AFTER_S)
        if await use_link(self._accounts.database, token, stored) is None:
            return await _unknown(request)
        response = redirect(COURSES_PATH)
        await self._accounts.sign_in(request, response, user.user_id, user.username)
        return response

    def _wait_s(self, request: web.Request) -> int:
        return math.ceil(wait_s(self._accounts.limits.unknown_links(request.remote)))

    async def _find(self, request: web.Request, token: str) -> LinkedUser | None:
        user = await find_linked_user(self._accounts.database, token)
        if user is None:
            for limit, key in self._accounts.limits.unknown_links(request.remote):
                limit.count(key)
        return user


async def _unknown(request: web.Request) -> web.Response:
    return await _page(request, "", None, failure="unknown", status=410)


async def _page(
    request: web.Request,
    token: str,
    user: LinkedUser | None,
    *,
    failure: str = "",
    status: int = 200,
    retry_after_s: int = 0,
) -> web.Response:
    response = await render(
        request,
        "sign_in_link.html",
        status=429 if retry_after_s else status,
        link_path=PATH,
        sign_in_path=SIGN_IN_PATH,
        token=token,
        user=user,
        failure=failure,
        retry_after_s=retry_after_s,
        password_characters=PASSWORD_CHARACTERS,
    )
    response.headers["Referrer-Policy"] = _REFERRER_POLICY
    if retry_after_s:
        response.headers["Retry-After"] = str(retry_after_s)
    return response

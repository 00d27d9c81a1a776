"""The page for users who have forgotten their password, if e-mails can be sent."""

import math

from aiohttp import web

from educa_chat.handlers.csrf import is_own_form, posted_form
from educa_chat.handlers.rendering import language_of, render
from educa_chat.limits import RateLimit
from educa_chat.people.own_accounts import SIGN_IN_PATH, OwnAccounts
from educa_chat.people.sign_in_limits import wait_s
from educa_chat.storage.mail_queue import request_mail
from educa_chat.storage.names import EMAIL_CHARACTERS

PATH = "/chat/sign-in/forgotten/"
MAILS_PER_HOUR = 3
"""The limit on e-mails to one address."""


class ForgottenPage:
    """Mails a sign-in link to an address if it belongs to a user. The answer doesn't reveal whether it does."""

    def __init__(self, accounts: OwnAccounts) -> None:
        self._accounts = accounts
        self._addresses = RateLimit(MAILS_PER_HOUR / 3600, MAILS_PER_HOUR)

    def set_up(self, app: web.Application) -> None:
        app.router.add_get(PATH, self._show)
        app.router.add_post(PATH, self._send)

    async def _show(self, request: web.Request) -> web.Response:
        return await _page(request)

    async def _send(self, request: web.Request) -> web.Response:
        form = await posted_form(request)
        if not await is_own_form(request):
            return await _page(request, failure="form_expired", status=403)
        counts = self._accounts.limits.forgotten(request.remote)
        if wait := math.ceil(wait_s(counts)):
            response = await _page(request, failure="too_many", status=429, retry_after_s=wait)
            response.headers["Retry-After"] = str(wait)
            return response
        for limit, key in counts:
            limit.count(key)
        address = form.get("email", "").strip()[:EMAIL_CHARACTERS]
        # NULs and surrogates are in no address. For all others, the answer takes the same time.
        if address and address.isprintable() and not self._addresses.take(address.lower()):
            await request_mail(self._accounts.database, address, language_of(request))
        return await _page(request, sent=True)


async def _page(
    request: web.Request, *, failure: str = "", sent: bool = False, status: int = 200, retry_after_s: int = 0
) -> web.Response:
    return await render(
        request,
        "forgotten.html",
        status=status,
        forgotten_path=PATH,
        sign_in_path=SIGN_IN_PATH,
        failure=failure,
        sent=sent,
        retry_after_s=retry_after_s,
    )

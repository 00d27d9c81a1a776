"""The pages of signing in with OpenID Connect: the way to an issuer, the way back, and the end of its sessions."""

import asyncio
import logging
from contextlib import suppress
from functools import partial
from typing import NamedTuple
from urllib.parse import quote, urljoin

from aiohttp import web

from educa_chat.errors import OutboundFailed, SignInRefused, TokenRefused
from educa_chat.handlers.access import is_site_path, site_url
from educa_chat.handlers.csrf import posted_form
from educa_chat.handlers.keys import SETTINGS, STATIC_FILES
from educa_chat.handlers.rendering import language_of, redirect
from educa_chat.people.external_sign_in import Source, explain_failure, sign_in_person
from educa_chat.people.id_tokens import MAX_AGE_S
from educa_chat.people.key_sets import KeySets
from educa_chat.people.login_states import LoginStates, end_login
from educa_chat.people.openid import OpenIdProvider, new_verifier
from educa_chat.people.outbound import Outbound
from educa_chat.people.own_accounts import OwnAccounts
from educa_chat.people.sign_in_limits import wait_s
from educa_chat.settings import Settings
from educa_chat.storage.issuer_sessions import (
    IssuerSession,
    end_issuer_sessions,
    find_issuer_session,
    record_issuer_session,
)
from educa_chat.storage.nonces import use_nonce
from educa_chat.storage.sessions import Visitor

logger = logging.getLogger(__name__)

PATH = "/chat/sign-in/with/"
SIGN_OUT_PATIENCE_S = 2.0
"""How long signing out waits for an issuer whose metadata isn't known."""
NEXT_CHARACTERS = 500
"""The longest path that a login remembers. It is a part of the URLs that lead to the issuer and back."""
_CANCELLED = (
    "access_denied",
    "login_required",
    "consent_required",
    "interaction_required",
    "account_selection_required",
)


class SignOutPage(NamedTuple):
    """The page of an issuer on which its users sign out."""

    name: str
    """The name that users know the issuer by."""
    url: str


class OpenIdPages:
    """The issuers of the settings, and their pages. `outbound` has to be open while the application runs."""

    def __init__(self, settings: Settings, accounts: OwnAccounts, outbound: Outbound) -> None:
        keys = KeySets(outbound)
        self._accounts = accounts
        self._providers = {name: OpenIdProvider(issuer, outbound, keys) for name, issuer in settings.issuers.items()}
        self._states = LoginStates(
            "openid", settings.session.derived_keys("openid"), same_site="Lax", is_secure=settings.session.secure
        )

    def set_up(self, app: web.Application) -> None:
        """Add the routes to `app`."""
        for name, provider in self._providers.items():
            # A HEAD request must not use up a login.
            app.router.add_get(f"{PATH}{name}/", partial(self._begin, name, provider), allow_head=False)
            app.router.add_get(f"{PATH}{name}/callback/", partial(self._finish, name, provider), allow_head=False)
            app.router.add_post(f"{PATH}{name}/logout/", partial(self._end_sessions, provider))

    async def sign_out_page(self, request: web.Request, visitor: Visitor) -> SignOutPage | None:
        """Return where `visitor` can sign out of their issuer too. None if there is no such page, or no answer."""
        issuer_session = await find_issuer_session(self._accounts.database, visitor.session_id)
        if issuer_session is None:
            return None
        return_url = urljoin(site_url(request), request.app[SETTINGS].auth.sign_out_url)
        for provider in self._providers.values():
            if provider.issuer.issuer == issuer_session.issuer:
                with suppress(OutboundFailed, TimeoutError):
                    async with asyncio.timeout(SIGN_OUT_PATIENCE_S):
                        if url := await provider.sign_out_url(issuer_session.id_token, return_url):
                            return SignOutPage(provider.issuer.name, url)
        return None

    async def _begin(self, name: str, provider: OpenIdProvider, request: web.Request) -> web.Response:
        """Send the user to the issuer. Nothing is stored: the login is in the URL, and its secret in a cookie."""
        next_path = request.query.get("next", "")
        if len(next_path) > NEXT_CHARACTERS or not is_site_path(next_path):
            next_path = ""

        async def begin() -> web.Response:
            verifier = new_verifier()
            state, login, secret = self._states.begin({"issuer": name, "verifier": verifier, "next": next_path})
            url = await provider.authorization_url(
                _callback_url(request, name),
                state=state,
                nonce=login.nonce,
                verifier=verifier,
                language=language_of(request),
            )
            response = redirect(url)
            self._states.remember(response, login, secret)
            return response

        return await explain_failure(self._accounts, request, _source(name, provider), begin)

    async def _finish(self, name: str, provider: OpenIdProvider, request: web.Request) -> web.Response:
        """Sign in the user who comes back from the issuer."""

        async def finish() -> web.Response:
            login = self._states.read(_parameter(request, "state") or "")
            if not self._states.is_in_browser(request, login):
                raise SignInRefused("it began in another browser, or the browser keeps no cookies", "other_browser")
            if login.data.get("issuer") != name:
                raise TokenRefused("it began at another issuer")
            await provider.require_issuer(_parameter(request, "iss"))
            if error := _parameter(request, "error"):
                if error in _CANCELLED:
                    raise SignInRefused(f"the issuer answers {error}", "cancelled")
                raise TokenRefused(f"the issuer answers {error[:60]!r}")
            signed_in = await provider.redeem(
                _parameter(request, "code") or "",
                login.data["verifier"],
                _callback_url(request, name),
                {"name", "email", *(rule.claim for rule in provider.issuer.courses)},
            )
            await end_login(self._accounts.database, login, signed_in.token.nonce)
            response, session_id = await sign_in_person(
                self._accounts,
                request,
                _source(name, provider),
                signed_in.token.sub,
                signed_in.claims,
                login.data["next"],
            )
            await record_issuer_session(
                self._accounts.database,
                session_id,
                IssuerSession(provider.issuer.issuer, signed_in.token.sub, signed_in.token.sid, signed_in.id_token),
            )
            self._states.forget(response, login)
            return response

        return await explain_failure(self._accounts, request, _source(name, provider), finish)

    async def _end_sessions(self, provider: OpenIdProvider, request: web.Request) -> web.Response:
        """End the sessions that the issuer's server names (Back-Channel Logout 1.0 §2.5)."""
        issuer, counts = provider.issuer.issuer, self._accounts.limits.unknown_links(request.remote)
        if wait_s(counts):
            raise web.HTTPTooManyRequests
        form = await posted_form(request)
        try:
            token = await provider.verify_logout(form.get("logout_token", ""))
            if not await use_nonce(
                self._accounts.database, f"logout {issuer} {token.jti}", min(token.exp, token.iat + MAX_AGE_S)
            ):
                raise TokenRefused("it was already used")
        except (OutboundFailed, TokenRefused) as error:
            logger.warning("a logout by %s was refused: %s", provider.issuer.name, error)
            for limit, key in counts:
                limit.count(key)
            return web.json_response(
                {"error": "invalid_request", "error_description": str(error)}, status=400, headers=_NOT_STORED
            )
        ended = await end_issuer_sessions(self._accounts.database, issuer, token.sub or None, token.sid)
        logger.info("%s has ended %d sessions", provider.issuer.name, ended)
        return web.Response(headers=_NOT_STORED)


_NOT_STORED = {"Cache-Control": "no-store"}


def issuer_logo(name: str) -> str:
    """Return the name of the logo of an issuer among the static files."""
    return f"issuer-{name}"


def issuer_buttons(request: web.Request, next_path: str) -> list[dict[str, str | None]]:
    """Return the name, the URL of the button, and the logo of each issuer for the sign-in page."""
    query = f"?next={quote(next_path, safe='/')}" if next_path else ""
    return [
        {"name": issuer.name, "url": f"{PATH}{name}/{query}", "logo": request.app[STATIC_FILES].logo(issuer_logo(name))}
        for name, issuer in request.app[SETTINGS].issuers.items()
    ]


def _source(name: str, provider: OpenIdProvider) -> Source:
    issuer = provider.issuer
    return Source(issuer.issuer, issuer.name, f"{PATH}{name}/", issuer.email_domains, issuer.courses)


def _parameter(request: web.Request, name: str) -> str | None:
    """Return a parameter of the response. Raises TokenRefused if it is there more than once (RFC 6749 §3.1)."""
    values = request.query.getall(name, [])
    if len(values) > 1:
        raise TokenRefused(f"the response contains {name} more than once")
    return values[0] if values else None


def _callback_url(request: web.Request, name: str) -> str:
    return f"{site_url(request)}{PATH}{name}/callback/"

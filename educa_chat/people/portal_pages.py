"""Signed links of portals that have no OpenID Connect: each contains a short-lived token (JWT) about a user."""

import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web
from joserfc import jwk
from joserfc.errors import JoseError, SecurityWarning

from educa_chat.errors import SettingsInvalid, SignInRefused, TokenRefused
from educa_chat.handlers.access import find_visitor
from educa_chat.handlers.csrf import is_own_form, posted_form
from educa_chat.handlers.rendering import render
from educa_chat.people.external_sign_in import Source, explain_failure, sign_in_person
from educa_chat.people.id_tokens import (
    Claims,
    read_header,
    read_signed,
    read_unverified,
    require_identifier,
    require_registered,
)
from educa_chat.people.own_accounts import OwnAccounts
from educa_chat.settings import Portal, Settings
from educa_chat.storage.external_people import find_person
from educa_chat.storage.nonces import use_nonce

# The library recommends the newer name of the algorithm, which few portals use yet.
warnings.filterwarnings("ignore", "EdDSA is deprecated", SecurityWarning)

PATH = "/chat/sign-in/from/"
LIFE_S = 60
"""The longest time between `iat` and `exp`."""
LEEWAY_S = 10
"""How far the clock of the portal may be ahead."""


class LinkToken(Claims, frozen=True, kw_only=True):
    """The claims that the token of a signed link must have, besides those about the user."""

    sub: str
    jti: str


class SigningPortal:
    """One portal, with the key that verifies its links. Raises SettingsInvalid for a key that can't be used."""

    def __init__(self, name: str, portal: Portal) -> None:
        self.source = Source(f"portal:{name}", portal.name, "", portal.email_domains, portal.courses)
        self._issuer = name
        self._audience = portal.audience
        # RFC 9864 calls EdDSA with this kind of key Ed25519.
        self.algorithms = ("HS256",) if portal.secret else ("EdDSA", "Ed25519")
        self._key = _read_secret(name, portal.secret) if portal.secret else _read_key(name, portal.public_key)

    def verify(self, text: str) -> LinkToken:
        """Return the claims of the token `text`, which the caller must use once. Raises TokenRefused."""
        algorithm = read_header(text).alg
        if algorithm not in self.algorithms:
            raise TokenRefused(f"the algorithm is not {self.algorithms[0]}")
        token, now = read_signed(text, LinkToken, self._key, algorithm), time.time()
        require_registered(token, self._issuer, self._audience, now)
        if token.exp - token.iat > LIFE_S:
            raise TokenRefused(f"it is valid for more than {LIFE_S} s (exp - iat)")
        if token.exp <= now:
            raise TokenRefused("it has expired", is_stale=True)
        if token.iat > now + LEEWAY_S:
            raise TokenRefused("it is from the future: check the clocks of both servers")
        if not token.jti:
            raise TokenRefused("it has no id (jti)")
        require_identifier("sub", token.sub)
        return token


class PortalPages:
    """The portals from the settings, and the targets of their links. Raises SettingsInvalid for a key that can't be
    used.
    """

    def __init__(self, settings: Settings, accounts: OwnAccounts) -> None:
        self._accounts = accounts
        self._portals = {name: SigningPortal(name, portal) for name, portal in settings.portals.items()}

    def set_up(self, app: web.Application) -> None:
        """Add the routes to `app`."""
        for name, portal in self._portals.items():
            app.router.add_get(f"{PATH}{name}/", partial(self._open, portal), allow_head=False)
            app.router.add_post(f"{PATH}{name}/", partial(self._confirm, portal))

    async def _open(self, portal: SigningPortal, request: web.Request) -> web.Response:
        """Sign in the user of a link. If somebody else is signed in, ask first, because the link may be an attack."""

        async def open_link() -> web.Response:
            text, next_path = request.query.get("token", ""), request.query.get("next", "")
            token = portal.verify(text)
            visitor = await find_visitor(request)
            if visitor is not None:
                user_id = await find_person(self._accounts.database, portal.source.key, token.sub)
                if user_id != visitor.user_id:
                    return await render(
                        request,
                        "sign_in_instead.html",
                        path=request.path,
                        source=portal.source.name,
                        token=text,
                        next=next_path,
                    )
            return await self._sign_in(portal, request, text, token, next_path)

        return await explain_failure(self._accounts, request, portal.source, open_link)

    async def _confirm(self, portal: SigningPortal, request: web.Request) -> web.Response:
        """Sign in the link's user instead of the current one, who has confirmed this."""

        async def confirm() -> web.Response:
            form = await posted_form(request)
            if not await is_own_form(request):
                raise SignInRefused("the form is not ours, or too old", "expired")
            text = form.get("token", "")
            return await self._sign_in(portal, request, text, portal.verify(text), form.get("next", ""))

        return await explain_failure(self._accounts, request, portal.source, confirm)

    async def _sign_in(
        self, portal: SigningPortal, request: web.Request, text: str, token: LinkToken, next_path: str
    ) -> web.Response:
        if not await use_nonce(self._accounts.database, f"{portal.source.key} {token.jti}", token.exp):
            raise TokenRefused("it was already used", is_stale=True)
        response, _ = await sign_in_person(
            self._accounts, request, portal.source, token.sub, read_unverified(text, dict[str, Any]), next_path
        )
        return response


def _read_secret(name: str, secret: str) -> jwk.OctKey:
    """Return the shared secret. Raises SettingsInvalid."""
    try:
        return jwk.OctKey.import_key(secret)
    except ValueError as error:
        raise SettingsInvalid(f"portals.{name}.secret: a public key isn't a secret") from error


def _read_key(name: str, file: str) -> jwk.OKPKey:
    """Read an Ed25519 key. Raises SettingsInvalid."""
    try:
        key = jwk.OKPKey.import_key(Path(file).read_bytes())
    except OSError as error:
        raise SettingsInvalid(f"portals.{name}.public_key: can't read {file}: {error.strerror}") from error
    except (JoseError, ValueError, TypeError) as error:
        raise SettingsInvalid(f"portals.{name}.public_key: {file} contains no Ed25519 public key") from error
    if key.curve_name != "Ed25519":
        raise SettingsInvalid(f"portals.{name}.public_key: {file} contains no Ed25519 public key")
    return key

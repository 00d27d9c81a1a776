"""OpenID Connect as a relying party: logins at an issuer, by the authorization code flow with PKCE.

The rules are those of OpenID Connect Core 1.0, Discovery 1.0, RP-Initiated Logout 1.0 and Back-Channel Logout 1.0, and
of RFC 7636 (PKCE) and RFC 9207 (the issuer in the response).
"""

import asyncio
import hashlib
import secrets
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote_plus, urlencode

import msgspec

from educa_chat.errors import OutboundFailed, TokenRefused
from educa_chat.people.id_tokens import ALGORITHMS, Claims, read_unverified, require_identifier, verify_token
from educa_chat.people.key_sets import KeySets
from educa_chat.people.outbound import Outbound
from educa_chat.settings import Issuer

REFRESH_S = 3600.0
"""After this time, an issuer's metadata is fetched again."""
RETRY_S = 5.0
"""The minimum time between two fetches that fail."""
HINT_CHARACTERS = 4096
"""The longest `id_token_hint`: a longer URL is too long for some servers."""
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"


class Metadata(msgspec.Struct, frozen=True):
    """The metadata of an issuer (Discovery 1.0 §3). The defaults are those of the specification."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    end_session_endpoint: str | None = None
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    id_token_signing_alg_values_supported: tuple[str, ...] = ALGORITHMS
    authorization_response_iss_parameter_supported: bool = False
    backchannel_logout_supported: bool = False


class IdToken(Claims, frozen=True):
    """The claims of an id_token that we use ourselves."""

    sid: str | None = None


class LogoutToken(Claims, frozen=True, kw_only=True):
    """The claims of a logout token (Back-Channel Logout 1.0 §2.4)."""

    jti: str
    events: dict[str, Any]
    sid: str | None = None


class _TokenAnswer(msgspec.Struct, frozen=True):
    id_token: str
    access_token: str = ""


class SignedIn(NamedTuple):
    """The claims of an issuer about a user who has just signed in there."""

    id_token: str
    token: IdToken
    claims: dict[str, Any]
    """All claims, of the id_token and of the userinfo endpoint."""


class OpenIdProvider:
    """One issuer from the settings. Every method that contacts it raises OutboundFailed."""

    def __init__(self, issuer: Issuer, outbound: Outbound, keys: KeySets) -> None:
        self.issuer = issuer
        self._outbound = outbound
        self._keys = keys
        self._metadata: Metadata | None = None
        self._fresh_until = float("-inf")
        self._failure: OutboundFailed | None = None
        self._fetching = asyncio.Lock()
        """Held while fetching, so that a class that signs in at once causes one request."""

    async def metadata(self) -> Metadata:
        """Return the issuer's metadata, not older than an hour if the issuer can be reached."""
        async with self._fetching:
            if time.monotonic() >= self._fresh_until:
                try:
                    self._metadata, self._failure = await self._fetch_metadata(), None
                    self._fresh_until = time.monotonic() + REFRESH_S
                except OutboundFailed as error:
                    self._failure = error
                    self._fresh_until = time.monotonic() + RETRY_S
            if self._metadata is not None:
                return self._metadata
            raise OutboundFailed(str(self._failure))

    async def _fetch_metadata(self) -> Metadata:
        url = f"{self.issuer.issuer.rstrip('/')}/.well-known/openid-configuration"
        metadata, _ = await self._outbound.get(url, Metadata)
        if metadata.issuer != self.issuer.issuer:
            raise OutboundFailed(f"{url}: the issuer calls itself {metadata.issuer[:200]!r}")
        # The browser is sent there, so these two aren't checked by a request of ours.
        self._outbound.require_url(metadata.authorization_endpoint)
        if metadata.end_session_endpoint is not None:
            self._outbound.require_url(metadata.end_session_endpoint)
        return metadata

    async def authorization_url(
        self, redirect_uri: str, *, state: str, nonce: str, verifier: str, language: str
    ) -> str:
        """Return the URL at which a user signs in, and comes back to `redirect_uri`."""
        challenge = urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        return _with_query(
            (await self.metadata()).authorization_endpoint,
            {
                "response_type": "code",
                "client_id": self.issuer.client_id,
                "redirect_uri": redirect_uri,
                "scope": " ".join(self.issuer.scopes),
                "state": state,
                "nonce": nonce,
                "code_challenge": challenge,
                "code_challenge_method": "S256",
                "ui_locales": language,
            },
        )

    async def require_issuer(self, iss: str | None) -> None:
        """Raise TokenRefused if `iss`, in a response, names another issuer, or is missing although ours sends it."""
        if iss is None and (await self.metadata()).authorization_response_iss_parameter_supported:
            raise TokenRefused("the response doesn't name its issuer (iss)")
        if iss is not None and iss != self.issuer.issuer:
            raise TokenRefused("the response is by another issuer (iss)")

    async def redeem(self, code: str, verifier: str, redirect_uri: str, wanted: Collection[str]) -> SignedIn:
        """Exchange `code` for the claims of the user. Raises TokenRefused. The caller checks the nonce.

        Asks the userinfo endpoint too if the id_token lacks one of the `wanted` claims.
        """
        metadata = await self.metadata()
        headers, credentials = self._authentication(metadata)
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        try:
            answer = await self._outbound.post(
                metadata.token_endpoint, _TokenAnswer, headers=headers, form=form | credentials
            )
        except OutboundFailed as error:
            if error.status in (400, 401, 403):
                raise TokenRefused(f"the issuer refused the code or the client: {error}") from error
            raise
        token: IdToken = await self._verify(answer.id_token, IdToken, metadata)
        require_identifier("sub", token.sub)
        if token.sid is not None:
            require_identifier("sid", token.sid)
        claims = read_unverified(answer.id_token, dict[str, Any])
        if metadata.userinfo_endpoint and answer.access_token and not claims.keys() >= set(wanted):
            authorization = {"Authorization": f"Bearer {answer.access_token}"}
            more, _ = await self._outbound.get(metadata.userinfo_endpoint, dict[str, Any], headers=authorization)
            if more.get("sub") != token.sub:
                raise TokenRefused("the userinfo is about another user (sub)")
            claims = more | claims
        return SignedIn(answer.id_token, token, claims)

    async def verify_logout(self, logout_token: str) -> LogoutToken:
        """Return the claims of a logout token. The caller checks that it is used once. Raises TokenRefused."""
        token: LogoutToken = await self._verify(logout_token, LogoutToken, await self.metadata())
        if not isinstance(token.events.get(LOGOUT_EVENT), dict):
            raise TokenRefused("it isn't a logout token (events)")
        if token.nonce:
            raise TokenRefused("a logout token has no nonce")
        if not token.sub and not token.sid:
            raise TokenRefused("it names neither a user (sub) nor a session (sid)")
        if token.sid is not None:
            require_identifier("sid", token.sid)
        return token

    async def sign_out_url(self, id_token: str, return_url: str) -> str | None:
        """Return the URL at which the user signs out of the issuer too. None if it has no such page."""
        endpoint = (await self.metadata()).end_session_endpoint
        if endpoint is None:
            return None
        parameters = {"client_id": self.issuer.client_id, "post_logout_redirect_uri": return_url}
        if len(id_token) <= HINT_CHARACTERS:
            parameters["id_token_hint"] = id_token
        return _with_query(endpoint, parameters)

    async def _verify(self, token: str, kind: type[Any], metadata: Metadata) -> Any:
        return await verify_token(
            token,
            kind,
            self._keys,
            jwks_url=metadata.jwks_uri,
            issuer=self.issuer.issuer,
            client_id=self.issuer.client_id,
            algorithms=self.accepted_algorithms(metadata),
        )

    @staticmethod
    def accepted_algorithms(metadata: Metadata) -> set[str]:
        """Return the algorithms with which the issuer may sign."""
        return set(ALGORITHMS) & set(metadata.id_token_signing_alg_values_supported)

    def _authentication(self, metadata: Metadata) -> tuple[Mapping[str, str], dict[str, str]]:
        """Return the headers and the fields with which we prove to be the client (RFC 6749 §2.3.1)."""
        client_id, secret = self.issuer.client_id, self.issuer.client_secret
        if not secret:
            return {}, {"client_id": client_id}
        methods = metadata.token_endpoint_auth_methods_supported
        if "client_secret_post" in methods and "client_secret_basic" not in methods:
            return {}, {"client_id": client_id, "client_secret": secret}
        credentials = b64encode(f"{quote_plus(client_id)}:{quote_plus(secret)}".encode()).decode()
        return {"Authorization": f"Basic {credentials}"}, {}


def new_verifier() -> str:
    """Return a new `code_verifier` (RFC 7636 §4.1)."""
    return secrets.token_urlsafe(48)


def _with_query(url: str, parameters: Mapping[str, str]) -> str:
    return f"{url}{'&' if '?' in url else '?'}{urlencode(parameters)}"

"""Tokens that a platform or an issuer has signed about a user, and their validation.

The rules are those of OpenID Connect Core 1.0 §3.1.3.7 and of the 1EdTech Security Framework 1.0 §5.1.3.
"""

import time
from base64 import urlsafe_b64decode
from collections.abc import Collection
from typing import Any, TypeVar

import msgspec
from joserfc import jws
from joserfc.errors import JoseError

from educa_chat.errors import TokenRefused
from educa_chat.people.key_sets import KeySets

ALGORITHMS = ("RS256", "ES256")
LEEWAY_S = 60.0
"""The maximum difference between the clocks of the two sides."""
MAX_AGE_S = 3600.0
"""The age at which a token is refused even if it has not expired."""
MAX_TOKEN_CHARACTERS = 48 * 1024
IDENTIFIER_CHARACTERS = 255


class Claims(msgspec.Struct, frozen=True):
    """The claims that each token must have. A subclass adds those of a protocol."""

    iss: str
    aud: str | list[str]
    exp: float
    iat: float
    sub: str = ""
    nonce: str = ""
    azp: str | None = None
    nbf: float | None = None


class Header(msgspec.Struct, frozen=True):
    """The header of a signed token. Only the algorithm and the id of the key are used."""

    alg: str
    kid: str | None = None


Kind = TypeVar("Kind", bound=Claims)
Decoded = TypeVar("Decoded")


async def verify_token(
    token: str,
    kind: type[Kind],
    keys: KeySets,
    *,
    jwks_url: str,
    hosts: Collection[str] | None = None,
    issuer: str,
    client_id: str,
    algorithms: Collection[str] = ALGORITHMS,
    now: float | None = None,
) -> Kind:
    """Return the claims of `token`, if `issuer` has signed it for `client_id` and it is valid now.

    The caller checks the nonce and everything that a protocol adds. Raises TokenRefused, whose message contains nothing
    secret, and OutboundFailed if the keys can't be fetched.
    """
    header = read_header(token)
    if header.alg not in algorithms:
        raise TokenRefused(f"the algorithm is {header.alg[:20]!r}, which is not accepted")
    key = await keys.find(jwks_url, header.kid, header.alg, hosts=hosts)
    claims = read_signed(token, kind, key, header.alg)
    require_registered(claims, issuer, client_id, time.time() if now is None else now)
    return claims


def read_signed(token: str, kind: type[Kind], key: Any, algorithm: str) -> Kind:
    """Return the claims of `token`, unchecked, if `key` has signed it with `algorithm`. Raises TokenRefused."""
    try:
        payload = jws.deserialize_compact(token, key, [algorithm]).payload
    except (JoseError, ValueError, TypeError) as error:
        raise TokenRefused("the signature is wrong") from error
    return _decode(payload or b"", kind)


def read_header(token: str) -> Header:
    """Return the header of `token`, which isn't verified. Raises TokenRefused."""
    if len(token) > MAX_TOKEN_CHARACTERS or token.count(".") != 2 or not token.isascii():
        raise TokenRefused("it isn't a signed token")
    return _decode(_unpadded(token.partition(".")[0]), Header)


def read_unverified(token: str, kind: type[Decoded]) -> Decoded:
    """Return the unverified claims of `token`, for example to find out who may have signed it. Raises TokenRefused."""
    read_header(token)
    return _decode(_unpadded(token.split(".")[1]), kind)


def require_registered(claims: Claims, issuer: str, client_id: str, now: float) -> None:
    """Raise TokenRefused unless `claims` are by `issuer`, for `client_id`, and valid at `now`."""
    audience = [claims.aud] if isinstance(claims.aud, str) else claims.aud
    if claims.iss != issuer:
        raise TokenRefused("the issuer is another one")
    if client_id not in audience:
        raise TokenRefused("the audience is another client")
    if len(audience) > 1 and claims.azp is None:
        raise TokenRefused("there are several audiences, and no authorized party (azp)")
    if claims.azp is not None and claims.azp != client_id:
        raise TokenRefused("the authorized party (azp) is another client")
    if not claims.exp > now - LEEWAY_S:
        raise TokenRefused("it has expired", is_stale=True)
    if not claims.iat <= now + LEEWAY_S or (claims.nbf is not None and not claims.nbf <= now + LEEWAY_S):
        raise TokenRefused("it is from the future: check the clocks of both servers")
    if not claims.iat >= now - MAX_AGE_S - LEEWAY_S:
        raise TokenRefused("it is too old", is_stale=True)
    if not claims.sub.isprintable():
        raise TokenRefused("its sub contains control characters")


def require_identifier(claim: str, value: str) -> None:
    """Raise TokenRefused unless `value` of `claim` can be stored as an identifier (OpenID Connect Core 1.0 §2)."""
    if not value or len(value) > IDENTIFIER_CHARACTERS or not value.isprintable():
        raise TokenRefused(f"its {claim} is missing, too long, or contains control characters")


def _unpadded(text: str) -> bytes:
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError as error:
        raise TokenRefused("it isn't a signed token") from error


def _decode(data: bytes, kind: type[Decoded]) -> Decoded:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise TokenRefused(f"its content can't be used: {error}") from error

"""Other servers: their answers and signatures."""

import base64
import hmac
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from joserfc import jwk, jwt

from tests.ports import free_port

LOOPBACK = ["127.0.0.0/8", "::1/128"]


@asynccontextmanager
async def open_elsewhere(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """Serve `answer` at every path of a server, and yield its URL."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        # The URL is new, so the database of other tests knows nobody of it.
        port = free_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@cache
def _rsa_key(_number: int) -> RSAPrivateKey:
    """Return a private key. It takes a tenth of a second to generate one."""
    return generate_private_key(65537, 2048)


_numbers = itertools.cycle(range(8))


def next_rsa_key() -> RSAPrivateKey:
    """Return a private key that differs from the seven before it."""
    return _rsa_key(next(_numbers))


class Signer:
    """The key of an issuer, which signs tokens. It differs from the keys of the seven signers before it."""

    def __init__(self, kid: str = "one") -> None:
        self.key = jwk.RSAKey.import_key(next_rsa_key(), {"kid": kid})

    def public(self) -> dict[str, Any]:
        return {"keys": [self.key.as_dict(private=False)]}

    def sign(self, claims: dict[str, Any], **header: Any) -> str:
        return jwt.encode({"alg": "RS256", "kid": self.key.kid, **header}, claims, self.key)


def claims_for(issuer: str, client_id: str, **others: Any) -> dict[str, Any]:
    """Return registered claims that are valid now; None removes a claim."""
    now = int(time.time())
    claims = {"iss": issuer, "aud": client_id, "sub": "17", "iat": now, "exp": now + 60, "nonce": "n", **others}
    return {name: value for name, value in claims.items() if value is not None}


def unsigned(claims: dict[str, Any]) -> str:
    """Return a token with the algorithm `none`."""
    return f"{_base64(json.dumps({'alg': 'none'}).encode())}.{_base64(json.dumps(claims).encode())}."


def signed_with_secret(claims: dict[str, Any], secret: bytes) -> str:
    """Return a token that was signed with a symmetric algorithm."""
    content = f"{_base64(json.dumps({'alg': 'HS256', 'kid': 'one'}).encode())}.{_base64(json.dumps(claims).encode())}"
    return f"{content}.{_base64(hmac.digest(secret, content.encode(), 'sha256'))}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")

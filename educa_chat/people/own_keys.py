"""The chat's own keys: the one that signs its tokens, and the next one, which is already in the public key set."""

import asyncio
import json
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateNumbers, RSAPublicNumbers
from joserfc import jwk, jwt
from joserfc.util import base64_to_int

from educa_chat.storage.pool import Database
from educa_chat.storage.signing_keys import StoredKey, add_key, delete_key, read_keys, retire_oldest

ALGORITHM = "RS256"
TOKEN_LIFE_S = 60
KEYS = 2


class OwnKeys:
    """Signs tokens, and publishes the keys. All methods raise DatabaseUnavailable.

    `encryption_keys` protect the private halves in the database. The first one encrypts, and all of them decrypt. If
    none of them can decrypt a key, it is replaced.
    """

    def __init__(self, database: Database, encryption_keys: Sequence[bytes]) -> None:
        self._database = database
        self._fernet = MultiFernet([Fernet(urlsafe_b64encode(key)) for key in encryption_keys])

    async def public_keys(self) -> dict[str, Any]:
        """Return the key set (RFC 7517 §5): both keys, and those that were in use until a day ago."""
        await self._usable_keys()
        return {"keys": [json.loads(key.public) for key in await read_keys(self._database)]}

    async def sign(self, claims: Mapping[str, object], *, life_s: int = TOKEN_LIFE_S) -> str:
        """Return a token with `claims`, which is valid from now on for `life_s` seconds."""
        now = int(time.time())
        key = _import_own((await self._usable_keys())[0])
        registered = {"iat": now, "exp": now + life_s, "jti": secrets.token_urlsafe(16)}
        return jwt.encode({"alg": ALGORITHM, "kid": key.kid}, {**registered, **claims}, key)

    async def rotate(self) -> None:
        """Sign with the next key from now on, and publish a new one.

        The former key stays in the key set for a day, for tokens that others have not verified yet.
        """
        await self._usable_keys()
        await retire_oldest(self._database)
        await self._usable_keys()

    async def _usable_keys(self) -> list[dict[str, str]]:
        """Return the private keys (RFC 7518 §6.3), the one that signs first. Makes those that are missing."""
        while True:
            keys: list[dict[str, str]] = []
            for stored in await read_keys(self._database):
                if stored.is_retired:
                    continue
                try:
                    keys.append(json.loads(self._fernet.decrypt(stored.private)))
                except InvalidToken:
                    await delete_key(self._database, stored.kid)
            if len(keys) >= KEYS:
                return keys
            await add_key(self._database, await asyncio.to_thread(self._generate), most=KEYS)

    def _generate(self) -> StoredKey:
        kid = secrets.token_urlsafe(12)
        key = jwk.RSAKey.generate_key(2048, {"use": "sig", "alg": ALGORITHM, "kid": kid}, private=True)
        private = self._fernet.encrypt(json.dumps(key.as_dict(private=True)).encode()).decode()
        return StoredKey(kid, json.dumps(key.as_dict(private=False)), private, is_retired=False)


def _import_own(key: Mapping[str, str]) -> jwk.RSAKey:
    """Import a private key that we made and encrypted.

    joserfc checks each time whether its factors are prime, which holds the event loop for 60 ms.
    """
    n, e, d, p, q, dp, dq, qi = (base64_to_int(key[name]) for name in ("n", "e", "d", "p", "q", "dp", "dq", "qi"))
    numbers = RSAPrivateNumbers(p, q, d, dp, dq, qi, RSAPublicNumbers(e, n))
    return jwk.RSAKey.import_key(numbers.private_key(unsafe_skip_rsa_key_validation=True), {"kid": key["kid"]})

"""The key sets of platforms and issuers (RFC 7517), with which they sign their tokens."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec
from joserfc import jwk
from joserfc.errors import JoseError

from educa_chat.errors import OutboundFailed, TokenRefused
from educa_chat.people.outbound import Outbound, location

logger = logging.getLogger(__name__)

REFETCH_S = 60.0
"""The minimum time between two fetches of a key set."""
RETRY_S = 5.0
"""The minimum time after a failed fetch if there is no earlier key set."""
REFRESH_S = 3600.0
"""After this time a key set is fetched again even if all keys are known, so that a withdrawn key is no longer valid."""
MIN_RSA_BITS = 2048

VerificationKey = jwk.RSAKey | jwk.ECKey


class _KeySet(msgspec.Struct):
    keys: list[dict[str, Any]]


class KeySets:
    """Key sets by their URL: fetched when they are first needed, and kept."""

    def __init__(self, outbound: Outbound, now_s: Callable[[], float] = time.monotonic) -> None:
        self._outbound = outbound
        self._now_s = now_s
        self._entries: dict[str, _Entry] = {}

    async def find(self, url: str, kid: str | None, algorithm: str, *, hosts: Collection[str] | None = None) -> Any:
        """Return the key at `url` that has this `kid`, or the only key for `algorithm` if the token names none.

        Fetches the key set again if it doesn't contain the key, but at most once a minute. Raises OutboundFailed if
        there is no key set, and TokenRefused if it doesn't contain the key.
        """
        entry = self._entries.setdefault(url, _Entry())
        async with entry.lock:
            age_s = self._now_s() - entry.fetched_at
            key = _choose(entry.keys, kid, algorithm)
            if age_s >= entry.pause_s and (key is None or age_s >= REFRESH_S):
                entry.fetched_at = self._now_s()
                try:
                    answer, _ = await self._outbound.get(url, _KeySet, hosts=hosts)
                    entry.keys, entry.pause_s, entry.failure = _import(answer.keys), REFETCH_S, None
                    key = _choose(entry.keys, kid, algorithm)
                except OutboundFailed as error:
                    entry.pause_s = REFETCH_S if entry.keys else RETRY_S
                    entry.failure = error
                    logger.warning("a key set can't be fetched: %s", error)
            if key is not None:
                return key
            if entry.failure is not None:
                raise OutboundFailed(str(entry.failure))
            raise TokenRefused(f"no key for {algorithm} with the kid of the token at {location(url)}")


class _Entry:
    """A key set, and the time of the last request for it."""

    def __init__(self) -> None:
        self.keys: list[VerificationKey] = []
        self.fetched_at = float("-inf")
        self.pause_s = 0.0
        self.failure: OutboundFailed | None = None
        self.lock = asyncio.Lock()
        """Held while fetching, so that all launches of a class wait for one request."""


def _import(keys: list[dict[str, Any]]) -> list[VerificationKey]:
    """Return those of `keys` that can verify signatures. Others, such as keys of unknown kinds, are left out."""
    imported: list[VerificationKey] = []
    for data in keys:
        if data.get("kty") not in ("RSA", "EC") or data.get("use", "sig") != "sig":
            continue
        public: Mapping[str, Any] = {
            name: data[name] for name in ("kty", "kid", "n", "e", "crv", "x", "y") if name in data
        }
        try:
            key = jwk.import_key(dict(public))
            is_strong = (
                key.raw_value.key_size >= MIN_RSA_BITS if isinstance(key, jwk.RSAKey) else public.get("crv") == "P-256"
            )
            if isinstance(key, VerificationKey) and is_strong:
                imported.append(key)
        except (JoseError, ValueError, TypeError, KeyError):
            continue
    return imported


def _choose(keys: list[VerificationKey], kid: str | None, algorithm: str) -> VerificationKey | None:
    kind = jwk.RSAKey if algorithm.startswith("RS") else jwk.ECKey
    suitable = [key for key in keys if isinstance(key, kind) and kid in (None, key.as_dict().get("kid"))]
    return suitable[0] if len(suitable) == 1 or (suitable and kid is not None) else None

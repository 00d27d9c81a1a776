"""Limits on failed and successful sign-ins."""

from collections.abc import Hashable, Sequence

from educa_chat.handlers.addresses import networks_of
from educa_chat.limits import RateLimit

ADDRESS_FACTOR = 10
"""How many accounts may sign in from one address: a class signs in at once, from behind one router."""
WIDE_FACTOR = 4
"""How many times the limit of an IPv6 client's /64 its /48 has."""
SUCCESS_FACTOR = 4
"""How many sign-ins may succeed for each one that may fail. Only programs sign in to an account 20 times a minute."""

Counts = Sequence[tuple[RateLimit, Hashable]]
"""Limits, each with the key under which an attempt is counted."""


class SignInLimits:
    """The rate limits on signing in, all of them multiples of `failures_per_minute`; 0 switches them off."""

    def __init__(self, failures_per_minute: int) -> None:
        def limit(factor: int) -> RateLimit:
            return RateLimit(factor * failures_per_minute / 60, factor * failures_per_minute)

        self._account_failures = limit(1), limit(WIDE_FACTOR)
        self._address_failures = limit(ADDRESS_FACTOR), limit(ADDRESS_FACTOR * WIDE_FACTOR)
        self._account_successes = limit(SUCCESS_FACTOR)
        self._address_successes = (
            limit(SUCCESS_FACTOR * ADDRESS_FACTOR),
            limit(SUCCESS_FACTOR * ADDRESS_FACTOR * WIDE_FACTOR),
        )

    def failures(self, account: str, address: str | None, device: str | None) -> Counts:
        """Return the limits for a failure: the browser's if `account` has signed in with it before.

        Otherwise, those of the account and address together, and those of the address.
        """
        if device is not None:
            return [(self._account_failures[0], device)]
        networks = networks_of(address)
        by_account = zip(self._account_failures, ((account, network) for network in networks), strict=True)
        return [*by_account, *zip(self._address_failures, networks, strict=True)]

    def unknown_links(self, address: str | None) -> Counts:
        """Return the limits for opening an invalid link: those of the address, separate from its failed sign-ins."""
        return [
            (limit, ("link", network))
            for limit, network in zip(self._address_failures, networks_of(address), strict=True)
        ]

    def forgotten(self, address: str | None) -> Counts:
        """Return the limits for requesting a new password: those of the address, separate from its failed sign-ins."""
        return [
            (limit, ("forgotten", network))
            for limit, network in zip(self._address_failures, networks_of(address), strict=True)
        ]

    def successes(self, account: str, address: str | None) -> Counts:
        """Return the limits for a success: those of the account, from any address, and those of the address."""
        return [
            (self._account_successes, account),
            *zip(self._address_successes, networks_of(address), strict=True),
        ]


def wait_s(counts: Counts) -> float:
    """Return the seconds until all of `counts` allow one more; 0.0 means now."""
    return max(limit.wait_s(key) for limit, key in counts)

"""Requests to addresses from outside, such as those of a learning platform.

Each of them might be an attempt to reach a server that only we can reach (server-side request forgery), or an answer
that is meant to exhaust us. So only https is allowed, the address of each connection is checked when it is opened, so
that a name can't resolve to another address after the check, redirects are refused, and time and size are limited.
"""

import ipaddress
import re
import socket
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec

from educa_chat.errors import OutboundFailed

TIMEOUT_S = 10.0
CONNECTIONS = 32
CONNECTIONS_PER_HOST = 16
MAX_URL = 2000
"""The longest address. Postgres can't index much longer ones."""
MAX_BYTES = 256 * 1024
"""The size of an answer, unless the caller allows more."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Answer = TypeVar("Answer")


class Received(NamedTuple):
    """The body of an answer, and its headers."""

    body: bytes
    headers: Mapping[str, str]


class Outbound:
    """An HTTP client for such requests. Servers in `private_networks` may be contacted nevertheless.

    http without TLS is allowed only to `localhost` and loopback addresses, if `private_networks` contain them.
    """

    _http: aiohttp.ClientSession

    def __init__(self, private_networks: Sequence[str]) -> None:
        self._private_networks = [ipaddress.ip_network(network) for network in private_networks]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Self]:
        """Allow requests while the context lasts."""
        connector = aiohttp.TCPConnector(
            limit=CONNECTIONS, limit_per_host=CONNECTIONS_PER_HOST, socket_factory=self._open_socket
        )
        async with aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            # A small compressed body could become a large one.
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            auto_decompress=False,
        ) as self._http:
            yield self

    async def get(
        self,
        url: str,
        type: type[Answer],
        *,
        hosts: Collection[str] | None = None,
        headers: Mapping[str, str] | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> tuple[Answer, Mapping[str, str]]:
        """Return the JSON at `url`, decoded as `type` whatever its content type is, and the headers of the answer.

        If `hosts` are given, the host of `url` must be one of them. Raises OutboundFailed.
        """
        received = await self._request("GET", url, hosts, headers=headers, max_bytes=max_bytes)
        return _decode(url, received.body, type), received.headers

    async def post(
        self,
        url: str,
        type: type[Answer],
        *,
        hosts: Collection[str] | None = None,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        json: Any = None,
    ) -> Answer:
        """Post `form` or `json` to `url`, and return the JSON of the answer like `get`. Raises OutboundFailed."""
        body = {"data": form} if form is not None else {"json": json}
        received = await self._request("POST", url, hosts, headers=headers, max_bytes=MAX_BYTES, **body)
        return _decode(url, received.body, type)

    async def _request(
        self,
        method: str,
        url: str,
        hosts: Collection[str] | None,
        *,
        headers: Mapping[str, str] | None,
        max_bytes: int,
        **body: Any,
    ) -> Received:
        host = self.require_url(url)
        if hosts is not None and host not in hosts:
            raise OutboundFailed(f"{location(url)}: the host is not one of {', '.join(sorted(hosts))}")
        try:
            async with self._http.request(
                method, url, headers=headers, allow_redirects=False, skip_auto_headers=("User-Agent",), **body
            ) as response:
                if 300 <= response.status < 400:
                    raise OutboundFailed(f"{location(url)}: redirects are refused")
                if not response.ok:
                    raise OutboundFailed(f"{location(url)}: the answer is {response.status}", status=response.status)
                if response.headers.get("Content-Encoding", "identity") != "identity":
                    raise OutboundFailed(f"{location(url)}: the answer is compressed")
                received = bytearray()
                async for chunk in response.content.iter_any():
                    received += chunk
                    if len(received) > max_bytes:
                        raise OutboundFailed(f"{location(url)}: the answer has more than {max_bytes} bytes")
                return Received(bytes(received), response.headers)
        except TimeoutError as error:
            raise OutboundFailed(f"{location(url)}: no complete answer within {TIMEOUT_S:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise OutboundFailed(f"{location(url)}: {_reason(error)}") from error

    def require_urls(self, urls: Iterable[str]) -> None:
        """Raise OutboundFailed unless all `urls` are such as `require_url` allows."""
        for url in urls:
            self.require_url(url)

    def require_url(self, url: str) -> str:
        """Return the host of `url`. Raises OutboundFailed unless it is an https URL, or http to an allowed loopback."""
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            host = None
        # The host also becomes part of a Content-Security-Policy.
        if (
            not host
            or len(url) > MAX_URL
            or not re.fullmatch(r"[a-z0-9._-]+|[0-9a-f:.]+", host)
            or not re.fullmatch(r"[!-~]+", url)
            or "@" in parts.netloc
        ):
            raise OutboundFailed("an address isn't a valid URL")
        if parts.scheme == "https" or (parts.scheme == "http" and self._is_allowed_loopback(host)):
            return host
        raise OutboundFailed(f"{location(url)}: only https is allowed")

    def _is_allowed_loopback(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
        except ValueError:
            return False
        return address.is_loopback and self._is_allowed(address)

    def _is_allowed(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        return is_public(address) or any(address in network for network in self._private_networks)

    def _open_socket(self, address_info: tuple[Any, ...]) -> socket.socket:
        """Return a socket for the connection to an address, which was resolved. Raises OSError if it is not allowed."""
        family, type, protocol, _, sockaddr = address_info
        address = ipaddress.ip_address(str(sockaddr[0]).partition("%")[0])
        if not self._is_allowed(address):
            raise OSError(f"private addresses are refused: {address} is in none of outbound.private_networks")
        return socket.socket(family, type, protocol)


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Return whether `address` is reachable by everyone; if it contains another address, whether that is."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast


def location(url: str) -> str:
    """Return `url` for a log line: without its query and credentials, which may be secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"[:300]


def _decode(url: str, body: bytes, type: type[Answer]) -> Answer:
    try:
        return msgspec.json.decode(body, type=type)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise OutboundFailed(f"{location(url)}: the answer can't be used: {error}") from error


def _reason(error: Exception) -> str:
    cause = getattr(error, "os_error", None) or error
    return str(cause) or type(error).__name__

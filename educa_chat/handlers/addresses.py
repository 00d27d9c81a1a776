"""Client addresses: as proxies report them, and as rate limits count them."""

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_WITH_PORT = re.compile(r"\[([^\]]*)\](?::[0-9]+)?|([0-9.]+):[0-9]+")
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


def parse_address(text: str) -> Address | None:
    """Read an address such as `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` or `[2001:db8::1]:80`, without the port.

    An IPv4 address that arrived over an IPv6 socket (`::ffff:192.0.2.1`) is the IPv4 address. Returns None for any
    other text.
    """
    text = text.strip(' \t"')
    if match := _WITH_PORT.fullmatch(text):
        text = match[1] or match[2]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def membership_test(networks: Iterable[str]) -> Callable[[Address | None], bool]:
    """Return a function that tests whether an address belongs to one of `networks`."""
    parsed_networks = [_unmapped(ipaddress.ip_network(network)) for network in networks]

    def is_within(address: Address | None) -> bool:
        return address is not None and any(address in network for network in parsed_networks)

    return is_within


def _unmapped(network: Network) -> Network:
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        return ipaddress.IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    return network


def list_elements(lines: Iterable[str]) -> list[str]:
    """Split the lines of a header whose value is a list (RFC 9110, section 5.3), without the empty elements."""
    return [element.strip() for element in ",".join(lines).split(",") if element.strip()]


def find_client(
    peer: Address, forwarded_for: Sequence[str], is_trusted: Callable[[Address | None], bool]
) -> tuple[Address, int]:
    """Return the client's address from the elements of `X-Forwarded-For`, and the number of elements used.

    Each proxy appends the address of its own client. So only the last element comes from `peer`, and the one before it
    counts only if the last one is a trusted proxy too. An element that isn't an address is ignored, and so is
    everything before it.
    """
    client, taken = peer, 0
    while is_trusted(client) and taken < len(forwarded_for):
        address = parse_address(forwarded_for[-1 - taken])
        if address is None:
            break
        client, taken = address, taken + 1
    return client, taken


def networks_of(address: str | None) -> tuple[str, str]:
    """Return the names of the networks that a rate limit counts `address` under: the client's own, and the wider one
    around it.

    An IPv6 client can usually use any address in its /64, and a site any network in its /48. Both names of an IPv4
    address are the address itself. Everything that isn't an address counts together.
    """
    parsed = parse_address(address or "")
    if parsed is None:
        return "unknown", "unknown"
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed), str(parsed)
    narrow, wide = (ipaddress.IPv6Network((int(parsed), length), strict=False) for length in (64, 48))
    return str(narrow), str(wide)

"""Client addresses: which headers are trusted, and which addresses a rate limit counts as one."""

import logging
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from educa_chat.handlers.addresses import find_client, list_elements, membership_test, networks_of, parse_address
from tests.serving import Person, Server, open_server, settings_for

PROXIES = "127.0.0.1/32,10.0.0.0/8,2001:db8:ff::/48"
CLIENT = "203.0.113.7"
SPOOFED = "198.51.100.66"


def test_addresses_are_parsed_without_ports_and_ipv4_mapped_ones_as_ipv4() -> None:
    for text, address in (
        ("192.0.2.1", "192.0.2.1"),
        ("  192.0.2.1\t", "192.0.2.1"),
        ("192.0.2.1:567", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:80", "2001:db8::1"),
        ('"[2001:db8::1]:80"', "2001:db8::1"),
        ("[::1]:80", "::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:c000:201", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:80", "192.0.2.1"),
    ):
        assert str(parse_address(text)) == address, text


def test_invalid_addresses_parse_as_none() -> None:
    for text in (
        "", "unknown", "_hidden", "192.0.2", "192.0.2.256", "192.0.2.1.5", "192.0.2.1:", "192.0.2.1:x", "1.2.3.4:5:6",
        "[192.0.2.1", "[]", "[]:80", "[2001:db8::1]80", "2001:db8::g", "192.0.2.1, 192.0.2.2", "192.0.2.01",
        "١٩٢.٠.٢.١", "192.0.2.1\n", "localhost", "%", "[::1]:٨٠",
    ):  # fmt: skip
        assert parse_address(text) is None, text


@given(st.text(st.characters()))
def test_parsing_any_text_never_raises(text: str) -> None:
    parse_address(text)
    networks_of(text)


def client_of(peer: str, *lines: str) -> str:
    address = parse_address(peer)
    assert address
    return str(find_client(address, list_elements(lines), membership_test(PROXIES.split(",")))[0])


FORWARDED: list[tuple[str, Sequence[str], str]] = [
    ("127.0.0.1", [], "127.0.0.1"),
    ("127.0.0.1", [CLIENT], CLIENT),
    ("::ffff:127.0.0.1", [CLIENT], CLIENT),
    (CLIENT, [SPOOFED], CLIENT),
    ("127.0.0.1", [f"{SPOOFED}, {CLIENT}"], CLIENT),
    ("127.0.0.1", [SPOOFED, CLIENT], CLIENT),
    ("127.0.0.1", [SPOOFED, f"{CLIENT}, 10.0.0.1"], CLIENT),
    ("127.0.0.1", [SPOOFED, CLIENT, "10.0.0.1", "2001:db8:ff::1"], CLIENT),
    ("127.0.0.1", [f"{SPOOFED}, 10.0.0.9, {CLIENT}:5000, 10.0.0.1:80, [2001:db8:ff::1]:443"], CLIENT),
    ("127.0.0.1", [SPOOFED, f"::ffff:{CLIENT}", "::ffff:10.0.0.1"], CLIENT),
    ("127.0.0.1", [f" , {SPOOFED},, {CLIENT} ,, "], CLIENT),
    ("127.0.0.1", ["", "10.0.0.7"], "10.0.0.7"),
    # An invalid element isn't an address, and everything before it may be forged too.
    ("127.0.0.1", [SPOOFED, "unknown"], "127.0.0.1"),
    ("127.0.0.1", [SPOOFED, "unknown", "10.0.0.1"], "10.0.0.1"),
    ("127.0.0.1", ["unknown", CLIENT], CLIENT),
    ("127.0.0.1", [f"{SPOOFED};{CLIENT}"], "127.0.0.1"),
]


def test_the_client_is_the_last_address_that_is_not_a_trusted_proxy() -> None:
    for peer, lines, client in FORWARDED:
        assert client_of(peer, *lines) == client, (peer, lines)


@given(st.lists(st.text(st.characters(codec="ascii")) | st.ip_addresses().map(str)))
def test_forwarded_headers_from_the_client_do_not_override_the_proxys(lines: list[str]) -> None:
    assert client_of("127.0.0.1", *lines, CLIENT) == CLIENT


def test_an_ipv4_mapped_network_matches_ipv4_addresses() -> None:
    is_trusted = membership_test(["::ffff:10.0.0.0/104"])
    assert is_trusted(parse_address("10.1.2.3"))
    assert is_trusted(parse_address("::ffff:10.1.2.3"))
    assert not is_trusted(parse_address("11.1.2.3"))
    assert not is_trusted(None)


def test_ipv6_clients_are_grouped_by_their_64_and_48() -> None:
    for address, narrow, wide in (
        ("192.0.2.1", "192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "2001:db8:1::/48"),
        ("fe80::1%eth0", "fe80::/64", "fe80::/48"),
        ("unknown", "unknown", "unknown"),
        (None, "unknown", "unknown"),
    ):
        assert networks_of(address) == (narrow, wide), address


# The server.


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def proxied(url: str) -> AsyncIterator[Server]:
    async with open_server(settings_for(url, server_trusted_proxies=PROXIES)) as opened:
        yield opened


@pytest.mark.asyncio(loop_scope="module")
async def test_repeated_forwarded_headers_are_combined(proxied: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    headers = [
        ("X-Forwarded-For", SPOOFED),
        ("X-Forwarded-For", f"{CLIENT}:999"),
        ("X-Forwarded-For", "[::ffff:a00:1]"),
    ]
    async with Person(proxied.url) as person, person.http.get(f"{proxied.url}/health/live", headers=headers) as answer:
        assert answer.status == 200
    assert [record.getMessage().split()[0] for record in caplog.records if "/health/live" in record.getMessage()] == [
        CLIENT
    ]


ORIGINS: list[tuple[Sequence[tuple[str, str]], str, int]] = [
    ([("Proto", "https"), ("Host", "chat.example")], "https://chat.example", 302),
    ([("Proto", "HTTPS"), ("Host", "Chat.Example:8443")], "https://chat.example:8443", 302),
    ([("Proto", "http"), ("Proto", "https"), ("Host", "evil.example"), ("Host", "chat.example")],
     "https://chat.example", 302),
    ([("Proto", "http"), ("Proto", "https"), ("Host", "evil.example"), ("Host", "chat.example")],
     "http://evil.example", 403),
    # Two proxies that both append: the client connected to the first.
    ([("For", SPOOFED), ("For", f"{CLIENT}, 10.0.0.1"), ("Proto", "http, https, http"),
      ("Host", "evil.example, chat.example, inside.example")], "https://chat.example", 302),
    # Two proxies, and the last one overwrites.
    ([("For", f"{CLIENT}, 10.0.0.1"), ("Proto", "https"), ("Host", "chat.example")], "https://chat.example", 302),
    ([("Proto", "gopher"), ("Host", "chat.example")], "http://chat.example", 302),
    ([("Proto", "https"), ("Host", "chat example/@:")], "https://chat.example", 403),
    ([("Proto", ""), ("Host", "")], "https://chat.example", 403),
]  # fmt: skip


@pytest.mark.asyncio(loop_scope="module")
async def test_scheme_and_host_are_those_the_client_used(proxied: Server, subtests: pytest.Subtests) -> None:
    for forwarded, origin, status in ORIGINS:
        with subtests.test(forwarded=forwarded, origin=origin):
            async with Person(proxied.url) as person:
                data = {"username": "ana", "password": "educa-demo", "csrf_token": await person.token()}
                headers = [("Origin", origin), *((f"X-Forwarded-{name}", value) for name, value in forwarded)]
                async with person.http.post(
                    f"{proxied.url}/accounts/login/", data=data, headers=headers, allow_redirects=False
                ) as answer:
                    assert answer.status == status


@pytest.mark.asyncio(loop_scope="module")
async def test_the_proxys_request_id_wins(proxied: Server) -> None:
    async with Person(proxied.url) as person:
        headers = [("X-Request-ID", "from-the-client"), ("X-Request-ID", "from-the-proxy")]
        async with person.http.get(f"{proxied.url}/health/live", headers=headers) as answer:
            assert answer.headers["X-Request-ID"] == "from-the-proxy"

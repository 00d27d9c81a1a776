"""Access to the metrics: only clients on the configured networks, by their own addresses."""

from collections.abc import Mapping

import aiohttp
import pytest

from tests.serving import Person, open_server, settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROXY = {"server_trusted_proxies": "127.0.0.1/32"}


async def status_of_metrics(url: str, settings: Mapping[str, str], address: str, *forwarded_for: str) -> int:
    """Return the status for a client at `address` of this machine, on a server with `settings`."""
    async with open_server(settings_for(url, **settings)) as server:
        connector = aiohttp.TCPConnector(local_addr=(address, 0))
        headers = [("X-Forwarded-For", line) for line in forwarded_for]
        async with aiohttp.ClientSession(connector=connector) as http:
            async with http.get(f"{server.url}/metrics", headers=headers) as answer:
                text = await answer.text()
                assert (answer.status == 200) == ("educa_chat_sockets" in text), text
                assert answer.headers["Cache-Control"] == "no-store"
                return answer.status


@pytest.mark.parametrize(
    ("networks", "address", "status"),
    [
        (None, "127.0.0.1", 200),
        (None, "127.8.9.10", 200),
        ("127.0.0.2/32", "127.0.0.1", 403),
        ("127.0.0.2/32", "127.0.0.2", 200),
        ("10.0.0.0/8,127.0.0.1/32", "127.0.0.1", 200),
        ("::ffff:127.0.0.1/128", "127.0.0.1", 200),
        ("::1/128", "127.0.0.1", 403),
        ("", "127.0.0.1", 403),
    ],
)
async def test_metrics_are_served_only_to_the_configured_networks(
    url: str, networks: str | None, address: str, status: int
) -> None:
    settings = {} if networks is None else {"server_metrics_networks": networks}
    assert await status_of_metrics(url, settings, address) == status


@pytest.mark.parametrize(
    ("address", "forwarded_for", "status"),
    [
        ("127.0.0.1", ["203.0.113.7"], 403),
        ("127.0.0.1", ["127.0.0.1, 203.0.113.7"], 403),
        ("127.0.0.1", ["127.0.0.1", "203.0.113.7"], 403),
        ("127.0.0.1", ["203.0.113.7:4711"], 403),
        ("127.0.0.1", ["203.0.113.7, 127.0.0.9"], 200),
        ("127.0.0.1", ["::ffff:127.0.0.9"], 200),
        ("127.0.0.1", [], 200),
    ],
)
async def test_behind_a_proxy_the_clients_address_counts(
    url: str, address: str, forwarded_for: list[str], status: int
) -> None:
    assert await status_of_metrics(url, PROXY, address, *forwarded_for) == status


async def test_a_forged_forwarded_header_gives_no_access(url: str) -> None:
    settings = {"server_metrics_networks": "10.0.0.9/32"}
    assert await status_of_metrics(url, settings, "127.0.0.1", "10.0.0.9") == 403
    assert await status_of_metrics(url, PROXY | settings, "127.0.0.3", "10.0.0.9") == 403
    assert await status_of_metrics(url, PROXY | settings, "127.0.0.1", "10.0.0.9, 203.0.113.7") == 403
    assert await status_of_metrics(url, PROXY | settings, "127.0.0.1", "10.0.0.9") == 200


async def test_a_refused_client_learns_why_and_can_use_everything_else(url: str) -> None:
    async with open_server(settings_for(url, server_metrics_networks="")) as server, Person(server.url, "ana") as ana:
        status, text, _ = await ana.get("/metrics")
        assert (status, text) == (403, "403: 127.0.0.1 is not in server.metrics_networks\n")
        assert (await ana.get("/health/ready"))[0] == 200
        assert (await ana.get("/chat/room/1/"))[0] == 200

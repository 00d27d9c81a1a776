"""Access to the metrics: only clients on the configured networks, by their own addresses."""

import aiohttp
import pytest

from tests.serving import Person, Server, open_server, settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROXY = {"server_trusted_proxies": "127.0.0.1/32"}


async def status_of_metrics(server: Server, address: str, *forwarded_for: str) -> int:
    """Return the status for a client at `address` of this machine."""
    connector = aiohttp.TCPConnector(local_addr=(address, 0))
    headers = [("X-Forwarded-For", line) for line in forwarded_for]
    async with aiohttp.ClientSession(connector=connector) as http:
        async with http.get(f"{server.url}/metrics", headers=headers) as answer:
            text = await answer.text()
            assert (answer.status == 200) == ("educa_chat_sockets" in text), text
            assert answer.headers["Cache-Control"] == "no-store"
            return answer.status


NETWORKS: list[tuple[dict[str, str], dict[str, int]]] = [
    ({}, {"127.0.0.1": 200, "127.8.9.10": 200}),
    ({"server_metrics_networks": "127.0.0.2/32"}, {"127.0.0.1": 403, "127.0.0.2": 200}),
    ({"server_metrics_networks": "10.0.0.0/8,127.0.0.1/32"}, {"127.0.0.1": 200}),
    ({"server_metrics_networks": "::ffff:127.0.0.1/128"}, {"127.0.0.1": 200}),
    ({"server_metrics_networks": "::1/128"}, {"127.0.0.1": 403}),
    ({"server_metrics_networks": ""}, {"127.0.0.1": 403}),
]


async def test_metrics_are_served_only_to_the_configured_networks(url: str, subtests: pytest.Subtests) -> None:
    for settings, statuses in NETWORKS:
        async with open_server(settings_for(url, **settings)) as server:
            for address, status in statuses.items():
                with subtests.test(settings=settings, address=address):
                    assert await status_of_metrics(server, address) == status


async def test_behind_a_proxy_the_clients_address_counts(url: str, subtests: pytest.Subtests) -> None:
    async with open_server(settings_for(url, **PROXY)) as server:
        for forwarded_for, status in (
            (["203.0.113.7"], 403),
            (["127.0.0.1, 203.0.113.7"], 403),
            (["127.0.0.1", "203.0.113.7"], 403),
            (["203.0.113.7:4711"], 403),
            (["203.0.113.7, 127.0.0.9"], 200),
            (["::ffff:127.0.0.9"], 200),
            ([], 200),
        ):
            with subtests.test(forwarded_for=forwarded_for):
                assert await status_of_metrics(server, "127.0.0.1", *forwarded_for) == status


async def test_a_forged_forwarded_header_gives_no_access(url: str) -> None:
    settings = {"server_metrics_networks": "10.0.0.9/32"}
    async with open_server(settings_for(url, **settings)) as server:
        assert await status_of_metrics(server, "127.0.0.1", "10.0.0.9") == 403
    async with open_server(settings_for(url, **PROXY, **settings)) as server:
        assert await status_of_metrics(server, "127.0.0.3", "10.0.0.9") == 403
        assert await status_of_metrics(server, "127.0.0.1", "10.0.0.9, 203.0.113.7") == 403
        assert await status_of_metrics(server, "127.0.0.1", "10.0.0.9") == 200


async def test_a_refused_client_learns_why_and_can_use_everything_else(url: str) -> None:
    async with open_server(settings_for(url, server_metrics_networks="")) as server, Person(server.url, "ana") as ana:
        status, text, _ = await ana.get("/metrics")
        assert (status, text) == (403, "403: 127.0.0.1 is not in server.metrics_networks\n")
        assert (await ana.get("/health/ready"))[0] == 200
        assert (await ana.get("/chat/room/1/"))[0] == 200

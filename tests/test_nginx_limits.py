"""The rate limits in deploy/nginx.conf: enough for a class behind one address, but not for a flood."""

import asyncio
import itertools
import re
from collections import Counter
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.nginx import CONFIGURATION, Nginx, open_nginx

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLASS = 40
WINDOWS = 3
"""The number of windows that each student has open."""
SIGN_IN, PAGE, API, SOCKET = "/chat/sign-in/", "/chat/room/1/", "/chat/api/rooms", "/ws/chat/room/1/"
BURSTS = {zone: int(burst) for zone, burst in re.findall(r"limit_req zone=(\w+) burst=(\d+)", CONFIGURATION)}
ADDRESSES = (f"127.0.0.{number}" for number in itertools.count(2))
"""Addresses of this machine, each of which is used once."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nginx() -> AsyncIterator[Nginx]:
    """An nginx with rates so low that only the bursts matter on any machine, and nodes that answer at once."""

    async def answer(request: web.Request) -> web.Response:
        if "busy" in request.query:
            return web.Response(status=429, headers={"Retry-After": "77"})
        return web.Response(text="from a node")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    configuration, count = re.subn(r"rate=\d+r/s", "rate=1r/m", CONFIGURATION)
    assert count == 4
    async with TestServer(app) as node:
        url = str(node.make_url("")).rstrip("/")
        async with open_nginx((url, url), configuration) as opened:
            yield opened


class Address:
    """Clients that share an address that nobody has used before."""

    def __init__(self, nginx: Nginx) -> None:
        self._url = nginx.url
        connector = aiohttp.TCPConnector(ssl=nginx.trust, local_addr=(next(ADDRESSES), 0), limit=50)
        self._http = aiohttp.ClientSession(connector=connector)

    async def __aenter__(self) -> "Address":
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def ask(self, path: str, method: str = "GET") -> aiohttp.ClientResponse:
        async with self._http.request(method, self._url + path) as response:
            await response.read()
            return response

    async def flood(self, path: str, method: str = "GET", *, count: int) -> Counter[int]:
        """Send `count` requests. Return the number of responses with each status."""
        answers = await asyncio.gather(*(self.ask(path, method) for _ in range(count)))
        return Counter(answer.status for answer in answers)


async def test_a_whole_class_behind_one_address_can_enter_at_once(nginx: Nginx) -> None:
    async with Address(nginx) as school:
        counts = await asyncio.gather(
            school.flood(SIGN_IN, "POST", count=2 * CLASS),  # Each of them mistypes the password once.
            school.flood(SIGN_IN, count=2 * CLASS),
            school.flood(PAGE, count=CLASS * WINDOWS),
            school.flood(API, count=3 * CLASS * WINDOWS),
            school.flood(
                SOCKET, count=3 * CLASS * WINDOWS
            ),  # A reconnect storm: their node is lost, and then the next one.
            # A page has forty files, so they are not limited at all.
            school.flood("/chat/static/0123/js/room.js", count=2 * max(BURSTS.values())),
        )
    assert [set(count) for count in counts] == [{200}] * 6


@pytest.mark.parametrize(
    ("zone", "method", "path", "aliases"),
    [
        ("sign_in", "POST", SIGN_IN, ["/accounts/login/"]),
        ("sockets", "GET", SOCKET, ["//ws//chat/room/1/"]),
        ("api", "GET", API, ["/api/rooms/1/messages", "/chat/api/rooms/1/search?q=x", "/%63hat/api/rooms"]),
        ("pages", "GET", PAGE, ["/students/courses/", "/health/ready"]),
    ],
    ids=list(BURSTS),
)
async def test_a_flood_gets_429_with_retry_after_and_affects_no_other_addresses_and_limits(
    nginx: Nginx, zone: str, method: str, path: str, aliases: list[str]
) -> None:
    async with Address(nginx) as flooding, Address(nginx) as other:
        counts = await flooding.flood(path, method, count=BURSTS[zone] + 20)
        assert set(counts) == {200, 429}
        for alias in (path, *aliases):
            refused = await flooding.ask(alias, method)
            assert (refused.status, refused.headers["Retry-After"]) == (429, "2"), alias
            assert "Strict-Transport-Security" in refused.headers
            assert (await other.ask(alias, method)).status == 200
        for elsewhere in {PAGE, API, SOCKET} - {path}:
            assert (await flooding.ask(elsewhere)).status == 200, elsewhere


async def test_a_nodes_own_429_is_passed_on_unchanged(nginx: Nginx) -> None:
    async with Address(nginx) as person:
        answer = await person.ask(f"{API}?busy")
        assert (answer.status, answer.headers.getall("Retry-After")) == (429, ["77"])


async def test_every_response_has_strict_transport_security(nginx: Nginx) -> None:
    async with Address(nginx) as person:
        for path, status in ((PAGE, 200), ("/metrics", 404), (f"{API}?busy", 429)):
            answer = await person.ask(path)
            assert (answer.status, answer.headers.getall("Strict-Transport-Security")) == (status, ["max-age=31536000"])
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{nginx.plain_url}/chat/", allow_redirects=False) as answer:
                assert answer.status == 301
                assert "Strict-Transport-Security" not in answer.headers, "browsers must not take it from http"

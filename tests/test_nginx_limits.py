"""The rate limits in deploy/nginx.conf: enough for a class behind one address, but not for a flood."""

import asyncio
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


@pytest_asyncio.fixture(loop_scope="module")
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
    """Clients that share an address of this machine."""

    def __init__(self, nginx: Nginx, address: str = "127.0.0.1") -> None:
        self._url = nginx.url
        connector = aiohttp.TCPConnector(ssl=nginx.trust, local_addr=(address, 0), limit=50)
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

    async def flood(self, path: str, method: str = "GET", count: int = 700) -> Counter[int]:
        """Send `count` requests. Return the number of responses with each status."""
        answers = await asyncio.gather(*(self.ask(path, method) for _ in range(count)))
        return Counter(answer.status for answer in answers)


async def test_a_whole_class_behind_one_address_can_enter_at_once(nginx: Nginx) -> None:
    async with Address(nginx) as school:
        counts = await asyncio.gather(
            school.flood(SIGN_IN, "POST", 2 * CLASS),  # Each of them mistypes the password once.
            school.flood(SIGN_IN, "GET", 2 * CLASS),
            school.flood(PAGE, count=CLASS * WINDOWS),
            school.flood(API, count=3 * CLASS * WINDOWS),
            school.flood(
                SOCKET, count=3 * CLASS * WINDOWS
            ),  # A reconnect storm: their node is lost, and then the next one.
        )
    assert [set(count) for count in counts] == [{200}] * 5


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", SIGN_IN),
        ("POST", "/accounts/login/"),
        ("GET", PAGE),
        ("GET", "/students/courses/"),
        ("GET", "/health/ready"),
        ("GET", API),
        ("GET", "/api/rooms/1/messages"),
        ("GET", "/chat/api/rooms/1/search?q=x"),
        ("GET", SOCKET),
        ("GET", "//ws//chat/room/1/"),
        ("GET", "/%63hat/api/rooms"),
    ],
)
async def test_a_flood_gets_429_with_retry_after_and_does_not_affect_other_addresses(
    nginx: Nginx, method: str, path: str
) -> None:
    async with Address(nginx) as flooding, Address(nginx, "127.0.0.2") as other:
        counts = await flooding.flood(path, method)
        assert set(counts) == {200, 429}
        refused = await flooding.ask(path, method)
        assert (refused.status, refused.headers["Retry-After"]) == (429, "2")
        assert (await other.ask(path, method)).status == 200


async def test_each_limit_is_counted_separately(nginx: Nginx) -> None:
    async with Address(nginx) as school:
        assert 429 in await school.flood(API)
        assert (await school.flood(PAGE, count=CLASS)) == {200: CLASS}
        assert (await school.flood(SOCKET, count=CLASS)) == {200: CLASS}
        assert (await school.flood("/chat/static/0123/js/room.js", count=1500)) == {200: 1500}, "a page has forty files"


async def test_a_nodes_own_429_is_passed_on_unchanged(nginx: Nginx) -> None:
    async with Address(nginx) as person:
        answer = await person.ask(f"{API}?busy")
        assert (answer.status, answer.headers.getall("Retry-After")) == (429, ["77"])


async def test_every_response_has_strict_transport_security(nginx: Nginx) -> None:
    async with Address(nginx) as person:
        for path, status in ((PAGE, 200), ("/metrics", 404), (f"{API}?busy", 429)):
            answer = await person.ask(path)
            assert (answer.status, answer.headers.getall("Strict-Transport-Security")) == (status, ["max-age=31536000"])
        await person.flood(API)
        assert "Strict-Transport-Security" in (await person.ask(API)).headers
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{nginx.plain_url}/chat/", allow_redirects=False) as answer:
                assert answer.status == 301
                assert "Strict-Transport-Security" not in answer.headers, "browsers must not take it from http"

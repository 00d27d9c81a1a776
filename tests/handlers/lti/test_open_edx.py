"""Launches, rosters and deep links of a platform that runs Open edX's own code."""

from collections.abc import AsyncIterator
from urllib.parse import parse_qsl, urlsplit

import pytest
import pytest_asyncio

from educa_chat.handlers.keys import DATABASE
from educa_chat.storage.administration import read_roster
from educa_chat.storage.lti_platforms import Registration, add_platform
from tests.lti_platform import LtiUser, kind_of
from tests.open_edx import OpenEdx, open_open_edx
from tests.serving import Server

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def platform(server: Server) -> AsyncIterator[OpenEdx]:
    async with open_open_edx(server.url) as opened:
        url = opened.url
        registration = Registration("", url, "client", f"{url}/auth", f"{url}/token", f"{url}/keys")
        await add_platform(server.app[DATABASE], registration, ["1"], is_active=True)
        yield opened


async def launch(
    user: LtiUser, platform: OpenEdx, role: str, name: str | None = None, message: str = "LtiResourceLinkRequest"
) -> tuple[int, str]:
    """Do what a browser does. Return the status, and the address of the redirect or the page."""
    address = await platform.ask("preflight", message_type=message)
    async with user.http.get(address, allow_redirects=False) as response:
        assert response.status == 302
        user.keep_cookies(response.headers.getall("Set-Cookie"))
        query = dict(parse_qsl(urlsplit(response.headers["Location"]).query))
    form = await platform.ask("launch", role=role, name=name, query=query)
    async with user.http.post(f"{user.url}/lti/launch", data=form, allow_redirects=False) as response:
        if response.status == 303:
            user.keep_cookies(response.headers.getall("Set-Cookie"))
        return response.status, response.headers.get("Location") or await response.text()


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ("student", "student"),
        ("Community TA", "assistant"),
        ("staff", "instructor"),
        ("instructor", "instructor"),
        ("global_staff", "instructor"),
    ],
)
async def test_a_launch_opens_the_room(server: Server, platform: OpenEdx, role: str, expected: str) -> None:
    async with LtiUser(server.url) as user:
        status, path = await launch(user, platform, role, "Ana")
        assert status == 303, kind_of(path)
        welcome = await (await user.enter(int(path.split("/")[3]))).receive_until("welcome")
    assert (welcome["me"]["name"], welcome["me"]["role"], welcome["room"]["title"]) == ("Ana", expected, "Demo")


async def test_the_platform_accepts_the_roster_request(server: Server, platform: OpenEdx) -> None:
    """A platform that hides personal data names nobody."""
    platform.members = [{"user_id": "7", "roles": ["Instructor"]}, {"user_id": "8", "roles": ["Learner"]}]
    async with LtiUser(server.url) as user:
        _, path = await launch(user, platform, "staff", "Ana")
        course = int(path.split("/")[3])
        form = {"csrf_token": await user.token(path)}
        async with user.http.post(f"{server.url}/lti/roster/{course}/", data=form, allow_redirects=False) as response:
            assert response.status == 303
    assert len(await read_roster(server.app[DATABASE], course)) == 2


async def test_the_platform_accepts_the_deep_link(server: Server, platform: OpenEdx) -> None:
    async with LtiUser(server.url) as user:
        status, page = await launch(user, platform, "staff", message="LtiDeepLinkingRequest")
        assert status == 200, kind_of(page)
    token = page.split('name="JWT" value="')[1].split('"')[0]
    (item,) = await platform.ask("deep_link", token=token)
    assert item["type"] == "ltiResourceLink" and item["url"] == f"{server.url}/lti/launch"

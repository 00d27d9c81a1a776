"""Platforms: registration, hostile ones, and deep links."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from joserfc import jwk, jwt

from educa_chat.storage.lti_platforms import (
    activate_platform,
    add_invitation,
    find_platforms,
    list_platforms,
    remove_platform,
)
from educa_chat.storage.pool import Database
from tests.lti_platform import CLIENT_ID, LTI, MEMBERSHIP, FakePlatform, LtiUser, kind_of, open_platform
from tests.outside import open_elsewhere
from tests.serving import Person, Server

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOOL = "https://purl.imsglobal.org/spec/lti-tool-configuration"
DL = "https://purl.imsglobal.org/spec/lti-dl/claim/"


@pytest_asyncio.fixture(loop_scope="module")
async def platform() -> AsyncIterator[FakePlatform]:
    """A platform that isn't registered yet."""
    async with open_platform() as opened:
        opened.registration = {TOOL: {"deployment_id": "1"}}
        yield opened


async def register(
    server: Server, invitation: str, configuration: str, token: str | None = "t"
) -> tuple[int, str, Any]:
    query = {"invitation": invitation, "openid_configuration": configuration}
    if token:
        query["registration_token"] = token
    async with Person(server.url) as person:
        async with person.http.get(f"{server.url}/lti/register", params=query, allow_redirects=False) as response:
            return response.status, await response.text(), response.headers


async def test_an_invited_platform_registers_once_and_waits_for_approval(
    server: Server, platform: FakePlatform, database: Database
) -> None:
    invitation = await add_invitation(database)
    status, page, headers = await register(server, invitation, f"{platform.url}/configuration?x=1")
    assert status == 200 and "lti activate" in page
    assert f"frame-ancestors {platform.url};" in headers["Content-Security-Policy"]
    assert headers["Cross-Origin-Opener-Policy"] == "unsafe-none"
    ((authorization, configuration),) = platform.registered
    assert authorization == "Bearer t"
    assert configuration["initiate_login_uri"] == f"{server.url}/lti/login"
    assert configuration["redirect_uris"] == [f"{server.url}/lti/launch"]
    assert configuration["jwks_uri"] == f"{server.url}/lti/jwks"
    assert configuration[TOOL]["domain"] in server.url and configuration[TOOL]["description"]
    (found,) = await find_platforms(database, platform.issuer)
    assert (found.is_active, list(found.deployments)) == (False, ["1"])
    status, page, _ = await register(server, invitation, f"{platform.url}/configuration")
    assert (status, kind_of(page)) == (403, "invitation")
    await activate_platform(database, found.id)
    async with LtiUser(server.url) as ana:
        assert (await ana.launch(platform))[0] == 303


async def test_registration_requires_an_invitation(server: Server, platform: FakePlatform) -> None:
    for invitation in ("", "x" * 43, "\0", "é"):
        status, page, headers = await register(server, invitation, f"{platform.url}/configuration")
        assert (status, kind_of(page)) == (403, "invitation")
        assert platform.url not in headers["Content-Security-Policy"]
    assert not platform.registered


async def test_a_configuration_that_names_another_host_is_refused(
    server: Server, platform: FakePlatform, database: Database, subtests: pytest.Subtests
) -> None:
    before = await list_platforms(database)
    invitation = await add_invitation(database)
    for name in ("issuer", "authorization_endpoint", "registration_endpoint", "jwks_uri", "token_endpoint"):
        for address in ("https://evil.example/", "http://localhost/", "https://10.0.0.1/", "javascript:x", ""):
            with subtests.test(name=name, address=address):
                platform.configuration = {name: address}
                status, page, _ = await register(server, invitation, f"{platform.url}/configuration")
                assert status in (403, 502) and kind_of(page) in ("platform", "unreachable")
                assert not platform.registered and await list_platforms(database) == before
    # The invitation is still valid.
    platform.configuration = {}
    assert (await register(server, invitation, f"{platform.url}/configuration"))[0] == 200


async def test_a_configuration_in_a_private_network_is_not_fetched(
    server: Server, database: Database, subtests: pytest.Subtests
) -> None:
    for address in (
        "https://10.0.0.1/x",
        "https://169.254.169.254/x",
        "http://school.example/",
        "file:///etc/passwd",
        "",
        "https://a;b/",
        "https://a'b/",
    ):
        with subtests.test(address=address):
            status, page, headers = await register(server, await add_invitation(database), address)
            assert (status, kind_of(page)) == (502, "unreachable")
            assert ";b" not in headers["Content-Security-Policy"]


async def test_a_redirected_configuration_is_refused(
    server: Server, platform: FakePlatform, database: Database
) -> None:
    async def redirected(_: web.Request) -> web.Response:
        raise web.HTTPFound(f"{platform.url}/configuration")

    async with open_elsewhere(redirected) as elsewhere:
        assert (await register(server, await add_invitation(database), elsewhere))[0] == 502
    assert not platform.registered


async def test_removing_a_platform_signs_its_users_out_and_keeps_their_accounts(
    server: Server, platform: FakePlatform, database: Database
) -> None:
    id = await platform.register(database)
    async with LtiUser(server.url) as ana:
        _, path = await ana.launch(platform)
        socket = await ana.enter(int(path.split("/")[3]))
        me = (await socket.receive_until("welcome"))["me"]
        await remove_platform(database, id)
        assert await socket.close_code() == 4001
        with pytest.raises(AssertionError):
            await ana.begin(platform)
        await platform.register(database)
        _, path = await ana.launch(platform)
        assert (await (await ana.enter(int(path.split("/")[3]))).receive_until("welcome"))["me"] == me


def deep_linking(platform: FakePlatform, role: str = "Instructor", **settings: Any) -> dict[str, Any]:
    return {
        LTI + "roles": [MEMBERSHIP + role],
        LTI + "message_type": "LtiDeepLinkingRequest",
        DL + "deep_linking_settings": {
            "deep_link_return_url": f"{platform.url}/contentitem_return.php",
            "accept_types": ["ltiResourceLink"],
            "accept_multiple": True,
            "data": "secret",
            **settings,
        },
    }


async def test_a_teacher_can_add_a_link_to_the_room(server: Server, platform: FakePlatform, database: Database) -> None:
    await platform.register(database)
    async with LtiUser(server.url) as clara:
        status, page = await clara.launch(platform, **deep_linking(platform))
        assert status == 200 and f'action="{platform.url}/contentitem_return.php"' in page
        token = page.split('name="JWT" value="')[1].split('"')[0]
        async with clara.http.get(f"{server.url}/lti/jwks") as response:
            keys = jwk.KeySet.import_key_set(await response.json())
    claims = jwt.decode(token, keys, ["RS256"]).claims
    assert claims["iss"] == CLIENT_ID and claims["aud"] == [platform.issuer] and claims[DL + "data"] == "secret"
    assert claims[LTI + "message_type"] == "LtiDeepLinkingResponse" and claims[LTI + "deployment_id"] == "1"
    (item,) = claims[DL + "content_items"]
    assert item["type"] == "ltiResourceLink" and item["url"] == f"{server.url}/lti/launch"


async def test_an_invalid_deep_link_is_refused(
    server: Server, platform: FakePlatform, database: Database, subtests: pytest.Subtests
) -> None:
    await platform.register(database)
    for role, wanted, kind in (
        ("Learner", {}, "not_teacher"),
        ("Instructor", {"accept_types": ["file"]}, "platform"),
        ("Instructor", {"deep_link_return_url": "https://evil.example/"}, "platform"),
        ("Instructor", {"deep_link_return_url": "javascript:alert(1)"}, "platform"),
        ("Instructor", {"deep_link_return_url": None}, "platform"),
    ):
        with subtests.test(role=role, kind=kind):
            async with LtiUser(server.url) as user:
                status, page = await user.launch(platform, **deep_linking(platform, role, **wanted))
                assert (status, kind_of(page)) == (403, kind)

"""The pages under /admin/platforms/, where administrators connect learning platforms."""

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from educa_chat.settings import Settings
from educa_chat.storage.administration import read_admin_log
from educa_chat.storage.lti_platforms import find_platform, find_platforms
from educa_chat.storage.pool import Database
from tests.handlers.lti.test_registrations import TOOL, register
from tests.handlers.test_admin_pages import age_session, page, post
from tests.lti_platform import CLIENT_ID, DEPLOYMENT, LTI, FakePlatform, LtiUser, open_platform
from tests.outside import LOOPBACK
from tests.serving import Person, Server, add_person, open_server, settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH = "/admin/platforms/"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def admin(server: Server, database: Database) -> AsyncIterator[Person]:
    async with Person(server.url, await add_person(database, is_superuser=True)) as person:
        yield person


async def last_entries(database: Database, count: int) -> list[tuple[str, str, str | None]]:
    """Return the last entries of the audit log: the action, its author and the platform."""
    entries = await read_admin_log(database, before=None, limit=count)
    return [(one.action, one.actor_name, one.details.get("platform")) for one in reversed(entries)]


def form_of(platform: FakePlatform, **changes: str) -> dict[str, str]:
    """Return the values that an administrator copies from the platform into the form."""
    return {
        "name": "Open edX",
        "issuer": platform.issuer,
        "client_id": CLIENT_ID,
        "deployment": DEPLOYMENT,
        "authorization_url": f"{platform.url}/auth",
        "token_url": f"{platform.url}/token",
        "jwks_url": f"{platform.url}/keys",
        "origin": "",
        **changes,
    }


async def test_an_invited_platform_can_launch_after_an_administrator_activates_it(
    server: Server, admin: Person, database: Database
) -> None:
    assert "No learning platform is connected yet." in await page(admin, PATH)
    status, answer = await post(admin, PATH, act="invite")
    found = re.search(r'<code class="secret">(.*?)</code>', answer)
    assert status == 200 and found and "for 24 hours" in answer
    assert "invitation=" not in await page(admin, PATH), "it is shown only once"
    assert found[1].startswith(f"{server.url}/lti/register?")
    async with open_platform() as platform, LtiUser(server.url) as ana:
        platform.registration = {TOOL: {"deployment_id": DEPLOYMENT}}
        status, registered, _ = await register(
            server, found[1].partition("invitation=")[2], f"{platform.url}/configuration"
        )
        link = re.search(r'href="([^"]*/admin/[^"]*)"', registered)
        assert status == 200 and link, "its administrator learns where to activate it"
        path = link[1].removeprefix(server.url)
        assert "Not active" in await page(admin, PATH)
        with pytest.raises(AssertionError):
            await ana.begin(platform)
        assert (await post(admin, path, act="activate"))[0] == 303
        assert "Not active" not in await page(admin, PATH)
        socket = await ana.enter(int((await ana.launch(platform))[1].split("/")[3]))
        status, address = await post(admin, path, act="deactivate")
        assert status == 303 and "its users were signed out" in await page(admin, address)
        assert await socket.close_code() == 4001
        with pytest.raises(AssertionError):
            await ana.begin(platform)
        name = platform.issuer.removeprefix("http://").partition(":")[0]
    assert await last_entries(database, 3) == [
        ("platform.invited", admin.username, None),
        ("platform.activated", admin.username, name),
        ("platform.deactivated", admin.username, name),
    ]
    log = await page(admin, "/admin/log/")
    assert f"deactivated the learning platform <bdi>{name}</bdi>" in log and found[1].partition("=")[2] not in log


async def test_a_platform_can_be_added_by_hand_with_several_deployments_and_sites(
    server: Server, admin: Person, database: Database
) -> None:
    assert f"{server.url}/lti/jwks" in await page(admin, f"{PATH}add/")
    async with open_platform() as platform, LtiUser(server.url) as ana:
        status, address = await post(admin, f"{PATH}add/", **form_of(platform, origin="https://a.example/x"))
        path = address.partition("?")[0]
        assert status == 303 and "The platform was added." in await page(admin, address)
        status, answer = await post(admin, f"{PATH}add/", **form_of(platform))
        assert status == 422 and "There is already a platform" in answer and f'value="{platform.issuer}"' in answer
        assert (await ana.launch(platform))[0] == 303
        assert (await ana.launch(platform, **{LTI + "deployment_id": "b"}))[0] == 403
        assert (await post(admin, path, act="deployment", deployment=" b "))[0] == 303
        assert (await ana.launch(platform, **{LTI + "deployment_id": "b"}))[0] == 303
        assert (await post(admin, path, act="origin", origin="https://b.example/y"))[0] == 303
        # Adding it again changes nothing, and so there is nothing to log.
        assert (await post(admin, path, act="deployment", deployment="b"))[0] == 303
        added = await find_platform(database, int(path.split("/")[3]))
    assert list(added.deployments) == [DEPLOYMENT, "b"]
    assert set(added.origins) == {platform.url, "https://a.example", "https://b.example"}
    assert await last_entries(database, 3) == [
        ("platform.added", admin.username, "Open edX"),
        ("platform.extended", admin.username, "Open edX"),
        ("platform.extended", admin.username, "Open edX"),
    ]


async def test_a_platform_with_invalid_values_is_not_added(
    admin: Person, platform: FakePlatform, subtests: pytest.Subtests
) -> None:
    for changes, reason in (
        *(({name: "http://lms.example/"}, "An address is invalid.") for name in (
            "issuer", "authorization_url", "token_url", "jwks_url", "origin"
        )),
        ({"issuer": ""}, "An address is invalid."),
        ({"issuer": "https://lms.example/" + "x" * 5000}, "An address is invalid."),
        ({"jwks_url": "https://user:secret@lms.example/"}, "An address is invalid."),
        ({"client_id": " "}, "is empty, too long"),
        ({"deployment": ""}, "is empty, too long"),
        ({"deployment": "x" * 5000}, "is empty, too long"),
        ({"deployment": "a\u202eb"}, "is empty, too long"),
    ):  # fmt: skip
        with subtests.test(changes=changes):
            status, answer = await post(admin, f"{PATH}add/", **form_of(platform, **{"client_id": "wrong"} | changes))
            assert status == 422 and reason in answer


async def test_removing_a_platform_requires_its_name_and_a_recent_sign_in(
    server: Server, platform: FakePlatform, database: Database
) -> None:
    (known,) = await find_platforms(database, platform.issuer)
    path = f"{PATH}{known.id}/remove/"
    username = await add_person(database, is_superuser=True)
    async with Person(server.url, username) as admin:
        status, answer = await post(admin, path, name="Other")
        assert status == 422 and "not the name of the platform" in answer
        await age_session(database, username)
        assert "Sign in again" in (await admin.get(path))[1]
        status, answer = await post(admin, path, name=known.name)
        assert status == 422 and "Sign in again" in answer
        assert await find_platforms(database, platform.issuer)
        await admin.sign_in(username)
        status, address = await post(admin, path, name=f" {known.name} ")
        assert status == 303 and "The platform was removed." in await page(admin, address)
        assert (await admin.get(path))[0] == 404
    assert not await find_platforms(database, platform.issuer)
    assert await last_entries(database, 1) == [("platform.removed", username, known.name)]


async def test_a_platform_that_does_not_exist_has_no_page(admin: Person, subtests: pytest.Subtests) -> None:
    for id in ("0", "01", "x", "99999999", "4294967296", "-1", "١"):
        with subtests.test(id=id):
            assert (await admin.get(f"{PATH}{id}/"))[0] == 404


async def test_addresses_for_users_and_platforms_begin_with_the_public_url(
    settings: Settings, url: str, platform: FakePlatform, database: Database
) -> None:
    public = settings_for(url, server_public_url="https://chat.example/", outbound_private_networks=",".join(LOOPBACK))
    async with (
        open_server(public) as server,
        Person(server.url, await add_person(database, is_superuser=True)) as admin,
    ):
        _, link = await post(admin, "/admin/people/1/", act="link")
        _, invitation = await post(admin, PATH, act="invite")
        assert "https://chat.example/chat/sign-in/link/" in link
        assert "https://chat.example/lti/register?" in invitation
        assert "https://chat.example/lti/launch" in await page(admin, f"{PATH}add/")
        async with LtiUser(server.url) as ana:
            assert (await ana.begin(platform))["redirect_uri"] == "https://chat.example/lti/launch"

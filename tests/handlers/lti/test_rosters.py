"""The roster of a learning platform: who gains and loses access, and errors, which remove nobody."""

import asyncio
import logging
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from joserfc import jwk, jwt

from educa_chat.errors import RosterOutdated
from educa_chat.people.lti import rosters
from educa_chat.people.lti.rosters import Rosters
from educa_chat.people.lti.tool import Tool
from educa_chat.people.outbound import Outbound
from educa_chat.protocol import Role
from educa_chat.settings import Settings
from educa_chat.storage.accounts import find_user_id
from educa_chat.storage.administration import read_roster
from educa_chat.storage.courses import enrol
from educa_chat.storage.lti_courses import begin_roster, claim_roster, find_roster, note_listed, remove_missing
from educa_chat.storage.pool import Database
from tests.lti_platform import LTI, MEMBERSHIP, ROSTER, FakePlatform, LtiUser, kind_of
from tests.outside import LOOPBACK
from tests.serving import TIMEOUT_S, Server, add_person

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEACHER = {"sub": "1", "given_name": "Clara", "family_name": "Benítez", LTI + "roles": [MEMBERSHIP + "Instructor"]}


def member(id: str, role: str = "Learner", **others: Any) -> dict[str, Any]:
    """Return a member as Moodle lists them, with short names of roles."""
    return {"user_id": id, "roles": [role], "status": "Active", "name": f"Member {id}", **others}


ALL = [member("1", "Instructor"), member("17"), member("18")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fetcher(settings: Settings, database: Database) -> AsyncIterator[Rosters]:
    async with Outbound(LOOPBACK).open() as outbound:
        tool = Tool(settings, outbound)
        async with tool.connect(database):
            yield Rosters(tool)


@pytest.fixture
def platform(platform: FakePlatform) -> FakePlatform:
    """The platform, with a roster."""
    platform.pages = [ALL]
    return platform


async def launch(user: LtiUser, platform: FakePlatform, **changes: Any) -> int:
    status, path = await user.launch(platform, **changes)
    assert status == 303, path
    return int(path.split("/")[3])


async def update(fetcher: Rosters, database: Database, course: int) -> bool:
    roster = await find_roster(database, course)
    assert roster is not None
    return await fetcher.update(roster)


async def until_fetched(database: Database, course: int) -> None:
    """Wait until the server has fetched the roster of the course, which an instructor has launched."""
    async with asyncio.timeout(TIMEOUT_S):
        while not await database.fetchval(
            "select roster_fetched_at from educa_chat.lti_context where course = $1", course
        ):
            await asyncio.sleep(0.02)


async def members(database: Database, course: int) -> dict[str, str]:
    """Return the members of the course, by their names."""
    return {one.name: one.role for one in await read_roster(database, course)}


async def test_the_first_launch_by_an_instructor_fetches_the_roster(
    server: Server, platform: FakePlatform, database: Database
) -> None:
    platform.pages = [ALL[:2], ALL[2:]]
    async with LtiUser(server.url) as ana, LtiUser(server.url) as clara:
        course = await launch(ana, platform)
        assert (
            await database.fetchval("select roster_due_at from educa_chat.lti_context where course = $1", course)
            is None
        )
        socket = await clara.enter(await launch(clara, platform, **TEACHER))
        await socket.receive_until("welcome")
        await until_fetched(database, course)
    assert await members(database, course) == {
        "Member 1": "instructor", "Member 17": "student", "Member 18": "student"
    }  # fmt: skip
    # It is due again in an hour.
    assert await claim_roster(database) is None
    minutes = "select extract(epoch from roster_due_at - now()) / 60 from educa_chat.lti_context where course = $1"
    assert 55 < await database.fetchval(minutes, course) <= 60


async def test_roster_requests_are_signed(
    server: Server, platform: FakePlatform, fetcher: Rosters, database: Database
) -> None:
    async with LtiUser(server.url) as ana:
        assert await update(fetcher, database, await launch(ana, platform))
        async with ana.http.get(f"{server.url}/lti/jwks") as response:
            keys = jwk.KeySet.import_key_set(await response.json())
    form = platform.tokens[-1]
    assert form["grant_type"] == "client_credentials" and "nrps" in form["scope"]
    claims = jwt.decode(form["client_assertion"], keys, ["RS256"]).claims
    assert claims["iss"] == claims["sub"] == "client" and claims["aud"] == f"{platform.url}/token"
    assert claims["exp"] - claims["iat"] <= 60 and claims["jti"]


async def test_users_who_left_or_are_suspended_lose_access_at_once(
    server: Server, platform: FakePlatform, fetcher: Rosters, database: Database
) -> None:
    async with LtiUser(server.url) as ana, LtiUser(server.url) as luis, LtiUser(server.url) as clara:
        course = await launch(ana, platform)
        await launch(luis, platform, sub="18")
        await launch(clara, platform, **TEACHER)
        sockets = [await user.enter(course) for user in (ana, luis, clara)]
        for socket in sockets:
            await socket.receive_until("welcome")
        await until_fetched(database, course)
        platform.pages = [[member("1", "Instructor"), member("18", status="Inactive")]]
        assert await update(fetcher, database, course)
        assert [await socket.close_code() for socket in sockets[:2]] == [4003, 4003]
        assert await members(database, course) == {"Member 1": "instructor"}
        # Members who come back are in the course again.
        assert await launch(ana, platform) == course
        assert await members(database, course) == {"Member 1": "instructor", "Ana Morales": "student"}


async def test_a_user_who_launches_while_the_roster_is_fetched_keeps_access(
    server: Server, platform: FakePlatform, fetcher: Rosters, database: Database
) -> None:
    async with LtiUser(server.url) as ana, LtiUser(server.url) as luis:
        course = await launch(luis, platform, sub="18")
        platform.pages = [[member("18")]]
        platform.before_roster = lambda: launch(ana, platform)
        assert await update(fetcher, database, course)
    assert "Ana Morales" in await members(database, course)


async def test_a_roster_whose_successor_was_faster_changes_nothing(
    server: Server, platform: FakePlatform, fetcher: Rosters, database: Database
) -> None:
    async def fetch_the_next() -> None:
        platform.before_roster = None
        platform.pages = [[member("17"), member("19")]]
        assert await update(fetcher, database, course)

    async with LtiUser(server.url) as ana:
        course = await launch(ana, platform)
        platform.pages = [[member("17"), member("18")]]
        platform.before_roster = fetch_the_next
        assert await update(fetcher, database, course)
        assert set(await members(database, course)) == {"Member 17", "Member 19"}


async def test_a_roster_stops_changing_the_course_when_a_newer_one_begins_to(
    server: Server, platform: FakePlatform, database: Database
) -> None:
    async with LtiUser(server.url) as ana:
        course = await launch(ana, platform)
    older, newer = await find_roster(database, course), await find_roster(database, course)
    assert older is not None and newer is not None
    await begin_roster(database, older)
    await begin_roster(database, newer)
    luis = await find_user_id(database, await add_person(database))
    for change in (
        begin_roster(database, older),
        note_listed(database, older, luis, Role.STUDENT),
        remove_missing(database, older, [luis]),
    ):
        with pytest.raises(RosterOutdated):
            await change
    await note_listed(database, newer, luis, Role.STUDENT)
    assert await remove_missing(database, newer, [luis]) == 1


@pytest.mark.parametrize(
    "pages",
    [
        [[]],
        [ALL[:1], []],
        [lambda: web.Response(status=500)],
        [ALL[:1], lambda: web.Response(status=403)],
        [ALL[:1], lambda: web.Response(text="<html>")],
        [lambda: web.Response(text='{"members": null}')],
        [lambda: web.Response(text="[" * 100_000)],
        [lambda: web.Response(status=302, headers={"Location": "/roster/2"})],
    ],
)
async def test_an_error_or_an_empty_page_never_empties_a_room(
    server: Server, platform: FakePlatform, fetcher: Rosters, database: Database, pages: list[Any]
) -> None:
    async with LtiUser(server.url) as ana, LtiUser(server.url) as clara:
        course = await launch(ana, platform)
        await launch(clara, platform, **TEACHER)
        platform.pages = pages
        await update(fetcher, database, course)
        assert len(await members(database, course)) >= 2


async def test_a_next_page_on_another_host_is_not_fetched(
    server: Server,
    platform: FakePlatform,
    fetcher: Rosters,
    database: Database,
    caplog: pytest.LogCaptureFixture,
    subtests: pytest.Subtests,
) -> None:
    for link in (
        "https://evil.example/roster",
        "http://localhost:1/roster",
        "http://127.0.0.1:1/roster",
        "http://169.254.169.254/",
        "https://10.0.0.1/",
        "file:///etc/passwd",
    ):
        with subtests.test(link=link):
            caplog.clear()
            headers = {"Link": f'<{link}>; rel="next"'}
            platform.pages = [partial(web.json_response, {"members": ALL[:1]}, headers=headers)]
            async with LtiUser(server.url) as ana:
                course = await launch(ana, platform)
                assert not await update(fetcher, database, course)
                assert "Ana Morales" in await members(database, course)
            assert any(
                record.levelno == logging.WARNING and "roster" in record.getMessage() for record in caplog.records
            )


async def test_a_roster_on_another_site_is_not_fetched(
    server: Server, platform: FakePlatform, fetcher: Rosters, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async with LtiUser(server.url) as ana:
        elsewhere = {"context_memberships_url": platform.roster_url.replace("127.0.0.1", "localhost")}
        course = await launch(ana, platform, **{ROSTER: elsewhere})
        assert not await update(fetcher, database, course)
    assert "--origin https://localhost" in caplog.text and not platform.tokens


async def test_endless_pages_are_abandoned(
    server: Server, platform: FakePlatform, fetcher: Rosters, database: Database
) -> None:
    link = f'<{platform.roster_url}?page=0>; rel="next"'
    platform.pages = [lambda: web.json_response({"members": ALL}, headers={"Link": link})]
    async with LtiUser(server.url) as ana:
        assert not await update(fetcher, database, await launch(ana, platform))


async def test_the_roster_does_not_lower_a_role_set_by_a_launch_this_week(
    server: Server, platform: FakePlatform, fetcher: Rosters, database: Database
) -> None:
    """Moodle lists a non-editing teacher as a learner."""
    platform.pages = [[member("1"), member("17", "Instructor")]]
    async with LtiUser(server.url) as clara:
        course = await launch(clara, platform, **TEACHER)
        await until_fetched(database, course)
        await update(fetcher, database, course)
        assert await members(database, course) == {"Member 1": "instructor", "Member 17": "instructor"}
        platform.pages = [[member("1"), member("17")]]
        await update(fetcher, database, course)
        assert await members(database, course) == {"Member 1": "instructor", "Member 17": "student"}
        await database.execute("update educa_chat.lti_member set launched_at = launched_at - interval '8 days'")
        await update(fetcher, database, course)
        assert await members(database, course) == {"Member 1": "student", "Member 17": "student"}


async def test_withheld_names_leave_names_unchanged(
    server: Server, platform: FakePlatform, fetcher: Rosters, database: Database
) -> None:
    platform.pages = [[{"user_id": "17"}, {"user_id": 18, "roles": ["Learner"]}]]
    async with LtiUser(server.url) as ana:
        course = await launch(ana, platform)
        assert await update(fetcher, database, course)
    names = await members(database, course)
    assert len(names) == 2 and "Ana Morales" in names


async def test_escaped_names_in_the_roster_match_those_of_the_launch(
    server: Server, platform: FakePlatform, fetcher: Rosters, database: Database
) -> None:
    """Moodle escapes names in its rosters, but not in its launches."""
    platform.pages = [[member("17", name="Ana P&amp;G &#039;Mo", given_name="Ana", family_name="P&amp;G &#039;Mo")]]
    async with LtiUser(server.url) as ana:
        course = await launch(ana, platform, given_name="Ana", family_name="P&G 'Mo")
        await update(fetcher, database, course)
    assert await members(database, course) == {"Ana P&G 'Mo": "student"}


async def test_an_administrator_who_only_visits_the_course_keeps_access(
    server: Server, platform: FakePlatform, fetcher: Rosters, database: Database
) -> None:
    """A platform's administrators and managers may launch every course, and are in no roster."""
    platform.pages = [ALL]
    async with LtiUser(server.url) as admin, LtiUser(server.url) as clara:
        course = await launch(admin, platform, **TEACHER | {"sub": "2"})
        await launch(clara, platform, **TEACHER)
        await until_fetched(database, course)
        await update(fetcher, database, course)
        assert await members(database, course) == {
            "Clara Benítez": "instructor", "Member 1": "instructor", "Member 17": "student", "Member 18": "student"
        }  # fmt: skip
        # A teacher whom the roster has named and no longer names has left.
        platform.pages = [ALL[1:]]
        await update(fetcher, database, course)
        assert "Member 1" not in await members(database, course)
        await database.execute("update educa_chat.lti_member set launched_at = launched_at - interval '25 hours'")
        await update(fetcher, database, course)
        assert await members(database, course) == {"Member 17": "student", "Member 18": "student"}


async def test_the_roster_does_not_remove_users_enrolled_by_others(
    server: Server, platform: FakePlatform, fetcher: Rosters, database: Database
) -> None:
    async with LtiUser(server.url) as ana:
        course = await launch(ana, platform)
        username = await add_person(database)
        await enrol(database, username, course)
        await update(fetcher, database, course)
    assert username in await members(database, course)


async def test_an_unchanged_roster_writes_no_rows(
    server: Server, platform: FakePlatform, fetcher: Rosters, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with LtiUser(server.url) as ana:
        course = await launch(ana, platform)
        await update(fetcher, database, course)

        async def changed(*_: object) -> None:
            raise AssertionError("changed")

        monkeypatch.setattr(rosters, "find_or_add_person", changed)
        await update(fetcher, database, course)


async def test_an_instructor_can_request_the_roster(server: Server, platform: FakePlatform, database: Database) -> None:
    async with LtiUser(server.url) as ana, LtiUser(server.url) as clara:
        course = await launch(ana, platform)
        await launch(clara, platform, **TEACHER)
        platform.pages = [[*ALL, member("19")]]
        for user, status in ((ana, 403), (clara, 303)):
            path = f"/chat/room/{course}/"
            form = {"csrf_token": await user.token(path)}
            address = f"{server.url}/lti/roster/{course}/"
            assert ("/lti/roster/" in (await user.get(path))[1]) is (user is clara)
            async with user.http.post(address, data=form, allow_redirects=False) as response:
                assert response.status == status
        assert "Member 19" in await members(database, course)
        platform.pages = [lambda: web.Response(status=500)]
        async with clara.http.post(address, data={"csrf_token": await clara.token(path)}) as response:
            page = await response.text()
            assert (response.status, kind_of(page)) == (502, "unreachable") and f'href="{path}"' in page

"""LTI launches: a valid launch opens the room of its course, and everything else is refused."""

import asyncio
import logging
import time
from typing import Any

import pytest
from joserfc import jwk

from educa_chat.handlers.keys import DATABASE
from educa_chat.people.lti.launches import LAUNCHES_AT_ONCE
from educa_chat.storage.lti_platforms import activate_platform
from educa_chat.storage.pool import Database
from tests.lti_platform import CLIENT_ID, DEPLOYMENT, LTI, MEMBERSHIP, FakePlatform, LtiUser, kind_of, open_platform
from tests.outside import Signer, signed_with_secret, unsigned
from tests.serving import Person, Server

pytestmark = pytest.mark.asyncio(loop_scope="module")

TA = "http://purl.imsglobal.org/vocab/lis/v2/membership/Instructor#TeachingAssistant"
TABLES = ("auth_user", "educa_chat.used_nonce", "educa_chat.session", "educa_chat.external_person", "courses_course")


async def count_rows(database: Database) -> list[int]:
    return [await database.fetchval(f"select count(*) from {table}") for table in TABLES]


async def test_a_launch_opens_the_room_with_name_and_role(server: Server, platform: FakePlatform) -> None:
    async with LtiUser(server.url) as ana:
        begun = await ana.begin(platform)
        assert begun["response_mode"] == "form_post" and begun["prompt"] == "none" and begun["scope"] == "openid"
        assert begun["login_hint"] == "17" and begun["lti_message_hint"] == '{"cmid":2}'
        assert begun["redirect_uri"] == f"{server.url}/lti/launch"
        status, path = await ana.launch(platform, begun)
        assert status == 303 and path.startswith("/chat/room/")
        status, page, headers = await ana.get(path, **{"Accept-Language": "en"})
        assert status == 200 and "Álgebra" in page and '<html lang="es">' in page
        assert f"frame-ancestors {platform.url};" in headers["Content-Security-Policy"]
        socket = await ana.enter(int(path.split("/")[3]))
        welcome = await socket.receive_until("welcome")
        assert welcome["me"]["name"] == "Ana Morales" and welcome["me"]["role"] == "student"
        assert welcome["room"]["title"] == "Álgebra"


async def test_a_second_launch_finds_the_same_person_and_course(
    server: Server, platform: FakePlatform, database: Database
) -> None:
    async with LtiUser(server.url) as ana, LtiUser(server.url) as again:
        first = await ana.launch(platform)
        before = await count_rows(database)
        renamed = {"id": "2", "title": "Álgebra II"}
        assert await again.launch(platform, given_name="Anita", **{LTI + "context": renamed}) == first
        assert [before[0], *before[3:]] == [(await count_rows(database))[0], *(await count_rows(database))[3:]]
        assert "Álgebra II" in (await ana.get(first[1]))[1]
        # A copied course is a different course, and so is a course of another deployment.
        assert (await again.launch(platform, **{LTI + "context": {"id": "3", "title": "Álgebra"}}))[1] != first[1]


async def test_people_are_never_matched_by_email_or_username(
    server: Server, platform: FakePlatform, database: Database
) -> None:
    await database.execute("update auth_user set email = 'ana@school.example'")
    async with LtiUser(server.url) as ana, LtiUser(server.url) as other:
        users = set()
        for person, subject in ((ana, "17"), (other, "18")):
            _, path = await person.launch(platform, sub=subject)
            socket = await person.enter(int(path.split("/")[3]))
            users.add((await socket.receive_until("welcome"))["me"]["user"])
        assert len(users) == 2


MAPPED_ROLES: list[tuple[list[str] | None, str]] = [
    ([MEMBERSHIP + "Learner"], "student"),
    ([MEMBERSHIP + "Instructor"], "instructor"),
    ([MEMBERSHIP + "Learner", TA], "assistant"),
    ([MEMBERSHIP + "Instructor", TA], "assistant"),
    (["http://purl.imsglobal.org/vocab/lis/v2/institution/person#Administrator"], "instructor"),
    (["http://purl.imsglobal.org/vocab/lis/v2/institution/person#Instructor"], "student"),
    (["Instructor"], "instructor"),
    ([], "student"),
    (None, "student"),
    (["http://evil.example/membership#Instructor"], "student"),
]


async def test_roles_are_mapped(server: Server, platform: FakePlatform, subtests: pytest.Subtests) -> None:
    for number, (roles, role) in enumerate(MAPPED_ROLES):
        with subtests.test(roles=roles):
            async with LtiUser(server.url) as user:
                _, path = await user.launch(platform, **{"sub": f"user {number}", LTI + "roles": roles})
                welcome = await (await user.enter(int(path.split("/")[3]))).receive_until("welcome")
                assert welcome["me"]["role"] == role


async def test_a_launch_can_raise_a_role_but_never_lower_it(server: Server, platform: FakePlatform) -> None:
    async with LtiUser(server.url) as user:
        for role, held in (("Learner", "student"), ("Instructor", "instructor"), ("Learner", "instructor")):
            _, path = await user.launch(platform, **{LTI + "roles": [MEMBERSHIP + role]})
            socket = await user.enter(int(path.split("/")[3]))
            assert (await socket.receive_until("welcome"))["me"]["role"] == held


async def test_a_launch_with_a_missing_or_hostile_name_works(server: Server, platform: FakePlatform) -> None:
    async with LtiUser(server.url) as user:
        nameless = {"name": None, "given_name": None, "family_name": None, "email": None}
        assert (await user.launch(platform, **nameless))[0] == 303
        hostile = {"given_name": "<b>\u202e" + "x" * 400, LTI + "context": {"id": "9", "title": "\u202e" * 300}}
        assert (await user.launch(platform, sub="18", **hostile))[0] == 303


NOW = int(time.time())


WRONG_LAUNCHES: list[tuple[dict[str, Any], str, str]] = [
    ({"iss": "https://other.example"}, "platform", "issuer"),
    ({"aud": "another"}, "platform", "audience"),
    ({"aud": [CLIENT_ID, "another"]}, "platform", "azp"),
    ({"aud": [CLIENT_ID, "another"], "azp": "another"}, "platform", "azp"),
    ({"exp": NOW - 600}, "again", "expired"),
    ({"iat": NOW - 9000}, "again", "too old"),
    ({"iat": NOW + 9000}, "platform", "future"),
    ({"nonce": "old"}, "platform", "nonce"),
    ({"nonce": None}, "platform", "nonce"),
    ({"sub": None}, "withheld", "who the user is"),
    ({"sub": ""}, "withheld", "who the user is"),
    ({"sub": "x" * 300}, "withheld", "who the user is"),
    ({LTI + "deployment_id": "2"}, "platform", "no deployment '2'"),
    ({LTI + "deployment_id": None}, "platform", "no deployment ''"),
    ({LTI + "version": "1.1"}, "platform", "version"),
    ({LTI + "message_type": "basic-lti-launch-request"}, "platform", "type of the message"),
    ({LTI + "target_link_uri": "https://evil.example/lti/launch"}, "platform", "target_link_uri"),
    ({LTI + "target_link_uri": None}, "platform", "target_link_uri"),
    ({LTI + "context": None}, "course", "not from a course"),
    ({LTI + "context": {"id": ""}}, "course", "not from a course"),
    ({LTI + "roles": "Instructor"}, "platform", "can't be used"),
]


async def test_a_forged_or_stale_launch_is_refused(
    server: Server, platform: FakePlatform, caplog: pytest.LogCaptureFixture, subtests: pytest.Subtests
) -> None:
    for changes, kind, reason in WRONG_LAUNCHES:
        with subtests.test(changes=changes):
            caplog.clear()
            async with LtiUser(server.url) as user:
                status, page = await user.launch(platform, **changes)
                assert (status, kind_of(page)) == (403, kind)
                assert (await user.get("/chat/courses/"))[0] == 302
            lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
            assert len(lines) == 1 and reason in lines[0]
            assert "ey" + "J" not in caplog.text


async def test_a_token_not_signed_by_the_platform_is_refused(server: Server, platform: FakePlatform) -> None:
    async with LtiUser(server.url) as user:
        begun = await user.begin(platform)
        claims = platform.claims(begun["nonce"], server.url)
        public = platform.signer.key.as_bytes(private=False)
        for token in (unsigned(claims), signed_with_secret(claims, public), Signer().sign(claims), "", "x.y.z"):
            status, page = await user.launch(platform, begun, token=token or " ")
            assert (status, kind_of(page)) == (403, "platform")
        # None of them has used up the login.
        assert (await user.launch(platform, begun))[0] == 303


async def test_a_launch_can_be_used_only_once(server: Server, platform: FakePlatform) -> None:
    async with LtiUser(server.url) as user:
        begun = await user.begin(platform)
        token = platform.signer.sign(platform.claims(begun["nonce"], server.url))
        cookies = {cookie.key: cookie.value for cookie in user.http.cookie_jar}
        assert (await user.launch(platform, begun, token=token))[0] == 303
        user.http.cookie_jar.update_cookies(cookies)
        status, page = await user.launch(platform, begun, token=token)
        assert (status, kind_of(page)) == (403, "again")


async def test_a_launch_must_end_in_the_browser_in_which_it_began(server: Server, platform: FakePlatform) -> None:
    async with LtiUser(server.url) as attacker, LtiUser(server.url) as victim:
        begun = await attacker.begin(platform)
        await victim.begin(platform)
        status, page = await victim.launch(platform, begun)
        assert (status, kind_of(page)) == (403, "blocked")
        assert (await victim.get("/chat/courses/"))[0] == 302


async def test_an_unknown_state_is_refused(server: Server, platform: FakePlatform) -> None:
    async with LtiUser(server.url) as user:
        begun = await user.begin(platform)
        for state in ("", "x", begun["state"][:-4]):
            status, page = await user.launch(platform, {**begun, "state": state})
            assert (status, kind_of(page)) == (403, "again")


async def test_another_platforms_token_with_the_same_client_id_is_refused(
    server: Server, platform: FakePlatform, database: Database
) -> None:
    async with open_platform() as other, LtiUser(server.url) as user:
        await other.register(database)
        begun = await user.begin(platform)
        token = other.signer.sign(other.claims(begun["nonce"], server.url))
        assert (await user.launch(platform, begun, token=token))[0] == 403
        forged = other.signer.sign(platform.claims(begun["nonce"], server.url))
        assert (await user.launch(platform, begun, token=forged))[0] == 403
        # The same sub is a different person, and the same context a different course.
        _, path = await user.launch(platform, begun)
        assert (await user.launch(other))[1] != path


async def test_unknown_keys_are_looked_up_at_most_once_a_minute(server: Server, platform: FakePlatform) -> None:
    async with LtiUser(server.url) as user:
        assert (await user.launch(platform))[0] == 303
        platform.signer = Signer("new")
        for _ in range(5):
            assert (await user.launch(platform))[0] == 403
        assert platform.key_fetches == 1


async def test_a_platform_without_keys_is_reported_as_unreachable(server: Server, platform: FakePlatform) -> None:
    platform.signer.key = jwk.RSAKey.generate_key(2048, {"kid": "x"}, private=True)
    platform.signer.public = lambda: {"keys": 5}  # type: ignore[method-assign]
    async with LtiUser(server.url) as user:
        status, page = await user.launch(platform)
        assert (status, kind_of(page)) == (502, "unreachable")


async def test_an_invalid_login_request_is_refused(
    server: Server, platform: FakePlatform, subtests: pytest.Subtests
) -> None:
    for changes, kind in (
        ({"iss": "https://unknown.example"}, "platform"),
        ({"iss": None}, "platform"),
        ({"client_id": "another"}, "platform"),
        ({"target_link_uri": "https://evil.example/"}, "platform"),
        ({"target_link_uri": None}, "platform"),
        ({"login_hint": None}, "again"),
        ({"login_hint": "x" * 5000}, "again"),
    ):
        with subtests.test(changes=changes):
            async with LtiUser(server.url) as user:
                with pytest.raises(AssertionError) as refused:
                    await user.begin(platform, **changes)
                status, page = refused.value.args[0]
                assert (status, kind_of(page)) == (403, kind)


async def test_an_inactive_platform_cannot_launch(server: Server, database: Database) -> None:
    async with open_platform() as platform, LtiUser(server.url) as user:
        id = await platform.register(database, is_active=False)
        form = {
            "iss": platform.issuer,
            "login_hint": "17",
            "target_link_uri": f"{server.url}/lti/launch",
            "client_id": CLIENT_ID,
        }
        async with user.http.post(f"{server.url}/lti/login", data=form) as response:
            assert (response.status, kind_of(await response.text())) == (403, "platform")
            # The page that says so is shown where the room would be.
            assert f"frame-ancestors {platform.url};" in response.headers["Content-Security-Policy"]
        await activate_platform(database, id)
        assert (await user.launch(platform))[0] == 303


async def test_a_platform_can_have_several_deployments(
    server: Server, platform: FakePlatform, database: Database
) -> None:
    await database.execute("insert into educa_chat.lti_deployment select id, 'b' from educa_chat.lti_platform")
    async with LtiUser(server.url) as user:
        paths = {(await user.launch(platform, **{LTI + "deployment_id": one}))[1] for one in (DEPLOYMENT, "b")}
    assert len(paths) == 2


async def test_a_flood_of_logins_stores_nothing(server: Server, platform: FakePlatform, database: Database) -> None:
    before = await count_rows(database)
    async with LtiUser(server.url) as user:
        await asyncio.gather(*(user.begin(platform) for _ in range(100)))
        for _ in range(20):
            await user.launch(platform, aud="another")
    assert await count_rows(database) == before
    # However many logins begin in one browser, its requests stay small.
    assert len({cookie.key for cookie in user.http.cookie_jar}) <= 16


async def test_a_class_that_launches_at_once_leaves_connections_to_others(
    server: Server, platform: FakePlatform
) -> None:
    busiest = 0

    async def watch() -> None:
        nonlocal busiest
        while True:
            busiest = max(busiest, server.app[DATABASE].busy_connections)
            await asyncio.sleep(0)

    async def launch(id: int) -> int:
        async with LtiUser(server.url) as user:
            return (await user.launch(platform, sub=str(id)))[0]

    watching = asyncio.create_task(watch())
    assert set(await asyncio.gather(*map(launch, range(40)))) == {303}
    watching.cancel()
    # Two more: for the sites that may embed the pages, and for what runs in the background.
    assert busiest <= LAUNCHES_AT_ONCE + 2


async def test_a_deactivated_user_cannot_launch(server: Server, platform: FakePlatform, database: Database) -> None:
    async with LtiUser(server.url) as user:
        await user.launch(platform)
        await database.execute("update auth_user set is_active = false where id = (select max(id) from auth_user)")
        status, page = await user.launch(platform)
        assert (status, kind_of(page)) == (403, "deactivated")


async def test_signing_out_of_an_embedded_room_ends_the_session(server: Server, platform: FakePlatform) -> None:
    async with LtiUser(server.url) as user:
        _, path = await user.launch(platform)
        socket = await user.enter(int(path.split("/")[3]))
        form = {"csrf_token": await user.token(path)}
        async with user.http.post(f"{server.url}/chat/sign-out/", data=form, allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (302, "/lti/ended/")
        assert await socket.close_code() == 4001
        assert (await user.get(path))[2]["Location"] == "/lti/ended/"
        status, page, headers = await user.get("/lti/ended/")
        assert (status, kind_of(page)) == (200, "ended")
        assert platform.url in headers["Content-Security-Policy"]


async def test_forms_in_embedded_pages_need_their_csrf_token(server: Server, platform: FakePlatform) -> None:
    async with LtiUser(server.url) as user:
        _, path = await user.launch(platform)
        token = await user.token(path)
        for data, origin in (({}, server.url), ({"csrf_token": token}, platform.url)):
            async with user.http.post(
                f"{server.url}/chat/sign-out/", data=data, headers={"Origin": origin}, allow_redirects=False
            ) as response:
                assert response.status == 403
        assert (await user.get(path))[0] == 200


async def test_a_page_that_keeps_its_session_itself_works_without_cookies(
    server: Server, platform: FakePlatform
) -> None:
    """Without any cookies, the page sends the login's secret, and the session with each request."""
    async with LtiUser(server.url) as user, Person(server.url) as page:
        begun = await user.begin(platform)
        secret = next(cookie.value for cookie in user.http.cookie_jar)
        form = {"id_token": platform.signer.sign(platform.claims(begun["nonce"], server.url)), "state": begun["state"]}
        frame = {"Sec-Fetch-Dest": "iframe"}
        async with page.http.post(f"{server.url}/lti/launch", data=form, headers=frame) as response:
            assert response.status == 200 and form["state"] in await response.text()
        async with page.http.post(
            f"{server.url}/lti/launch", data=form | {"secret": secret}, headers=frame, allow_redirects=False
        ) as response:
            assert response.status == 303 and "Set-Cookie" not in response.headers
            path, _, session = response.headers["Location"].partition("#")
        assert (await page.get(path))[0] == 200
        async with page.http.post(server.url + path, data={"session": session}) as response:
            room = await response.text()
            assert response.status == 200 and session in room and 'lang="es"' in room
            assert platform.url in response.headers["Content-Security-Policy"]
        course = path.split("/")[3]
        bearer = {"Authorization": f"Bearer {session}"}
        for api in ("messages", "search?q=hello", "members?q=a"):
            assert (await page.get(f"/chat/api/rooms/{course}/{api}", **bearer))[0] == 200
            assert (await page.get(f"/chat/api/rooms/{course}/{api}"))[0] == 401
        socket = await page.http.ws_connect(
            f"{server.url}/ws/chat/room/{course}/", protocols=("educa-chat.v1", f"educa-chat.session.{session}")
        )
        assert socket.protocol == "educa-chat.v1"
        token = room.split('name="csrf_token" value="')[1].split('"')[0]
        async with page.http.post(
            f"{server.url}/chat/sign-out/", data={"csrf_token": token, "session": session}, allow_redirects=False
        ) as response:
            assert response.status == 302
        assert (await page.get(f"/chat/api/rooms/{course}/messages", **bearer))[0] == 401
        async with page.http.post(server.url + path, data={"session": session}, allow_redirects=False) as response:
            assert response.headers["Location"] == "/lti/ended/"


async def test_ordinary_sessions_cannot_be_embedded(server: Server, platform: FakePlatform) -> None:
    async with Person(server.url) as person:
        _, _, headers = await person.get("/accounts/login/")
        assert "frame-ancestors 'self'" in headers["Content-Security-Policy"]


async def test_the_key_set_has_two_signing_keys(server: Server) -> None:
    async with Person(server.url) as person, person.http.get(f"{server.url}/lti/jwks") as response:
        keys = (await response.json())["keys"]
    assert [key["use"] for key in keys] == ["sig", "sig"] and not any("d" in key for key in keys)

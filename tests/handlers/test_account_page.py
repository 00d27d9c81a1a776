"""The account page: name and language, password, and sessions."""

import re

import pytest

from educa_chat.people.browsers import describe_browser
from educa_chat.storage.accounts import set_password
from educa_chat.storage.pool import Database
from tests.handlers.test_pages import Page
from tests.serving import Person, Server, add_person

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH = "/chat/account/"
OLD, NEW = "educa-demo", "correct horse battery"


async def submit(person: Person, section: str, **data: str) -> tuple[int, str]:
    """Post a form of the page like a browser without scripts. Return the status of the first response, and the last
    page.
    """
    fields = {"csrf_token": await person.token(PATH), **data}
    async with person.http.post(f"{person.url}{PATH}{section}/", data=fields) as response:
        return (response.history[0] if response.history else response).status, await response.text()


async def test_a_changed_name_and_language_apply_everywhere_at_once(server: Server, database: Database) -> None:
    username = await add_person(database, 1)
    async with Person(server.url, username) as person, Person(server.url, "luis") as luis:
        person.http.headers["Accept-Language"] = "en"
        status, html = await submit(person, "profile", first_name=" Zoë ", last_name="Núñez", language="es")
        assert status == 303
        assert 'lang="es"' in html
        assert "Guardado." in html
        assert "Zoë Núñez" in html
        for path in ("/chat/courses/", "/chat/room/1/", "/chat/room/2/"):
            assert 'lang="es"' in (await person.get(path))[1], path
        assert 'lang="en"' in (await luis.get("/chat/courses/", **{"Accept-Language": "en"}))[1]
        status, html = await submit(person, "profile", first_name="Zoë", last_name="", language="")
        assert 'lang="en"' in html


async def test_an_invalid_name_is_refused(server: Server, database: Database, subtests: pytest.Subtests) -> None:
    async with Person(server.url, await add_person(database, 1)) as person:
        for name in ("\u202eeoZ", "Zo\x07e", "x" * 151):
            with subtests.test(name=name):
                status, html = await submit(person, "profile", first_name=name, last_name="", language="en")
                assert (status, "A name can have at most 150 characters" in html) == (200, True)
                assert not await database.fetchval("select exists (select from auth_user where first_name = $1)", name)


async def test_an_unknown_language_is_refused(server: Server) -> None:
    async with Person(server.url, "ana") as ana:
        assert (await submit(ana, "profile", first_name="Ana", last_name="Morales", language="../x"))[0] == 400


async def test_changing_the_password_ends_all_other_sessions(server: Server, database: Database) -> None:
    username = await add_person(database, 1)
    async with Person(server.url, username) as here, Person(server.url, username) as there:
        mine, other = await here.enter(), await there.enter()
        status, html = await submit(here, "password", old=OLD, password=NEW)
        assert (status, "Saved." in html) == (303, True)
        assert await other.close_code() == 4001
        assert (await there.get("/chat/courses/"))[0] == 302
        await mine.say("still here", "1")
        await mine.receive_until("chat_message", message="still here")
    async with Person(server.url) as person:
        assert (await person.sign_in(username, OLD))[0] == 200
        assert (await person.sign_in(username, NEW))[0] == 302


async def test_a_refused_password_changes_nothing(
    server: Server, database: Database, subtests: pytest.Subtests
) -> None:
    username = await add_person(database, 1)
    async with Person(server.url, username) as person:
        for old, new, said in (
            ("wrong", NEW, "The current password is incorrect."),
            ("", NEW, "The current password is incorrect."),
            (OLD, "short", "too short"),
            (OLD, "password1", "most common"),
            (OLD, "", "too short"),
        ):
            with subtests.test(old=old, new=new):
                status, html = await submit(person, "password", old=old, password=new)
                assert (status, said in html) == (200, True)
                assert (await person.sign_in(username, OLD))[0] == 302


async def test_a_user_without_a_password_learns_how_to_get_one(server: Server, database: Database) -> None:
    username = await add_person(database, 1)
    async with Person(server.url, username) as person:
        await database.execute(
            "with u as (update auth_user set password = '!x' where username = $1 returning id)"
            " update educa_chat.session s set password_digest = sha256('!x') from u where s.user_id = u.id",
            username,
        )
        html = (await person.get(PATH))[1]
        assert "You have no password here." in html
        assert not [field for field in Page(html).named("input") if field.get("name") == "password"]


async def test_sessions_are_listed_by_browser_and_can_be_ended(server: Server, database: Database) -> None:
    username = await add_person(database, 1)
    async with Person(server.url) as phone, Person(server.url, username) as here:
        phone.http.headers["User-Agent"] = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0) Version/18.0 Safari/604.1"
        assert (await phone.sign_in(username))[0] == 302
        socket = await phone.enter()
        html = (await here.get(PATH))[1]
        assert html.index("this browser") < html.index("Safari on iPhone")
        (digest,) = re.findall(r'name="end" value="([0-9a-f]{64})"', html)
        async with Person(server.url, "luis") as luis:
            await submit(luis, "sessions", end=digest)
            assert (await phone.get("/chat/courses/"))[0] == 200
        status, html = await submit(here, "sessions", end=digest)
        assert (status, "Safari on iPhone" in html) == (303, False)
        assert await socket.close_code() == 4001


async def test_all_other_sessions_can_be_ended_together(server: Server, database: Database) -> None:
    username = await add_person(database, 1)
    others = [Person(server.url) for _ in range(3)]
    async with Person(server.url, username) as here:
        for other in others:
            async with other:
                await other.sign_in(username)
        assert (await here.get(PATH))[1].count('name="end"') == 3
        assert (await submit(here, "sessions", all="1"))[1].count('name="end"') == 0
        assert (await here.get("/chat/courses/"))[0] == 200


async def test_the_last_use_of_a_session_is_recorded_every_few_minutes(server: Server, database: Database) -> None:
    username = await add_person(database, 1)
    used_at = (
        "select s.used_at from educa_chat.session s join auth_user u on u.id = s.user_id"
        f" where u.username = '{username}'"
    )
    async with Person(server.url, username) as person:
        begun = await database.fetchval(used_at)
        await person.get("/chat/courses/")
        assert await database.fetchval(used_at) == begun
        await database.execute("update educa_chat.session set used_at = used_at - interval '10 minutes'")
        await person.get("/chat/courses/")
        assert await database.fetchval(used_at) > begun


@pytest.mark.parametrize("section", ["profile", "password", "sessions"])
async def test_a_form_from_another_site_is_refused(server: Server, database: Database, section: str) -> None:
    username = await add_person(database, 1)
    data = {"first_name": "Mallory", "last_name": "", "language": "es", "old": OLD, "password": NEW, "all": "1"}
    async with Person(server.url, username) as here, Person(server.url, username) as there:
        assert (await submit(here, section, **data, csrf_token="0" * 80))[0] == 403
        assert "Mallory" not in (await here.get(PATH))[1]
        assert (await there.get("/chat/courses/"))[0] == 200
        assert (await there.sign_in(username, OLD))[0] == 302


async def test_the_page_requires_signing_in(server: Server) -> None:
    async with Person(server.url) as nobody:
        assert (await nobody.get(PATH))[0] == 302
        async with nobody.http.post(f"{server.url}{PATH}profile/", data={"x": "y"}, allow_redirects=False) as response:
            assert response.status == 302


async def test_usernames_are_case_insensitive_unless_two_match(server: Server, database: Database) -> None:
    username = await add_person(database, 1)
    async with Person(server.url) as person:
        assert (await person.sign_in(username.upper()))[0] == 302
    await database.execute(
        "insert into auth_user select nextval(pg_get_serial_sequence('auth_user', 'id')), password, last_login,"
        " is_superuser, upper(username), first_name, last_name, email, is_staff, is_active, date_joined"
        " from auth_user where username = $1",
        username,
    )
    await set_password(database, username.upper(), "!")
    async with Person(server.url) as person:
        assert (await person.sign_in(username.title()))[0] == 200
        assert (await person.sign_in(username.upper()))[0] == 200
        assert (await person.sign_in(username))[0] == 302


async def test_browsers_have_familiar_names() -> None:
    for user_agent, named in (
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", ("Firefox", "Linux")),
        ("Mozilla/5.0 (Windows NT 10.0) Chrome/140.0 Safari/537.36 Edg/140.0", ("Edge", "Windows")),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Version/18.0 Safari/605.1.15", ("Safari", "macOS")),
        ("Mozilla/5.0 (Linux; Android 15) Chrome/140.0 Mobile Safari/537.36", ("Chrome", "Android")),
        ("Mozilla/5.0 (iPad; CPU OS 18_0 like Mac OS X) CriOS/140.0 Safari/604.1", ("Chrome", "iPad")),
        ("curl/8.0", ("", "")),
        ("", ("", "")),
    ):
        assert describe_browser(user_agent) == named, user_agent

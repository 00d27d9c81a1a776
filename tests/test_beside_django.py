"""The chat beside a real Django site, with the site's tables, passwords and sessions."""

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import aiohttp
import pytest
import pytest_asyncio

from educa_chat.handlers.keys import SOCKETS
from educa_chat.storage.migrate import migrate
from educa_chat.storage.pool import Database, open_database
from tests.conftest import Postgres
from tests.django_site import DjangoSite
from tests.django_site.settings import SECRET_KEY
from tests.serving import Person, Server, open_server, settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Beside(NamedTuple):
    """A seeded site, and the chat's database URL with a role that can only read the site's tables."""

    site: DjangoSite
    seeded: dict[str, Any]
    url: str
    owner: Database


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def beside(postgres: Postgres) -> AsyncIterator[Beside]:
    url = await postgres.create_database()
    site = DjangoSite(url)
    await site.migrate()
    seeded = await site.seed()
    async with open_database(url, 2) as owner:
        await site.grant("chat_role")
        tables = "select tablename from pg_tables where schemaname = 'public' order by 1"
        before = await owner.fetch(tables)
        chat_url = url.replace("postgres@", "chat_role@")
        async with open_database(chat_url, 2) as database:
            await migrate(database)
        assert await owner.fetch(tables) == before
        yield Beside(site, seeded, chat_url, owner)
        await owner.execute("drop owned by chat_role cascade")
        await owner.execute("drop role chat_role")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def own(beside: Beside) -> AsyncIterator[Server]:
    """The chat with a sign-in form of its own."""
    async with open_server(settings_for(beside.url)) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(beside: Beside) -> AsyncIterator[Server]:
    """The chat with the site's sessions."""
    settings = settings_for(
        beside.url,
        auth_django_secret_key=SECRET_KEY,
        auth_sign_in_url="/entrar/",
        auth_sign_out_url="/adios/",
    )
    async with open_server(settings) as server:
        yield server


def with_session(server: Server, session_key: str) -> Person:
    person = Person(server.url)
    person.http.cookie_jar.update_cookies({"sessionid": session_key})
    return person


async def test_a_password_hashed_by_django_works(beside: Beside, own: Server, subtests: pytest.Subtests) -> None:
    for username in ("ines", "ana", "berta", "carla", "dario"):
        with subtests.test(username=username):
            async with Person(own.url) as person:
                password = beside.seeded["users"][username]["password"]
                assert (await person.sign_in(username, password + "x"))[0] == 200
                assert (await person.sign_in(username, password))[0] == 302


@pytest.mark.parametrize("username", ["inactiva", "sinclave"])
async def test_users_who_cannot_sign_in_on_the_site_cannot_sign_in_here(
    beside: Beside, own: Server, username: str
) -> None:
    async with Person(own.url) as person:
        password = beside.seeded["users"][username]["password"] or ""
        assert (await person.sign_in(username, password))[0] == 200


async def test_the_sites_tables_are_not_written_to(beside: Beside, own: Server) -> None:
    """Unlike Django, the chat doesn't even rehash passwords."""
    before = await beside.owner.fetch("select * from auth_user order by id")
    async with Person(own.url) as person:
        await person.sign_in("berta", beside.seeded["users"]["berta"]["password"])
        await (await person.enter(beside.seeded["courses"]["algebra"]["id"])).say("hola", id="1")
    assert await beside.owner.fetch("select * from auth_user order by id") == before


async def test_a_session_cookie_from_django_gives_access(beside: Beside, shared: Server) -> None:
    algebra = beside.seeded["courses"]["algebra"]["id"]
    keys = {username: await beside.site.sign_in(username) for username in ("ana", "sinclave", "ines")}
    async with (
        with_session(shared, keys["ana"]) as ana,
        with_session(shared, keys["sinclave"]) as other,
        with_session(shared, keys["ines"]) as ines,
    ):
        sockets = [await person.enter(algebra) for person in (ana, other, ines)]
        welcomes = [await socket.receive() for socket in sockets]
        assert [welcome["me"]["user"] for welcome in welcomes] == ["ana", "sinclave", "ines"]
        assert [welcome["me"]["role"] for welcome in welcomes] == ["student", "student", "instructor"]
        assert welcomes[0]["room"]["title"] == beside.seeded["courses"]["algebra"]["title"]
        await sockets[0].say("hola", id="cookie")
        for socket in sockets:
            assert (await socket.receive_until("chat_message"))["message"] == "hola"
        page = (await ana.get(f"/chat/room/{algebra}/"))[1]
        assert "&lt;b&gt;" in page
        assert "<b>&#34;lineal" not in page


async def test_the_chats_sign_in_form_is_off_and_visitors_are_redirected_to_the_sites(shared: Server) -> None:
    async with Person(shared.url) as nobody:
        status, _, headers = await nobody.get("/chat/room/1/")
        assert (status, headers["Location"]) == (302, "/entrar/?next=/chat/room/1/")
        assert (await nobody.get("/accounts/login/"))[0] == 404
        status, text, _ = await nobody.get("/api/rooms/1/messages")
        assert status == 401
        assert "/entrar/" in text


async def test_accounts_can_be_changed_only_on_the_site(beside: Beside, own: Server, shared: Server) -> None:
    async with with_session(shared, await beside.site.sign_in("ana")) as ana, Person(own.url) as other:
        assert 'href="/"' in (await ana.get("/chat/account/"))[1]
        assert (await ana.get("/chat/sign-in/link/?token=x"))[0] == 404
        await other.sign_in("ana", beside.seeded["users"]["ana"]["password"])
        html = (await other.get("/chat/account/"))[1]
        assert 'href="/"' in html
        assert 'name="first_name"' not in html
        data = {"csrf_token": await other.token("/chat/account/"), "first_name": "x", "old": "educa-demo"}
        for section in ("profile", "password"):
            async with other.http.post(f"{own.url}/chat/account/{section}/", data=data) as response:
                assert response.status == 403


async def test_a_session_cookie_not_made_by_django_is_anonymous(shared: Server, subtests: pytest.Subtests) -> None:
    async with Person(shared.url) as person:
        for cookie in ("", "x", "a" * 32, "A" * 32, "a" * 40, "é" * 32, "'; drop table auth_user; --"):
            with subtests.test(cookie=cookie):
                headers = {"Cookie": f"sessionid={cookie}"}
                assert (await person.get("/students/courses/", **headers))[0] == 302


async def test_the_session_of_a_non_member_is_refused(beside: Beside, shared: Server) -> None:
    async with with_session(shared, await beside.site.sign_in("dario")) as dario:
        with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
            await dario.enter(beside.seeded["courses"]["algebra"]["id"])


@pytest.mark.parametrize(
    "change",
    [
        "update django_session set expire_date = now() - interval '1 second' where session_key = $1",
        "update django_session set session_data = overlay(session_data placing 'xx' from 20) where session_key = $1",
        "update auth_user set is_active = false where username = 'carla' and $1 <> ''",
        "delete from django_session where session_key = $1",
    ],
    ids=["expired", "tampered with", "deactivated", "deleted"],
)
async def test_an_ended_session_gives_no_access_and_its_sockets_close(
    beside: Beside, shared: Server, change: str
) -> None:
    geometry = beside.seeded["courses"]["geometria"]["id"]
    key = await beside.site.sign_in("carla")
    async with with_session(shared, key) as carla:
        socket = await carla.enter(geometry)
        await socket.receive()
        await beside.owner.execute(change, key)
        assert (await carla.get(f"/chat/room/{geometry}/"))[0] == 302
        shared.app[SOCKETS].schedule_full_recheck()  # As the server does by itself every 30 seconds.
        assert await socket.close_code() == 4001
        await beside.owner.execute("update auth_user set is_active = true where username = 'carla'")


async def test_changing_the_password_on_the_site_ends_old_sessions(beside: Beside, shared: Server) -> None:
    key = await beside.site.sign_in("carla")
    async with with_session(shared, key) as carla:
        assert (await carla.get("/students/courses/"))[0] == 200
        await beside.site.set_password("carla", beside.seeded["users"]["carla"]["password"])
        assert (await carla.get("/students/courses/"))[0] == 302


async def test_signing_out_of_the_chat_closes_sockets_and_ends_the_sites_session(
    beside: Beside, shared: Server
) -> None:
    key = await beside.site.sign_in("ana")
    async with with_session(shared, key) as ana:
        socket = await ana.enter(beside.seeded["courses"]["algebra"]["id"])
        await socket.receive()
        data = {"csrf_token": await ana.token("/students/courses/")}
        async with ana.http.post(f"{shared.url}/accounts/logout/", data=data, allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (302, "/adios/")
        assert await socket.close_code() == 4001
        assert (await ana.get("/students/courses/"))[0] == 302
    assert await beside.owner.fetchval("select count(*) from django_session where session_key = $1", key) == 1


async def test_the_site_can_still_delete_its_users_and_courses(beside: Beside, own: Server) -> None:
    """None of our tables refers to them; Django deletes the rows it knows first."""
    geometry = beside.seeded["courses"]["geometria"]["id"]
    async with Person(own.url) as person:
        await person.sign_in("carla", beside.seeded["users"]["carla"]["password"])
        socket = await person.enter(geometry)
        await socket.say("hola", id="1")
        await socket.receive_until("ack")
    for statement in (
        "delete from courses_course_students where course_id = $1",
        "delete from courses_module where course_id = $1",
        "delete from courses_course where id = $1",
    ):
        await beside.owner.execute(statement, geometry)
    assert await beside.owner.fetchval("select count(*) from educa_chat.event where course = $1", geometry) == 0


async def test_a_session_of_an_unknown_backend_is_anonymous(beside: Beside) -> None:
    settings = settings_for(beside.url, auth_django_secret_key=SECRET_KEY, auth_django_backends="site.ByEmail")
    async with open_server(settings) as server, with_session(server, await beside.site.sign_in("ana")) as ana:
        assert (await ana.get("/students/courses/"))[0] == 302


async def test_a_session_signed_with_an_old_key_is_valid_while_it_is_a_fallback(beside: Beside) -> None:
    key = await beside.site.sign_in("ana")
    for fallbacks, status in ((SECRET_KEY, 200), ("", 302)):
        settings = settings_for(
            beside.url, auth_django_secret_key="another", auth_django_secret_key_fallbacks=fallbacks
        )
        async with open_server(settings) as server, with_session(server, key) as ana:
            assert (await ana.get("/students/courses/"))[0] == status

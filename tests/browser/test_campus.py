"""The chat beside a real Django site, through nginx with the configuration from the guide."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect
from yarl import URL

from tests.browser.conftest import TIMEOUT_MS, say, until
from tests.campus import Campus, open_campus
from tests.conftest import Postgres
from tests.redis_server import RedisServer
from tests.serving import TIMEOUT_S, Chatter, Person

pytestmark = pytest.mark.asyncio(loop_scope="session")
expect.set_options(timeout=TIMEOUT_MS)

SITE_SIGN_IN = "/accounts/login/"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def campus(postgres: Postgres, redis_server: RedisServer) -> AsyncIterator[Campus]:
    async with open_campus(postgres, redis_server) as opened:
        yield opened


class Visitor(Person):
    """A user of the site."""

    def __init__(self, campus: Campus) -> None:
        super().__init__(campus.nginx.url, trust=campus.nginx.trust)
        self.campus = campus

    async def post(self, path: str, **form: str) -> tuple[int, str]:
        """Post a form; the status, and the address of the redirect."""
        headers = {"Origin": self.url, "Referer": self.url + path}
        async with self.http.post(self.url + path, data=form, headers=headers, allow_redirects=False) as response:
            return response.status, response.headers.get("Location", "")

    async def site_token(self) -> str:
        """The CSRF token of the site's own forms."""
        _, html, _ = await self.get(SITE_SIGN_IN)
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', html)
        assert found
        return found[1]

    async def sign_in_on_site(self, username: str, next: str = "") -> str:
        """Use the site's form, and return the redirect."""
        status, location = await self.post(
            SITE_SIGN_IN,
            username=username,
            password=self.campus.password(username),
            next=next,
            csrfmiddlewaretoken=await self.site_token(),
        )
        assert status == 302
        return location

    async def talk(self) -> Chatter:
        socket = await self.enter(self.campus.course(), headers={"Origin": self.url})
        await socket.receive_until("welcome")
        return socket


async def test_a_user_of_the_site_can_use_the_whole_chat(campus: Campus) -> None:
    room_id = campus.course()
    room = f"/chat/room/{room_id}/"
    async with Visitor(campus) as ana:
        status, _, headers = await ana.get(room)
        assert (status, headers["Location"]) == (302, f"{SITE_SIGN_IN}?next={room}")
        assert (await ana.get("/chat/api/rooms"))[0] == 401
        assert await ana.sign_in_on_site("ana", next=room) == room
        for path in (room, "/chat/courses/", f"/chat/course/{room_id}/"):
            status, html, _ = await ana.get(path)
            assert status == 200
            files = re.findall(r'(?:src|<link[^>]* href)="([^"]+)"', html)
            assert files
            for file in files:
                assert (await ana.get(file))[0] == 200, file
        socket = await ana.talk()
        await socket.say("what everybody reads", id="1")
        await socket.receive_until("ack", id="1")
        for path, count in (("", 2), (f"/{room_id}/messages", 1), (f"/{room_id}/members?q=in", 1)):
            status, text, _ = await ana.get(f"/chat/api/rooms{path}")
            assert status == 200
            (answer,) = (value for value in json.loads(text).values() if isinstance(value, list) and value)
            assert len(answer) == count, path
        async with asyncio.timeout(TIMEOUT_S):
            while not json.loads((await ana.get(f"/chat/api/rooms/{room_id}/search?q=reads"))[1])["messages"]:
                await asyncio.sleep(0.5)  # The index follows the log within a second or so.


async def test_all_other_paths_belong_to_the_site(campus: Campus) -> None:
    async with Visitor(campus) as ana:
        await ana.sign_in_on_site("ana")
        for path in (
            "/",
            "/api/",
            "/api/rooms",
            "/static/js/room.js",
            "/students/courses/",
            "/metrics-page/",
            "/chatter/",
        ):
            status, text, _ = await ana.get(path)
            assert (status, text) == (200, f"the site's {path}, for ana")


async def test_signing_out_of_the_chat_ends_the_session_here_and_signing_in_on_the_site_leads_back(
    campus: Campus,
) -> None:
    async with Visitor(campus) as ana, Visitor(campus) as thief:
        await ana.sign_in_on_site("ana")
        session = ana.http.cookie_jar.filter_cookies(URL(ana.url))["sessionid"].value
        socket = await ana.talk()
        _, html, _ = await ana.get(f"/chat/room/{campus.course()}/")
        (action,) = re.findall(r'<form method="post" action="([^"]+)"', html)
        status, location = await ana.post(action, csrf_token=await ana.token("/chat/courses/"))
        assert (status, location) == (302, SITE_SIGN_IN)
        assert await socket.close_code() == 4001
        for path, answer in (("/chat/api/rooms", 401), ("/profile/", 200)):
            assert (await ana.get(path))[0] == answer
            assert (await thief.get(path, Cookie=f"sessionid={session}"))[0] == answer
        assert (await ana.get("/profile/"))[1] == "the site's /profile/, for nobody"
        await ana.sign_in_on_site("ana")
        assert (await ana.get("/chat/api/rooms"))[0] == 200


async def test_signing_out_of_the_site_signs_out_of_the_chat_too(campus: Campus) -> None:
    async with Visitor(campus) as ana:
        await ana.sign_in_on_site("ana")
        assert (await ana.get("/chat/api/rooms"))[0] == 200
        status, _ = await ana.post("/accounts/logout/", csrfmiddlewaretoken=await ana.site_token())
        assert status == 302
        assert (await ana.get("/chat/api/rooms"))[0] == 401
        assert (await ana.get("/profile/"))[1] == "the site's /profile/, for nobody"


async def test_the_chats_own_sign_in_form_works_next_to_the_sites(
    postgres: Postgres, redis_server: RedisServer
) -> None:
    settings = {
        "auth_django_secret_key": "",
        "auth_sign_in_url": "/chat/sign-in/",
        "auth_sign_out_url": "/chat/sign-in/",
    }
    async with open_campus(postgres, redis_server, **settings) as campus, Visitor(campus) as berta:
        await berta.sign_in_on_site("berta")
        status, _, headers = await berta.get("/chat/courses/")
        assert (status, headers["Location"]) == (302, "/chat/sign-in/?next=/chat/courses/")
        form = {"username": "berta", "password": campus.password("berta"), "next": "/chat/courses/"}
        token = await berta.token("/chat/sign-in/")
        assert await berta.post("/chat/sign-in/", csrf_token=token, **form) == (302, "/chat/courses/")
        socket = await berta.talk()
        token = await berta.token("/chat/courses/")
        assert await berta.post("/chat/sign-out/", csrf_token=token) == (302, "/chat/sign-in/")
        assert await socket.close_code() == 4001
        assert (await berta.get("/profile/"))[1] == "the site's /profile/, for berta"


async def sign_in(page: Page, campus: Campus, username: str) -> None:
    """Fill in the site's own form, which is open."""
    await page.fill("[name=username]", username)
    await page.fill("[name=password]", campus.password(username))
    await page.get_by_role("button", name="Log in").click()


async def test_a_user_of_the_site_can_chat_search_and_sign_out_in_a_browser(campus: Campus, chromium: Browser) -> None:
    context = await chromium.new_context(locale="en-GB", ignore_https_errors=True)
    try:
        page = await context.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        room = f"/chat/room/{campus.course('geometria')}/"
        await page.goto(campus.nginx.url + room)
        assert urlsplit(page.url).path == "/accounts/login/"
        asked: set[str] = set()
        page.on("request", lambda request: asked.add(urlsplit(request.url).path))
        page.on("websocket", lambda socket: asked.add(urlsplit(socket.url).path))
        await sign_in(page, campus, "ana")
        await page.wait_for_url(f"**{room}")

        # The page is complete, and its socket is open.
        await expect(page.locator("#beginning")).to_be_visible()
        await say(page, "The matrix of the third exercise is singular")
        await expect(page.locator("#chat .message")).to_have_count(1)
        await expect(page.locator("#chat .message[aria-busy]")).to_have_count(0)

        # Another room and back: its history is loaded, and the list of rooms.
        await page.get_by_role("link", name="lineal").click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("lineal")
        await page.get_by_role("link", name="Geometría").click()
        await expect(page.locator("#chat .message")).to_have_count(1)
        await page.click("#search-button")

        async def is_found() -> bool:
            # The index follows the log within a second or so, and a user may search twice a second.
            await asyncio.sleep(0.5)
            await page.fill("#search-input", "singular")
            await page.press("#search-input", "Enter")
            await expect(page.locator("#search-told")).to_have_text(re.compile(r"result|No results"))
            return await page.locator("#search-results li").count() == 1

        await until(is_found)
        await page.click("#search-close")
        await page.type("#chat-message-input", "@ca")
        await expect(page.get_by_role("option", name="carla")).to_be_visible()
        await page.fill("#chat-message-input", "")

        # Signing out of the chat redirects to the site's form, and signing in leads back to the room.
        await page.get_by_role("button", name="Sign out").click()
        await page.wait_for_url("**/accounts/login/")
        assert {path for path in asked if not path.startswith(("/chat/", "/ws/chat/"))} == {"/accounts/login/"}
        assert {re.sub(r"/\d+/.*", "/…", path) for path in asked} >= {
            "/ws/chat/room/…",
            "/chat/api/rooms",
            "/chat/api/rooms/…",
            "/chat/sign-out/",
        }
        await page.goto(campus.nginx.url + room)
        assert urlsplit(page.url).path == "/accounts/login/"
        await sign_in(page, campus, "ana")
        await page.wait_for_url(f"**{room}")
        await expect(page.locator("#chat .message")).to_have_count(1)
    finally:
        await context.close()

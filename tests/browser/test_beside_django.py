"""The room page for a user of a Django site, behind nginx with the configuration from the guide."""

import asyncio
import re
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.browser.conftest import TIMEOUT_MS, say, until
from tests.campus import Campus, open_campus
from tests.conftest import Postgres
from tests.redis_server import RedisServer

pytestmark = pytest.mark.asyncio(loop_scope="session")
expect.set_options(timeout=TIMEOUT_MS)


@pytest_asyncio.fixture(loop_scope="session")
async def campus(postgres: Postgres, redis_server: RedisServer) -> AsyncIterator[Campus]:
    async with open_campus(postgres, redis_server) as opened:
        yield opened


async def sign_in(page: Page, campus: Campus, username: str) -> None:
    """Fill in the site's own form, which is open."""
    await page.fill("[name=username]", username)
    await page.fill("[name=password]", campus.password(username))
    await page.get_by_role("button", name="Log in").click()


async def test_a_user_of_the_django_site_can_chat_search_and_sign_out(campus: Campus, chromium: Browser) -> None:
    context = await chromium.new_context(locale="en-GB", ignore_https_errors=True)
    try:
        page = await context.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        room = f"/chat/room/{campus.course()}/"
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
        await page.get_by_role("link", name="Geometría").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Geometría")
        await page.get_by_role("link", name="lineal").click()
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
        await page.type("#chat-message-input", "@in")
        await expect(page.get_by_role("option", name="ines")).to_be_visible()
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

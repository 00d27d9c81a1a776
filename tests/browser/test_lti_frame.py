"""The room in an iframe of a platform on another site, whatever the browser allows it to store.

Unlike Firefox and WebKitGTK, Chromium has no setting that drops partitioned cookies. So in some tests, the server sends
none to frames.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Browser, BrowserContext, Frame, Page, expect

from educa_chat.handlers.keys import DATABASE
from educa_chat.settings import Settings
from tests.browser.conftest import TIMEOUT_MS, until_indexed
from tests.lti_platform import LTI, MEMBERSHIP, FakePlatform, open_platform
from tests.serving import Server, open_server

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def send_no_cookies(request: web.Request, response: web.StreamResponse) -> None:
    if request.headers.get("Sec-Fetch-Dest") == "iframe":
        response.headers.popall("Set-Cookie", [])


@asynccontextmanager
async def open_other_site(server: Server) -> AsyncIterator[FakePlatform]:
    """Open a platform that is registered at `server`, on a different site from the tool's, which is at 127.0.0.1."""
    async with open_platform() as opened:
        opened.url = opened.url.replace("127.0.0.1", "localhost")
        opened.tool = server.url
        await opened.register(server.app[DATABASE])
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def forgetful_server(tool_settings: Settings) -> AsyncIterator[Server]:
    """A server whose cookies are lost in frames."""
    async with open_server(tool_settings, on_response=send_no_cookies) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def platform_of_all(tool_server: Server) -> AsyncIterator[FakePlatform]:
    async with open_other_site(tool_server) as opened:
        opened.users["1"] = {"sub": "1", "name": "Clara", LTI + "roles": [MEMBERSHIP + "Instructor"]}
        yield opened


@pytest.fixture
def platform(platform_of_all: FakePlatform, tool_server: Server) -> FakePlatform:
    platform_of_all.tool = tool_server.url
    return platform_of_all


@pytest.fixture
def forgotten(platform_of_all: FakePlatform, forgetful_server: Server) -> FakePlatform:
    """The platform, with pages that link to the server whose cookies are lost."""
    platform_of_all.tool = forgetful_server.url
    return platform_of_all


@asynccontextmanager
async def open_context(browser: Browser) -> AsyncIterator[BrowserContext]:
    context = await browser.new_context(locale="en-GB")
    context.set_default_timeout(TIMEOUT_MS)
    yield context
    await context.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def context(chromium: Browser) -> AsyncIterator[BrowserContext]:
    async with open_context(chromium) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def strict_context(chromium_with_windows: Browser) -> AsyncIterator[BrowserContext]:
    """An incognito window, in which Chromium itself blocks third parties."""
    async with open_context(chromium_with_windows) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="session")
async def page(context: BrowserContext) -> AsyncIterator[Page]:
    """A page of a browser that allows the cookies of third parties."""
    async with await context.new_page() as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="session")
async def strict_page(strict_context: BrowserContext) -> AsyncIterator[Page]:
    """A page of a browser that blocks the cookies of third parties, and all of their storage."""
    async with await strict_context.new_page() as opened:
        yield opened


async def open_room(page: Page, platform: FakePlatform, query: str = "") -> Frame:
    """Open the platform's course, and return the frame when it shows the room."""
    await page.goto(f"{platform.url}/course?{query}")
    await expect(page.frame_locator("iframe").locator("#status")).to_have_text("Conectado", timeout=TIMEOUT_MS)
    return page.frames[1]


async def use_room(page: Page, frame: Frame, server: Server, word: str) -> None:
    """Do everything in the room that a user needs: write, read the history, search, sign out."""
    await frame.fill("#chat-message-input", f"Does {word} work?")
    await frame.press("#chat-message-input", "Enter")
    await expect(frame.locator("#chat .message:not(.pending)", has_text=word)).to_have_count(1)
    await until_indexed(server, int(await frame.text_content("#course-id") or ""))
    await frame.locator("#search-button").dispatch_event("click")
    await frame.fill("#search-input", word)
    await expect(frame.locator("#search-results")).to_contain_text(word)
    assert {"subject": "lti.frameResize", "height": 720} in await page.evaluate("log")
    await frame.locator("#sign-out button").dispatch_event("click")
    await expect(frame.locator("#lti-message")).to_have_attribute("data-kind", "ended")


async def keeps_session(frame: Frame) -> bool:
    """Whether the page keeps the session, because the browser drops the cookie."""
    return bool(await frame.evaluate("JSON.parse(document.getElementById('embedded-session').textContent)"))


async def test_the_room_opens_with_third_party_cookies(page: Page, platform: FakePlatform, tool_server: Server) -> None:
    frame = await open_room(page, platform)
    assert not await keeps_session(frame)
    # The browser has a session already when the user comes again.
    await use_room(page, await open_room(page, platform), tool_server, "partitioned")


async def test_the_room_opens_when_third_party_cookies_are_blocked(
    strict_page: Page, platform: FakePlatform, tool_server: Server
) -> None:
    frame = await open_room(strict_page, platform)
    assert not await keeps_session(frame)
    await use_room(strict_page, frame, tool_server, "blocked")


async def test_the_room_opens_when_the_page_has_to_keep_the_session(
    page: Page, forgotten: FakePlatform, tool_server: Server
) -> None:
    frame = await open_room(page, forgotten, "storage")
    assert await keeps_session(frame)
    assert await frame.evaluate("location.hash") == ""
    # Reloading needs no new launch.
    await frame.evaluate("location.replace(location.pathname)")
    await expect(page.frame_locator("iframe").locator("#status")).to_have_text("Conectado", timeout=TIMEOUT_MS)
    # A platform that offers to keep the secret keeps it too, in case the browser loses it.
    asked = await page.evaluate("log.map((message) => message.subject)")
    assert "lti.put_data" in asked and "lti.get_data" not in asked
    await use_room(page, frame, tool_server, "stored")


async def test_the_room_opens_when_the_platform_has_to_keep_the_secret(
    strict_page: Page, forgotten: FakePlatform, tool_server: Server
) -> None:
    frame = await open_room(strict_page, forgotten, "storage")
    assert await keeps_session(frame)
    await use_room(strict_page, frame, tool_server, "platform")


async def test_the_room_opens_in_a_new_window_when_the_browser_stores_nothing_in_a_frame(
    strict_page: Page, forgotten: FakePlatform
) -> None:
    await strict_page.goto(f"{forgotten.url}/course")
    async with strict_page.expect_popup() as opened:
        await strict_page.frame_locator("iframe").get_by_role("link", name="Open in a new window").click()
    window = await opened.value
    await expect(window.locator("#status")).to_have_text("Conectado", timeout=TIMEOUT_MS)
    assert not await keeps_session(window.main_frame)
    await window.close()


async def test_a_teacher_can_update_the_members_in_the_frame(page: Page, platform: FakePlatform) -> None:
    platform.pages = [
        [{"user_id": "1", "roles": ["Instructor"]}, {"user_id": "77", "roles": ["Learner"], "name": "Nuria"}]
    ]
    frame = await open_room(page, platform, "user=1")
    await frame.click("#class-button")
    await frame.get_by_role("button", name="Actualizar los miembros").click()
    await expect(page.frame_locator("iframe").locator("#status")).to_have_text("Conectado", timeout=TIMEOUT_MS)

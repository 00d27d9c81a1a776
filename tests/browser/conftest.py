"""A real Chromium, and users who work with it."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest_asyncio
from playwright.async_api import Browser, Page, Playwright, async_playwright

from tests.conftest import Postgres, skip_without
from tests.serving import Person, Server, open_server, settings_for

USELESS = (
    "WebUIOmniboxPopup",
    "WebUIOmniboxAimPopup",
    "SpareRendererForSitePerProcess",
    # Features that Playwright itself turns off: only the last list of features counts.
    "AvoidUnnecessaryBeforeUnloadCheckSync",
    "DestroyProfileOnBrowserClose",
    "HttpsUpgrades",
    "HttpsFirstBalancedModeAutoEnable",
    "LensOverlay",
    "MediaRouter",
    "PaintHolding",
    "ThirdPartyStoragePartitioning",
    "AvoidCorsURLLoaderRestartOnRedirect",
    "OptimizationHints",
    "NetworkTimeServiceQuerying",
    "AimEnabled",
    "PreconnectToSearch",
)
"""Features of Chromium that are turned off. The first three start up to three processes more for each page."""
FLAGS = [
    f"--disable-features={','.join(USELESS)}",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TIMEOUT_MS = 60_000
MOMENT = r"(\d+ \w+ \d{4} at )?\d\d:\d\d"
"""Return a time as a page in English shows it: with the day unless that is today."""


SHELL = "chromium-headless-shell"
"""A Chromium without windows, notifications and the like. It takes a third less processor time."""


def find_chromium(*programs: str) -> str:
    """Return the path of one of `programs`, or else of Chromium."""
    found = filter(None, map(shutil.which, (*programs, "chromium", "chromium-browser", "google-chrome")))
    return next(found, None) or skip_without("browser", "there is no Chromium on the PATH")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def playwright() -> AsyncIterator[Playwright]:
    async with async_playwright() as started:
        yield started


@asynccontextmanager
async def open_chromium(playwright: Playwright, *programs: str) -> AsyncIterator[Browser]:
    browser = await playwright.chromium.launch(executable_path=find_chromium(*programs), args=FLAGS)
    yield browser
    await browser.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium(playwright: Playwright) -> AsyncIterator[Browser]:
    """A Chromium, the variant without windows if it is installed."""
    async with open_chromium(playwright, SHELL) as browser:
        yield browser


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium_with_windows(playwright: Playwright) -> AsyncIterator[Browser]:
    async with open_chromium(playwright) as browser:
        yield browser


class Desk:
    """Opens pages for users, and remembers errors in them."""

    def __init__(self, browser: Browser, server: Server) -> None:
        self.server = server
        self.complaints: list[str] = []
        self._browser = browser
        self._stack = AsyncExitStack()

    async def sit_down(self, username: str, path: str = "/chat/room/1/", **context: Any) -> Page:
        """Open `path` in a new browser in which `username` is signed in."""
        async with Person(self.server.url, username) as person:
            cookies = [(cookie.key, cookie.value) for cookie in person.http.cookie_jar]
        return await self.open(path, cookies, **context)

    async def open(self, path: str, cookies: Iterable[tuple[str, str]] = (), **context: Any) -> Page:
        """Open `path` in a new browser that has `cookies`."""
        opened = await self._browser.new_context(
            **{"locale": "en-GB", "viewport": {"width": 1100, "height": 700}, **context}
        )
        opened.set_default_timeout(TIMEOUT_MS)
        self._stack.push_async_callback(opened.close)
        await opened.add_cookies([{"name": name, "value": value, "url": self.server.url} for name, value in cookies])
        page = await opened.new_page()
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        page.on(
            "console",
            lambda message: (
                self.complaints.append(message.text)
                if message.type == "error" and "Failed to load resource" not in message.text
                else None
            ),
        )
        await page.goto(self.server.url + path)
        return page

    async def close(self) -> None:
        await self._stack.aclose()


@asynccontextmanager
async def open_desk(browser: Browser, server: Server) -> AsyncIterator[Desk]:
    desk = Desk(browser, server)
    try:
        yield desk
    finally:
        await desk.close()


@pytest_asyncio.fixture(loop_scope="session")
async def server(postgres: Postgres) -> AsyncIterator[Server]:
    url = await postgres.create_chat_database(demo=True)
    async with open_server(settings_for(url, limits_messages_per_second=0)) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="session")
async def desk(chromium: Browser, server: Server) -> AsyncIterator[Desk]:
    """A desk at `server`. Its pages must cause no script error and no policy violation."""
    async with open_desk(chromium, server) as opened:
        yield opened
        assert opened.complaints == []


async def say(page: Page, text: str) -> None:
    await page.fill("#chat-message-input", text)
    await page.press("#chat-message-input", "Enter")


async def end_session(page: Page) -> None:
    """End the session of `page` from outside its browser, like signing out on another device."""
    form = page.locator("#sign-out")
    token = await form.locator("[name=csrf_token]").input_value()
    url = await form.evaluate("form => form.action")
    answer = await page.context.request.post(url, form={"csrf_token": token}, max_redirects=0)
    assert answer.status == 302


async def until(condition: Any) -> None:
    """Wait until the coroutine function `condition` is true."""
    async with asyncio.timeout(TIMEOUT_MS / 1000):
        while not await condition():
            await asyncio.sleep(0.02)

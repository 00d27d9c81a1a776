"""A real Chromium, and users who work with it."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
from playwright.async_api import Browser, CDPSession, ConsoleMessage, Dialog, Error, Page, Playwright, async_playwright

from educa_chat.demo import COURSES, PEOPLE
from educa_chat.handlers.keys import DATABASE
from educa_chat.settings import Settings
from educa_chat.storage.accounts import add_user
from educa_chat.storage.courses import add_course, enrol
from educa_chat.storage.pool import Database
from tests.conftest import Postgres, skip_without
from tests.outside import LOOPBACK
from tests.postgres_server import PostgresServer
from tests.serving import Person, Server, open_server, quick_hash, settings_for

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
    # Pages share a process, so a new one needs no new process.
    "--renderer-process-limit=1",
    # Nor does a frame. Playwright 1.65 would now and then lose a frame that goes to the site of the page around it and
    # comes back at once, as each LTI launch does. It disposes of the session of the process that the frame has left
    # when the frame has another one already. Both have the frame's name, so it forgets the new one, ignores its events,
    # and waits without end, even for a timeout.
    "--disable-site-isolation-trials",
]
AXE = Path(__file__).parents[2] / "build" / "axe.min.js"
TIMEOUT_MS = 60_000
VIEWPORT = {"width": 1100, "height": 700}
MEDIA = ("color_scheme", "reduced_motion", "forced_colors")
"""The options of a context that can also be changed in a page, besides the viewport."""
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


class PagePool:
    """The pages of a browser. Tests use them in turn, because a new page has to load and compile all scripts again."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._free: dict[str, list[Page]] = {}

    @asynccontextmanager
    async def open(self, origin: str, *, reuse: bool, **options: Any) -> AsyncIterator[Page]:
        """Give out an empty page, alone in a context with `options`, to be used with `origin`.

        Pass `reuse=False` if the test adds scripts to the page, or routes its sockets: neither can be undone.
        """
        viewport = options.pop("viewport", VIEWPORT)
        media = {name: options.pop(name, "null") for name in MEDIA}
        options = {"locale": "en-GB", **options}
        free = self._free.setdefault(repr(options), [])
        if reuse and free:
            page = free.pop()
        else:
            context = await self._browser.new_context(**options)
            context.set_default_timeout(TIMEOUT_MS)
            page = await context.new_page()
        await page.set_viewport_size(viewport)
        await page.emulate_media(media="null", **media)
        yield page
        if reuse and not page.is_closed():
            await _empty(page, origin)
            free.append(page)
        else:
            await page.context.close()


async def _empty(page: Page, origin: str) -> None:
    """Undo what a test did to `page` and its context."""
    context = page.context
    for other in context.pages:
        if other != page:
            await other.close()
    await page.unroute_all()
    await context.unroute_all()
    await context.set_offline(False)
    await context.clear_permissions()
    # The page writes its drafts when it is left, so a page without scripts follows it before the storage is cleared.
    await page.goto(f"{origin}/health/live")
    await page.evaluate("localStorage.clear(), sessionStorage.clear()")
    await context.clear_cookies()


class School(NamedTuple):
    """The two courses of the demo data, and the usernames of its people."""

    course: int
    other_course: int
    profe: str
    ana: str
    luis: str
    marta: str


DEMO = School(1, 2, *PEOPLE)
_numbers = count(1)


async def add_school(database: Database) -> School:
    """Add new courses and users with the same names as in the demo data, and passwords that are quick to verify."""
    number = next(_numbers)
    usernames = {username: f"{username}{number}" for username in PEOPLE}
    for username, (first_name, last_name) in PEOPLE.items():
        await add_user(database, usernames[username], quick_hash(), first_name=first_name, last_name=last_name)
    courses = []
    for title, subject, overview, students, _ in COURSES:
        # Finding a free slug for the same title would take longer each time.
        course = await add_course(database, f"{number} {title}", usernames["profe"], subject=subject, overview=overview)
        await database.execute("update courses_course set title = $2 where id = $1", course, title)
        for student in students:
            await enrol(database, usernames[student], course)
        courses.append(course)
    return School(courses[0], courses[1], **usernames)


class Desk:
    """Opens pages for the users of a school, and remembers errors in them."""

    def __init__(self, pages: PagePool, server: Server, school: School) -> None:
        self.server = server
        self.course, self.other_course, self.profe, self.ana, self.luis, self.marta = school
        self.room = f"/chat/room/{self.course}/"
        self.complaints: list[str] = []
        self._pages = pages
        self._stack = AsyncExitStack()

    @property
    def database(self) -> Database:
        return self.server.app[DATABASE]

    def person(self, username: str) -> Person:
        """Return a client of the user, who enters the first course unless told otherwise."""
        return Person(self.server.url, username, course=self.course)

    async def sit_down(self, username: str, path: str | None = None, *, reuse: bool = True, **options: Any) -> Page:
        """Open `path`, or else the room, in a browser in which `username` is signed in.

        For `reuse`, see `PagePool.open`.
        """
        return await self.open(path or self.room, await self._sign_in(username), reuse=reuse, **options)

    async def change_user(self, page: Page, username: str) -> None:
        """Replace the session in the browser of `page` by one of `username`. The page isn't loaded again."""
        await page.context.clear_cookies()
        await self._add_cookies(page, await self._sign_in(username))

    async def _sign_in(self, username: str) -> list[tuple[str, str]]:
        """Return the cookies of a new session."""
        async with self.person(username) as person:
            return [(cookie.key, cookie.value) for cookie in person.http.cookie_jar]

    async def _add_cookies(self, page: Page, cookies: Iterable[tuple[str, str]]) -> None:
        await page.context.add_cookies(
            [{"name": name, "value": value, "url": self.server.url} for name, value in cookies]
        )

    async def open(
        self, path: str, cookies: Iterable[tuple[str, str]] = (), *, reuse: bool = True, **options: Any
    ) -> Page:
        """Open `path` in a browser that has only `cookies`."""
        page = await self._stack.enter_async_context(self._pages.open(self.server.url, reuse=reuse, **options))
        await self._add_cookies(page, cookies)
        self._listen(page)
        await page.goto(self.server.url + path)
        return page

    def _listen(self, page: Page) -> None:
        def on_error(error: Error) -> None:
            self.complaints.append(str(error))

        def on_dialog(dialog: Dialog) -> None:
            self.complaints.append(f"dialog: {dialog.message}")

        def on_console(message: ConsoleMessage) -> None:
            if message.type == "error" and "Failed to load resource" not in message.text:
                self.complaints.append(message.text)

        page.on("pageerror", on_error)
        page.on("dialog", on_dialog)
        page.on("console", on_console)
        self._stack.callback(page.remove_listener, "pageerror", on_error)
        self._stack.callback(page.remove_listener, "dialog", on_dialog)
        self._stack.callback(page.remove_listener, "console", on_console)

    async def close(self) -> None:
        await self._stack.aclose()


@asynccontextmanager
async def open_desk(pages: PagePool, server: Server, school: School = DEMO) -> AsyncIterator[Desk]:
    """Open a desk. Its pages must cause no script error and no policy violation."""
    desk = Desk(pages, server, school)
    try:
        yield desk
    finally:
        await desk.close()
    assert desk.complaints == []


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def tool_settings(postgres: Postgres) -> Settings:
    """Settings for a server that a learning platform of the tests can use, with a database of its own."""
    return settings_for(await postgres.create_chat_database(), outbound_private_networks=",".join(LOOPBACK))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def tool_server(tool_settings: Settings) -> AsyncIterator[Server]:
    async with open_server(tool_settings) as opened:
        yield opened


@pytest.fixture(scope="session")
def axe() -> str:
    """The script that checks the accessibility of a page."""
    if not AXE.exists():
        skip_without("axe", "there is no axe-core: `make build/axe.min.js` fetches it")
    return AXE.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def pages(chromium: Browser) -> PagePool:
    return PagePool(chromium)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server(shared_postgres: PostgresServer) -> AsyncIterator[Server]:
    """The server of all tests of this worker, so that the browser keeps the scripts it has."""
    url = await Postgres(shared_postgres).create_chat_database()
    async with open_server(settings_for(url, limits_messages_per_second=0)) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="session")
async def school(server: Server) -> School:
    """New courses and users for one test."""
    return await add_school(server.app[DATABASE])


@pytest_asyncio.fixture(loop_scope="session")
async def desk(pages: PagePool, server: Server, school: School) -> AsyncIterator[Desk]:
    """A desk for the users of `school`."""
    async with open_desk(pages, server, school) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="session")
async def own_desk(pages: PagePool, postgres: Postgres) -> AsyncIterator[Desk]:
    """A desk at a server whose database has only the demo data, for tests that concern everybody."""
    url = await postgres.create_chat_database(demo=True)
    async with (
        open_server(settings_for(url, limits_messages_per_second=0)) as server,
        open_desk(pages, server) as opened,
    ):
        yield opened


async def say(page: Page, text: str) -> None:
    await page.fill("#chat-message-input", text)
    await page.press("#chat-message-input", "Enter")


async def record_sent(page: Page) -> tuple[CDPSession, list[str]]:
    """Return the list to which the frames that `page` sends are added, after the session that reports them."""
    sent: list[str] = []
    session = await page.context.new_cdp_session(page)
    session.on("Network.webSocketFrameSent", lambda event: sent.append(event["response"]["payloadData"]))
    await session.send("Network.enable")
    return session, sent


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
            # Looking costs processor time, in the page as well.
            await asyncio.sleep(0.05)


async def until_indexed(server: Server, course: int) -> None:
    """Wait until a search can find every message of the course, because the index is about a second behind."""

    async def is_level() -> bool:
        return bool(
            await server.app[DATABASE].fetchval(
                "select r.head = p.seq and not exists (select from educa_chat.search_change where course = $1)"
                " from educa_chat.room r join educa_chat.search_progress p using (course) where r.course = $1",
                course,
            )
        )

    await until(is_level)


@asynccontextmanager
async def full_disk(desk: Desk, *, seq: int = 1) -> AsyncIterator[None]:
    """Let the server answer as it does when the disk is full, in the first course and from `seq` on."""
    name = f"full_disk_{desk.course}"
    await desk.database.execute(
        f"alter table educa_chat.message add constraint {name} check (course <> {desk.course} or seq < {seq}) not valid"
    )
    try:
        yield
    finally:
        await desk.database.execute(f"alter table educa_chat.message drop constraint {name}")

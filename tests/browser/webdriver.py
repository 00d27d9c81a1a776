"""Firefox and WebKitGTK as Debian ships them: Firefox over WebDriver BiDi, WebKitGTK over classic WebDriver (W3C)."""

import asyncio
import itertools
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

from tests.conftest import skip_without
from tests.ports import free_port

TIMEOUT_S = 30.0
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
TAB, ENTER, ESCAPE, UP = "\ue004", "\ue007", "\ue00c", "\ue013"
"""Keys in the notation of WebDriver."""
PREFERENCES = """
user_pref("fission.autostart", false);
user_pref("dom.ipc.processCount", 1);
user_pref("dom.ipc.processPrelaunch.enabled", false);
"""
"""Those of Firefox. Otherwise, it starts a process for each site, and more to have them ready."""


class WebDriverError(Exception):
    """The browser refused a command."""


class Window(ABC):
    """A browser window to type and click in."""

    @abstractmethod
    async def open(self, url: str) -> None:
        """Open an address, and wait until it is loaded."""

    @abstractmethod
    async def enter_frame(self) -> None:
        """Run, type and click in the first frame of the page, until another address is opened."""

    @abstractmethod
    async def run(self, expression: str) -> Any:
        """Return the value of a JavaScript expression: a number, a text, a truth value or null."""

    @abstractmethod
    async def press(self, keys: str) -> None:
        """Press keys one after the other, in the element that has the focus."""

    async def type(self, selector: str, keys: str) -> None:
        """Put the focus on an element, and press keys there."""
        await self.sees(f"document.querySelector({selector!r})")
        await self.run(f"document.querySelector({selector!r}).focus()")
        await self.press(keys)

    async def click(self, selector: str) -> None:
        await self.sees(f"document.querySelector({selector!r})")
        await self.run(f"document.querySelector({selector!r}).click()")

    async def sees(self, condition: str) -> None:
        """Wait until an expression is true in the page."""
        last: object = None
        try:
            async with asyncio.timeout(TIMEOUT_S):
                while True:
                    # The page may just be loading.
                    try:
                        if last := await self.run(f"Boolean({condition})"):
                            return
                    except WebDriverError as error:
                        last = error
                    await asyncio.sleep(0.05)
        except TimeoutError:
            text = await self.run("document.body.innerText")
            raise AssertionError(f"not within {TIMEOUT_S} s: {condition} ({last}) in {text}") from None


class OtherBrowser(ABC):
    """A running Firefox or WebKit."""

    @abstractmethod
    def open_window(self, *, blocks_third_parties: bool = False) -> AbstractAsyncContextManager[Window]:
        """Open a window without cookies. Use one at a time.

        Firefox blocks the cookies of third parties and all of their storage if it shall. WebKit always blocks the
        cookies, and it accepts any certificate.
        """


class _Firefox(OtherBrowser):
    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)

    async def begin(self) -> None:
        """Start a session. Call it first."""
        await self.call("session.new", capabilities={})

    @asynccontextmanager
    async def open_window(self, *, blocks_third_parties: bool = False) -> AsyncIterator[Window]:
        await self._set_preference("network.cookie.cookieBehavior", 1 if blocks_third_parties else 5)
        # A user context has cookies and storage of its own.
        user = (await self.call("browser.createUserContext"))["userContext"]
        tab = (await self.call("browsingContext.create", type="tab", userContext=user))["context"]
        # Otherwise, none of its elements can get the focus.
        await self.call("browsingContext.activate", context=tab)
        yield _BidiWindow(self, tab)
        await self.call("browser.removeUserContext", userContext=user)

    async def _set_preference(self, name: str, value: int) -> None:
        (chrome, *_) = (await self.call("browsingContext.getTree", **{"moz:scope": "chrome"}))["contexts"]
        await self.call(
            "script.evaluate",
            expression=f"Services.prefs.setIntPref('{name}', {value})",
            target={"context": chrome["context"]},
            awaitPromise=False,
        )

    async def call(self, method: str, **parameters: object) -> Any:
        """Give a command, and return its result. Raises WebDriverError."""
        id = next(self._ids)
        await self._socket.send_json({"id": id, "method": method, "params": parameters})
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                answer = await self._socket.receive_json()
                if answer.get("id") == id:
                    if answer["type"] == "error":
                        raise WebDriverError(answer["message"])
                    return answer["result"]


class _BidiWindow(Window):
    def __init__(self, firefox: _Firefox, tab: str) -> None:
        self._call = firefox.call
        self._tab = tab
        self._context = tab
        """The tab, or the frame in it that is used."""

    async def open(self, url: str) -> None:
        self._context = self._tab
        await self._call("browsingContext.navigate", context=self._tab, url=url, wait="complete")

    async def enter_frame(self) -> None:
        (tab,) = (await self._call("browsingContext.getTree", root=self._tab))["contexts"]
        self._context = tab["children"][0]["context"]

    async def run(self, expression: str) -> Any:
        answer = await self._call(
            "script.evaluate", expression=expression, target={"context": self._context}, awaitPromise=False
        )
        if answer["type"] == "exception":
            raise WebDriverError(answer["exceptionDetails"]["text"])
        return answer["result"].get("value")

    async def press(self, keys: str) -> None:
        actions = [{"type": type, "value": key} for key in keys for type in ("keyDown", "keyUp")]
        await self._call(
            "input.performActions",
            context=self._context,
            actions=[{"type": "key", "id": "keyboard", "actions": actions}],
        )


class _ClassicWindow(Window):
    def __init__(self, http: aiohttp.ClientSession, session_url: str) -> None:
        self._http = http
        self._url = session_url

    async def call(self, path: str, **body: object) -> Any:
        """Give a command, and return its result. Raises WebDriverError."""
        async with self._http.post(f"{self._url}{path}", json=body) as response:
            answer = (await response.json())["value"]
            if response.status != 200:
                raise WebDriverError(answer)
            return answer

    async def open(self, url: str) -> None:
        await self.call("/url", url=url)

    async def enter_frame(self) -> None:
        await self.call("/frame", id=None)
        await self.call("/frame", id=0)

    async def run(self, expression: str) -> Any:
        return await self.call("/execute/sync", script=f"return ({expression})", args=[])

    async def type(self, selector: str, keys: str) -> None:
        await self.sees(f"document.querySelector({selector!r})")
        # In a frame, an element gets the focus only by a real click.
        element = await self.call("/element", using="css selector", value=selector)
        await self.call(f"/element/{element[ELEMENT]}/click")
        await self.press(keys)

    async def press(self, keys: str) -> None:
        focused = await self.call("/execute/sync", script="return document.activeElement", args=[])
        await self.call(f"/element/{focused[ELEMENT]}/value", text=keys)


class _WebKit(OtherBrowser):
    def __init__(self, http: aiohttp.ClientSession, session_url: str) -> None:
        self._http = http
        self._url = session_url

    @asynccontextmanager
    async def open_window(self, *, blocks_third_parties: bool = False) -> AsyncIterator[Window]:
        yield _ClassicWindow(self._http, self._url)
        # Those of the site that is open.
        async with self._http.delete(f"{self._url}/cookie"):
            pass


def missing_for(browser: str) -> list[str]:
    """Return the programs that `browser` needs and that aren't on the PATH."""
    needed = {"firefox": ["firefox-esr"], "webkit": ["WebKitWebDriver", "Xvfb"]}[browser]
    return [program for program in needed if shutil.which(program) is None]


@asynccontextmanager
async def open_other(browser: str) -> AsyncIterator[OtherBrowser]:
    """Start `browser` (firefox or webkit). Skips the test if it isn't installed."""
    if missing := missing_for(browser):
        skip_without(browser, f"not on the PATH: {', '.join(missing)}")
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        port = free_port()
        if browser == "firefox":
            _write_preferences(Path(folder))
            # With access to the system, a test can set preferences while Firefox runs.
            flags = ("--headless", "--remote-allow-system-access", f"--remote-debugging-port={port}")
            await stack.enter_async_context(_running("firefox-esr", *flags, "--profile", folder, HOME=folder))
            socket = await stack.enter_async_context(await _connect(http, f"ws://127.0.0.1:{port}/session"))
            firefox = _Firefox(socket)
            await firefox.begin()
            yield firefox
        else:
            display = f":{free_port()}"
            await stack.enter_async_context(
                _running("Xvfb", display, "-screen", "0", "1280x900x24", "-nolisten", "tcp")
            )
            await stack.enter_async_context(_running("WebKitWebDriver", f"--port={port}", DISPLAY=display, HOME=folder))
            yield await _start_session(http, f"http://127.0.0.1:{port}", stack)


def _write_preferences(profile: Path) -> None:
    (profile / "user.js").write_text(PREFERENCES, encoding="utf-8")


@asynccontextmanager
async def _running(program: str, *arguments: str, **environment: str) -> AsyncIterator[None]:
    env = {
        "PATH": "/usr/bin:/bin",
        "LANG": "en_GB.UTF-8",
        "WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS": "1",
        # Without a graphics card, its layers would be computed by a program that emulates one.
        "WEBKIT_DISABLE_COMPOSITING_MODE": "1",
        **environment,
    }
    process = await asyncio.create_subprocess_exec(
        program, *arguments, env=env, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _connect(http: aiohttp.ClientSession, url: str) -> Any:
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            try:
                return await http.ws_connect(url, max_msg_size=0)
            except (aiohttp.ClientConnectionError, aiohttp.WSServerHandshakeError):
                # It is still starting.
                await asyncio.sleep(0.1)


async def _start_session(http: aiohttp.ClientSession, root: str, stack: AsyncExitStack) -> OtherBrowser:
    capabilities = {"capabilities": {"alwaysMatch": {"acceptInsecureCerts": True}}}
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            try:
                async with http.post(f"{root}/session", json=capabilities) as response:
                    answer = (await response.json())["value"]
                    if response.status != 200:
                        raise WebDriverError(answer)
                    break
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.1)
    url = f"{root}/session/{answer['sessionId']}"
    stack.push_async_callback(_end_session, http, url)
    return _WebKit(http, url)


async def _end_session(http: aiohttp.ClientSession, url: str) -> None:
    async with http.delete(url):
        pass

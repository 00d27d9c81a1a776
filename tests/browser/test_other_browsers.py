"""Firefox and WebKit: the main path (sign in, post, edit, reply, search), and the room in a frame of another site."""

import json
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from educa_chat.demo import PASSWORD
from educa_chat.settings import Settings
from tests.browser.conftest import School, until_indexed
from tests.browser.test_lti_frame import open_other_site
from tests.browser.webdriver import ENTER, TAB, UP, OtherBrowser, Window, open_other
from tests.certificates import make_certificate, server_context
from tests.lti_platform import FakePlatform
from tests.serving import Chatter, Person, Server, open_server

pytestmark = pytest.mark.asyncio(loop_scope="session")

FIELD = "#chat-message-input"
CONNECTED = "document.querySelector('#status')?.dataset.key === 'connected'"


@pytest.fixture
def server(tool_server: Server) -> Server:
    """The server on which `school` is."""
    return tool_server


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def https_server(tool_settings: Settings) -> AsyncIterator[Server]:
    with tempfile.TemporaryDirectory() as folder:
        make_certificate(Path(folder, "certificate"))
        async with open_server(tool_settings, tls=server_context(Path(folder, "certificate"))) as opened:
            yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def platform(tool_server: Server) -> AsyncIterator[FakePlatform]:
    async with open_other_site(tool_server) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def firefox() -> AsyncIterator[OtherBrowser]:
    async with open_other("firefox") as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def webkit() -> AsyncIterator[OtherBrowser]:
    async with open_other("webkit") as opened:
        yield opened


def shows(text: str, count: int = 1) -> str:
    """Return the condition that this many messages contain `text`."""
    bodies = "[...document.querySelectorAll('#chat .message:not(.pending) .body')]"
    return f"{bodies}.filter((one) => one.innerText.includes({json.dumps(text)})).length === {count}"


async def sign_in(window: Window, server: Server, school: School) -> None:
    await window.open(f"{server.url}/chat/room/{school.course}/")
    await window.type("[name=username]", school.ana)
    await window.type("[name=password]", PASSWORD + ENTER)
    await window.sees(CONNECTED)


async def take_the_main_path(window: Window, server: Server, school: School, socket: Chatter) -> None:
    """Sign in, post, edit, reply, search and reload as Ana, while Luis has `socket`."""
    await sign_in(window, server, school)
    # Talk.
    await window.type(FIELD, "the frist, with $x^2$" + ENTER)
    await window.sees(shows("the frist"))
    await socket.receive_until("chat_message", message="the frist, with $x^2$")
    # Messages by others arrive at once, with the names of mentioned users.
    await socket.say(f"Hello @{school.ana}: `look`", id="hello")
    await window.sees(shows("Hello @Ana Morales"))
    await window.sees("document.querySelector('.mention-you')")
    # A short message stays on one line.
    await window.sees("document.querySelector('.mention-you').getClientRects().length === 1")
    # Edit.
    await window.type(FIELD, UP)
    await window.sees(f"document.querySelector('{FIELD}').value.startsWith('the frist')")
    await window.press("!" + ENTER)
    await window.sees(shows("(edited)"))
    # Reply.
    await window.run(
        "document.querySelector('#chat .message.other .body').dispatchEvent("
        "new PointerEvent('pointermove', {bubbles: true, pointerType: 'mouse'}))"
    )
    await window.sees("document.querySelector('.message.other .tools [data-action=reply]')")
    await window.click(".message.other .tools [data-action=reply]")
    await window.type(FIELD, "hello to you" + ENTER)
    await window.sees(shows("hello to you"))
    await window.sees("document.querySelector('.quote')?.innerText.includes('Luis Ortega')")
    # Search.
    await until_indexed(server, school.course)
    await window.click("#search-button")
    await window.sees("!document.querySelector('#search').hidden")
    await window.type("#search-input", "frist" + ENTER)
    await window.sees("document.querySelectorAll('#search-results li').length === 1")
    # After a reload, everything is there and nothing is unsent.
    await window.open(f"{server.url}/chat/room/{school.course}/")
    await window.sees(CONNECTED)
    await window.sees(shows("hello to you"))
    await window.sees(f"document.querySelector('{FIELD}').value === ''")


async def test_the_main_path_works_in_firefox(server: Server, school: School, firefox: OtherBrowser) -> None:
    async with firefox.open_window() as window, Person(server.url, school.luis, course=school.course) as luis:
        socket = await luis.enter()
        await take_the_main_path(window, server, school, socket)
        await tab_through(window, socket)


async def test_the_main_path_works_in_webkit(server: Server, school: School, webkit: OtherBrowser) -> None:
    async with webkit.open_window() as window, Person(server.url, school.luis, course=school.course) as luis:
        socket = await luis.enter()
        await take_the_main_path(window, server, school, socket)
        await come_back(window, server, socket)


async def tab_through(window: Window, socket: Chatter) -> None:
    """After Send, Tab leads to the newest message. Of all that scrolls, only its code takes the focus."""
    for number in range(2):
        await socket.say(f"code {number}:\n```\n{'long ' * 200}\n```", id=f"code {number}")
        await window.sees(shows(f"code {number}"))
    await window.type("#chat-message-submit", TAB)
    await window.sees("document.activeElement === [...document.querySelectorAll('#chat .message')].at(-1)")
    await window.run("void (window.scrolled = [])")
    for _ in range(6):
        await window.press(TAB)
        await window.run(
            "void (document.activeElement.closest('#chat') && document.activeElement.matches('#chat, pre, .body')"
            " && scrolled.push(document.activeElement))"
        )
    assert await window.run("scrolled.length") == 1
    assert await window.run("scrolled[0] === [...document.querySelectorAll('#chat pre')].at(-1)")


async def come_back(window: Window, server: Server, socket: Chatter) -> None:
    """A page to which the reader goes back is connected again, and has what they had written."""
    await window.type(FIELD, "half a thought")
    await window.open(f"{server.url}/chat/courses/")
    await window.run("history.back()")
    await window.sees(CONNECTED)
    await socket.say("after the return", id="return")
    await window.sees(shows("after the return"))
    await window.sees(f"document.querySelector('{FIELD}').value === 'half a thought'")


async def open_room_in(window: Window, platform: FakePlatform, query: str = "") -> bool:
    """Open the course of the platform, and use the frame when the room is in it; whether the page keeps the session."""
    await window.open(f"{platform.url}/course?{query}")
    await window.enter_frame()
    await window.sees(CONNECTED)
    return bool(await window.run("JSON.parse(document.getElementById('embedded-session').textContent)"))


async def use_room_in(window: Window, platform: FakePlatform, server: Server, word: str, query: str = "") -> None:
    """Do everything in the room that a user needs: write, come again, search, sign out."""
    await window.type(FIELD, f"Does {word} work?" + ENTER)
    await window.sees(shows(word))
    await open_room_in(window, platform, query)
    await window.sees(shows(word))
    await until_indexed(server, int(await window.run("document.querySelector('#course-id').textContent")))
    await window.click("#search-button")
    await window.sees("!document.querySelector('#search').hidden")
    await window.type("#search-input", word)
    await window.sees("document.querySelectorAll('#search-results li').length === 1")
    await window.click("#sign-out button")
    await window.sees("document.querySelector('#lti-message')?.dataset.kind === 'ended'")


async def test_the_room_opens_in_a_frame_in_firefox_with_a_partitioned_cookie(
    platform: FakePlatform, server: Server, firefox: OtherBrowser
) -> None:
    async with firefox.open_window() as window:
        assert not await open_room_in(window, platform)
        await use_room_in(window, platform, server, "firefox")


async def test_the_room_opens_in_a_frame_in_a_firefox_that_blocks_third_party_cookies(
    platform: FakePlatform, server: Server, firefox: OtherBrowser
) -> None:
    async with firefox.open_window(blocks_third_parties=True) as window:
        assert await open_room_in(window, platform, "storage")
        await use_room_in(window, platform, server, "strictness", "storage")


async def test_the_room_opens_in_a_frame_in_webkit_where_the_page_keeps_the_session(
    platform: FakePlatform, server: Server, https_server: Server, webkit: OtherBrowser
) -> None:
    platform.tool = https_server.url
    async with webkit.open_window() as window:
        assert await open_room_in(window, platform)
        await use_room_in(window, platform, server, "webkit")

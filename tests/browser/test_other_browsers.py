"""The main path in browsers other than Chromium: sign in, post, edit, reply, search."""

import json

import pytest

from educa_chat.demo import PASSWORD
from tests.browser.conftest import School, until_indexed
from tests.browser.webdriver import ENTER, TAB, UP, Window, missing_for, open_window
from tests.conftest import skip_without
from tests.serving import Chatter, Person, Server

pytestmark = pytest.mark.asyncio(loop_scope="session")

FIELD = "#chat-message-input"
CONNECTED = "document.querySelector('#status')?.dataset.key === 'connected'"


def shows(text: str, count: int = 1) -> str:
    """Return the condition that this many messages contain `text`."""
    bodies = "[...document.querySelectorAll('#chat .message:not(.pending) .body')]"
    return f"{bodies}.filter((one) => one.innerText.includes({json.dumps(text)})).length === {count}"


async def sign_in(window: Window, server: Server, school: School) -> None:
    await window.open(f"{server.url}/chat/room/{school.course}/")
    await window.type("[name=username]", school.ana)
    await window.type("[name=password]", PASSWORD + ENTER)
    await window.sees(CONNECTED)


@pytest.mark.parametrize("browser", ["firefox", "webkit"])
async def test_the_main_path_works_in_firefox_and_webkit(server: Server, school: School, browser: str) -> None:
    if missing := missing_for(browser):
        skip_without(browser, f"not on the PATH: {', '.join(missing)}")
    async with open_window(browser) as window, Person(server.url, school.luis, course=school.course) as luis:
        await sign_in(window, server, school)
        socket = await luis.enter()
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
        if browser == "firefox":
            await tab_through(window, socket)
        else:
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

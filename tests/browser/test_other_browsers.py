"""The main path in browsers other than Chromium: sign in, post, edit, reply, search."""

import json

import pytest

from educa_chat.demo import PASSWORD
from tests.browser.webdriver import ENTER, UP, Window, missing_for, open_window
from tests.conftest import skip_without
from tests.serving import Person, Server

pytestmark = pytest.mark.asyncio(loop_scope="session")

FIELD = "#chat-message-input"
CONNECTED = "document.querySelector('#status')?.dataset.key === 'connected'"


def shows(text: str, count: int = 1) -> str:
    """Return the condition that this many messages contain `text`."""
    bodies = "[...document.querySelectorAll('#chat .message:not(.pending) .body')]"
    return f"{bodies}.filter((one) => one.innerText.includes({json.dumps(text)})).length === {count}"


async def sign_in(window: Window, server: Server) -> None:
    await window.open(f"{server.url}/chat/room/1/")
    await window.type("[name=username]", "ana")
    await window.type("[name=password]", PASSWORD + ENTER)
    await window.sees(CONNECTED)


@pytest.mark.parametrize("browser", ["firefox", "webkit"])
async def test_the_main_path_works_in_firefox_and_webkit(server: Server, browser: str) -> None:
    if missing := missing_for(browser):
        skip_without(browser, f"not on the PATH: {', '.join(missing)}")
    async with open_window(browser) as window, Person(server.url, "luis") as luis:
        await sign_in(window, server)
        socket = await luis.enter()
        # Talk.
        await window.type(FIELD, "the frist, with $x^2$" + ENTER)
        await window.sees(shows("the frist"))
        await socket.receive_until("chat_message", message="the frist, with $x^2$")
        # Messages by others arrive at once, with the names of mentioned users.
        await socket.say("Hello @ana: `look`", id="hello")
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
        await window.click("#search-button")
        await window.sees("!document.querySelector('#search').hidden")
        await window.type("#search-input", "frist" + ENTER)
        await window.sees("document.querySelectorAll('#search-results li').length === 1")
        # After a reload, everything is there and nothing is unsent.
        await window.open(f"{server.url}/chat/room/1/")
        await window.sees(CONNECTED)
        await window.sees(shows("hello to you"))
        await window.sees(f"document.querySelector('{FIELD}').value === ''")

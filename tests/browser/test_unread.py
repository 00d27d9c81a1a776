"""Unread messages in a real browser: the divider, the counts, and the reader's other windows."""

import re

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import TIMEOUT_MS, Desk, record_sent, say, until
from tests.serving import Chatter

pytestmark = pytest.mark.asyncio(loop_scope="session")
expect.set_options(timeout=TIMEOUT_MS)

LINE = "#chat [role=separator]"
COURSES = "/students/courses/"


async def speak(chatter: Chatter, first: int, last: int) -> None:
    for number in range(first, last + 1):
        await chatter.say(f"number {number}", id=f"{number}")
        await chatter.receive_until("ack", id=f"{number}")


async def turn(page: Page, *, hidden: bool) -> None:
    """Make the reader switch to another tab, or back to this one."""
    await page.evaluate(
        """hidden => {
            Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });
            document.dispatchEvent(new Event('visibilitychange'));
        }""",
        hidden,
    )


async def until_read(desk: Desk, username: str, seq: int) -> None:
    """Wait until the server has the read marker `seq` for `username`."""
    async with desk.person(username) as person:

        async def is_read() -> bool:
            socket = await person.enter()
            welcome = await socket.receive_until("welcome")
            await socket.socket.close()
            return bool(welcome["state"]["read"] == seq)

        await until(is_read)


async def below_line(page: Page) -> str:
    """Return the text of the message below the divider."""
    text: str = await page.locator(f"{LINE} + .message .body").inner_text()
    return text


async def test_new_messages_are_counted_and_shown_below_the_unread_divider(desk: Desk) -> None:
    async with desk.person(desk.luis) as luis:
        socket = await luis.enter()
        await speak(socket, 1, 20)
        ana = await desk.sit_down(desk.ana, COURSES)
        await expect(ana.get_by_text("20 unread messages")).to_have_count(1)
        await ana.goto(desk.server.url + desk.room)
        # A first-time visitor sees the newest messages, and no divider.
        await expect(ana.locator("#chat .message").last).to_be_in_viewport()
        await until_read(desk, desk.ana, 20)
        await expect(ana.locator(LINE)).to_have_count(0)
        await ana.goto(desk.server.url + COURSES)
        await expect(ana.get_by_role("link", name="Introducción")).to_be_visible()
        await expect(ana.locator(".unread")).to_have_count(0)
        await speak(socket, 21, 50)
        await ana.reload()
        await expect(ana.locator(".unread [aria-hidden]")).to_have_text("30")
        await ana.goto(desk.server.url + desk.room)
        line = ana.locator(LINE)
        await expect(line).to_be_in_viewport()
        await expect(line).to_have_accessible_name("New messages")
        assert await below_line(ana) == "number 21"
        await expect(ana.locator("#chat .message").last).not_to_be_in_viewport()
        await ana.locator("#to-newest").click()
        await until_read(desk, desk.ana, 50)
        await ana.reload()
        await expect(ana.locator("#chat .message").last).to_be_in_viewport()
        await expect(line).to_have_count(0)


async def test_older_unread_messages_load_below_the_divider(desk: Desk) -> None:
    async with desk.person(desk.luis) as luis, desk.person(desk.ana) as ana:
        socket, reader = await luis.enter(), await ana.enter()
        await speak(socket, 1, 70)
        await reader.events(70)
        await reader.send({"type": "read", "seq": 15})
        page = await desk.sit_down(desk.ana)
        await expect(page.locator("#chat .message")).to_have_count(70)
        await expect(page.locator(LINE)).to_have_count(1)
        assert await below_line(page) == "number 16"


async def test_messages_read_in_one_window_are_read_in_all(desk: Desk) -> None:
    here = await desk.sit_down(desk.ana)
    there = await here.context.new_page()
    await there.goto(desk.server.url + desk.room)
    title = await there.title()
    for page in (here, there):
        await expect(page.locator("#status")).to_have_attribute("data-key", "connected")
        await turn(page, hidden=True)
    async with desk.person(desk.luis) as luis:
        socket = await luis.enter()
        await speak(socket, 1, 3)
    for page in (here, there):
        await expect(page).to_have_title(f"(3) {title}")
        await expect(page.locator(LINE)).to_have_count(1)
        assert await below_line(page) == "number 1"
    await turn(here, hidden=False)
    await expect(here).to_have_title(title)
    # The visible window keeps its divider. The other window no longer has unread messages.
    await expect(there).to_have_title(title)
    await expect(there.locator(LINE)).to_have_count(0)
    await expect(here.locator(LINE)).to_have_count(1)
    await until_read(desk, desk.ana, 3)
    await say(here, "I see")
    await expect(here.locator(LINE)).to_have_count(0)


async def test_messages_out_of_view_are_not_marked_as_read(desk: Desk) -> None:
    page = await desk.sit_down(desk.ana)
    await expect(page.locator("#status")).to_have_attribute("data-key", "connected")
    _, sent = await record_sent(page)
    async with desk.person(desk.luis) as luis:
        socket = await luis.enter()
        await turn(page, hidden=True)
        await speak(socket, 1, 50)
        await expect(page.locator("#chat .message")).to_have_count(50)
        await turn(page, hidden=False)
        # The reader is at the divider, and there is more below than fits.
        await expect(page.locator(LINE)).to_be_in_viewport()
        await expect(page.locator("#chat .message").last).not_to_be_in_viewport()
        await speak(socket, 51, 52)
        await expect(page.get_by_role("button", name="2 new messages")).to_be_visible()
        assert not sent
        await page.locator("#to-newest").click()
        await until_read(desk, desk.ana, 52)
        # Many messages at once cause few read reports, each for the newest message.
        await speak(socket, 53, 72)
        await until_read(desk, desk.ana, 72)
    assert len(sent) < 10
    assert all(re.fullmatch(r'\{"type":"read","seq":\d+\}', frame) for frame in sent)


async def test_the_unread_divider_and_counts_fit_wide_and_narrow_screens(desk: Desk) -> None:
    async with desk.person(desk.luis) as luis, desk.person(desk.ana) as ana:
        socket, reader = await luis.enter(), await ana.enter()
        await speak(socket, 1, 9)
        await reader.events(9)
        await reader.send({"type": "read", "seq": 4})
    page = await desk.sit_down(desk.ana, COURSES, locale="es")

    async def expect_to_fit() -> None:
        for width in (360, 1100):
            await page.set_viewport_size({"width": width, "height": 700})
            assert await page.evaluate("document.documentElement.scrollWidth") <= width

    await expect(page.get_by_text("5 mensajes sin leer")).to_have_count(1)
    await expect_to_fit()
    await page.goto(desk.server.url + desk.room)
    await expect(page.locator(LINE)).to_have_accessible_name("Mensajes nuevos")
    await expect_to_fit()

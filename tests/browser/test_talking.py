"""Talking and teaching on messages, as two people do it in two browsers."""

import re
from typing import Any

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.conftest import TIMEOUT_MS, Desk
from tests.serving import Person, Server

pytestmark = pytest.mark.asyncio(loop_scope="session")
expect.set_options(timeout=TIMEOUT_MS)

PHONE: dict[str, Any] = {"viewport": {"width": 375, "height": 740}, "has_touch": True, "is_mobile": True}


def message(page: Page, text: str) -> Locator:
    """The message that says `text`; one that quotes it is another one."""
    return page.locator("#chat .message", has=page.locator(".body", has_text=re.compile(rf"{re.escape(text)}( \(|$)")))


async def act(page: Page, text: str, action: str) -> None:
    """Do something with a message as who points at it does: by its toolbar, or by the menu behind it."""
    target = message(page, text)
    await target.locator(".body").hover()
    tool = target.get_by_role("toolbar").get_by_role("button", name=action, exact=True)
    if await tool.count():
        await tool.click()
    else:
        await target.get_by_role("toolbar").get_by_role("button", name="More").click()
        await page.get_by_role("menuitem", name=action).click()


async def press_long(page: Page, target: Locator) -> None:
    box = await target.bounding_box()
    assert box
    session = await page.context.new_cdp_session(page)
    point = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    await session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [point]})
    await expect(page.get_by_role("menu")).to_be_visible()
    await session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


async def seed(server: Server, count: int, username: str = "luis") -> None:
    async with Person(server.url, username) as person:
        socket = await person.enter()
        for number in range(1, count + 1):
            await socket.say(f"number {number}", id=f"seed{number}")
        for number in range(1, count + 1):
            await socket.receive_until("ack", id=f"seed{number}")


async def test_who_is_here_is_counted_and_named(desk: Desk) -> None:
    ana = await desk.sit_down("ana")
    button = ana.locator("#people-button")
    await expect(button).to_have_accessible_name("1 person here")
    luis = await desk.sit_down("luis")
    await expect(button).to_have_accessible_name("2 people here")
    await button.click()
    people = ana.get_by_role("region", name="2 people here")
    await expect(people.get_by_role("listitem")).to_contain_text(["Ana Morales", "Luis Ortega"])
    await luis.close()
    await expect(people.or_(ana.get_by_role("region", name="1 person here")).get_by_role("listitem")).to_have_count(1)
    await ana.keyboard.press("Escape")
    await expect(ana.locator("#people")).to_be_hidden()
    await expect(button).to_be_focused()


async def test_who_types_is_seen_and_an_empty_field_tells_nothing(desk: Desk) -> None:
    ana, luis = await desk.sit_down("ana"), await desk.sit_down("luis")
    told: list[str] = []
    line = luis.locator("#typing")
    await expect(ana.locator("#status")).to_have_attribute("data-key", "connected")
    ana.on("websocket", lambda socket: socket.on("framesent", lambda frame: told.append(str(frame))))
    await ana.reload()
    await expect(ana.locator("#status")).to_have_attribute("data-key", "connected")
    await ana.type("#chat-message-input", "  ")
    assert await line.inner_text() == ""
    assert told == []
    await ana.type("#chat-message-input", "a word or two")
    await expect(line).to_have_text("Ana Morales is typing…")
    assert len([frame for frame in told if "typing" in frame]) == 1
    assert await line.evaluate("line => line.closest('[aria-live], [role=status], output')") is None
    await ana.press("#chat-message-input", "Enter")
    await expect(message(luis, "a word or two")).to_be_visible()
    await expect(line).to_have_text("")


async def test_a_reply_shows_what_it_replies_to_and_leads_there(desk: Desk) -> None:
    await seed(desk.server, 120)
    ana, luis = await desk.sit_down("ana"), await desk.sit_down("luis")
    await expect(ana.locator("#chat .message")).to_have_count(50)
    await act(ana, "number 100", "Reply")
    await expect(ana.locator("#composer-about")).to_contain_text("Reply to Luis Ortega number 100")
    await expect(ana.locator("#chat-message-input")).to_be_focused()
    await ana.keyboard.type("so do I")
    await ana.reload()
    await expect(ana.locator("#composer-about")).to_contain_text("Reply to Luis Ortega number 100")
    await ana.press("#chat-message-input", "Enter")
    await expect(ana.locator("#composer-about")).to_be_hidden()
    for page in (ana, luis):
        quote = message(page, "so do I").locator(".quote")
        await expect(quote).to_contain_text("Luis Ortega number 100")
        await expect(message(page, "number 100")).not_to_be_in_viewport()
        await quote.click()
        await expect(message(page, "number 100")).to_be_in_viewport()
        await expect(message(page, "number 100")).to_be_focused()


async def test_escape_leaves_a_reply_and_keeps_what_was_written(desk: Desk) -> None:
    await seed(desk.server, 1)
    ana = await desk.sit_down("ana")
    await act(ana, "number 1", "Reply")
    await ana.keyboard.type("half a thou")
    await ana.keyboard.press("Escape")
    await expect(ana.locator("#composer-about")).to_be_hidden()
    await expect(ana.locator("#chat-message-input")).to_have_value("half a thou")
    await ana.keyboard.press("Enter")
    await expect(message(ana, "half a thou")).to_be_visible()
    assert await ana.locator(".quote").count() == 0


async def test_a_reply_to_what_is_not_loaded_leads_there_all_the_same(desk: Desk) -> None:
    await seed(desk.server, 300)
    async with Person(desk.server.url, "ana") as person:
        socket = await person.enter()
        await socket.send({"type": "message", "id": "far", "message": "long ago", "reply_to": 7})
        await socket.receive_until("ack", id="far")
    ana = await desk.sit_down("ana")
    quote = message(ana, "long ago").locator(".quote")
    await expect(quote).to_have_text("In reply to an earlier message")
    await quote.click()
    await expect(message(ana, "number 7")).to_be_in_viewport()
    await expect(message(ana, "number 7")).to_be_focused()
    await expect(quote).to_contain_text("Luis Ortega number 7")


async def test_a_reply_that_waits_for_the_network_is_still_a_reply(desk: Desk) -> None:
    await seed(desk.server, 1)
    ana = await desk.sit_down("ana")
    await expect(ana.locator("#status")).to_have_attribute("data-key", "connected")
    await ana.context.set_offline(True)
    await act(ana, "number 1", "Reply")
    await ana.keyboard.type("from a tunnel")
    await ana.keyboard.press("Enter")
    await expect(message(ana, "from a tunnel").locator(".quote")).to_contain_text("number 1")
    await ana.context.set_offline(False)
    await expect(ana.locator("#chat .message.pending")).to_have_count(0)
    async with Person(desk.server.url, "luis") as luis:
        assert [one["reply_to"] for one in (await luis.messages())["messages"]] == [None, 1]


async def test_the_toolbar_and_the_menu_are_reached_by_keyboard(desk: Desk) -> None:
    await seed(desk.server, 3)
    ana = await desk.sit_down("ana")
    await expect(ana.locator("#chat .message")).to_have_count(3)
    await message(ana, "number 3").focus()
    await ana.keyboard.press("ArrowUp")
    await expect(message(ana, "number 2")).to_be_focused()
    await ana.keyboard.press("Tab")
    toolbar = message(ana, "number 2").get_by_role("toolbar")
    await expect(toolbar.get_by_role("button").first).to_be_focused()
    await ana.keyboard.press("ArrowLeft")
    await expect(toolbar.get_by_role("button", name="More")).to_be_focused()
    await ana.keyboard.press("Enter")
    await expect(ana.get_by_role("menuitem").first).to_be_focused()
    await ana.keyboard.press("Escape")
    await expect(ana.get_by_role("menu")).to_be_hidden()
    await expect(toolbar.get_by_role("button", name="More")).to_be_focused()
    await ana.keyboard.press("Enter")
    await ana.keyboard.press("ArrowDown")
    await ana.keyboard.press("Enter")
    await expect(ana.locator("#composer-about")).to_contain_text("number 2")


async def test_a_long_press_opens_the_menu_and_a_finger_hits_every_item(desk: Desk) -> None:
    await seed(desk.server, 3)
    ana = await desk.sit_down("ana", **PHONE)
    await press_long(ana, message(ana, "number 2").locator(".body"))
    menu = ana.get_by_role("menu")
    await expect(menu).to_be_visible()
    for box in await menu.get_by_role("menuitem").evaluate_all("all => all.map(one => one.getBoundingClientRect())"):
        assert min(box["width"], box["height"]) >= 44
    await menu.get_by_role("menuitem", name="Reply").tap()
    await expect(ana.locator("#composer-about")).to_contain_text("number 2")
    for box in await ana.locator("button:visible").evaluate_all(
        "all => all.filter(one => !one.matches('.tools *')).map(one => one.getBoundingClientRect())"
    ):
        assert min(box["width"], box["height"]) >= 44, box
    assert await ana.evaluate("document.documentElement.scrollWidth") <= 375

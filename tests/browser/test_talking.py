"""Conversations and message actions between two users in two browsers."""

import asyncio
import re
from contextlib import suppress
from typing import Any

import pytest
from playwright.async_api import Locator, Page, Route, expect
from playwright.async_api import TimeoutError as PlaywrightTimeout

from tests.browser.conftest import MOMENT, TIMEOUT_MS, Desk, say

pytestmark = pytest.mark.asyncio(loop_scope="session")
expect.set_options(timeout=TIMEOUT_MS)

PHONE: dict[str, Any] = {"viewport": {"width": 375, "height": 740}, "has_touch": True, "is_mobile": True}


def message(page: Page, text: str) -> Locator:
    """Return the message with `text`, but not messages that quote it."""
    return page.locator("#chat .message", has=page.locator(".body", has_text=re.compile(rf"{re.escape(text)}( \(|$)")))


async def act(page: Page, text: str, action: str) -> None:
    """Take an action on a message with the pointer: in its toolbar, or in the menu."""
    target = message(page, text)
    toolbar = target.get_by_role("toolbar")
    tool = toolbar.get_by_role("button", name=action, exact=True)
    more = toolbar.get_by_role("button", name="More")

    async with asyncio.timeout(TIMEOUT_MS / 1000):
        while True:
            # The toolbar is hidden again if the message moves away from the pointer.
            await target.locator(".body").hover()
            button = tool if await tool.count() else more
            with suppress(PlaywrightTimeout):
                await button.click(timeout=2000)
                break
    if button is more:
        await page.get_by_role("menuitem", name=action).click()


async def press_long(page: Page, target: Locator) -> None:
    box = await target.bounding_box()
    assert box
    session = await page.context.new_cdp_session(page)
    point = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    await session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [point]})
    await expect(page.get_by_role("menu")).to_be_visible()
    await session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


async def seed(desk: Desk, count: int) -> None:
    """Post messages as Luis."""
    async with desk.person(desk.luis) as person:
        socket = await person.enter()
        for number in range(1, count + 1):
            await socket.say(f"number {number}", id=f"seed{number}")
        for number in range(1, count + 1):
            await socket.receive_until("ack", id=f"seed{number}")


async def test_online_users_are_counted_and_named(desk: Desk) -> None:
    ana = await desk.sit_down(desk.ana)
    button = ana.locator("#people-button")
    await expect(button).to_have_accessible_name("1 online")
    luis = await desk.sit_down(desk.luis)
    await expect(button).to_have_accessible_name("2 online")
    await button.click()
    people = ana.get_by_role("region", name="2 online")
    await expect(people.get_by_role("listitem")).to_contain_text(["Ana Morales", "Luis Ortega"])
    await luis.close()
    await expect(people.or_(ana.get_by_role("region", name="1 online")).get_by_role("listitem")).to_have_count(1)
    await ana.keyboard.press("Escape")
    await expect(ana.locator("#people")).to_be_hidden()
    await expect(button).to_be_focused()


async def test_typing_is_shown_to_others_unless_the_field_is_blank(desk: Desk) -> None:
    ana, luis = await desk.sit_down(desk.ana), await desk.sit_down(desk.luis)
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


async def test_a_reply_quotes_its_original_and_links_to_it(desk: Desk) -> None:
    await seed(desk, 120)
    ana, luis = await desk.sit_down(desk.ana), await desk.sit_down(desk.luis)
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


async def test_escape_cancels_a_reply_and_keeps_the_draft(desk: Desk) -> None:
    await seed(desk, 1)
    ana = await desk.sit_down(desk.ana)
    await act(ana, "number 1", "Reply")
    await ana.keyboard.type("half a thou")
    await ana.keyboard.press("Escape")
    await expect(ana.locator("#composer-about")).to_be_hidden()
    await expect(ana.locator("#chat-message-input")).to_have_value("half a thou")
    await ana.keyboard.press("Enter")
    await expect(message(ana, "half a thou")).to_be_visible()
    assert await ana.locator(".quote").count() == 0


async def test_a_reply_links_to_an_original_that_is_not_loaded(desk: Desk) -> None:
    await seed(desk, 300)
    async with desk.person(desk.ana) as person:
        socket = await person.enter()
        await socket.send({"type": "message", "id": "far", "message": "long ago", "reply_to": 7})
        await socket.receive_until("ack", id="far")
    ana = await desk.sit_down(desk.ana)
    quote = message(ana, "long ago").locator(".quote")
    await expect(quote).to_contain_text("Luis Ortega number 7")
    await quote.click()
    await expect(message(ana, "number 7")).to_be_in_viewport()
    await expect(message(ana, "number 7")).to_be_focused()
    await ana.get_by_role("button", name="Jump to latest").click()
    await expect(quote).to_be_in_viewport()


async def test_a_reply_sent_offline_is_still_a_reply(desk: Desk) -> None:
    await seed(desk, 1)
    ana = await desk.sit_down(desk.ana)
    await expect(ana.locator("#status")).to_have_attribute("data-key", "connected")
    await ana.context.set_offline(True)
    await act(ana, "number 1", "Reply")
    await ana.keyboard.type("from a tunnel")
    await ana.keyboard.press("Enter")
    await expect(message(ana, "from a tunnel").locator(".quote")).to_contain_text("number 1")
    await ana.context.set_offline(False)
    await expect(ana.locator("#chat .message.pending")).to_have_count(0)
    async with desk.person(desk.luis) as luis:
        assert [one["reply_to"] for one in (await luis.messages())["messages"]] == [None, 1]


async def test_the_message_toolbar_and_menu_can_be_reached_by_keyboard(desk: Desk) -> None:
    await seed(desk, 3)
    ana = await desk.sit_down(desk.ana)
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


async def test_a_long_press_opens_the_menu_and_its_items_are_large_enough_to_tap(desk: Desk) -> None:
    await seed(desk, 3)
    ana = await desk.sit_down(desk.ana, **PHONE)
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


async def test_arrow_up_edits_the_last_own_message_and_escape_cancels(desk: Desk) -> None:
    ana, luis = await desk.sit_down(desk.ana), await desk.sit_down(desk.luis)
    await say(ana, "the frist")
    await expect(message(luis, "the frist")).to_be_visible()
    await ana.press("#chat-message-input", "ArrowUp")
    await expect(ana.locator("#composer-about")).to_contain_text("Editing your message")
    await expect(ana.locator("#chat-message-input")).to_have_value("the frist")
    await ana.fill("#chat-message-input", "nonsense")
    await ana.press("#chat-message-input", "Escape")
    await expect(ana.locator("#chat-message-input")).to_have_value("")
    await ana.press("#chat-message-input", "ArrowUp")
    await ana.fill("#chat-message-input", "the first")
    await ana.press("#chat-message-input", "Enter")
    await expect(ana.locator("#chat-message-input")).to_have_value("")
    for page in (ana, luis):
        await expect(page.locator("#chat .message .body")).to_have_text("the first (edited)")
        await expect(page.locator("#chat .pending")).to_have_count(0)
    await luis.reload()
    await expect(luis.locator("#chat .message .body")).to_have_text("the first (edited)")


async def test_a_refused_edit_shows_an_error_and_keeps_its_text(desk: Desk) -> None:
    ana = await desk.sit_down(desk.ana)
    await say(ana, "the first")
    await expect(message(ana, "the first")).to_be_visible()
    await expect(ana.locator("#chat .pending")).to_have_count(0)
    await ana.press("#chat-message-input", "ArrowUp")
    await ana.fill("#chat-message-input", "the second")
    async with desk.person(desk.profe) as profe:
        socket = await profe.enter()
        await socket.send({"type": "delete", "id": "d", "target": 1})
        await socket.receive_until("ack", id="d")
    await expect(ana.locator("#chat .deleted")).to_have_count(1)
    await ana.press("#chat-message-input", "Enter")
    notice = ana.locator("#notice")
    await expect(notice).to_contain_text("That message doesn't exist.")
    await expect(notice.get_by_role("button", name="Copy your text")).to_be_visible()
    await expect(ana.locator("#chat .message")).to_have_text(re.compile("This message was deleted."))


async def test_deleting_asks_for_confirmation_and_leaves_a_tombstone(desk: Desk) -> None:
    ana, luis = await desk.sit_down(desk.ana), await desk.sit_down(desk.luis)
    await say(ana, "by mistake")
    await expect(message(luis, "by mistake")).to_be_visible()
    await act(ana, "by mistake", "Delete…")
    dialog = ana.get_by_role("dialog", name="Delete this message?")
    await dialog.get_by_role("button", name="Cancel").click()
    await expect(dialog).to_be_hidden()
    await act(ana, "by mistake", "Delete…")
    await dialog.get_by_role("button", name="Delete").click()
    for page in (ana, luis):
        await expect(page.locator("#chat .message .body")).to_have_text("This message was deleted.")
    await luis.locator("#chat .message .body").hover()
    await expect(luis.get_by_role("toolbar")).to_have_count(0)


async def test_reactions_show_a_count_and_names_and_mark_the_users_own(desk: Desk) -> None:
    ana, luis = await desk.sit_down(desk.ana), await desk.sit_down(desk.luis)
    await say(ana, "done!")
    await act(luis, "done!", "React")
    await luis.get_by_role("button", name="🎉", exact=True).click()
    chip = message(ana, "done!").locator(".chip")
    await expect(chip).to_have_text("🎉 1")
    await expect(chip).to_have_accessible_name("🎉 1 by Luis Ortega")
    await expect(chip).to_have_attribute("aria-pressed", "false")
    await chip.click()
    await expect(chip).to_have_text("🎉 2")
    await expect(chip).to_have_attribute("aria-pressed", "true")
    await expect(chip).to_have_accessible_name("🎉 2 by You and Luis Ortega")
    await expect(message(luis, "done!").locator(".chip")).to_have_attribute("title", "You and Ana Morales")
    await chip.click()
    await expect(message(luis, "done!").locator(".chip")).to_have_text("🎉 1")
    await act(luis, "done!", "React")
    await luis.get_by_label("Other emoji").fill("no emoji")
    await luis.keyboard.press("Enter")
    await expect(luis.get_by_label("Other emoji")).to_have_attribute("aria-invalid", "true")
    await luis.get_by_label("Other emoji").fill("🦉")
    await luis.keyboard.press("Enter")
    await expect(chip).to_have_text(["🎉 1", "🦉 1"])
    await ana.reload()
    await expect(chip).to_have_text(["🎉 1", "🦉 1"])


async def test_actions_while_offline_are_shown_at_once_and_stored_later(desk: Desk) -> None:
    await seed(desk, 1)
    ana, luis = await desk.sit_down(desk.ana), await desk.sit_down(desk.luis)
    await expect(ana.locator("#status")).to_have_attribute("data-key", "connected")
    await ana.context.set_offline(True)
    await act(ana, "number 1", "React")
    await ana.get_by_role("button", name="👍").click()
    await expect(message(ana, "number 1").locator(".chip")).to_have_text("👍 1")
    await ana.context.set_offline(False)
    await expect(message(luis, "number 1").locator(".chip")).to_have_text("👍 1")
    await expect(message(ana, "number 1").locator(".chip")).to_have_text("👍 1")


async def test_a_pinned_message_is_shown_in_a_bar_that_links_to_it(desk: Desk) -> None:
    await seed(desk, 120)
    profe, ana = await desk.sit_down(desk.profe), await desk.sit_down(desk.ana)
    await act(profe, "number 118", "Pin")
    for page in (profe, ana):
        await expect(page.get_by_role("navigation", name="Pinned messages")).to_contain_text("number 118")
    await act(profe, "number 117", "Pin")
    pins = ana.get_by_role("navigation", name="Pinned messages").get_by_role("button")
    await expect(pins).to_have_text([re.compile("number 118"), re.compile("number 117")])
    async with desk.person(desk.profe) as person:
        socket = await person.enter()
        await socket.send({"type": "pin", "id": "far", "target": 3, "on": True})
        await socket.receive_until("ack", id="far")
    await expect(pins).to_have_count(3)
    await ana.reload()
    await expect(pins).to_have_count(3)
    await pins.last.click()
    await expect(message(ana, "number 3")).to_be_in_viewport()
    await act(profe, "number 118", "Unpin")
    await expect(pins).to_have_count(2)


async def test_a_question_is_listed_as_unanswered_until_it_is_answered(desk: Desk) -> None:
    await seed(desk, 3)
    ana, luis = await desk.sit_down(desk.ana), await desk.sit_down(desk.luis)
    await ana.click("#composer-ask")
    await say(ana, "why is it so?")
    await expect(message(ana, "why is it so?").locator(".mark")).to_have_text("Question")
    await luis.get_by_role("button", name="Unanswered questions").click()
    await expect(luis.locator("#chat .message:visible")).to_have_count(1)
    await luis.get_by_role("button", name="Unanswered questions").click()
    await act(luis, "why is it so?", "Reply")
    await luis.keyboard.type("because of this")
    await luis.keyboard.press("Enter")
    await act(ana, "because of this", "Mark as answer")
    for page in (ana, luis):
        await expect(message(page, "because of this").locator(".mark")).to_have_text("Answer")
        await expect(message(page, "why is it so?").locator(".mark")).to_have_text("Answered")
    await luis.get_by_role("button", name="Unanswered questions").click()
    await expect(luis.get_by_text("No unanswered questions")).to_be_visible()

    # The button also works before the history has loaded.
    history: asyncio.Queue[Route] = asyncio.Queue()
    await luis.route("**/messages?limit=*", history.put)
    await luis.reload()
    held = await history.get()
    await luis.get_by_role("button", name="Unanswered questions").click()
    await held.continue_()
    await luis.unroute("**/messages?limit=*")
    await expect(luis.get_by_text("No unanswered questions")).to_be_visible()
    await luis.get_by_role("button", name="Unanswered questions").click()
    await expect(message(luis, "why is it so?").locator(".mark")).to_have_text("Answered")
    profe = await desk.sit_down(desk.profe)
    await act(profe, "because of this", "Endorse")
    await expect(message(luis, "because of this").locator(".mark")).to_have_text(["Answer", "Endorsed by a teacher"])


async def test_announcements_only_shows_why_students_cannot_post_and_keeps_the_draft(desk: Desk) -> None:
    profe, ana = await desk.sit_down(desk.profe), await desk.sit_down(desk.ana)
    await expect(ana.locator("#class-button")).to_be_hidden()
    await ana.fill("#chat-message-input", "half a thou")
    await profe.click("#class-button")
    await profe.get_by_role("switch", name="Announcements only").click()
    for page in (profe, ana):
        await expect(page.locator("#chat .remark")).to_have_text("Announcements only: only teachers can post.")
    await expect(ana.locator("#composer-closed")).to_be_visible()
    await expect(ana.locator("#chat-message-input")).to_be_hidden()
    await ana.reload()
    await expect(ana.locator("#composer-closed")).to_have_text("Announcements only: only teachers can post.")
    await profe.get_by_role("switch", name="Announcements only").click()
    await expect(ana.locator("#chat-message-input")).to_have_value("half a thou")


async def test_slow_mode_shows_a_countdown_and_holds_the_message(desk: Desk) -> None:
    profe, ana = await desk.sit_down(desk.profe), await desk.sit_down(desk.ana)
    await profe.click("#class-button")
    await profe.get_by_label("Slow mode").select_option("5 minutes")
    await expect(ana.locator("#chat .remark")).to_have_text("Slow mode: one message every 5 minutes.")
    await say(ana, "the first")
    await expect(ana.locator("#composer-wait")).to_have_text(re.compile(r"Slow mode: \d+ seconds left"))
    await say(ana, "the second")
    await expect(ana.locator("#chat-message-input")).to_have_value("the second")
    await ana.reload()
    await expect(ana.locator("#composer-wait")).to_have_text(re.compile(r"Slow mode: \d+ seconds left"))
    await profe.get_by_label("Slow mode").select_option("Off")
    await expect(ana.locator("#composer-wait")).to_have_text("")
    await ana.press("#chat-message-input", "Enter")
    await expect(message(profe, "the second")).to_be_visible()


async def test_a_muted_student_sees_until_when_and_can_post_after_being_unmuted(desk: Desk) -> None:
    profe, ana = await desk.sit_down(desk.profe), await desk.sit_down(desk.ana)
    await say(ana, "hello hello hello")
    await act(profe, "hello hello hello", "Mute student…")
    await profe.get_by_role("dialog").get_by_role("button", name="10 minutes").click()
    await expect(profe.locator("#chat .remark")).to_have_text(re.compile(f"Ana Morales is muted until {MOMENT}."))
    await expect(ana.locator("#composer-closed")).to_have_text(re.compile(f"You’re muted until {MOMENT}."))
    await act(profe, "hello hello hello", "Mute student…")
    await profe.get_by_role("dialog").get_by_role("button", name="Unmute").click()
    await expect(ana.locator("#chat-message-input")).to_be_visible()

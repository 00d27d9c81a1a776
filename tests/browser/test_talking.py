"""Conversations and message actions: one user in a browser, the others as clients without one."""

import asyncio
import re
from contextlib import suppress
from typing import Any

import pytest
from playwright.async_api import Locator, Page, Route, expect
from playwright.async_api import TimeoutError as PlaywrightTimeout

from tests.browser.conftest import MOMENT, TIMEOUT_MS, Desk, record_sent, say
from tests.handlers.test_class_commands import give

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
    async with desk.person(desk.luis) as luis:
        await luis.enter()
        await expect(button).to_have_accessible_name("2 online")
        await button.click()
        people = ana.get_by_role("region", name="2 online")
        await expect(people.get_by_role("listitem")).to_contain_text(["Ana Morales", "Luis Ortega"])
    await expect(people.or_(ana.get_by_role("region", name="1 online")).get_by_role("listitem")).to_have_count(1)
    await ana.keyboard.press("Escape")
    await expect(ana.locator("#people")).to_be_hidden()
    await expect(button).to_be_focused()


async def test_typing_is_shown_to_others_unless_the_field_is_blank(desk: Desk) -> None:
    ana = await desk.sit_down(desk.ana)
    await expect(ana.locator("#status")).to_have_attribute("data-key", "connected")
    session, sent = await record_sent(ana)
    async with desk.person(desk.luis) as person:
        luis = await person.enter()
        await ana.type("#chat-message-input", "  ")
        # The browser reports frames and answers commands in their order.
        await session.send("Network.enable")
        assert sent == []
        await ana.type("#chat-message-input", "a word or two")
        assert (await luis.receive_until("typing"))["name"] == "Ana Morales"
        assert sent == ['{"type":"typing"}']

        line = ana.locator("#typing")
        assert await line.inner_text() == ""
        await luis.send({"type": "typing"})
        await expect(line).to_have_text("Luis Ortega is typing…")
        assert await line.evaluate("line => line.closest('[aria-live], [role=status], output')") is None
        await give(luis, type="message", message="here it is")
        await expect(message(ana, "here it is")).to_be_visible()
        await expect(line).to_have_text("")


async def test_a_reply_quotes_its_original_and_links_to_it_even_if_it_is_not_loaded(desk: Desk) -> None:
    await seed(desk, 150)
    ana = await desk.sit_down(desk.ana)
    await expect(ana.locator("#chat .message")).to_have_count(50)
    about, field = ana.locator("#composer-about"), ana.locator("#chat-message-input")
    await act(ana, "number 130", "Reply")
    await expect(about).to_contain_text("Reply to Luis Ortega number 130")
    await expect(field).to_be_focused()
    await ana.keyboard.type("so do I")
    await ana.reload()
    await expect(about).to_contain_text("Reply to Luis Ortega number 130")
    await field.press("Enter")
    await expect(about).to_be_hidden()
    quote = message(ana, "so do I").locator(".quote")
    await expect(quote).to_contain_text("Luis Ortega number 130")
    await expect(message(ana, "number 130")).not_to_be_in_viewport()
    await quote.click()
    await expect(message(ana, "number 130")).to_be_in_viewport()
    await expect(message(ana, "number 130")).to_be_focused()
    await ana.get_by_role("button", name="Jump to latest").click()
    await expect(quote).to_be_in_viewport()

    async with desk.person(desk.luis) as person:
        luis = await person.enter()
        await luis.send({"type": "message", "id": "far", "message": "long ago", "reply_to": 3})
        await luis.receive_until("ack", id="far")
    quote = message(ana, "long ago").locator(".quote")
    await expect(quote).to_contain_text("Luis Ortega number 3")
    await expect(message(ana, "number 3")).to_have_count(0)
    await quote.click()
    await expect(message(ana, "number 3")).to_be_in_viewport()
    await expect(message(ana, "number 3")).to_be_focused()
    await ana.get_by_role("button", name="Jump to latest").click()
    await expect(quote).to_be_in_viewport()


async def test_a_reply_can_be_cancelled_or_sent_offline(desk: Desk) -> None:
    await seed(desk, 1)
    ana = await desk.sit_down(desk.ana)
    await expect(ana.locator("#status")).to_have_attribute("data-key", "connected")
    await act(ana, "number 1", "Reply")
    await ana.keyboard.type("half a thou")
    await ana.keyboard.press("Escape")
    await expect(ana.locator("#composer-about")).to_be_hidden()
    await expect(ana.locator("#chat-message-input")).to_have_value("half a thou")
    await ana.keyboard.press("Enter")
    await expect(message(ana, "half a thou")).to_be_visible()
    assert await ana.locator(".quote").count() == 0

    await ana.context.set_offline(True)
    await act(ana, "number 1", "Reply")
    await ana.keyboard.type("from a tunnel")
    await ana.keyboard.press("Enter")
    await expect(message(ana, "from a tunnel").locator(".quote")).to_contain_text("number 1")
    await ana.context.set_offline(False)
    await expect(ana.locator("#chat .message.pending")).to_have_count(0)
    async with desk.person(desk.luis) as luis:
        assert [one["reply_to"] for one in (await luis.messages())["messages"]] == [None, None, 1]


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


async def test_a_user_can_edit_and_delete_their_own_messages(desk: Desk) -> None:
    ana = await desk.sit_down(desk.ana)
    field, bodies = ana.locator("#chat-message-input"), ana.locator("#chat .message .body")
    await say(ana, "the frist")
    await expect(message(ana, "the frist")).to_be_visible()
    await field.press("ArrowUp")
    await expect(ana.locator("#composer-about")).to_contain_text("Editing your message")
    await expect(field).to_have_value("the frist")
    await field.fill("nonsense")
    await field.press("Escape")
    await expect(field).to_have_value("")
    await field.press("ArrowUp")
    await field.fill("the first")
    await field.press("Enter")
    await expect(field).to_have_value("")
    await expect(bodies).to_have_text("the first (edited)")
    await expect(ana.locator("#chat .pending")).to_have_count(0)
    await ana.reload()
    await expect(bodies).to_have_text("the first (edited)")

    await act(ana, "the first", "Delete…")
    dialog = ana.get_by_role("dialog", name="Delete this message?")
    await dialog.get_by_role("button", name="Cancel").click()
    await expect(dialog).to_be_hidden()
    await act(ana, "the first", "Delete…")
    await dialog.get_by_role("button", name="Delete").click()
    await expect(bodies).to_have_text("This message was deleted.")
    await bodies.hover()
    await expect(ana.get_by_role("toolbar")).to_have_count(0)
    async with desk.person(desk.luis) as luis:
        stored = (await luis.messages())["messages"]
    assert [(one["message"], one["deleted"]) for one in stored] == [("", True)]

    # Somebody else deletes a message while its author edits it.
    await say(ana, "the second")
    await expect(message(ana, "the second")).to_be_visible()
    await expect(ana.locator("#chat .pending")).to_have_count(0)
    await field.press("ArrowUp")
    await field.fill("the third")
    async with desk.person(desk.profe) as profe:
        await give(await profe.enter(), type="delete", target=4)
    await expect(ana.locator("#chat .deleted")).to_have_count(2)
    await field.press("Enter")
    notice = ana.locator("#notice")
    await expect(notice).to_contain_text("That message doesn't exist.")
    await expect(notice.get_by_role("button", name="Copy your text")).to_be_visible()
    await expect(bodies).to_have_text(["This message was deleted."] * 2)


async def test_reactions_show_a_count_and_names_mark_the_users_own_and_are_shown_at_once_while_offline(
    desk: Desk,
) -> None:
    async with desk.person(desk.luis) as person:
        luis = await person.enter()
        await give(luis, type="message", message="done!")
        await give(luis, type="react", target=1, emoji="🎉", on=True)
        ana = await desk.sit_down(desk.ana)
        chip = message(ana, "done!").locator(".chip")
        await expect(chip).to_have_text("🎉 1")
        await expect(chip).to_have_accessible_name("🎉 1 by Luis Ortega")
        await expect(chip).to_have_attribute("aria-pressed", "false")
        await chip.click()
        await expect(chip).to_have_text("🎉 2")
        await expect(chip).to_have_attribute("aria-pressed", "true")
        await expect(chip).to_have_accessible_name("🎉 2 by You and Luis Ortega")
        await expect(chip).to_have_attribute("title", "You and Luis Ortega")
        assert (await luis.receive_until("reaction", on=True, user=desk.ana))["emoji"] == "🎉"
        await chip.click()
        await expect(chip).to_have_text("🎉 1")
        await luis.receive_until("reaction", on=False, user=desk.ana, emoji="🎉")

        await act(ana, "done!", "React")
        other = ana.get_by_label("Other emoji")
        await other.fill("no emoji")
        await other.press("Enter")
        await expect(other).to_have_attribute("aria-invalid", "true")
        await other.fill("🦉")
        await other.press("Enter")
        await expect(chip).to_have_text(["🎉 1", "🦉 1"])
        await give(luis, type="react", target=1, emoji="🦉", on=True)
        await expect(chip).to_have_text(["🎉 1", "🦉 2"])

        await ana.context.set_offline(True)
        await act(ana, "done!", "React")
        await ana.get_by_role("button", name="👍").click()
        await expect(chip).to_have_text(["🎉 1", "🦉 2", "👍 1"])
        await ana.context.set_offline(False)
        await luis.receive_until("reaction", on=True, user=desk.ana, emoji="👍")
    await ana.reload()
    await expect(chip).to_have_text(["🎉 1", "🦉 2", "👍 1"])


async def test_a_teacher_pins_messages_to_a_bar_that_links_to_them_and_endorses_them(desk: Desk) -> None:
    await seed(desk, 120)
    profe = await desk.sit_down(desk.profe)
    await act(profe, "number 118", "Pin")
    await act(profe, "number 117", "Pin")
    bar = profe.get_by_role("navigation", name="Pinned messages")
    pins = bar.get_by_role("button")
    await expect(pins).to_have_text([re.compile("number 118"), re.compile("number 117")])
    await act(profe, "number 118", "Unpin")
    await expect(bar).to_contain_text("number 117")
    await expect(pins).to_have_count(1)
    await act(profe, "number 118", "Endorse")
    await expect(message(profe, "number 118").locator(".mark")).to_have_text("Endorsed by a teacher")
    async with desk.person(desk.profe) as person:
        await give(await person.enter(), type="pin", target=3, on=True)
    await expect(pins).to_have_text([re.compile("number 117"), re.compile("number 3")])
    await profe.reload()
    await expect(pins).to_have_text([re.compile("number 117"), re.compile("number 3")])
    await pins.last.click()
    await expect(message(profe, "number 3")).to_be_in_viewport()


async def test_a_question_is_listed_as_unanswered_until_it_is_answered(desk: Desk) -> None:
    await seed(desk, 3)
    ana = await desk.sit_down(desk.ana)
    unanswered = ana.get_by_role("button", name="Unanswered questions")
    await ana.click("#composer-ask")
    await say(ana, "why is it so?")
    question = message(ana, "why is it so?").locator(".mark")
    await expect(question).to_have_text("Question")
    await unanswered.click()
    await expect(ana.locator("#chat .message:visible")).to_have_count(1)
    await unanswered.click()
    async with desk.person(desk.luis) as luis:
        await give(await luis.enter(), type="message", message="because of this", reply_to=4)
    await act(ana, "because of this", "Mark as answer")
    answer = message(ana, "because of this").locator(".mark")
    await expect(answer).to_have_text("Answer")
    await expect(question).to_have_text("Answered")
    await unanswered.click()
    await expect(ana.get_by_text("No unanswered questions")).to_be_visible()

    # The button also works before the history has loaded.
    history: asyncio.Queue[Route] = asyncio.Queue()
    await ana.route("**/messages?limit=*", history.put)
    await ana.reload()
    held = await history.get()
    await unanswered.click()
    await held.continue_()
    await ana.unroute("**/messages?limit=*")
    await expect(ana.get_by_text("No unanswered questions")).to_be_visible()
    await unanswered.click()
    await expect(question).to_have_text("Answered")
    await expect(answer).to_have_text("Answer")


async def test_a_student_sees_why_they_cannot_post_and_keeps_their_text(desk: Desk) -> None:
    async with desk.person(desk.profe) as person:
        profe = await person.enter()
        ana = await desk.sit_down(desk.ana)
        field, closed, wait = (
            ana.locator(f"#{id}") for id in ("chat-message-input", "composer-closed", "composer-wait")
        )
        await expect(ana.locator("#class-button")).to_be_hidden()
        await give(profe, type="slow", seconds=300)
        await expect(ana.locator("#chat .remark")).to_have_text("Slow mode: one message every 5 minutes.")
        await say(ana, "the first")
        await expect(wait).to_have_text(re.compile(r"Slow mode: \d+ seconds left"))
        await say(ana, "the second")
        await expect(field).to_have_value("the second")

        await give(profe, type="close", on=True)
        await expect(ana.locator("#chat .remark").last).to_have_text("Announcements only: only teachers can post.")
        await expect(closed).to_be_visible()
        await expect(field).to_be_hidden()
        await ana.reload()
        await expect(closed).to_have_text("Announcements only: only teachers can post.")
        await expect(field).to_be_hidden()
        await give(profe, type="close", on=False)
        await expect(field).to_have_value("the second")
        await expect(wait).to_have_text(re.compile(r"Slow mode: \d+ seconds left"))

        await give(profe, type="mute", user=desk.ana, minutes=10)
        await expect(closed).to_have_text(re.compile(f"You’re muted until {MOMENT}."))
        await give(profe, type="mute", user=desk.ana, minutes=0)
        await expect(field).to_be_visible()

        await give(profe, type="slow", seconds=0)
        await expect(wait).to_have_text("")
        await field.press("Enter")
        await profe.receive_until("chat_message", message="the second")


async def test_a_teacher_closes_and_slows_the_room_and_mutes_a_student(desk: Desk) -> None:
    async with desk.person(desk.ana) as ana:
        await give(await ana.enter(), type="message", message="hello hello hello")
    profe = await desk.sit_down(desk.profe)
    remark = profe.locator("#chat .remark").last
    await profe.click("#class-button")
    await profe.get_by_role("switch", name="Announcements only").click()
    await expect(remark).to_have_text("Announcements only: only teachers can post.")
    await profe.get_by_role("switch", name="Announcements only").click()
    await expect(remark).to_have_text("Everyone can post again.")
    await profe.get_by_label("Slow mode").select_option("5 minutes")
    await expect(remark).to_have_text("Slow mode: one message every 5 minutes.")
    await profe.get_by_label("Slow mode").select_option("Off")
    await expect(remark).to_have_text("Slow mode is off.")
    await profe.keyboard.press("Escape")

    await act(profe, "hello hello hello", "Mute student…")
    await profe.get_by_role("dialog").get_by_role("button", name="10 minutes").click()
    await expect(remark).to_have_text(re.compile(f"Ana Morales is muted until {MOMENT}."))
    await act(profe, "hello hello hello", "Mute student…")
    await profe.get_by_role("dialog").get_by_role("button", name="Unmute").click()
    await expect(remark).to_have_text("Ana Morales is no longer muted.")

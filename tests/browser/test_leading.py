"""Moderation: only teachers see reports, muted students and the audit log."""

import re
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.conftest import MOMENT, TIMEOUT_MS, Desk, until
from tests.browser.test_talking import PHONE, act, message, press_long, seed
from tests.handlers.test_class_commands import give

pytestmark = pytest.mark.asyncio(loop_scope="session")
expect.set_options(timeout=TIMEOUT_MS)

NARROW: dict[str, Any] = PHONE | {"viewport": {"width": 360, "height": 700}}


async def report(page: Page, text: str, reason: str = "") -> None:
    await act(page, text, "Report…")
    dialog = page.get_by_role("dialog", name="Report this message?")
    await expect(dialog).to_contain_text("Only teachers will see the report and your name.")
    await dialog.get_by_role("textbox").fill(reason)
    await dialog.get_by_role("button", name="Report").click()
    await expect(page.locator("#notice")).to_have_text("Report sent. Only teachers see it.")


def reported(page: Page, text: str) -> Locator:
    """Return the entry of a message in the queue."""
    return page.locator(".reported", has=page.locator("blockquote", has_text=re.compile(rf"^\s*{re.escape(text)}\s*$")))


def queue_path(desk: Desk) -> str:
    return f"{desk.room}reports/"


async def lead(desk: Desk, *commands: dict[str, object]) -> None:
    """Give commands as the teacher."""
    async with desk.person(desk.profe) as person:
        socket = await person.enter()
        for command in commands:
            await give(socket, **command)


async def test_a_teacher_receives_and_handles_a_report(desk: Desk) -> None:
    ana, profe = await desk.sit_down(desk.ana), await desk.sit_down(desk.profe)
    button = profe.locator("#moderation-button")
    await expect(button).to_have_accessible_name("Moderation")
    async with desk.person(desk.luis) as author, desk.person(desk.ana) as herself:
        luis, phone = await author.enter(), await herself.enter()
        texts = ("a rude word", "another rude word", "a kind word")
        _, another, kind = [await give(luis, type="message", message=text) for text in texts]
        await give(phone, type="message", message="my own word")
        await message(ana, "my own word").locator(".body").hover()
        await ana.get_by_role("toolbar").get_by_role("button", name="More").click()
        await expect(ana.get_by_role("menuitem", name="Delete…")).to_be_visible()
        await expect(ana.get_by_role("menuitem", name="Report…")).to_have_count(0)
        await ana.keyboard.press("Escape")
        await report(ana, "a rude word", "it <b>hurts</b>")
        await expect(button).to_have_accessible_name("Moderation: 1 reported message")
        await expect(message(profe, "a rude word").locator(".mark")).to_have_text("Reported")
        for target, reason in ((another, ""), (kind, "I dislike it"), (kind, "I still dislike it")):
            await give(phone, type="report", target=target, reason=reason)
    await expect(button).to_have_accessible_name("Moderation: 3 reported messages")
    await ana.reload()
    await expect(message(ana, "a kind word")).to_be_visible()
    await expect(ana.get_by_text("Reported")).to_have_count(0)
    await profe.reload()
    await expect(button).to_have_accessible_name("Moderation: 3 reported messages")
    await expect(profe.locator("#chat .mark.reported")).to_have_count(3)

    queue = await profe.context.new_page()
    await profe.click("#moderation-button")
    await expect(profe.get_by_role("link", name="3 reported messages")).to_have_attribute("href", queue_path(desk))
    await queue.goto(desk.server.url + queue_path(desk))
    await expect(queue.locator(".reported blockquote")).to_have_text(
        ["a kind word", "another rude word", "a rude word"]
    )
    await expect(reported(queue, "a rude word")).to_contain_text("reported by Ana Morales")
    await expect(reported(queue, "a rude word")).to_contain_text("it <b>hurts</b>")
    await expect(reported(queue, "a rude word")).to_contain_text("Luis Ortega")
    await expect(reported(queue, "a kind word").locator(".reasons li")).to_have_count(1)
    await reported(queue, "a kind word").get_by_role("button", name="Dismiss").click()
    await expect(queue.locator(".reported")).to_have_count(2)
    await expect(button).to_have_accessible_name("Moderation: 2 reported messages")
    await expect(message(profe, "a kind word").locator(".mark")).to_have_count(0)
    await reported(queue, "a rude word").get_by_text("Delete…").click()
    await reported(queue, "a rude word").get_by_role("button", name="Delete").click()
    await expect(queue.locator(".reported")).to_have_count(1)
    await expect(ana.locator("#chat .deleted")).to_have_count(1)
    await expect(message(ana, "a rude word")).to_have_count(0)
    await expect(button).to_have_accessible_name("Moderation: 1 reported message")
    await act(profe, "another rude word", "Delete…")
    await profe.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(button).to_have_accessible_name("Moderation")
    await queue.reload()
    await expect(queue.get_by_text("No open reports")).to_be_visible()


async def test_the_audit_log_shows_times_in_the_readers_time_zone(desk: Desk) -> None:
    await lead(desk, {"type": "slow", "seconds": 30})
    page = await desk.sit_down(desk.profe, f"{desk.room}audit/", timezone_id="Asia/Tokyo")
    time = page.locator("time")
    moment = datetime.fromisoformat(await time.get_attribute("datetime") or "").astimezone(ZoneInfo("Asia/Tokyo"))
    await expect(time).to_have_text(f"{moment.day} {moment:%b %Y, %H:%M}")


async def test_the_report_queue_links_to_the_message_in_its_conversation(desk: Desk) -> None:
    await seed(desk, 80)
    await lead(desk, {"type": "report", "target": 7})
    queue = await desk.sit_down(desk.profe, queue_path(desk))
    await queue.get_by_role("link", name="Show in the room").click()
    await expect(message(queue, "number 7")).to_be_in_viewport()
    await expect(message(queue, "number 7")).to_be_focused()
    await expect(message(queue, "number 7").locator(".mark")).to_have_text("Reported")
    assert queue.url.endswith(desk.room)


async def test_reporting_a_deleted_message_shows_an_error(desk: Desk) -> None:
    await seed(desk, 1)
    ana = await desk.sit_down(desk.ana)
    await expect(ana.locator("#moderation-button")).to_have_count(0)
    await act(ana, "number 1", "Report…")
    await lead(desk, {"type": "delete", "target": 1})
    await expect(ana.locator("#chat .deleted")).to_have_count(1)
    await ana.get_by_role("dialog").get_by_role("button", name="Report").click()
    await expect(ana.locator("#notice")).to_contain_text("That message doesn't exist.")


async def test_on_a_phone_a_long_press_offers_report_and_the_queue_fits(desk: Desk) -> None:
    await seed(desk, 12)
    page = await desk.sit_down(desk.ana, **NARROW)
    await press_long(page, message(page, "number 5").locator(".body"))
    await page.get_by_role("menuitem", name="Report…").click()
    dialog = page.get_by_role("dialog", name="Report this message?")
    await dialog.get_by_role("textbox").fill("an-unkind-word-that-never-ends-" * 12)
    await dialog.get_by_role("button", name="Report").click()
    await expect(page.locator("#notice")).to_have_text("Report sent. Only teachers see it.")
    await desk.change_user(page, desk.profe)
    await page.goto(desk.server.url + queue_path(desk))
    await expect(reported(page, "number 5")).to_be_visible()
    await page.get_by_text("Delete…").click()
    await expect(page.get_by_role("button", name="Delete")).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth") == 360
    for one in await page.locator(".reported :is(a, button, summary)").all():
        box = await one.bounding_box()
        assert box
        assert box["height"] >= 44
    await page.get_by_role("button", name="Dismiss").click()
    await expect(page.get_by_text("No open reports")).to_be_visible()


async def test_a_teacher_sees_who_is_muted_until_the_mute_expires_or_the_teacher_unmutes_them(desk: Desk) -> None:
    profe = await desk.sit_down(desk.profe)
    panel = profe.get_by_role("region", name="Muted students")
    await lead(desk, {"type": "mute", "user": desk.ana, "minutes": 5})
    await expect(profe.locator("#chat .remark")).to_have_count(1)
    await desk.database.execute(
        "update educa_chat.mute set until = now() + interval '2 seconds' where course = $1", desk.course
    )
    await profe.click("#moderation-button")
    await expect(panel.get_by_role("listitem")).to_have_count(1)
    await expect(panel.get_by_role("listitem")).to_have_count(0)
    await expect(profe.locator("#moderation")).to_be_visible()
    await expect(panel).to_be_hidden()
    await lead(
        desk, {"type": "mute", "user": desk.ana, "minutes": 60}, {"type": "mute", "user": desk.luis, "minutes": 5}
    )
    await expect(panel.get_by_role("listitem")).to_have_text(
        [re.compile(f"Luis Ortega until {MOMENT}"), re.compile(f"Ana Morales until {MOMENT}")]
    )
    async with desk.person(desk.ana) as person:
        ana = await person.enter()
        assert (await ana.receive_until("welcome"))["limits"]["muted_until"]
        lift = panel.get_by_role("button", name="Unmute Ana Morales")
        await lift.focus()
        await profe.keyboard.press("Enter")
        await expect(panel.get_by_role("listitem")).to_have_count(1)
        await expect(panel.get_by_role("button", name="Unmute Luis Ortega")).to_be_focused()
        await give(ana, type="message", message="thank you")
    await profe.keyboard.press("Enter")
    await expect(panel).to_be_hidden()
    await expect(profe.get_by_role("link", name="Reported messages")).to_be_focused()


# System messages.


def seen(page: Page) -> Locator:
    """Return the visible log: the texts of the messages, and the system messages between them."""
    return page.locator("#chat :is(.message .body, .remark)")


async def texts(page: Page) -> list[str]:
    return [text.strip() for text in await seen(page).all_inner_texts()]


async def test_reloading_shows_the_same_system_messages(desk: Desk) -> None:
    stayed, profe = await desk.sit_down(desk.ana), await desk.sit_down(desk.profe)
    await expect(stayed.locator("#status")).to_have_attribute("data-key", "connected")
    await lead(desk, {"type": "close", "on": True}, {"type": "message", "message": "number 1"})
    for number, is_anonymous in enumerate((False, True), 1):
        await lead(
            desk,
            {"type": "anonymity", "on": is_anonymous},
            {"type": "slow", "seconds": 30 * number},
            {"type": "mute", "user": desk.ana, "minutes": 10 * number},
            {"type": "mute", "user": desk.luis, "minutes": 10 * number},
            {"type": "message", "message": f"number {number + 1}"},
        )
    await lead(
        desk,
        {"type": "close", "on": False},
        {"type": "mute", "user": desk.ana, "minutes": 0},
        {"type": "message", "message": "the end"},
    )
    # Students see system messages only for their own mutes.
    for page, count in ((stayed, 13), (profe, 15)):
        await expect(seen(page)).to_have_count(count)
        before = [text.replace(desk.luis, "Luis Ortega") for text in await texts(page)]
        names = ("Ana Morales is", "Luis Ortega is") if page is profe else ("You’re",)
        words = [re.sub(MOMENT, "…", text) for text in before]
        assert words == [
            "Announcements only: only teachers can post.",
            "number 1",
            "Anonymous posting is off. Earlier messages stay anonymous.",
            "Slow mode: one message every 30 seconds.",
            *(f"{name} muted until …." for name in names),
            "number 2",
            "Anonymous posting is on: classmates see a number, teachers see the name.",
            "Slow mode: one message every 1 minute.",
            *(f"{name} muted until …." for name in names),
            "number 3",
            "Everyone can post again.",
            f"{names[0]} no longer muted.",
            "the end",
        ]
        await page.reload()
        await expect(seen(page)).to_have_count(count)
        await expect(page.locator("#people-button")).to_be_visible()
        assert [text.replace(desk.luis, "Luis Ortega") for text in await texts(page)] == before


async def test_system_messages_stay_in_order_when_scrolling_and_jumping_through_the_history(desk: Desk) -> None:
    said: list[str] = []
    async with desk.person(desk.profe) as person:
        socket = await person.enter()
        for number in range(160):
            if number % 20 == 0:
                await socket.send({"type": "slow", "seconds": number + 21, "id": f"slow{number}"})
                said.append(f"Slow mode: one message every {number + 21} seconds.")
            await socket.say(f"number {number}", id=f"{number}")
            said.append(f"number {number}")
        await socket.receive_until("ack", id="159")
    page = await desk.sit_down(desk.ana)
    log = page.locator("#chat")
    await expect(page.locator("#chat .message")).to_have_count(50)
    assert await texts(page) == said[said.index("number 110") :]

    async def is_at_the_beginning() -> bool:
        await log.evaluate("log => (log.scrollTop = 0)")
        return await page.locator("#beginning").is_visible()

    await until(is_at_the_beginning)
    assert await texts(page) == said

    # A jump, and from there to the end.
    await page.goto(f"{desk.server.url}/students/courses/")
    await page.goto(f"{desk.server.url}{desk.room}#message-34")
    target = page.locator("#chat .shown .body")
    await expect(target).to_have_text("number 31")
    await expect(target).to_be_in_viewport()

    async def is_at_the_end() -> bool:
        await log.evaluate("log => (log.scrollTop = log.scrollHeight)")
        return await message(page, "number 159").is_visible()

    await until(is_at_the_end)
    shown = await texts(page)
    assert shown == said[said.index(shown[0]) :]
    assert said.index(shown[0]) < 20
    await lead(desk, {"type": "slow", "seconds": 0})
    await expect(page.locator("#chat .remark").last).to_have_text("Slow mode is off.")
    assert (await texts(page))[:-1] == shown


async def test_each_system_message_appears_once_after_a_reconnect(desk: Desk) -> None:
    await seed(desk, 3)
    ana = await desk.sit_down(desk.ana)
    await lead(desk, {"type": "close", "on": True})
    await expect(ana.locator("#chat .remark")).to_have_count(1)
    await ana.context.set_offline(True)
    await lead(desk, {"type": "close", "on": False}, {"type": "slow", "seconds": 60})
    await ana.context.set_offline(False)
    await expect(ana.locator("#chat .remark")).to_have_count(3)


# The composer after a reload.


async def test_a_loaded_page_knows_at_once_whether_the_reader_can_post(desk: Desk) -> None:
    async with desk.person(desk.ana) as person:
        await give(await person.enter(), type="message", message="hello")
    page = await desk.sit_down(desk.ana, "/students/courses/", reuse=False)
    # Only the welcome contains this: later frames are dropped.
    await page.route_web_socket("**/ws/**", _pass_the_welcome_alone)
    mute = {"type": "mute", "user": desk.ana}
    cases: list[tuple[str, str, list[dict[str, object]]]] = [
        ("#composer-closed", r"Announcements only: only teachers can post\.", [{"type": "close", "on": True}]),
        (
            "#composer-closed",
            rf"You’re muted until {MOMENT}\.",
            [{"type": "close", "on": False}, {**mute, "minutes": 10}],
        ),
        (
            "#composer-wait",
            r"Slow mode: \d+ seconds left",
            [{**mute, "minutes": 0}, {"type": "slow", "seconds": 300}],
        ),
    ]
    for number, (locator, words, commands) in enumerate(cases):
        await lead(desk, *commands)
        await page.goto(desk.server.url + desk.room)
        await expect(page.locator(locator)).to_have_text(re.compile(words))
        await expect(page.locator("#chat .remark")).to_have_count(1 + 2 * number)
        await expect(page.locator("#chat-message-input")).to_be_visible(visible=locator == "#composer-wait")


def _pass_the_welcome_alone(socket: Any) -> None:
    server = socket.connect_to_server()
    server.on_message(lambda frame: socket.send(frame) if '"type":"welcome"' in frame else None)

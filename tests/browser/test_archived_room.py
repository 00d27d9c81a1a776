"""Open pages are updated at once when their course is archived, restored or removed."""

import pytest
from playwright.async_api import expect

from educa_chat.storage.administration import archive_course, remove_course, rename_course, restore_course
from tests.browser.conftest import Desk
from tests.browser.test_barriers import barriers
from tests.browser.test_talking import message
from tests.handlers.test_class_commands import give

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_an_open_page_shows_that_its_course_was_archived_and_keeps_the_draft(desk: Desk, axe: str) -> None:
    async with desk.person(desk.profe) as profe:
        await give(await profe.enter(), type="message", message="the first")
    page = await desk.sit_down(desk.profe)
    field, told = page.locator("#chat-message-input"), page.locator("#composer-closed")
    await expect(page.locator("#chat .message:not(.pending)")).to_have_count(1)
    await field.fill("half a sentence")
    await archive_course(desk.database, desk.course)
    await expect(told).to_contain_text("This course is archived.")
    await expect(field).to_be_visible()
    await expect(field).to_have_value("half a sentence")
    await expect(page.locator("#chat-message-submit")).to_be_hidden()
    await page.click("#class-button")
    await expect(page.locator("#class-slow")).to_be_disabled()
    await page.keyboard.press("Escape")
    await message(page, "the first").hover()
    tools = message(page, "the first").locator(".tools")
    await expect(tools.locator("[data-action=more]")).to_be_visible()
    await expect(tools.locator("[data-action=reply]")).to_be_hidden()
    assert await barriers(page, axe) == []

    await page.reload()
    await expect(told).to_contain_text("This course is archived.")
    await restore_course(desk.database, desk.course)
    await expect(told).to_be_empty()
    await expect(field).to_have_value("half a sentence")
    await field.press("Enter")
    await expect(message(page, "half a sentence")).to_be_visible()

    await rename_course(desk.database, desk.course, "Another name")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Another name")
    await archive_course(desk.database, desk.course)
    await page.goto(f"{desk.server.url}/chat/courses/")
    await page.get_by_text("Archived courses").click()
    await expect(page.get_by_role("link", name="Another name")).to_be_visible()
    assert await barriers(page, axe) == []


async def test_an_open_page_shows_that_its_course_was_removed(desk: Desk) -> None:
    page = await desk.sit_down(desk.ana)
    await expect(page.locator("#chat-message-input")).to_be_enabled()
    await remove_course(desk.database, desk.course)
    await expect(page.locator("#status")).to_contain_text("You no longer have access to this course.")
    # The browser complains about a handshake that was refused, if the room was closed before the socket was checked.
    desk.complaints.clear()

"""Parts of the page that are loaded when they are opened, and what the user sees when that fails."""

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.conftest import Desk, end_session

pytestmark = pytest.mark.asyncio(loop_scope="session")

PARTS = ("/search/", "/notifications/", "/class/", "/mentions/", "/account/", "/originals/", "/pins/", "/strings/")


async def connected(desk: Desk, username: str) -> Page:
    page = await desk.sit_down(username)
    await expect(page.locator("#status")).to_have_attribute("data-key", "connected")
    return page


async def abort(route: Route) -> None:
    await route.abort()


async def test_a_part_is_loaded_on_demand_or_on_hover_and_opens_on_retry_if_that_fails(desk: Desk) -> None:
    page = await desk.sit_down(desk.ana, "/students/courses/")
    button, panel, notice = page.locator("#search-button"), page.locator("#search"), page.locator("#notice")
    retry = notice.get_by_role("button", name="Try again")

    def failure_of(file: str) -> AbstractAsyncContextManager[Any]:
        return page.expect_event("requestfailed", lambda request: request.url.endswith(file))

    for files in (["js/search/search.js", "js/search/excerpt.js"], ["strings/en/search.json"]):
        # A new page, because what has been loaded once stays.
        await page.goto(desk.server.url + desk.room)
        await expect(page.locator("#status")).to_have_attribute("data-key", "connected")
        loaded = await page.evaluate("performance.getEntriesByType('resource').map(one => new URL(one.name).pathname)")
        assert not [path for path in loaded if any(part in path for part in PARTS)]
        await page.route(f"**/{files[0]}", abort)
        async with failure_of(files[0]):
            await button.hover()
        await expect(panel).to_be_hidden()
        opener = button
        for file in files:
            await page.route(f"**/{file}", abort)
            for _ in range(2):
                async with failure_of(file):
                    await opener.click()
                await expect(notice).to_contain_text("Couldn’t load this part of the page.")
                await expect(panel).to_be_hidden()
                opener = retry
            await page.unroute(f"**/{file}")
        await retry.click()
        await expect(page.locator("#search-input")).to_be_focused()
        await expect(notice).to_be_empty()


async def test_the_strings_of_a_part_are_fetched_once_however_many_signs_announce_it(desk: Desk) -> None:
    page = await connected(desk, desk.ana)
    button, is_opened, fetched = page.locator("#search-button"), asyncio.Event(), 0

    async def hold(route: Route) -> None:
        nonlocal fetched
        fetched += 1
        await is_opened.wait()
        await route.continue_()

    await page.route("**/strings/en/search.json", hold)
    await button.hover()
    await button.focus()
    await button.click()
    is_opened.set()
    await expect(page.locator("#search-input")).to_be_focused()
    assert fetched == 1


async def test_the_class_panel_is_inert_until_it_is_loaded(desk: Desk) -> None:
    profe = await connected(desk, desk.profe)
    await profe.route("**/js/class/class-panel.js", abort)
    await profe.click("#class-button")
    await expect(profe.locator("#notice")).to_contain_text("Couldn’t load this part of the page.")
    await expect(profe.locator("#class-bar")).to_have_attribute("inert", "")
    await profe.unroute("**/js/class/class-panel.js")
    await profe.keyboard.press("Escape")
    await profe.locator("#notice").get_by_role("button", name="Try again").click()
    await expect(profe.locator("#class-bar")).not_to_have_attribute("inert", "")
    await profe.click("#class-button")
    await profe.check("#class-closed")
    await expect(profe.locator("#chat .remark")).to_have_text("Announcements only: only teachers can post.")


async def test_unsent_text_is_shown_on_retry_after_the_session_has_ended(desk: Desk) -> None:
    page = await connected(desk, desk.ana)
    await page.route("**/js/account/ended.js", abort)
    await page.fill("#chat-message-input", "half a thought")
    await end_session(page)
    alert = page.get_by_role("alert")
    await expect(alert).to_contain_text("Couldn’t load this part of the page.")
    await page.unroute("**/js/account/ended.js")
    await alert.get_by_role("button", name="Try again").click()
    await expect(page.locator("#chat-message-input")).to_have_value("half a thought")
    await expect(alert).to_have_count(0)

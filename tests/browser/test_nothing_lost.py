"""Typed text is never lost: before the scripts load, without storage, in several windows, or without access."""

import re
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Error, Page, Route, expect

from educa_chat.people.sign_out import SIGNED_OUT_COOKIE
from educa_chat.storage.courses import unenrol
from tests.browser.conftest import TIMEOUT_MS, Desk, end_session, say, until
from tests.browser.test_signing_out import COURSES_PATH, FORM, click_sign_out, expect_connected, keys_of
from tests.browser.test_talking import act, message
from tests.handlers.test_class_commands import give

pytestmark = pytest.mark.asyncio(loop_scope="session")
expect.set_options(timeout=TIMEOUT_MS)

FIELD = "#chat-message-input"
RELOAD = re.compile("Reload the page")


async def hang_scripts(page: Page) -> list[Route]:
    """Delay all scripts that the page requests from now on."""
    hanging: list[Route] = []

    async def hang(route: Route) -> None:
        hanging.append(route)

    await page.route("**/*.js", hang)
    return hanging


async def let_scripts_go(page: Page, hanging: list[Route]) -> None:
    await page.unroute("**/*.js")
    for route in hanging:
        # Those of an earlier page no longer exist.
        with suppress(Error):
            await route.continue_()


async def test_before_the_scripts_load_the_page_is_painted_its_buttons_wait_and_typed_text_survives_any_click(
    desk: Desk,
) -> None:
    page = await desk.sit_down(desk.ana, COURSES_PATH)
    hanging = await hang_scripts(page)
    await page.goto(desk.server.url + desk.room, wait_until="commit")

    async def is_painted() -> bool:
        return bool(await page.evaluate("performance.getEntriesByName('first-contentful-paint').length"))

    await until(is_painted)
    assert hanging
    await expect(page.get_by_role("heading", level=1)).to_be_visible()
    search = page.get_by_role("button", name="Search in this room")
    await expect(search).to_be_disabled()
    await expect(page.get_by_role("button", name="Unanswered questions")).to_be_disabled()
    await page.type(FIELD, "early")
    await page.click("#chat-message-submit")
    await expect(page.locator(FIELD)).to_have_value("early")
    # The message offers a way that needs no script.
    await page.get_by_role("button", name=RELOAD).click(timeout=TIMEOUT_MS)
    await expect(page.locator(FIELD)).to_have_value("early")
    await page.press(FIELD, "End")
    await page.type(FIELD, " bird")
    await let_scripts_go(page, hanging)
    await search.click()
    await expect(page.get_by_role("searchbox")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect_connected(page)
    await expect(page.locator(FIELD)).to_have_value("early bird")
    await page.click("#chat-message-submit")
    await expect(message(page, "early bird")).to_be_visible()
    await expect(page.locator("#chat .pending")).to_have_count(0)
    await page.reload()
    await expect_connected(page)
    await expect(page.locator(FIELD)).to_have_value("")
    await expect(page.locator("#chat .message")).to_have_count(1)


async def test_a_script_that_fails_to_load_is_reported_and_the_draft_is_saved(desk: Desk) -> None:
    page = await desk.sit_down(desk.ana)
    status = page.locator("#status")
    await expect_connected(page)
    await page.type(FIELD, "before")
    written = "before"
    # Unlike a route, a session leaves the other scripts in the browser's cache.
    session = await page.context.new_cdp_session(page)
    await session.send("Network.enable")
    for name in ("room", "composer", "*"):
        await session.send("Network.setBlockedURLs", {"urls": [f"*/js/{name}.js"]})
        await page.reload()
        await expect(status).to_contain_text("This page didn’t load completely.")
        await expect(status).to_be_visible()
        await page.type(FIELD, f"without {name}")
        await session.send("Network.setBlockedURLs", {"urls": []})
        await status.get_by_role("button", name=RELOAD).click()
        await expect_connected(page)
        written += f"\nwithout {name}"
        await expect(page.locator(FIELD)).to_have_value(written)
    await session.detach()


async def test_signing_out_before_the_scripts_load_clears_the_browser(desk: Desk) -> None:
    page = await desk.sit_down(desk.ana)
    await expect_connected(page)
    await page.type(FIELD, "half a thought")
    hanging = await hang_scripts(page)
    await page.goto(desk.server.url + COURSES_PATH, wait_until="commit")
    await click_sign_out(page)
    await page.wait_for_url(FORM, wait_until="commit")
    await let_scripts_go(page, hanging)

    async def is_forgotten() -> bool:
        return not await keys_of(page)

    await until(is_forgotten)
    assert SIGNED_OUT_COOKIE not in [cookie["name"] for cookie in await page.context.cookies()]


async def test_the_composer_is_hidden_without_scripts(desk: Desk) -> None:
    page = await desk.sit_down(desk.ana, java_script_enabled=False)
    await expect(page.get_by_text("This room needs JavaScript.")).to_be_visible()
    await expect(page.locator(FIELD)).to_be_hidden()


FULL = """() => {
    let size = 2 ** 20;
    for (let number = 0; size >= 1; number += 1) {
        try { localStorage.setItem(`of-another-program:${number}`, 'x'.repeat(size)); } catch { size /= 2; }
    }
}"""
BLOCKED = "() => { Storage.prototype.setItem = () => { throw new DOMException('', 'QuotaExceededError') } }"


async def test_the_page_warns_when_the_browser_cannot_save_a_draft(desk: Desk) -> None:
    page = await desk.sit_down(desk.ana)
    risk = page.locator("#composer-risk")
    await expect_connected(page)
    await page.evaluate(FULL)
    await expect(risk).to_be_hidden()
    await page.context.set_offline(True)
    await say(page, "from a tunnel")
    await page.type(FIELD, "and a draft")
    await expect(risk).to_contain_text("Keep this window open")
    await page.context.set_offline(False)
    # This window still has it.
    await page.route("**/api/**", lambda route: route.abort())
    await page.reload()
    await expect(page.locator(FIELD)).to_have_value("and a draft")
    await expect(risk).to_be_visible()
    await page.unroute("**/api/**")
    await page.reload()
    await expect(message(page, "from a tunnel")).to_be_visible()
    await page.fill(FIELD, "")
    await expect(risk).to_be_hidden()

    await page.evaluate(BLOCKED)
    await page.type(FIELD, "only here")
    await expect(risk).to_be_visible()
    await end_session(page)
    await expect(page.locator("#status")).to_contain_text("this browser can’t save it")
    await expect(page.locator(FIELD)).to_have_value("only here")


async def test_unsent_text_survives_a_change_of_username(desk: Desk) -> None:
    page = await desk.sit_down(desk.ana)
    await expect_connected(page)
    await page.context.set_offline(True)
    await say(page, "from a tunnel")
    await page.type(FIELD, "and a draft")
    await desk.database.execute("update auth_user set username = 'new-' || username where username = $1", desk.ana)
    # The page reloads itself, because it has the former username.
    async with page.expect_navigation():
        await page.context.set_offline(False)
    await expect(message(page, "from a tunnel")).to_be_visible()
    await expect(page.locator("#chat .pending")).to_have_count(0)
    await expect(page.locator(FIELD)).to_have_value("and a draft")
    async with desk.person(desk.luis) as luis:
        assert [one["user"] for one in (await luis.messages())["messages"]] == [f"new-{desk.ana}"]


async def test_each_open_window_has_its_own_draft(desk: Desk) -> None:
    async with desk.person(desk.ana) as ana:
        await give(await ana.enter(), type="message", message="first version")
    here = await desk.sit_down(desk.ana)
    await here.type(FIELD, "a draft of mine")
    await here.click("#composer-ask")
    await act(here, "first version", "Edit")
    await here.fill(FIELD, "second version")
    there = await here.context.new_page()
    await there.goto(desk.server.url + desk.room)
    await expect_connected(there)
    await expect(there.locator(FIELD)).to_have_value("")
    await expect(there.locator("#composer-about")).to_be_hidden()
    await here.press(FIELD, "Escape")
    await there.type(FIELD, "a draft of this window")
    await here.reload()
    await expect(here.locator(FIELD)).to_have_value("a draft of mine")
    await expect(here.locator("#composer-ask")).to_have_attribute("aria-pressed", "true")
    await here.close()
    await there.reload()
    await expect(there.locator(FIELD)).to_have_value("a draft of this window")
    await there.fill(FIELD, "")
    await there.reload()
    await expect(there.locator(FIELD)).to_have_value("a draft of mine")
    await expect(there.locator("#composer-ask")).to_have_attribute("aria-pressed", "true")


async def test_an_open_edit_is_neither_replaced_nor_sent_over_text_that_its_author_has_not_seen(desk: Desk) -> None:
    async with desk.person(desk.ana) as person:
        elsewhere = await person.enter()
        for text in ("first version", "another"):
            await give(elsewhere, type="message", message=text)
        page = await desk.sit_down(desk.ana)
        about, notice = page.locator("#composer-about"), page.locator("#notice")
        await act(page, "another", "Edit")
        await page.fill(FIELD, "another, changed")
        for action in ("Edit", "Reply"):
            await act(page, "first version", action)
            await expect(notice).to_contain_text("Finish or discard your other edit first.")
            await expect(page.locator(FIELD)).to_have_value("another, changed")
        await act(page, "first version", "Edit")
        await notice.get_by_role("button", name="Discard it").click()
        await expect(page.locator(FIELD)).to_have_value("first version")

        await page.fill(FIELD, "their version")
        await give(elsewhere, type="edit", target=1, message="second version")
        await expect(message(page, "second version")).to_be_visible()
        await expect(about).to_contain_text("second version")
        await page.press(FIELD, "Enter")
        await expect(notice).to_contain_text("changed elsewhere")
        await expect(message(page, "second version")).to_be_visible()
        # A user who has seen the other text may replace it.
        await expect(page.locator(FIELD)).to_have_value("their version")
        await page.press(FIELD, "Enter")
        await elsewhere.receive_until("edited", message="their version")
        await expect(message(page, "their version")).to_be_visible()
        # One window may edit again before the first edit is stored.
        await page.context.set_offline(True)
        for before, after in (("their version", "third version"), ("third version", "fourth version")):
            await act(page, before, "Edit")
            await page.fill(FIELD, after)
            await page.press(FIELD, "Enter")
        await page.context.set_offline(False)
        await elsewhere.receive_until("edited", message="fourth version")


async def test_a_user_who_loses_access_can_still_copy_their_draft(desk: Desk) -> None:
    page = await desk.sit_down(desk.ana)
    await expect_connected(page)
    await page.type(FIELD, "half a thought")
    await unenrol(desk.database, desk.ana, desk.course)
    await expect(page.locator("#status")).to_have_attribute("data-key", "not-member")
    await page.click(FIELD)
    await page.keyboard.press("Control+A")
    assert await page.evaluate("getSelection().toString()") == "half a thought"
    await page.keyboard.type("x")
    await expect(page.locator(FIELD)).to_have_value("half a thought")
    assert urlsplit(page.url).path == desk.room

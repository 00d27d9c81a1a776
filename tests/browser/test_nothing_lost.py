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


async def test_text_typed_before_the_scripts_load_survives_any_click(desk: Desk) -> None:
    page = await desk.sit_down(desk.ana, COURSES_PATH)
    hanging = await hang_scripts(page)
    await page.goto(desk.server.url + desk.room, wait_until="commit")
    await page.type(FIELD, "early")
    await page.click("#chat-message-submit")
    await expect(page.locator(FIELD)).to_have_value("early")
    # The message offers a way that needs no script.
    await page.get_by_role("button", name=RELOAD).click(timeout=TIMEOUT_MS)
    await expect(page.locator(FIELD)).to_have_value("early")
    await page.press(FIELD, "End")
    await page.type(FIELD, " bird")
    await let_scripts_go(page, hanging)
    await expect_connected(page)
    await expect(page.locator(FIELD)).to_have_value("early bird")
    await page.click("#chat-message-submit")
    await expect(message(page, "early bird")).to_be_visible()
    await expect(page.locator("#chat .pending")).to_have_count(0)
    await page.reload()
    await expect_connected(page)
    await expect(page.locator(FIELD)).to_have_value("")
    await expect(page.locator("#chat .message")).to_have_count(1)


@pytest.mark.parametrize("name", ["room", "composer", "*"])
async def test_a_script_that_fails_to_load_is_reported_and_the_draft_is_saved(desk: Desk, name: str) -> None:
    page = await desk.sit_down(desk.ana)
    await expect_connected(page)
    await page.type(FIELD, "before")
    await page.route(f"**/js/{name}.js", lambda route: route.abort())
    await page.reload()
    status = page.locator("#status")
    await expect(status).to_contain_text("This page didn’t load completely.")
    await expect(status).to_be_visible()
    await page.type(FIELD, "after")
    await page.unroute(f"**/js/{name}.js")
    await status.get_by_role("button", name=RELOAD).click()
    await expect_connected(page)
    await expect(page.locator(FIELD)).to_have_value("before\nafter")


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
BLOCKED = "Storage.prototype.setItem = () => { throw new DOMException('', 'QuotaExceededError') }"


async def test_the_page_warns_when_the_browser_cannot_save_a_draft(desk: Desk) -> None:
    page = await desk.sit_down(desk.ana, reuse=False)
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

    await page.add_init_script(BLOCKED)
    await page.reload()
    await expect_connected(page)
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
    here = await desk.sit_down(desk.ana)
    await say(here, "first version")
    await expect(here.locator("#chat .pending")).to_have_count(0)
    await here.type(FIELD, "a draft of mine")
    await here.click("#composer-ask")
    there = await here.context.new_page()
    await there.goto(desk.server.url + desk.room)
    await expect_connected(there)
    await expect(there.locator(FIELD)).to_have_value("")
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


async def test_an_edit_of_outdated_text_is_not_sent_without_showing_the_new_text(desk: Desk) -> None:
    here = await desk.sit_down(desk.ana)
    await say(here, "first version")
    await expect(here.locator("#chat .pending")).to_have_count(0)
    there = await here.context.new_page()
    await there.goto(desk.server.url + desk.room)
    await act(there, "first version", "Edit")
    await there.fill(FIELD, "their version")
    await act(here, "first version", "Edit")
    await here.fill(FIELD, "second version")
    window = await here.context.new_page()
    await window.goto(desk.server.url + desk.room)
    await expect_connected(window)
    await expect(window.locator(FIELD)).to_have_value("")
    await here.press(FIELD, "Enter")
    for page in (here, there, window):
        await expect(message(page, "second version")).to_be_visible()
    await expect(there.locator("#composer-about")).to_contain_text("second version")
    await there.press(FIELD, "Enter")
    await expect(there.locator("#notice")).to_contain_text("changed elsewhere")
    await expect(message(here, "second version")).to_be_visible()
    # A user who has seen the other text may replace it.
    await expect(there.locator(FIELD)).to_have_value("their version")
    await there.press(FIELD, "Enter")
    await expect(message(here, "their version")).to_be_visible()
    # One window may edit again before the first edit is stored.
    await here.context.set_offline(True)
    await act(here, "their version", "Edit")
    await here.fill(FIELD, "third version")
    await here.press(FIELD, "Enter")
    await act(here, "third version", "Edit")
    await here.fill(FIELD, "fourth version")
    await here.press(FIELD, "Enter")
    await here.context.set_offline(False)
    await expect(message(there, "fourth version")).to_be_visible()


async def test_starting_another_edit_or_a_reply_keeps_an_open_edit(desk: Desk) -> None:
    page = await desk.sit_down(desk.ana)
    for text in ("one", "two"):
        await say(page, text)
    await expect(page.locator("#chat .pending")).to_have_count(0)
    await act(page, "one", "Edit")
    await page.fill(FIELD, "one, changed")
    notice = page.locator("#notice")
    for action in ("Edit", "Reply"):
        await act(page, "two", action)
        await expect(notice).to_contain_text("Finish or discard your other edit first.")
        await expect(page.locator(FIELD)).to_have_value("one, changed")
    await act(page, "two", "Edit")
    await notice.get_by_role("button", name="Discard it").click()
    await expect(page.locator(FIELD)).to_have_value("two")


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

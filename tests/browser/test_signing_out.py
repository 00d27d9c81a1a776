"""Signing out, and what the browser shows and stores afterwards: its next user may be somebody else."""

import pytest
from playwright.async_api import Locator, Page, Playwright, expect

from educa_chat.demo import PASSWORD
from educa_chat.storage.accounts import find_user_id
from educa_chat.storage.courses import enrol
from tests.browser.conftest import (
    FLAGS,
    TIMEOUT_MS,
    Desk,
    PagePool,
    School,
    end_session,
    find_chromium,
    full_disk,
    open_desk,
    say,
    until_indexed,
)
from tests.browser.test_talking import PHONE, act, seed
from tests.handlers.test_class_commands import give
from tests.serving import Person, Server

pytestmark = pytest.mark.asyncio(loop_scope="session")
expect.set_options(timeout=TIMEOUT_MS)

COURSES_PATH = "/students/courses/"
FORM = "**/accounts/login/**"


async def expect_connected(page: Page) -> None:
    await expect(page.locator("#status")).to_have_attribute("data-key", "connected")


async def keys_of(page: Page) -> list[str]:
    """Return the keys of all users' data in the browser."""
    keys: list[str] = await page.evaluate("Object.keys(localStorage)")
    return sorted(key for key in keys if key.startswith("educa-chat:"))


def question_in(page: Page) -> Locator:
    return page.get_by_role("dialog", name="Sign out and delete unsent messages?")


async def click_sign_out(page: Page) -> None:
    await page.locator("#sign-out").get_by_role("button", name="Sign out").click()


async def sign_in(page: Page, user: str) -> None:
    await page.fill("[name=username]", user)
    await page.fill("[name=password]", PASSWORD)
    await page.press("[name=password]", "Enter")


async def open_in_new_window(desk: Desk, page: Page, path: str) -> Page:
    window = await page.context.new_page()
    await window.goto(desk.server.url + path)
    return window


async def leave_unsent(desk: Desk, page: Page) -> list[str]:
    """Leave everything in the room that a user can have written and not sent, and return it."""
    async with desk.person(desk.profe) as profe:
        socket = await profe.enter()
        await say(page, "the frist")
        await socket.receive_until("chat_message", message="the frist")
        await page.context.set_offline(True)
        await say(page, "too late")
        await give(socket, type="close", on=True)
        await page.context.set_offline(False)
        await expect(page.locator("#chat .failed")).to_have_count(1)
        await give(socket, type="close", on=False)
    await expect(page.locator("#chat-message-input")).to_be_visible()
    await page.context.set_offline(True)
    await say(page, "from a tunnel")
    await act(page, "the frist", "React")
    await page.get_by_role("button", name="👍").click()
    await page.fill("#chat-message-input", "half a thought")
    await act(page, "the frist", "Edit")
    await page.fill("#chat-message-input", "the first")
    return ["from a tunnel", "half a thought", "the first", "too late", "👍"]


async def test_signing_out_anywhere_asks_for_confirmation_if_any_room_has_unsent_text(desk: Desk) -> None:
    await enrol(desk.database, desk.ana, desk.other_course)
    page = await desk.sit_down(desk.ana)
    await expect_connected(page)
    texts = await leave_unsent(desk, page)

    async def expect_question(page: Page) -> Locator:
        await click_sign_out(page)
        question = question_in(page)
        await expect(question).to_be_visible()
        links = question.get_by_role("link")
        assert sorted(await links.all_inner_texts()) == texts
        assert {await link.get_attribute("href") for link in await links.all()} == {desk.room}
        return question

    question = await expect_question(page)
    await question.get_by_role("button", name="Cancel").click()
    await expect(question).to_be_hidden()
    # No open room sends it in the meantime.
    context = page.context
    await page.close()
    await context.set_offline(False)
    page = await context.new_page()
    for path in (f"/students/course/{desk.course}/", COURSES_PATH, f"/chat/room/{desk.other_course}/"):
        await page.goto(desk.server.url + path)
        question = await expect_question(page)
        await question.get_by_role("button", name="Cancel").click()
        await expect(question).to_be_hidden()
    assert await keys_of(page)
    assert (await context.request.get(desk.server.url + "/api/rooms")).status == 200
    question = await expect_question(page)
    await question.get_by_role("button", name="Sign out and delete").click()
    await page.wait_for_url(FORM)
    assert await keys_of(page) == []


async def test_signing_out_without_unsent_text_clears_the_browser_without_asking(desk: Desk) -> None:
    page = await desk.sit_down(desk.ana)
    await expect_connected(page)
    await say(page, "sent")
    await expect(page.locator("#chat .pending")).to_have_count(0)
    await act(page, "sent", "Reply")
    await page.type("#chat-message-input", "  ")
    await page.evaluate(
        """id => {
            localStorage.setItem(`educa-chat:anonymous:${id}:1`, 'yes');
            localStorage.setItem(`educa-chat:notifications:${id}`, 'on');
            localStorage.setItem(`educa-chat:outbox:${id}:1:broken`, '{');
            localStorage.setItem(`educa-chat:draft:${id}0:1:x`, 'of another user');
            localStorage.setItem(`of-another-program:${id}`, 'kept');
        }""",
        (id := await find_user_id(desk.database, desk.ana)),
    )
    await click_sign_out(page)
    await page.wait_for_url(FORM)
    assert await page.evaluate("Object.keys(localStorage).sort()") == [
        f"educa-chat:draft:{id}0:1:x",
        f"of-another-program:{id}",
    ]


async def test_signing_out_asks_for_confirmation_even_if_the_browser_stores_nothing(desk: Desk) -> None:
    page = await desk.sit_down(desk.ana)
    await page.evaluate(
        "() => { Storage.prototype.setItem = () => { throw new DOMException('', 'QuotaExceededError') } }"
    )
    await page.fill("#chat-message-input", "half a thought")
    await click_sign_out(page)
    await question_in(page).get_by_role("button", name="Sign out and delete").click()
    await page.wait_for_url(FORM)


async def test_signing_out_works_without_scripts(desk: Desk) -> None:
    page = await desk.sit_down(desk.ana, COURSES_PATH, java_script_enabled=False)
    for path in (COURSES_PATH, desk.room):
        await page.goto(desk.server.url + path)
        await expect(page.locator("#sign-out button")).to_be_visible()
    await click_sign_out(page)
    await page.wait_for_url(FORM)


async def test_the_confirmation_fits_a_phone_and_is_translated(desk: Desk) -> None:
    page = await desk.sit_down(desk.ana, locale="es-ES", color_scheme="dark", **PHONE)
    await page.fill("#chat-message-input", "media idea " * 20)
    await page.locator("#menu-button").click()
    await page.get_by_role("button", name="Cerrar sesión").click()
    question = page.get_by_role("dialog", name="¿Cerrar sesión y eliminar los mensajes sin enviar?")
    await expect(question).to_be_in_viewport(ratio=1)
    assert await page.evaluate("document.documentElement.scrollWidth") <= 375
    for box in await question.locator("button, a").evaluate_all("all => all.map(one => one.getBoundingClientRect())"):
        assert min(box["width"], box["height"]) >= 44, box
    await page.keyboard.press("Escape")
    await expect(question).to_be_hidden()
    await expect(page.locator("#chat-message-input")).to_have_value("media idea " * 20)


async def talk(desk: Desk) -> None:
    """Fill the room with content that must not stay in Ana's browser: messages, a pinned one, a mention, and an online
    user.
    """
    await seed(desk, 5)
    async with desk.person(desk.profe) as profe:
        socket = await profe.enter()
        await socket.say(f"Listen, @{desk.ana}", id="listen")
        await socket.receive_until("ack", id="listen")
        await socket.send({"type": "pin", "id": "pin", "target": 3, "on": True})
        await socket.receive_until("ack", id="pin")


async def expect_nothing_of_the_room(page: Page) -> None:
    await expect(page.locator("#chat .message")).to_have_count(0)
    shown = await page.evaluate("document.querySelector('.room').textContent + document.title")
    for word in ("number", "Listen", "Luis", "Profe", "online", "("):
        assert word not in shown, shown


async def test_when_the_session_ends_the_page_shows_only_the_users_unsent_text(desk: Desk) -> None:
    await talk(desk)
    page = await desk.sit_down(desk.ana)
    await expect(page.locator("#chat .message")).to_have_count(6)
    await expect(page.locator("#pins")).to_be_visible()
    await until_indexed(desk.server, desk.course)
    await page.click("#search-button")
    await page.fill("#search-input", "number")
    await page.press("#search-input", "Enter")
    await expect(page.locator("#search-results li")).to_have_count(5)
    await page.click("#search-close")
    await act(page, "number 4", "Reply")
    await page.keyboard.type("half a thought about @")
    await expect(page.locator("#mention-list")).to_contain_text("Luis")
    await end_session(page)
    await expect(page.locator("#status")).to_have_attribute("data-key", "signed-out")
    # It isn't hidden like the message about scripts that don't load, which is shown after ten seconds.
    assert await page.locator("#status a").evaluate("one => getComputedStyle(one).visibility") == "visible"
    await expect_nothing_of_the_room(page)
    field = page.locator("#chat-message-input")
    await expect(field).to_have_value("half a thought about @")
    await expect(field).to_be_visible()
    await field.focus()
    await page.keyboard.press("Control+A")
    assert await page.evaluate("getSelection().toString()") == "half a thought about @"
    await page.keyboard.type("x")
    await page.keyboard.press("Enter")
    await expect(field).to_have_value("half a thought about @")
    # The same user finds it again.
    await page.get_by_role("link", name="Sign in again").click()
    await sign_in(page, desk.ana)
    await page.wait_for_url("**" + desk.room)
    await expect(page.locator("#chat-message-input")).to_have_value("half a thought about @")
    await expect(page.locator("#composer-about")).to_contain_text("number 4")


async def test_pending_messages_can_be_copied_after_the_session_ends_and_are_sent_after_signing_in(
    desk: Desk,
) -> None:
    page = await desk.sit_down(desk.ana)
    await expect_connected(page)
    async with full_disk(desk):
        await page.fill("#chat-message-input", "one\ntwo")
        await page.click("#chat-message-submit")
        await page.fill("#chat-message-input", "a draft")
        await end_session(page)
        fields = page.locator(".room textarea")
        await expect(page.locator("#status")).to_have_attribute("data-key", "signed-out")
        await expect(fields.first).to_have_value("one\ntwo")
        await expect(fields.last).to_have_value("a draft")
        await expect(fields).to_have_count(2)
    await page.get_by_role("link", name="Sign in again").click()
    await sign_in(page, desk.ana)
    await page.wait_for_url("**" + desk.room)
    await expect(page.locator("#chat .body")).to_have_text("one\ntwo", use_inner_text=True)
    await expect(page.locator("#chat .pending")).to_have_count(0)


async def test_signing_out_in_one_window_clears_all_windows(desk: Desk) -> None:
    await talk(desk)
    page = await desk.sit_down(desk.ana)
    await expect(page.locator("#chat .message")).to_have_count(6)
    await page.fill("#chat-message-input", "half a thought")
    window = await open_in_new_window(desk, page, COURSES_PATH)
    await click_sign_out(window)
    await question_in(window).get_by_role("button", name="Sign out and delete").click()
    await window.wait_for_url(FORM)
    await expect(page.locator("#status")).to_have_attribute("data-key", "signed-out")
    await expect_nothing_of_the_room(page)
    await expect(page.locator(".room textarea")).to_have_count(0)
    assert await keys_of(page) == []


async def test_the_next_user_of_the_browser_sees_nothing_of_the_previous_one(desk: Desk) -> None:
    await talk(desk)
    page = await desk.sit_down(desk.ana)
    await expect(page.locator("#chat .message")).to_have_count(6)
    await say(page, "sent")
    await page.fill("#chat-message-input", "a secret of ana")
    await end_session(page)
    await expect(page.locator("#status")).to_have_attribute("data-key", "signed-out")
    window = await open_in_new_window(desk, page, desk.room)
    await sign_in(window, desk.luis)
    await expect_connected(window)
    assert await window.locator("#chat-message-input").input_value() == ""
    assert "a secret of ana" not in await window.content()
    # Ana's window switches to Luis as soon as Luis uses it.
    await page.bring_to_front()
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await expect(page.locator(".account-name")).to_have_text("Luis Ortega")
    await expect(page.locator("#chat-message-input")).to_have_value("")
    assert "a secret of ana" not in await page.content()


async def test_an_open_page_shows_nothing_of_the_previous_user_after_a_change_of_user(desk: Desk) -> None:
    await talk(desk)
    page = await desk.sit_down(desk.ana)
    await expect(page.locator("#chat .message")).to_have_count(6)
    await page.fill("#chat-message-input", "a secret of ana")
    # The cookie changes before its socket has ended.
    await desk.change_user(page, desk.luis)
    await page.context.set_offline(True)
    await expect(page.locator("#status")).to_have_attribute("data-key", "offline")
    await page.context.set_offline(False)
    await expect(page.locator("#status")).to_have_attribute("data-key", "other-user")
    await expect_nothing_of_the_room(page)
    assert await page.locator(".room textarea").count() == 0
    await page.get_by_role("link", name="Reload the page").click()
    await expect_connected(page)
    await expect(page.locator("#chat-message-input")).to_have_value("")


async def test_a_room_restored_from_the_back_forward_cache_is_reloaded(desk: Desk) -> None:
    await talk(desk)
    page = await desk.sit_down(desk.ana)
    await expect(page.locator("#chat .message")).to_have_count(6)
    await end_session(page)
    await page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))")
    await expect(page.locator("body")).to_be_hidden()
    await page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    await page.wait_for_url(FORM)


async def test_the_back_button_shows_no_page_after_signing_out(
    server: Server, school: School, playwright: Playwright
) -> None:
    """Playwright normally turns off Chromium's back/forward cache, and the variant without windows has none."""
    browser = await playwright.chromium.launch(
        executable_path=find_chromium(), args=FLAGS, ignore_default_args=["--disable-back-forward-cache"]
    )
    async with open_desk(PagePool(browser), server, school) as desk:
        page = await desk.sit_down(desk.ana, COURSES_PATH)
        await expect(page.get_by_role("link", name="Programación")).to_be_visible()
        await page.goto(server.url + "/health/live")
        async with Person(server.url) as other:
            other.http.cookie_jar.update_cookies({one["name"]: one["value"] for one in await page.context.cookies()})
            assert await other.sign_out() == 302
        await page.go_back()
        await page.wait_for_url(FORM)
    await browser.close()

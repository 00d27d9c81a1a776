"""Mentions by keyboard and by touch, and what mentioned users see."""

import asyncio
import re
from typing import Any

import pytest
from playwright.async_api import Locator, Page, expect

from educa_chat.handlers.api import MEMBER_LOOKUPS_BURST
from educa_chat.storage.accounts import add_user
from educa_chat.storage.courses import enrol
from tests.browser.conftest import TIMEOUT_MS, Desk, say, until_indexed
from tests.browser.test_barriers import barriers
from tests.browser.test_talking import PHONE, act, message
from tests.handlers.test_class_commands import give
from tests.serving import quick_hash

pytestmark = pytest.mark.asyncio(loop_scope="session")
expect.set_options(timeout=TIMEOUT_MS)

FIELD = "#chat-message-input"


def options(page: Page) -> Locator:
    return page.get_by_role("listbox", name="Members").get_by_role("option")


async def add_students(desk: Desk, *people: tuple[str, str, str]) -> None:
    database = desk.database
    for username, first, last in people:
        await add_user(database, username, quick_hash(), first_name=first, last_name=last)
        await enrol(database, username, desk.course)


async def sit_down(desk: Desk, username: str, **context: Any) -> Page:
    page = await desk.sit_down(username, **context)
    await expect(page.locator("#status")).to_have_attribute("data-key", "connected")
    return page


async def test_a_member_can_be_mentioned_by_keyboard_and_by_ime_composition(desk: Desk) -> None:
    lucia = f"lucia{desk.course}"
    await add_students(desk, (lucia, "Lucía", "Ortiz"))
    ana = await sit_down(desk, desk.ana)
    field = ana.locator(FIELD)
    await field.press_sequentially("look, @lu")
    await expect(options(ana)).to_have_count(2)
    await expect(options(ana).nth(0)).to_contain_text(f"Luis Ortega @{desk.luis}")
    await expect(options(ana).nth(0)).to_have_attribute("aria-selected", "true")
    assert await active_option(ana) == f"Luis Ortega @{desk.luis}"
    await ana.keyboard.press("ArrowDown")
    assert await active_option(ana) == f"Lucía Ortiz @{lucia}"
    await ana.keyboard.press("ArrowDown")
    assert await active_option(ana) == f"Luis Ortega @{desk.luis}"
    await ana.keyboard.press("ArrowUp")
    await ana.keyboard.press("Tab")
    await expect(field).to_have_value(f"look, @{lucia} ")
    await expect(field).to_be_focused()
    await expect(ana.get_by_role("listbox")).to_have_count(0)
    await field.press_sequentially("and @ort")
    await expect(options(ana)).to_have_count(2)
    await ana.keyboard.press("Enter")
    await expect(field).to_have_value(f"look, @{lucia} and @{desk.luis} ")
    await ana.keyboard.press("Control+z")
    await expect(field).to_have_value(f"look, @{lucia} and @ort")
    await ana.keyboard.press("Control+Shift+z")
    await ana.keyboard.press("Enter")
    mentions = message(ana, "look, @Lucía Ortiz and @Luis Ortega").locator(".mention")
    await expect(mentions).to_have_text(["@Lucía Ortiz", "@Luis Ortega"])
    await expect(ana.locator(".mention-you")).to_have_count(0)

    # The keys of a composition are left to the input method.
    session = await ana.context.new_cdp_session(ana)
    await session.send("Input.insertText", {"text": "@l"})
    await session.send("Input.imeSetComposition", {"text": "ui", "selectionStart": 2, "selectionEnd": 2})
    await expect(options(ana)).to_have_count(1)
    await ana.evaluate(
        """field => document.querySelector(field).dispatchEvent(new KeyboardEvent('keydown',
            { key: 'Enter', isComposing: true, bubbles: true, cancelable: true }))""",
        FIELD,
    )
    await expect(options(ana)).to_have_count(1)
    await session.send("Input.insertText", {"text": "ui"})
    await ana.keyboard.press("Enter")
    await expect(field).to_have_value(f"@{desk.luis} ")


async def active_option(page: Page) -> str:
    """Return the option that screen readers announce while the field has the focus."""
    option = page.locator("id=" + (await page.locator(FIELD).get_attribute("aria-activedescendant") or "none"))
    assert await page.locator(FIELD).get_attribute("aria-controls") == await page.get_by_role("listbox").get_attribute(
        "id"
    )
    await expect(option).to_have_attribute("aria-selected", "true")
    parts = await option.locator("bdi").all_inner_texts()
    return " ".join(parts)


async def test_escape_closes_only_the_suggestions_and_enter_sends(desk: Desk) -> None:
    await add_students(desk, (f"alba{desk.course}", "Alba", "Roca"))
    ana = await sit_down(desk, desk.ana)
    # A student can't mention everyone.
    await ana.locator(FIELD).press_sequentially("@al")
    await expect(options(ana)).to_have_count(1)
    await expect(options(ana)).to_contain_text("Alba Roca")
    await ana.locator(FIELD).fill("")
    await ana.locator(FIELD).press_sequentially("for @lu")
    await expect(options(ana)).to_have_count(1)
    await ana.keyboard.press("Escape")
    await expect(ana.get_by_role("listbox")).to_have_count(0)
    await ana.locator(FIELD).press_sequentially("i")
    # Longer than the page waits for another letter before it requests members.
    await ana.evaluate("new Promise(done => setTimeout(done, 400))")
    await expect(ana.get_by_role("listbox")).to_have_count(0)
    await ana.keyboard.press("Enter")
    await expect(message(ana, "for @lui")).to_be_visible()
    await expect(ana.locator(FIELD)).to_have_value("")
    await expect(ana.locator("#chat .message.pending")).to_have_count(0)
    await act(ana, "for @lui", "Reply")
    await ana.locator(FIELD).press_sequentially("@lu")
    await expect(options(ana)).to_have_count(1)
    await ana.keyboard.press("Escape")
    await expect(ana.locator("#composer-about")).to_be_visible()
    await ana.keyboard.press("Escape")
    await expect(ana.locator("#composer-about")).to_be_hidden()
    await ana.locator(FIELD).fill("")
    # With an `@` alone, nobody is selected yet.
    await ana.locator(FIELD).press_sequentially("what is @")
    await expect(options(ana).first).to_contain_text("Clara Benítez")
    await ana.keyboard.press("Enter")
    await expect(message(ana, "what is @")).to_be_visible()
    for nothing in ("ana@example.org", "@nobodyatall", "a @ b"):
        await ana.locator(FIELD).press_sequentially(nothing)
        await ana.keyboard.press("Enter")
        await expect(message(ana, nothing)).to_be_visible()


async def test_on_a_phone_suggestions_and_mentions_pass_axe_and_tapping_one_keeps_the_keyboard_open(
    desk: Desk, axe: str
) -> None:
    await add_students(desk, *((f"lu{desk.course}{number:02}", "Lu", f"Number {number}") for number in range(11)))
    await add_students(desk, (f"lu{desk.course}11", "Lucía", "Ortiz"))
    async with desk.person(desk.profe) as profe, desk.person(desk.ana) as ana:
        await give(await profe.enter(), type="message", message=f"@all and @{desk.ana} and @{desk.luis}")
        await give(await ana.enter(), type="message", message=f"@{desk.profe} and @{desk.ana}")
    page = await sit_down(desk, desk.ana, **PHONE)
    await expect(page.locator(".mention-you")).to_have_text(["@all", "@Ana Morales", "@Ana Morales"])
    await page.locator(FIELD).tap()
    await page.locator(FIELD).press_sequentially("@or")
    await expect(options(page)).to_have_count(2)
    assert await barriers(page, axe) == []
    await page.locator(FIELD).fill("")
    await page.locator(FIELD).press_sequentially("@lu")
    await expect(options(page)).to_have_count(10)
    box = await page.get_by_role("listbox").bounding_box()
    assert box
    assert box["x"] >= 0 and box["x"] + box["width"] <= 375 and box["y"] >= 0
    for option in await options(page).all():
        size = await option.bounding_box()
        assert size and size["height"] >= 44
    await options(page).nth(1).tap()
    await expect(page.locator(FIELD)).to_have_value(re.compile(r"^@lu\d+ $"))
    await expect(page.locator(FIELD)).to_be_focused()
    assert await page.evaluate("document.documentElement.scrollWidth") <= 375


async def test_only_teachers_can_mention_everyone_and_suggestions_and_mentions_pass_axe(desk: Desk, axe: str) -> None:
    alba = f"alba{desk.course}"
    await add_students(desk, (alba, "Alba", "Roca"))
    profe = await sit_down(desk, desk.profe)
    await profe.locator(FIELD).press_sequentially("@al")
    await expect(options(profe)).to_contain_text(["Everyone in the course", "Alba Roca"])
    # Enter selects the person.
    assert await active_option(profe) == f"Alba Roca @{alba}"
    await profe.locator(FIELD).press_sequentially("l")
    await expect(options(profe).first).to_contain_text("Everyone in the course")
    await profe.keyboard.press("Enter")
    await profe.locator(FIELD).press_sequentially("an exam")
    await profe.keyboard.press("Enter")
    await expect(message(profe, "@all an exam").locator(".mention")).to_have_text("@all")
    async with desk.person(desk.ana) as ana:
        await give(await ana.enter(), type="message", message="@all help")
    await expect(message(profe, "@all help")).to_be_visible()
    await expect(message(profe, "@all help").locator(".mention")).to_have_count(0)
    await say(profe, f"@{desk.profe} and @{desk.ana}")
    await expect(profe.locator(".mention-you").last).to_have_text("@Clara Benítez")
    # At the start of a message, like the suggestion that was taken before.
    await profe.locator(FIELD).press_sequentially("@")
    await expect(options(profe)).to_have_count(4)
    await profe.keyboard.press("ArrowDown")
    assert await barriers(profe, axe) == []


async def test_only_real_mentions_are_highlighted_and_names_never_become_markup(desk: Desk) -> None:
    ana, me = await sit_down(desk, desk.ana), desk.ana
    async with desk.person(desk.luis) as luis:
        socket = await luis.enter()
        texts = [
            f"**@{me}**, @{me.capitalize()}. (@{me.upper()}) `@{me}` https://example.org/@{me} x@{me}"
            f" @{me}bel @nobody $@{me}$",
            f"```\n@{me}\n```\n@{desk.profe} <img src=x onerror=alert(1)>@{me}<b>",
        ]
        for number, text in enumerate(texts):
            await socket.say(text, id=str(number))
        await expect(ana.locator("#chat .message")).to_have_count(2)
        first, second = ana.locator("#chat .message").nth(0), ana.locator("#chat .message").nth(1)
        await expect(first.locator(".mention-you")).to_have_text(["@Ana Morales"] * 3)
        await expect(first.locator(".mention")).to_have_count(3)
        await expect(second.locator(".mention")).to_have_text([re.compile("^@(?!profe)"), "@Ana Morales"])
        await expect(ana.locator("#chat :is(code, a, math) .mention")).to_have_count(0)
        await expect(ana.locator("#chat img[onerror]")).to_have_count(0)
        await socket.send({"type": "edit", "id": "e", "target": 2, "message": f"@{desk.luis} and ana"})
        await expect(second.locator(".mention")).to_have_text(["@Luis Ortega"])
        # One's own mention differs by more than colour.
        await ana.emulate_media(forced_colors="active")
        border = "one => getComputedStyle(one).borderTopStyle"
        assert await first.locator(".mention-you").first.evaluate(border) == "solid"
        assert await second.locator(".mention").evaluate(border) == "none"
        assert await first.locator(".mention-you").last.evaluate("one => getComputedStyle(one).fontWeight") == "600"
        await socket.send({"type": "message", "id": "r", "message": f"@{desk.ana}, so", "reply_to": 1})
        await expect(ana.locator(".message .mention-you", has_text="@Ana Morales").last).to_be_visible()
        await expect(ana.locator("#chat .message").nth(2).locator(".mention")).to_have_text(["@Ana Morales"])
        await expect(ana.locator(".quote .mention")).to_have_count(0)


async def test_excerpts_show_the_names_of_members_like_messages_do(desk: Desk) -> None:
    shown = f"@Clara Benítez, look at @{desk.ana}bel, @{desk.ana} and quadratic"
    async with desk.person(desk.luis) as luis, desk.person(desk.profe) as profe:
        socket, teacher = await luis.enter(), await profe.enter()
        seq = await give(
            socket, type="message", message=f"@{desk.profe}, look at @{desk.ana}bel, `@{desk.ana}` and **quadratic**"
        )
        await give(teacher, type="pin", target=seq, on=True)
        for number in range(60):
            await socket.say(f"number {number}", id=str(number))
        await socket.receive_until("ack", id="59")
        # The message that is quoted, pinned and found is not loaded, and nobody here has seen its people.
        ana = await sit_down(desk, desk.ana)
        await give(socket, type="message", message="so", reply_to=seq)
        await expect(message(ana, "so").locator(".quote")).to_contain_text(shown)
        await expect(ana.locator("#pins")).to_contain_text(shown)
        await until_indexed(desk.server, desk.course)
        await ana.click("#search-button")
        await ana.fill("#search-input", "quadratic")
        await expect(ana.locator(".found-body")).to_have_text(shown)
        await expect(ana.locator(".found-body mark")).to_have_text("quadratic")
        await ana.keyboard.press("Escape")
        await give(socket, type="message", message=f"2. @{desk.profe}, read this out\n3. and this")
        await expect(ana.locator("#announcer")).to_have_text(
            "Luis Ortega says: 2. @Clara Benítez, read this out 3. and this"
        )
        await act(ana, "and this", "Reply")
        await expect(ana.locator("#composer-about")).to_contain_text("2. @Clara Benítez, read this out 3. and this")


async def test_fast_typing_sends_few_member_requests_and_none_has_to_succeed(desk: Desk) -> None:
    ana = await sit_down(desk, desk.ana)
    asked: list[str] = []
    ana.on("request", lambda request: asked.append(request.url) if "/members?" in request.url else None)
    await ana.locator(FIELD).press_sequentially("@luisortega", delay=10)
    await asyncio.sleep(0)
    await expect(ana.get_by_role("listbox")).to_have_count(0)
    assert len(asked) < min(5, MEMBER_LOOKUPS_BURST)
    await ana.locator(FIELD).fill("")
    await ana.route("**/members?*", lambda route: route.abort())
    await ana.locator(FIELD).press_sequentially(f"@{desk.luis} hello")
    await ana.keyboard.press("Enter")
    await expect(ana.locator("#chat .mention")).to_have_text(re.compile("^@"))

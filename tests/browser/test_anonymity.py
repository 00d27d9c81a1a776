"""Anonymous posting, as two students and their teacher see it."""

import re

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import TIMEOUT_MS, Desk, say
from tests.browser.test_talking import act, message

pytestmark = pytest.mark.asyncio(loop_scope="session")
expect.set_options(timeout=TIMEOUT_MS)


async def allow(teacher: Page, *, on: bool = True) -> None:
    await teacher.click("#class-button")
    await teacher.get_by_role("switch", name="Anonymous posting").set_checked(on)
    await teacher.keyboard.press("Escape")


async def test_classmates_see_a_pseudonym_and_teachers_the_name(desk: Desk) -> None:
    profe, ana, luis = await desk.sit_down(desk.profe), await desk.sit_down(desk.ana), await desk.sit_down(desk.luis)
    toggle = ana.get_by_role("button", name="Post anonymously")
    await expect(ana.locator("#status")).to_have_attribute("data-key", "connected")
    await expect(toggle).to_be_hidden()
    await allow(profe)
    await expect(luis.locator("#chat")).to_contain_text("Anonymous posting is on")
    await toggle.click()
    await expect(ana.locator("#composer-anonymous-told")).to_contain_text("Teachers will see your name")
    await ana.type("#chat-message-input", "is this right?")
    await ana.press("#chat-message-input", "Enter")
    await expect(message(luis, "is this right?").locator("strong")).to_have_text(re.compile(r"^~\d{6}$"))
    await expect(message(luis, "is this right?")).to_have_class(re.compile("other"))
    number = await message(luis, "is this right?").locator("strong").inner_text()
    await expect(message(ana, "is this right?")).to_have_count(1)
    await expect(message(ana, "is this right?")).to_have_class(re.compile("me"))
    await expect(message(ana, "is this right?").locator(".badge")).to_have_text("You (anonymous)")
    await expect(message(profe, "is this right?").locator("strong")).to_have_text("Ana Morales")
    await expect(message(profe, "is this right?").locator(".badge")).to_have_text(f"Anonymous to students: {number}")
    assert await luis.locator("#typing").inner_text() == ""

    await act(ana, "is this right?", "Edit")
    await expect(toggle).to_be_hidden()
    await say(ana, "is that right?")
    await expect(message(luis, "is that right?")).to_contain_text("(edited)")
    await act(ana, "is that right?", "React")
    await ana.get_by_role("button", name="👍", exact=True).click()
    await expect(message(luis, "is that right?").locator(".chip")).to_have_accessible_name(f"👍 1 by {number}")
    await expect(message(ana, "is that right?").locator(".chip")).to_have_attribute("aria-pressed", "true")
    await expect(message(profe, "is that right?").locator(".chip")).to_have_accessible_name("👍 1 by Ana Morales")

    # After a reload, everything is as before, and the next message is anonymous too.
    for page in (ana, luis):
        await page.reload()
    await expect(message(ana, "is that right?")).to_have_class(re.compile("me"))
    await expect(message(ana, "is that right?").locator(".chip")).to_have_attribute("aria-pressed", "true")
    await expect(message(luis, "is that right?").locator("strong")).to_have_text(number)
    await expect(toggle).to_have_attribute("aria-pressed", "true")
    await luis.click("#people-button")
    await expect(luis.locator("#people")).to_contain_text("Names are hidden while anonymous posting is on.")
    assert "Ana" not in await luis.content()


async def test_a_message_meant_to_be_anonymous_is_never_sent_under_the_authors_name(desk: Desk) -> None:
    profe, ana = await desk.sit_down(desk.profe), await desk.sit_down(desk.ana)
    await allow(profe)
    toggle = ana.get_by_role("button", name="Post anonymously")
    await toggle.click()
    await ana.fill("#chat-message-input", "a secret")
    await allow(profe, on=False)
    await expect(ana.locator("#composer-anonymous-told")).to_contain_text("Anonymous posting is off")
    await ana.press("#chat-message-input", "Enter")
    await expect(message(ana, "a secret")).to_have_class(re.compile("failed"))
    await expect(profe.locator("#chat")).to_contain_text("Anonymous posting is off. Earlier messages stay anonymous.")
    await expect(message(profe, "a secret")).to_have_count(0)
    await toggle.click()
    await expect(toggle).to_be_hidden()
    await say(ana, "under my name")
    await expect(message(profe, "under my name").locator("strong")).to_have_text("Ana Morales")


@pytest.mark.parametrize("anonymity", [False, True], ids=["named", "anonymous"])
async def test_only_the_muted_student_and_the_teacher_see_a_mute(desk: Desk, anonymity: bool) -> None:
    profe, ana, luis = await desk.sit_down(desk.profe), await desk.sit_down(desk.ana), await desk.sit_down(desk.luis)
    await allow(profe, on=anonymity)
    await say(ana, "noise")
    await act(profe, "noise", "Mute student…")
    await profe.get_by_role("button", name="10 minutes").click()
    for _ in range(2):
        await expect(ana.locator("#composer-closed")).to_contain_text("You’re muted until")
        await expect(ana.locator("#chat .remark").last).to_contain_text("You’re muted until")
        await expect(profe.locator("#chat")).to_contain_text("Ana Morales is muted until")
        await say(profe, "that is all")
        await expect(message(luis, "that is all").last).to_be_visible()
        assert "is muted" not in await luis.locator("#chat").inner_text()
        assert "muted" not in await luis.locator("#chat").inner_text()
        for page in (ana, luis):
            await page.reload()


async def test_students_recognise_only_their_own_reactions_in_an_anonymous_thread(desk: Desk) -> None:
    profe, ana, luis = await desk.sit_down(desk.profe), await desk.sit_down(desk.ana), await desk.sit_down(desk.luis)
    await allow(profe)
    await ana.get_by_role("button", name="Post anonymously").click()
    await say(ana, "is this right?")
    await act(luis, "is this right?", "React")
    await luis.get_by_role("button", name="👍", exact=True).click()
    chip = message(luis, "is this right?").locator(".chip")
    for _ in range(2):
        await expect(chip).to_have_attribute("aria-pressed", "true")
        await expect(chip).to_have_accessible_name("👍 1 by You")
        await expect(message(ana, "is this right?").locator(".chip")).to_have_accessible_name(
            re.compile(r"👍 1 by ~\d{6}")
        )
        await expect(message(profe, "is this right?").locator(".chip")).to_have_accessible_name("👍 1 by Luis Ortega")
        for page in (ana, luis):
            await page.reload()
    await chip.click()
    for page in (ana, luis, profe):
        await expect(message(page, "is this right?").locator(".chip")).to_have_count(0)

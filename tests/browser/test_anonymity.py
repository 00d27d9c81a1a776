"""Anonymous posting, as two students and their teacher see it."""

import re

import pytest
from playwright.async_api import expect

from tests.browser.conftest import TIMEOUT_MS, Desk, say
from tests.browser.test_talking import act, message
from tests.handlers.test_class_commands import give

pytestmark = pytest.mark.asyncio(loop_scope="session")
expect.set_options(timeout=TIMEOUT_MS)


async def test_classmates_see_a_pseudonym_and_teachers_the_name(desk: Desk) -> None:
    profe, ana, luis = await desk.sit_down(desk.profe), await desk.sit_down(desk.ana), await desk.sit_down(desk.luis)
    toggle = ana.get_by_role("button", name="Post anonymously")
    await expect(ana.locator("#status")).to_have_attribute("data-key", "connected")
    await expect(toggle).to_be_hidden()
    await profe.click("#class-button")
    await profe.get_by_role("switch", name="Anonymous posting").check()
    await profe.keyboard.press("Escape")
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

    # Students recognise only their own reactions.
    await act(ana, "is that right?", "React")
    await ana.get_by_role("button", name="👍", exact=True).click()
    chips = [message(page, "is that right?").locator(".chip") for page in (ana, luis, profe)]
    await expect(chips[1]).to_have_accessible_name(f"👍 1 by {number}")
    await act(luis, "is that right?", "React")
    await luis.get_by_role("button", name="🎉", exact=True).click()
    for is_loaded_again in (False, True):
        if is_loaded_again:
            await ana.reload()
            await luis.reload()
        await expect(chips[0].first).to_have_attribute("aria-pressed", "true")
        await expect(chips[0].first).to_have_accessible_name("👍 1 by You")
        await expect(chips[0].last).to_have_accessible_name(re.compile(r"🎉 1 by ~\d{6}"))
        await expect(chips[1].first).to_have_accessible_name(f"👍 1 by {number}")
        await expect(chips[1].last).to_have_attribute("aria-pressed", "true")
        await expect(chips[1].last).to_have_accessible_name("🎉 1 by You")
        await expect(chips[2].first).to_have_accessible_name("👍 1 by Ana Morales")
        await expect(chips[2].last).to_have_accessible_name("🎉 1 by Luis Ortega")
        for one in chips:
            await expect(one).to_have_count(2)

    # After the reload, everything is as before, and the next message is anonymous too.
    await expect(message(ana, "is that right?")).to_have_class(re.compile("me"))
    await expect(message(luis, "is that right?").locator("strong")).to_have_text(number)
    await expect(toggle).to_have_attribute("aria-pressed", "true")
    await chips[1].last.click()
    for one in chips:
        await expect(one).to_have_count(1)
    await luis.click("#people-button")
    await expect(luis.locator("#people")).to_contain_text("Names are hidden while anonymous posting is on.")
    assert "Ana" not in await luis.content()


async def test_a_message_meant_to_be_anonymous_is_never_sent_under_the_authors_name(desk: Desk) -> None:
    ana = await desk.sit_down(desk.ana)
    async with desk.person(desk.profe) as teacher:
        profe = await teacher.enter()
        await give(profe, type="anonymity", on=True)
        toggle = ana.get_by_role("button", name="Post anonymously")
        await toggle.click()
        await ana.fill("#chat-message-input", "a secret")
        await give(profe, type="anonymity", on=False)
        await expect(ana.locator("#composer-anonymous-told")).to_contain_text("Anonymous posting is off")
        await ana.press("#chat-message-input", "Enter")
        await expect(message(ana, "a secret")).to_have_class(re.compile("failed"))
        await expect(ana.locator("#chat")).to_contain_text("Anonymous posting is off. Earlier messages stay anonymous.")
        await toggle.click()
        await expect(toggle).to_be_hidden()
        await say(ana, "under my name")
        received = await profe.receive_until("chat_message")
        assert (received["message"], received["name"]) == ("under my name", "Ana Morales")

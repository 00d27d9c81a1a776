"""Long messages fade out, and code can be copied."""

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.conftest import TIMEOUT_MS, Desk, say
from tests.handlers.test_class_commands import give

pytestmark = pytest.mark.asyncio(loop_scope="session")
expect.set_options(timeout=TIMEOUT_MS)

LONG = "\n".join(["a long message begins", *(f"line {number}" for number in range(1, 60)), "<https://end.example/>"])
CODE = "look:\n```python\nx = 1\nprint(x)\n```\n```\nplain\n```"


async def seed(desk: Desk, *texts: str) -> None:
    async with desk.person(desk.luis) as luis:
        socket = await luis.enter()
        for text in texts:
            await give(socket, type="message", message=text)


def long(page: Page) -> Locator:
    return page.locator("#chat .message", has_text="a long message begins")


async def test_a_long_message_is_shortened_until_the_reader_asks_for_more_or_moves_into_it(desk: Desk) -> None:
    await seed(desk, "a short one", LONG, "the last")
    page = await desk.sit_down(desk.ana)
    more, less = (long(page).get_by_role("button", name=name) for name in ("Show more", "Show less"))
    for width, height in ((1100, 700), (375, 740)):
        await page.set_viewport_size({"width": width, "height": height})
        await expect(more).to_have_count(1)
        await expect(page.get_by_role("button", name="Show more")).to_have_count(1)
        await expect(page.get_by_text("the last", exact=True)).to_be_in_viewport()
        cut = await long(page).bounding_box()
        await more.click()
        await expect(less).to_have_attribute("aria-expanded", "true")
        whole = await long(page).bounding_box()
        assert cut
        assert whole
        assert whole["height"] > 2 * cut["height"]
        await less.click()
        await expect(more).to_have_attribute("aria-expanded", "false")
        await expect(more).to_be_in_viewport()
        await page.get_by_text("the last", exact=True).scroll_into_view_if_needed()

    # It expands when its hidden part gets the focus.
    await long(page).focus()
    await page.keyboard.press("Tab")
    await expect(long(page).get_by_role("link")).to_be_focused()
    await expect(less).to_be_visible()
    await expect(long(page).get_by_role("link")).to_be_in_viewport()
    # It stays open when something about the message changes.
    async with desk.person(desk.profe) as profe:
        await give(await profe.enter(), type="react", target=2, emoji="👍", on=True)
    await expect(long(page).locator(".chip")).to_be_visible()
    await expect(less).to_be_visible()


async def test_a_code_block_shows_its_language_and_can_be_copied(desk: Desk) -> None:
    page = await desk.sit_down(desk.ana)
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await say(page, CODE)
    heads = page.locator("#chat .message:not(.pending) .code-head")
    await expect(heads.locator("span")).to_have_text(["python", ""])
    await heads.nth(0).get_by_role("button", name="Copy").click()
    await expect(heads.nth(0).get_by_role("button")).to_have_text("Copied")
    assert await page.evaluate("navigator.clipboard.readText()") == "x = 1\nprint(x)"
    head, code = await heads.nth(0).bounding_box(), await page.locator("#chat .message pre code").nth(0).bounding_box()
    assert head
    assert code
    assert head["y"] + head["height"] <= code["y"] + 1
    # The label and the button next to the code aren't part of the message.
    await expect(page.locator("#chat .message .body")).to_have_text("look:x = 1\nprint(x)plain")

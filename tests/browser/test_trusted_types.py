"""Trusted Types: the pages turn text into HTML in only one place, and the browser blocks all others."""

import pytest
from playwright.async_api import Error, Page, expect

from tests.browser.conftest import Desk
from tests.handlers.test_class_commands import give

pytestmark = pytest.mark.asyncio(loop_scope="session")

SINKS = [
    "document.body.innerHTML = text",
    "document.body.outerHTML = text",
    "document.body.insertAdjacentHTML('beforeend', text)",
    "document.createRange().createContextualFragment(text)",
    "document.write(text)",
    "new DOMParser().parseFromString(text, 'text/html')",
    "document.body.setHTMLUnsafe(text)",
    "document.createElement('iframe').srcdoc = text",
    "document.createElement('script').src = text",
    "document.createElement('script').text = text",
    "setTimeout(text)",
    "trustedTypes.createPolicy('another', {})",
]


async def attempt(page: Page, sink: str) -> str:
    try:
        await page.evaluate(f"(text) => {{ {sink} }}", "<p>some text</p>")
    except Error as error:
        return error.message
    return ""


async def test_trusted_types_block_every_html_and_script_sink_while_the_room_can_render_html(desk: Desk) -> None:
    async with desk.person(desk.luis) as luis:
        await give(await luis.enter(), type="message", message="**bold** and $x^2$")
    page = await desk.sit_down(desk.ana)
    await expect(page.locator("#chat .body strong")).to_have_text("bold")
    assert desk.complaints == []
    assert "educa-chat" in await attempt(page, "trustedTypes.createPolicy('educa-chat', {})")
    for path in (desk.room, "/students/courses/"):
        await page.goto(desk.server.url + path)
        desk.complaints.clear()
        for sink in SINKS:
            refusal = await attempt(page, sink)
            assert "Trusted" in refusal or "Policy" in refusal, (path, sink, refusal)
        assert await page.get_by_text("some text").count() == 0
        assert desk.complaints
    desk.complaints.clear()

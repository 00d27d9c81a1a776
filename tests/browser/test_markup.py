"""Hostile messages in the real page, under its content security policy: they have no effect."""

import asyncio

import pytest
from playwright.async_api import Page, Request, expect

from tests.browser.conftest import Desk
from tests.markup.hostile import MESSAGES

pytestmark = pytest.mark.asyncio(loop_scope="session")

LIVE = 50
"""The number of messages that arrive while the page is open; the others are in its history."""
FORBIDDEN = (
    "script, style, link, meta, base, img, svg, iframe, object, embed, form, input, button, textarea,"
    "[id], [name], [style]"
)
SHOWN = """
() => ({
  ran: globalThis.ran,
  forbidden: [...document.querySelectorAll('#chat .body')].flatMap(
    (body) => [...body.querySelectorAll(FORBIDDEN)].map((element) => element.outerHTML)),
  handlers: [...document.querySelectorAll('#chat .body *')].filter(
    (element) => element.getAttributeNames().some((name) => name.startsWith('on') || name.includes(':'))).length,
  links: [...document.querySelectorAll('#chat .body a')].map((link) => [link.protocol, link.target, link.rel]),
  ids: [...document.querySelectorAll('[id]')].filter(
    (element) => document.getElementById(element.id) !== element).length,
  log: document.getElementById('chat').getAttribute('role') + document.getElementById('chat').localName,
  width: document.documentElement.scrollWidth - innerWidth,
})
""".replace("FORBIDDEN", repr(FORBIDDEN))


async def seed(desk: Desk, texts: list[str]) -> None:
    async with desk.person(desk.luis) as luis:
        socket = await luis.enter()
        for number, text in enumerate(texts):
            await socket.say(text, id=f"{texts[-1]} {number}")
        for number in range(len(texts)):
            await socket.receive_until("ack", id=f"{texts[-1]} {number}")


async def look(page: Page) -> None:
    """Check the messages that are on the page, and move the pointer and the focus over their links."""
    shown = await page.evaluate(SHOWN)
    assert shown["ran"] is None
    assert shown["forbidden"] == []
    assert shown["handlers"] == 0
    assert shown["ids"] == 0
    assert shown["log"] == await page.evaluate("window.before")
    assert shown["width"] <= 0
    assert shown["links"]
    for protocol, target, rel in shown["links"]:
        assert protocol in ("http:", "https:", "mailto:")
        assert (target, rel) == ("_blank", "noopener noreferrer nofollow ugc")
    await page.locator("#chat .body a").evaluate_all(
        """all => all.forEach((link) => {
            link.dispatchEvent(new MouseEvent('mouseover', { bubbles: true }));
            link.dispatchEvent(new FocusEvent('focus'));
        })"""
    )


async def test_hostile_messages_run_no_script_send_no_request_and_stay_in_their_box(desk: Desk) -> None:
    await seed(desk, [*MESSAGES[:-LIVE], "so far"])
    page = await desk.sit_down(desk.ana, "/health/live", reuse=False)
    asked: list[str] = []

    def note(request: Request) -> None:
        asked.append(request.url)

    page.on("request", note)
    await page.context.add_init_script(
        "addEventListener('DOMContentLoaded', () => {"
        " const log = document.getElementById('chat'); window.before = log.getAttribute('role') + log.localName });"
        "addEventListener('securitypolicyviolation', (event) => console.error(`policy: ${event.violatedDirective}`));"
    )
    await page.goto(desk.server.url + desk.room)
    await expect(page.locator("#status")).to_have_attribute("data-key", "connected")
    log = page.locator("#chat .message")
    await expect(log.last).to_contain_text("so far")
    await look(page)
    await seed(desk, [*MESSAGES[-LIVE:], "the last"])
    await expect(log.last).to_contain_text("the last")
    await look(page)
    # All messages are on the page when they are looked at, because it removes only those at the other end.
    while not await page.locator("#beginning").is_visible():
        count = await log.count()
        await log.first.scroll_into_view_if_needed()
        await page.wait_for_function(
            "count => count !== document.querySelectorAll('#chat .message').length"
            " || !document.getElementById('beginning').hidden",
            arg=count,
        )
        await look(page)
    await asyncio.gather(*(page.wait_for_load_state(state) for state in ("load", "networkidle")))
    assert [url for url in asked if not url.startswith(desk.server.url)] == []

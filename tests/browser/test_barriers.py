"""Accessibility of the room page, checked with axe-core, with all kinds of content in it."""

from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import Desk
from tests.browser.test_talking import PHONE, message
from tests.handlers.test_class_commands import give
from tests.serving import Chatter

pytestmark = pytest.mark.asyncio(loop_scope="session")


RUN = """
async ([opened, isWhole]) => {
  // No details of what is right, and no files loaded for rules about sound and video.
  const quickly = { resultTypes: ['violations'], preload: false };
  const run = async (...given) => (await axe.run(...given)).violations;
  const rules = { 'color-contrast': { enabled: false } };
  return [
    ...(isWhole ? await run({ ...quickly, rules }) : []),
    ...await run(opened, { ...quickly, runOnly: ['color-contrast'] }),
  ];
}
"""


async def barriers(page: Page, axe: str, opened: str = "html") -> list[str]:
    """Return what axe finds. Contrast is checked with light and with dark colours.

    Pass the selector of `opened` if nothing else has changed since the last check, because contrast takes longer than
    all other rules together.
    """
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(axe)
    found: list[dict[str, Any]] = []
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        found += await page.evaluate(RUN, [opened, scheme == "light"])
    return [f"{one['id']}: {node['target']} {node['failureSummary']}" for one in found for node in one["nodes"]]


async def talk(desk: Desk) -> None:
    async with desk.person(desk.luis) as student, desk.person(desk.profe) as teacher:
        luis, profe = await student.enter(), await teacher.enter()
        commands: list[tuple[Chatter, dict[str, Any]]] = [
            (luis, {"type": "message", "message": "why is it so? https://example.org/ `code`", "question": True}),
            (profe, {"type": "message", "message": "because of this", "reply_to": 1}),
            (luis, {"type": "answer", "target": 2, "on": True}),
            (luis, {"type": "react", "target": 2, "emoji": "🎉", "on": True}),
            (profe, {"type": "pin", "target": 2, "on": True}),
            (luis, {"type": "message", "message": "by mistake"}),
            (luis, {"type": "delete", "target": 6}),
            (luis, {"type": "message", "message": "the frist"}),
            (luis, {"type": "edit", "target": 8, "message": "the first"}),
            (profe, {"type": "endorse", "target": 8, "on": True}),
            (luis, {"type": "message", "message": "who knows?", "question": True}),
            (profe, {"type": "slow", "seconds": 30}),
        ]
        for socket, command in commands:
            await give(socket, **command)


async def open_menu(page: Page) -> None:
    """Open the menu of the message "the first" by keyboard."""
    await message(page, "the first").focus()
    await page.keyboard.press("Tab")
    await page.keyboard.press("ArrowLeft")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("menu")).to_be_visible()


@pytest.mark.parametrize("device", [{}, PHONE], ids=["wide", "phone"])
async def test_a_teachers_room_report_queue_and_audit_log_pass_axe(
    desk: Desk, axe: str, device: dict[str, Any]
) -> None:
    await talk(desk)
    async with desk.person(desk.ana) as ana, desk.person(desk.profe) as profe:
        await give(await ana.enter(), type="report", target=8, reason="it is unkind")
        await give(await profe.enter(), type="mute", user=desk.luis, minutes=10)
    page = await desk.sit_down(desk.profe, **device)
    await expect(page.locator("#people-button")).to_be_visible()
    await expect(message(page, "the first").locator(".reported")).to_be_visible()
    await expect(page.locator("#pins")).to_be_visible()
    assert await barriers(page, axe) == []
    await open_menu(page)
    assert await barriers(page, axe, "[role=menu]") == []
    await page.get_by_role("menuitem", name="React").click()
    await expect(page.locator("#reaction-picker")).to_be_visible()
    assert await barriers(page, axe, "#reaction-picker") == []
    await page.keyboard.press("Escape")
    for button, panel, content in (
        ("#people-button", "#people", "#members li"),
        ("#class-button", "#class-bar", "#class-slow"),
        ("#moderation-button", "#moderation", "#muted-list button"),
    ):
        await page.click(button)
        await expect(page.locator(panel).locator(content).first).to_be_visible()
        assert await barriers(page, axe, panel) == []
        await page.keyboard.press("Escape")

    await page.goto(f"{desk.server.url}{desk.room}reports/")
    assert await barriers(page, axe) == []
    await page.get_by_text("Delete…").click()
    await expect(page.get_by_role("button", name="Delete")).to_be_visible()
    assert await barriers(page, axe) == []
    await page.get_by_role("button", name="Dismiss").click()
    await expect(page.get_by_text("No open reports")).to_be_visible()
    assert await barriers(page, axe) == []
    await page.goto(f"{desk.server.url}{desk.room}audit/")
    assert await barriers(page, axe) == []


@pytest.mark.parametrize("device", [{}, PHONE], ids=["wide", "phone"])
async def test_the_report_dialog_and_a_read_only_room_pass_axe(desk: Desk, axe: str, device: dict[str, Any]) -> None:
    await talk(desk)
    page = await desk.sit_down(desk.ana, **device)
    await open_menu(page)
    await page.get_by_role("menuitem", name="Report…").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_be_visible()
    assert await barriers(page, axe) == []
    await dialog.get_by_role("textbox").fill("it is unkind")
    await dialog.get_by_role("button", name="Report").click()
    await expect(page.locator("#notice")).not_to_be_empty()
    async with desk.person(desk.profe) as profe:
        await give(await profe.enter(), type="close", on=True)
    await expect(page.locator("#composer-closed")).not_to_be_empty()
    assert await barriers(page, axe) == []

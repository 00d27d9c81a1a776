"""The list of all members in the people panel: search, roles and presence, in courses of any size."""

import pytest
from playwright.async_api import expect

from educa_chat.protocol import Role
from educa_chat.storage.accounts import add_user
from educa_chat.storage.courses import enrol
from tests.browser.conftest import Desk
from tests.browser.test_barriers import barriers

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_people_panel_lists_and_finds_members_with_roles_and_who_is_online(desk: Desk, axe: str) -> None:
    database = desk.database
    await enrol(database, desk.marta, desk.course, Role.ASSISTANT)
    for number in range(110):
        username = f"s{number:03}.{desk.course}"
        await add_user(database, username, "!", first_name="Ángel", last_name=f"Soto {number:03}")
        await enrol(database, username, desk.course)
    profe = await desk.sit_down(desk.profe, viewport={"width": 360, "height": 740})
    asked: list[str] = []
    profe.on("request", lambda request: asked.append(request.url) if "/roster" in request.url else None)
    await expect(profe.locator("#people-button")).to_be_visible()
    assert not asked, "the list is loaded on demand"
    await profe.click("#people-button")
    members = profe.get_by_role("list", name="Members").get_by_role("listitem")
    await expect(members).to_have_count(100)
    await expect(members.first).to_contain_text("Clara Benítez")
    await expect(members.first).to_contain_text("Teacher")
    await expect(members.nth(1)).to_contain_text("Assistant")
    await expect(profe.get_by_text("114 members")).to_be_visible()
    assert await barriers(profe, axe) == []

    ana = await desk.sit_down(desk.ana)
    await ana.click("#people-button")
    await ana.get_by_role("button", name="All members").click()
    await expect(ana.get_by_role("searchbox", name="Search members")).to_be_focused()
    await expect(ana.get_by_role("list", name="Members").get_by_role("listitem")).to_have_count(100)
    found = members.filter(has_text="Ana Morales")
    await expect(found.get_by_text("Online")).to_be_visible()
    await ana.close()
    await expect(found.get_by_text("Online")).to_be_hidden()

    await profe.get_by_role("button", name="Show more").click()
    await expect(members).to_have_count(114)
    await expect(members.nth(100)).to_be_focused()
    await profe.get_by_role("searchbox", name="Search members").fill("angel soto 07")
    await expect(members).to_have_count(10)
    await expect(profe.get_by_text("10 members")).to_be_visible()
    await expect(profe.get_by_role("button", name="Show more")).to_be_hidden()

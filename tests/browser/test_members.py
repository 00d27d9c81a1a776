"""The list of all members in the people panel: search, roles and presence, in courses of any size."""

import pytest
from playwright.async_api import expect

from educa_chat.protocol import Role
from educa_chat.storage.courses import enrol
from tests.browser.conftest import Desk
from tests.browser.test_barriers import barriers

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_people_panel_lists_and_finds_members_with_roles_and_who_is_online(desk: Desk, axe: str) -> None:
    await enrol(desk.database, desk.marta, desk.course, Role.ASSISTANT)
    await desk.database.execute(
        "with added as (insert into auth_user (username, password, first_name, last_name, email,"
        "  is_superuser, is_staff, is_active, date_joined)"
        "  select 's' || n || '.' || $1::bigint, '!', 'Ángel', 'Soto ' || to_char(n, 'FM000'), '',"
        "   false, false, true, now()"
        "  from generate_series(0, 109) n returning id)"
        " insert into courses_course_students (course_id, user_id) select $1, id from added",
        desk.course,
    )
    profe = await desk.sit_down(desk.profe)
    await profe.set_viewport_size({"width": 360, "height": 740})
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
    await ana.goto(f"{desk.server.url}/students/courses/")
    await expect(found.get_by_text("Online")).to_be_hidden()

    await profe.get_by_role("button", name="Show more").click()
    await expect(members).to_have_count(114)
    await expect(members.nth(100)).to_be_focused()
    await profe.get_by_role("searchbox", name="Search members").fill("angel soto 07")
    await expect(members).to_have_count(10)
    await expect(profe.get_by_text("10 members")).to_be_visible()
    await expect(profe.get_by_role("button", name="Show more")).to_be_hidden()

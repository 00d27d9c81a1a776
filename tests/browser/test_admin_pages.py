"""The admin pages and the roster of a course: accessible, and usable without scripts and on a phone."""

import pytest
from playwright.async_api import Page, expect

from educa_chat.protocol import Role
from educa_chat.storage.accounts import add_user, deactivate
from educa_chat.storage.administration import archive_course
from educa_chat.storage.courses import enrol
from educa_chat.storage.lti_platforms import Registration, add_platform
from tests.browser.conftest import Desk
from tests.browser.test_barriers import barriers
from tests.serving import quick_hash

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATHS = [
    "admin/people/", "admin/people/add/", "admin/people/2/", "admin/courses/", "admin/courses/add/", "admin/courses/1/",
    "admin/courses/1/remove/", "admin/platforms/", "admin/platforms/add/", "admin/platforms/1/",
    "admin/platforms/1/remove/", "admin/log/", "admin/import/", "chat/course/1/roster/", "chat/course/1/roster/import/",
]  # fmt: skip


@pytest.fixture
def desk(own_desk: Desk) -> Desk:
    return own_desk


async def fill_school(desk: Desk) -> None:
    database = desk.database
    await add_user(database, "head", quick_hash(), first_name="Alba", last_name="Ríos", is_superuser=True)
    await enrol(database, "marta", 1, Role.ASSISTANT)
    await archive_course(database, 2)
    url = f"https://{'very-' * 30}long.school.example"
    await add_platform(database, Registration("Moodle", url, "1", url, url, url), [], is_active=False)
    await deactivate(database, "luis")


async def is_wider_than_the_window(page: Page) -> bool:
    wide: bool = await page.evaluate("document.documentElement.scrollWidth > innerWidth")
    return wide


async def test_admin_pages_pass_axe_in_every_layout_and_colour_scheme(desk: Desk, axe: str) -> None:
    await fill_school(desk)
    page = await desk.sit_down("head", "/admin/people/")
    for path in PATHS:
        await page.goto(f"{desk.server.url}/{path}")
        await page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true })")
        # No colour depends on the width, so contrast needs no second look at the whole page.
        for width, checked_for_contrast in ((1100, "html"), (360, "h1")):
            await page.set_viewport_size({"width": width, "height": 740})
            assert await barriers(page, axe, checked_for_contrast) == [], path
            assert not await is_wider_than_the_window(page), path


async def test_a_school_can_be_set_up_without_scripts(desk: Desk) -> None:
    await fill_school(desk)
    page = await desk.sit_down("head", "/chat/courses/", java_script_enabled=False)
    await page.get_by_role("link", name="Administration").click()
    await page.get_by_role("link", name="Add a person").click()
    await page.get_by_label("Username").fill("nora")
    await page.get_by_label("First name").fill("Nora")
    await page.get_by_role("button", name="Add").click()
    await expect(page.get_by_role("status")).to_contain_text("The person was added.")
    await page.get_by_role("button", name="Make a sign-in link").click()
    await expect(page.locator(".secret")).to_contain_text("/chat/sign-in/link/?token=")
    await page.get_by_role("button", name="Sign out everywhere").click()
    await expect(page.get_by_role("status")).to_contain_text("signed out everywhere")
    await expect(page.locator(".secret")).to_have_count(0)
    await page.get_by_role("link", name="Courses", exact=True).click()
    await page.get_by_role("link", name="Add a course").click()
    for label, value in (("Title", "Geometry"), ("Subject", "Mathematics"), ("Owner", "nora")):
        await page.get_by_label(label).fill(value)
    await page.get_by_role("button", name="Add").click()
    await page.get_by_role("link", name="People of the course").click()
    await page.get_by_label("Username").fill("ana")
    await page.get_by_role("button", name="Add to the course").click()
    await expect(page.get_by_text("2 people")).to_be_visible()
    await page.get_by_label("Role of Ana Morales", exact=True).select_option("assistant")
    await page.get_by_role("button", name="Change the role of Ana Morales").click()
    await expect(page.get_by_label("Role of Ana Morales", exact=True)).to_have_value("assistant")
    await page.locator("summary").click()
    await page.get_by_role("button", name="Remove from the course").click()
    await expect(page.get_by_text("1 person")).to_be_visible()

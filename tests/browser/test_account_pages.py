"""The account pages in a browser: accessible, usable without scripts, and not wider than a phone."""

from typing import Any

import pytest
from playwright.async_api import FilePayload, Page, expect

from educa_chat.handlers.formatting import PATH as FORMATTING_PATH
from educa_chat.storage.sign_in_links import link_url, make_link
from tests.browser.conftest import Desk
from tests.browser.test_barriers import barriers
from tests.browser.test_talking import PHONE
from tests.serving import add_person

pytestmark = pytest.mark.asyncio(loop_scope="session")

ACCOUNT = "/chat/account/"


async def fits(page: Page) -> bool:
    """Return whether the page fits the width of the window."""
    return bool(await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


async def test_account_pages_pass_axe_and_fit_a_phone(desk: Desk, axe: str) -> None:
    username = await add_person(desk.database, desk.course)
    page = await desk.sit_down(username, ACCOUNT, **PHONE)
    await expect(page.get_by_role("heading", name="Account", exact=True)).to_be_visible()
    for path in (
        ACCOUNT,
        f"{ACCOUNT}?saved=profile",
        link_url("", await make_link(desk.database, username)),
        link_url("", "x"),
        FORMATTING_PATH,
    ):
        await page.goto(desk.server.url + path)
        assert await barriers(page, axe) == [], path
        assert await fits(page), path


async def test_a_sign_in_link_works_without_scripts_and_its_token_leaks_into_no_other_request(desk: Desk) -> None:
    username = await add_person(desk.database, desk.course)
    token = await make_link(desk.database, username)
    page = await desk.open(link_url("", token), java_script_enabled=False)
    seen: list[dict[str, Any]] = []

    async def note(request: Any) -> None:
        seen.append({"url": request.url, **await request.all_headers()})

    page.context.on("requestfinished", note)
    await page.reload()
    await page.get_by_label("New password").fill("correct horse battery")
    await page.get_by_role("button", name="Save and sign in").click()
    await expect(page.get_by_role("heading", name="My courses")).to_be_visible()
    assert len(seen) > 3
    assert not [one for one in seen if token in str(one) and not one["url"].endswith(token)]
    assert not [one for one in seen if token in one.get("referer", "")]


async def test_a_password_can_be_changed_without_scripts(desk: Desk) -> None:
    username = await add_person(desk.database, desk.course)
    page = await desk.sit_down(username, ACCOUNT, java_script_enabled=False)
    await page.get_by_label("Current password").fill("educa-demo")
    await page.get_by_label("New password").fill("correct horse battery")
    await page.get_by_role("button", name="Change the password").click()
    await expect(page.get_by_role("status")).to_have_text("Saved.")


async def test_the_imports_work_on_a_phone_and_pass_axe(desk: Desk, axe: str) -> None:
    username = await add_person(desk.database, is_superuser=True)
    page = await desk.sit_down(username, "/admin/people/", **PHONE)
    for number, path in enumerate(("/admin/import/", f"/chat/course/{desk.course}/roster/import/")):
        await page.goto(desk.server.url + path)
        content = f"username;first name\nnew{number}.{username};Zoë\na b;x\n".encode()
        file: FilePayload = {"name": "p.csv", "mimeType": "text/csv", "buffer": content}
        await page.get_by_label("CSV file").set_input_files(file)
        await page.get_by_role("button", name="Show what would happen").click()
        await expect(page.get_by_role("heading", name="What the import will do")).to_be_visible()
        assert await barriers(page, axe) == []
        assert await fits(page)
        async with page.expect_download() as download:
            await page.get_by_role("button", name="Import and download the sign-in links").click()
        assert (await download.value).suggested_filename == "sign-in-links.csv"

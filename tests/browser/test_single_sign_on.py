"""Signing in and out in a browser, with a real OpenID provider."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from playwright.async_api import expect

from educa_chat.settings import CourseRule, Settings
from tests.browser.conftest import TIMEOUT_MS, Desk, PagePool, open_desk, say
from tests.browser.test_barriers import barriers
from tests.conftest import Postgres
from tests.openid import CLIENT_ID, CLIENT_SECRET, new_key, open_provider
from tests.ports import free_port
from tests.serving import open_server, settings_for

pytestmark = pytest.mark.asyncio(loop_scope="session")
expect.set_options(timeout=TIMEOUT_MS)


def settings_with_issuers(url: str, issuer: str) -> Settings:
    settings = settings_for(
        url,
        outbound_private_networks="127.0.0.0/8",
        issuers_school_name="Colegio Sur",
        issuers_school_issuer=issuer,
        issuers_school_client_id=CLIENT_ID,
        issuers_school_client_secret=CLIENT_SECRET,
        issuers_city_name="Ayuntamiento de Villanueva de la Serena",
        issuers_city_issuer="https://login.city.example",
        issuers_city_client_id="chat",
        issuers_city_logo=Path(__file__).parents[2] / "educa_chat/static/logo.svg",
    )
    school = msgspec.structs.replace(settings.issuers["school"], courses=(CourseRule("groups", "algebra", "1"),))
    return msgspec.structs.replace(settings, issuers=settings.issuers | {"school": school})


@asynccontextmanager
async def open_school(postgres: Postgres, pages: PagePool, folder: Path) -> AsyncIterator[Desk]:
    port = free_port()
    accounts = folder / "accounts.json"
    accounts.write_text(json.dumps({"clara": {"name": "Clara Benítez", "groups": ["algebra"]}}))
    url = await postgres.create_chat_database(demo=True)
    async with (
        open_server(settings_with_issuers(url, f"http://127.0.0.1:{port}")) as server,
        open_provider(port, [server.url], accounts, new_key()),
        open_desk(pages, server) as desk,
    ):
        yield desk


async def test_a_sign_in_page_with_issuers_passes_axe(postgres: Postgres, pages: PagePool, axe: str) -> None:
    url = await postgres.create_chat_database(demo=True)
    async with (
        open_server(settings_with_issuers(url, "https://login.school.example")) as server,
        open_desk(pages, server) as desk,
    ):
        page = await desk.open("/chat/sign-in/")
        await expect(page.get_by_role("link", name="Colegio Sur")).to_be_visible()
        assert await barriers(page, axe) == []


async def test_a_user_can_sign_in_at_the_provider_chat_and_sign_out_of_both(
    postgres: Postgres, pages: PagePool, tmp_path: Path
) -> None:
    async with open_school(postgres, pages, tmp_path) as desk:
        page = await desk.open("/chat/room/1/")
        await page.get_by_role("link", name="Colegio Sur").click()
        await page.fill("[name=login]", "clara")
        await page.fill("[name=password]", "any")
        await page.get_by_role("button", name="Sign-in").click()
        await page.get_by_role("button", name="Continue").click()
        await page.wait_for_url("**/chat/room/1/")
        await say(page, "Good morning")
        await expect(page.locator("#chat .pending")).to_have_count(0)
        await expect(page.get_by_text("Good morning")).to_be_visible()

        await page.locator("#sign-out").get_by_role("button", name="Sign out").click()
        await page.get_by_role("button", name="Yes, sign me out").click()
        await page.wait_for_url("**/accounts/login/")
        await page.goto(desk.server.url + desk.room)
        await page.get_by_role("link", name="Colegio Sur").click()
        await expect(page.locator("[name=login]")).to_be_visible()

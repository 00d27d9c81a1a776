"""The loading cost of the room page in bytes."""

from urllib.parse import urlsplit

import pytest
from playwright.async_api import Page, expect

from educa_chat.handlers.static import PATH
from tests.browser.conftest import Desk

pytestmark = pytest.mark.asyncio(loop_scope="session")

MESSAGES = 50
TEXT = "And how is the second exercise meant, please? I have tried both ways."
LIMIT_BYTES = 60 * 1024
WARM_LIMIT_BYTES = 16 * 1024


async def say_much(desk: Desk) -> None:
    async with desk.person(desk.luis) as luis:
        socket = await luis.enter()
        for number in range(MESSAGES):
            await socket.say(f"{number}: {TEXT}", id=f"{number}")
            await socket.receive_until("ack", id=f"{number}")


async def load(page: Page, url: str) -> dict[str, int]:
    """Load the room until its history is shown. Return the size of each response body as transferred, compressed.

    The headers don't count: in production, HTTP/2 compresses them to a few bytes per file.
    """
    session = await page.context.new_cdp_session(page)
    paths: dict[str, str] = {}
    headers: dict[str, int] = {}
    sizes: dict[str, int] = {}
    session.on("Network.requestWillBeSent", lambda event: paths.update({event["requestId"]: event["request"]["url"]}))
    session.on(
        "Network.responseReceived",
        lambda event: headers.update({event["requestId"]: int(event["response"]["encodedDataLength"])}),
    )

    def finished(event: dict[str, float]) -> None:
        # Ignore earlier requests, and the icon that a browser requests for a page that names none.
        path = urlsplit(paths.get(str(event["requestId"]), "")).path
        if path not in ("", "/favicon.ico"):
            body = int(event["encodedDataLength"]) - headers[str(event["requestId"])]
            # Responses from the browser's cache have no length.
            sizes[path] = sizes.get(path, 0) + max(body, 0)

    session.on("Network.loadingFinished", finished)
    await session.send("Network.enable")
    await page.goto(url)
    await expect(page.locator("#chat .message")).to_have_count(MESSAGES)
    await page.wait_for_load_state("networkidle")
    await session.detach()
    return sizes


async def test_the_room_page_stays_within_its_budget_and_loads_each_file_once(desk: Desk) -> None:
    await say_much(desk)
    # A new browser, which has no file yet.
    page = await desk.sit_down(desk.ana, "/health/live", reuse=False)
    cold = await load(page, desk.server.url + desk.room)
    files = {path: size for path, size in cold.items() if path.startswith(PATH)}
    assert sum(path.endswith(".js") for path in files) > 10
    assert sum(path.endswith(".css") for path in files) == 3
    assert sum(cold.values()) <= LIMIT_BYTES, cold
    warm = await load(page, desk.server.url + desk.room)
    assert {path: size for path, size in warm.items() if path.startswith(PATH) and size} == {}
    assert sum(warm.values()) <= WARM_LIMIT_BYTES, warm

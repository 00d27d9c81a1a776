"""The parts around a room's messages: its header on narrow screens, and the reader's other rooms."""

from itertools import product
from typing import Any

import pytest
from playwright.async_api import expect

from tests.browser.conftest import TIMEOUT_MS, Desk, say
from tests.browser.test_unread import COURSES, speak, turn

pytestmark = pytest.mark.asyncio(loop_scope="session")
expect.set_options(timeout=TIMEOUT_MS)

BOXES = """
() => [...document.querySelectorAll('.room-header h1, .room-header .status, .room-tools button, #menu-button')]
  .filter((one) => one.offsetParent)
  .map((one) => [one.id || one.localName, one.getBoundingClientRect()])
  .map(([name, {left, right, top, bottom}]) => [name, left, right, top, bottom])
"""


async def test_an_instructors_header_and_title_fit_a_narrow_screen(desk: Desk) -> None:
    page = await desk.sit_down(desk.profe, locale="es")
    await expect(page.locator("#class-button")).to_be_visible()
    await expect(page.locator("#people-button")).to_be_visible()
    for width, size in product((320, 360, 480), (100, 200)):
        await page.set_viewport_size({"width": width, "height": 740})
        await page.evaluate(f"document.documentElement.style.fontSize = '{size}%'")
        boxes: list[list[Any]] = await page.evaluate(BOXES)
        assert len(boxes) == 7, "the status is shown only when something is wrong"
        for number, (name, left, right, top, bottom) in enumerate(boxes):
            assert 0 <= left < right <= width, (width, size, name)
            for other, its_left, its_right, its_top, its_bottom in boxes[:number]:
                is_apart = left >= its_right or its_left >= right or top >= its_bottom or its_top >= bottom
                assert is_apart, (width, size, name, other)
            if name.endswith("button") or name == "unanswered":
                assert min(right - left, bottom - top) >= 44, (width, size, name)
            if name == "h1":
                assert right - left >= width / 2, (width, size)
        assert await page.evaluate("document.documentElement.scrollWidth") <= width, (width, size)


async def test_other_rooms_show_their_unread_counts(desk: Desk) -> None:
    await desk.database.execute(
        "insert into courses_course_students (course_id, user_id) select $1, id from auth_user where username = $2",
        desk.other_course,
        desk.ana,
    )
    async with desk.person(desk.marta) as marta:
        socket = await marta.enter(desk.other_course)
        await speak(socket, 1, 3)
        page = await desk.sit_down(desk.ana)
        link = page.get_by_role("navigation", name="Chat rooms").get_by_role("link", name="Álgebra lineal")
        await expect(link).to_have_accessible_name("Álgebra lineal 3 unread messages")
        await speak(socket, 4, 5)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/api/rooms") else None)
        await turn(page, hidden=True)
        await turn(page, hidden=False)
        await expect(link).to_have_accessible_name("Álgebra lineal 5 unread messages")
        assert len(asked) == 1
        await page.set_viewport_size({"width": 360, "height": 740})
        await page.get_by_role("button", name="Courses and account (5 unread messages)").click()
        await link.click()
        await page.wait_for_url(f"**/chat/room/{desk.other_course}/")
        await page.get_by_role("button", name="Jump to latest").or_(page.locator("#chat .message").last).first.click()
        await page.goto(desk.server.url + desk.room)
        await expect(page.get_by_role("button", name="Courses and account")).to_have_accessible_name(
            "Courses and account"
        )
        await expect(page.locator("[data-room] .unread")).to_have_count(0)


async def test_a_wide_screen_shows_the_people_panel_and_keeps_lines_readable(desk: Desk) -> None:
    page = await desk.sit_down(desk.ana, COURSES)
    await page.set_viewport_size({"width": 1920, "height": 900})
    await page.goto(desk.server.url + desk.room)
    await expect(page.locator("#people-list li")).to_have_text(["AMAna MoralesYou"])
    await expect(page.locator("#people-button")).to_be_hidden()
    await say(page, "word " * 100)
    # In one look, because the message is rendered again when it is stored.
    shown = await page.wait_for_function(
        "document.querySelector('#chat .message .body')?.getBoundingClientRect().width"
    )
    width = await shown.json_value()
    people, composer = await page.locator("#people").bounding_box(), await page.locator("#chat-input").bounding_box()
    assert people
    assert composer
    assert 500 <= width <= 640
    assert composer["width"] > 1000
    assert people["x"] >= composer["x"] + composer["width"]
    assert people["height"] == 900
    await page.set_viewport_size({"width": 1280, "height": 900})
    await expect(page.locator("#people")).to_be_hidden()
    await page.click("#people-button")
    await expect(page.locator("#people-list")).to_be_visible()

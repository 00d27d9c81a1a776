"""The room page in a real browser, with a real server and database."""

import asyncio
import re

import pytest
from playwright.async_api import expect

from educa_chat.demo import PASSWORD
from tests.browser.conftest import TIMEOUT_MS, Desk, full_disk, say, until

pytestmark = pytest.mark.asyncio(loop_scope="session")
expect.set_options(timeout=TIMEOUT_MS)

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg/onload=alert(1)>',
    "{{7*7}} ${7*7} {% raw %}",
    'javascript:alert(1) JAVASCRIPT:alert(1) https://good@evil.example/"onmouseover=alert(1)',
    "</textarea></script><form id=chat><input name=innerHTML>",
    "\u202egnirts desrever\u202c \u2066isolate",
    "x" * 3000,
]


async def seed(desk: Desk, count: int) -> None:
    """Post messages as Luis."""
    async with desk.person(desk.luis) as person:
        socket = await person.enter()
        for number in range(1, count + 1):
            await socket.say(f"number {number}", id=f"seed{number}")
        for number in range(1, count + 1):
            await socket.receive_until("ack", id=f"seed{number}")


async def test_two_students_talk_a_stranger_is_refused_and_a_visitor_has_to_sign_in(desk: Desk) -> None:
    ana, luis = await desk.sit_down(desk.ana), await desk.sit_down(desk.luis)
    await say(ana, "Does anybody understand exercise 3?")
    await expect(luis.locator("#chat .message.other")).to_contain_text(["Does anybody understand exercise 3?"])
    await luis.fill("#chat-message-input", "Yes!")
    await luis.click("#chat-message-submit")
    await expect(ana.locator("#chat .message.other")).to_contain_text(["Yes!"])
    await expect(ana.locator("#chat .message")).to_have_count(2)
    await expect(ana.locator("#chat .message.me")).to_have_count(1)
    assert await ana.locator("#chat .message.other strong").text_content() == "Luis Ortega"
    assert re.fullmatch(r"\d\d:\d\d", (await ana.locator("#chat .message.other .date").inner_text()).strip())
    assert await ana.locator("#course-id").text_content() == str(desk.course)
    assert await ana.locator("#request-user").text_content() == f'"{desk.ana}"'

    marta = await desk.sit_down(desk.marta)
    assert desk.room in marta.url
    await expect(marta.locator("#chat")).to_have_count(0)
    await expect(marta.get_by_text("403")).to_be_visible()

    visitor = await desk.open(desk.room)
    assert f"/accounts/login/?next={desk.room}" in visitor.url
    await visitor.fill("[name=username]", desk.luis)
    await visitor.fill("[name=password]", PASSWORD)
    await visitor.press("[name=password]", "Enter")
    await expect(visitor.locator("#chat .message.me")).to_contain_text(["Yes!"])


async def test_the_course_list_links_to_the_room(desk: Desk) -> None:
    page = await desk.sit_down(desk.profe, "/students/courses/")
    await page.get_by_role("link", name="Álgebra lineal").click()
    await page.get_by_role("link", name="Course chat room").click()
    await page.wait_for_url(f"**/chat/room/{desk.other_course}/")
    await expect(page.get_by_role("heading", name="Álgebra lineal")).to_be_visible()
    await page.get_by_role("button", name="Sign out").click()
    await page.wait_for_url("**/accounts/login/")


async def test_enter_sends_and_shift_enter_starts_a_new_line(desk: Desk) -> None:
    ana, luis = await desk.sit_down(desk.ana), await desk.sit_down(desk.luis)
    await ana.type("#chat-message-input", "one")
    await ana.press("#chat-message-input", "Shift+Enter")
    await ana.type("#chat-message-input", "two")
    await ana.press("#chat-message-input", "Enter")
    await expect(ana.locator("#chat-message-input")).to_have_value("")
    message = luis.locator("#chat .message.other")
    await expect(message).to_have_count(1)
    assert "one\ntwo" in await message.inner_text()


async def test_user_input_never_becomes_html(desk: Desk) -> None:
    await desk.database.execute(
        "update auth_user set first_name = '<img src=x onerror=alert(1)>', last_name = '{{7*7}}'"
        " where username = any($1)",
        [desk.profe, desk.ana, desk.luis],
    )
    await desk.database.execute(
        "update courses_course set title = '<script>alert(1)</script> {{7*7}}' where id = any($1)",
        [desk.course, desk.other_course],
    )
    ana, luis = await desk.sit_down(desk.ana), await desk.sit_down(desk.luis)
    for text in HOSTILE:
        await say(ana, text)
    for page in (ana, luis):
        await expect(page.locator("#chat .message")).to_have_count(len(HOSTILE))
        await expect(page.locator("#chat .message.pending")).to_have_count(0)
        assert (
            await page.locator(
                ".message script, .message img, .message form, .message [onload], .message [onerror]"
            ).count()
            == 0
        )
        shown = await page.locator("#chat").inner_text()
        for text in HOSTILE[:4]:
            assert text in shown
        assert not any("49" in body for body in await page.locator("#chat .body").all_inner_texts())
        for href in await page.locator("#chat a").evaluate_all("all => all.map(a => a.href)"):
            assert href.startswith("https://")
        width = await page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert width[0] <= width[1]
    await luis.reload()
    await expect(luis.locator("#chat .message")).to_have_count(len(HOSTILE))


async def test_the_last_50_messages_are_shown_and_loading_older_ones_keeps_the_scroll_position(desk: Desk) -> None:
    await seed(desk, 130)
    page = await desk.sit_down(desk.ana)
    await expect(page.locator("#chat .message")).to_have_count(50)
    await expect(page.locator("#chat .message").last).to_contain_text("number 130")
    await expect(page.locator("#chat .message").last).to_be_in_viewport()
    first = page.locator("#chat .message", has_text=re.compile(r"number 81\b"))
    await first.scroll_into_view_if_needed()
    await expect(page.locator("#chat .message")).to_have_count(100)
    await expect(first).to_be_in_viewport()
    await page.locator("#chat .message").first.scroll_into_view_if_needed()
    await expect(page.locator("#chat .message")).to_have_count(130)
    await expect(page.get_by_text("This is the start of")).to_be_attached()
    shown = await page.locator("#chat .message").evaluate_all(
        "all => all.map(one => /number \\d+/.exec(one.textContent)[0])"
    )
    assert shown == [f"number {number}" for number in range(1, 131)]


async def test_new_messages_are_counted_without_moving_a_reader_who_has_scrolled_up(desk: Desk) -> None:
    await seed(desk, 50)
    ana = await desk.sit_down(desk.ana)
    reading = ana.locator("#chat .message", has_text=re.compile(r"number 10\b"))
    await reading.scroll_into_view_if_needed()
    async with desk.person(desk.luis) as luis:
        socket = await luis.enter()
        await socket.say("news", id="news")
        await expect(ana.locator("#chat .message")).to_have_count(51)
        await expect(reading).to_be_in_viewport()
        pill = ana.get_by_role("button", name="1 new message")
        await expect(pill).to_be_visible()
        await pill.click()
        await expect(ana.locator("#chat .message").last).to_be_in_viewport()
        await expect(pill).to_be_hidden()
        await socket.say("more", id="more")
        await expect(ana.locator("#chat .message", has_text="more")).to_be_in_viewport()


async def test_unsent_messages_survive_a_reload_and_are_sent_once(desk: Desk) -> None:
    ana = await desk.sit_down(desk.ana)
    await say(ana, "stored")
    await expect(ana.locator("#chat .message.pending")).to_have_count(0)
    async with full_disk(desk, seq=2):
        await say(ana, "kept")
        await expect(ana.locator("#chat .message.pending", has_text="kept")).to_have_count(1)
    await ana.reload()
    await expect(ana.locator("#chat .message", has_text="kept")).to_have_count(1)
    await expect(ana.locator("#chat .message.pending")).to_have_count(0)
    async with desk.person(desk.luis) as luis:
        assert [message["message"] for message in (await luis.messages())["messages"]] == ["stored", "kept"]


async def test_a_draft_survives_a_reload(desk: Desk) -> None:
    ana = await desk.sit_down(desk.ana)
    await ana.fill("#chat-message-input", "half a thou")
    await ana.reload()
    await expect(ana.locator("#chat-message-input")).to_have_value("half a thou")


async def test_the_page_reconnects_by_itself_and_shows_missed_messages(desk: Desk) -> None:
    ana = await desk.sit_down(desk.ana)
    await expect(ana.locator("#status")).to_have_attribute("data-key", "connected")
    await ana.context.set_offline(True)
    await seed(desk, 3)
    await say(ana, "written in a tunnel")
    await ana.context.set_offline(False)
    await expect(ana.locator("#chat .message")).to_have_count(4)
    await expect(ana.locator("#chat .message.pending")).to_have_count(0)
    await expect(ana.locator("#status")).to_have_attribute("data-key", re.compile("connected|back"))


async def test_leaving_the_course_shows_that_access_has_ended(desk: Desk) -> None:
    ana = await desk.sit_down(desk.ana)
    await expect(ana.locator("#status")).to_have_attribute("data-key", "connected")
    await desk.database.execute("delete from courses_course_students where course_id = $1", desk.course)
    await expect(ana.locator("#status")).to_have_attribute("data-key", "not-member")
    await expect(ana.get_by_text("no longer have access")).to_be_visible()


async def test_times_and_labels_use_the_readers_time_zone_and_language(desk: Desk) -> None:
    await seed(desk, 1)
    await desk.database.execute(
        "update educa_chat.message set at = '2026-01-15 22:30:00+00' where course = $1", desk.course
    )
    madrid = await desk.sit_down(desk.ana, locale="es-ES", timezone_id="Europe/Madrid")
    tokyo = await desk.sit_down(desk.ana, locale="en-US", timezone_id="Asia/Tokyo")
    await expect(madrid.locator("#chat .message .date")).to_have_text("23:30")
    await expect(tokyo.locator("#chat .message .date")).to_have_text(re.compile(r"0?7:30"))
    await expect(madrid.get_by_text("15 de enero")).to_be_visible()
    await expect(tokyo.get_by_text("January 16")).to_be_visible()
    await expect(madrid.locator("html")).to_have_attribute("lang", "es")
    await expect(madrid.locator("#status")).to_have_text(re.compile("Conectado|De nuevo en línea"))


async def test_the_room_fits_a_phone_and_its_buttons_are_large_enough_to_tap(desk: Desk) -> None:
    await seed(desk, 60)
    page = await desk.sit_down(desk.ana, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    await expect(page.locator("#chat .message")).to_have_count(50)
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360
    await expect(page.locator("#chat-message-input")).to_be_in_viewport()
    await page.tap("#chat-message-input")
    await page.type("#chat-message-input", "a line")
    await page.press("#chat-message-input", "Enter")
    await page.type("#chat-message-input", "another")
    await page.tap("#chat-message-submit")
    await expect(page.locator("#chat .message.me")).to_have_count(1)
    await expect(page.locator("#chat .message.me")).to_be_in_viewport()
    for box in await page.locator("button:visible, .sidebar a:visible").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect()).map(box => [box.width, box.height])"
    ):
        assert min(box) >= 44, box


async def test_the_page_works_by_keyboard(desk: Desk) -> None:
    await seed(desk, 5)
    page = await desk.sit_down(desk.ana)
    await expect(page.locator("#chat .message")).to_have_count(5)
    await expect(page.locator("#chat-message-input")).to_be_focused()
    await page.keyboard.type("by hand")
    await page.keyboard.press("Enter")
    await expect(page.locator("#chat .message.me")).to_have_count(1)
    await expect(page.locator("#chat-message-input")).to_be_focused()
    await page.keyboard.press("Tab")
    for _ in range(3):
        if await page.evaluate("document.activeElement.closest('.message') !== null"):
            break
        await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.closest('.message').textContent.includes('by hand')")
    await page.keyboard.press("ArrowUp")
    assert await page.evaluate("document.activeElement.closest('.message').textContent.includes('number 5')")


async def test_screen_readers_announce_only_new_messages(desk: Desk) -> None:
    await seed(desk, 60)
    page = await desk.sit_down(desk.ana)
    await expect(page.locator("#chat .message")).to_have_count(50)
    await expect(page.locator("#chat")).to_have_attribute("role", "log")
    announcer = page.locator("[aria-live=polite]:not([role=status])")
    assert (await announcer.inner_text()).strip() == ""
    await page.locator("#chat .message").first.scroll_into_view_if_needed()
    await expect(page.locator("#chat .message")).to_have_count(60)
    assert (await announcer.inner_text()).strip() == ""
    async with desk.person(desk.luis) as luis:
        socket = await luis.enter()
        await socket.say("listen to this", id="new")
        await expect(announcer).to_contain_text("listen to this")


async def test_many_messages_sent_at_once_are_all_stored_in_order(desk: Desk) -> None:
    ana = await desk.sit_down(desk.ana)
    for number in range(40):
        await ana.fill("#chat-message-input", f"number {number}")
        await ana.press("#chat-message-input", "Enter")
    await expect(ana.locator("#chat .message")).to_have_count(40)
    await expect(ana.locator("#chat .message.pending")).to_have_count(0)
    async with desk.person(desk.luis) as luis:

        async def all_stored() -> bool:
            return len((await luis.messages())["messages"]) == 40

        await until(all_stored)
        stored = [message["message"] for message in (await luis.messages())["messages"]]
    assert stored == [f"number {number}" for number in range(40)]


async def test_two_windows_of_one_user_show_the_same_messages(desk: Desk) -> None:
    one = await desk.sit_down(desk.ana)
    two = await one.context.new_page()
    await two.goto(desk.server.url + desk.room)
    await asyncio.gather(say(one, "from one"), say(two, "from two"))
    for page in (one, two):
        await expect(page.locator("#chat .message.me")).to_have_count(2)
        await expect(page.locator("#chat .message.pending")).to_have_count(0)


async def test_the_tutorials_page_exchanges_messages_with_ours(desk: Desk) -> None:
    """Runs the script of the tutorial's room page on one of our pages, without our policy, which blocks `innerHTML`."""
    luis = await desk.sit_down(desk.luis)
    ana = await desk.sit_down(desk.ana, "/students/courses/", bypass_csp=True)
    await ana.evaluate(
        """([path, username]) => {
            document.body.innerHTML = '<div id="chat"></div>' +
                '<input id="chat-message-input"><button id="chat-message-submit">';
            const chatSocket = new WebSocket('ws://' + window.location.host + '/ws' + path);
            chatSocket.onmessage = function(event) {
                const data = JSON.parse(event.data);
                const chat = document.getElementById('chat');
                const dateOptions = {hour: 'numeric', minute: 'numeric', hour12: true};
                const datetime = new Date(data.datetime).toLocaleString('en', dateOptions);
                const name = data.user === username ? 'Me' : data.user;
                chat.innerHTML += '<div class="message ' + (name === 'Me' ? 'me' : 'other') + '"><strong>' + name +
                    '</strong> <span class="date">' + datetime + '</span><br>' + data.message + '</div>';
            };
            const input = document.getElementById('chat-message-input');
            document.getElementById('chat-message-submit').addEventListener('click', function() {
                if (input.value) {
                    chatSocket.send(JSON.stringify({'message': input.value}));
                    input.value = '';
                }
            });
            input.addEventListener('keypress', function(event) {
                if (event.key === 'Enter') {
                    event.preventDefault();
                    document.getElementById('chat-message-submit').click();
                }
            });
            return new Promise(resolve => { chatSocket.onopen = () => resolve(); });
        }""",
        [desk.room, desk.ana],
    )
    await say(ana, "from the tutorial")
    await expect(luis.locator("#chat .message.other")).to_contain_text(["from the tutorial"])
    await say(luis, "from the new page")
    await expect(ana.locator(".message")).to_have_count(2)
    assert await ana.locator(".message strong").all_inner_texts() == ["Me", desk.luis]
    assert re.fullmatch(r"\d{1,2}:\d\d\s[AP]M", await ana.locator(".message .date").first.inner_text())

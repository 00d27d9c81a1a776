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
    ana = await desk.sit_down(desk.ana)
    async with desk.person(desk.luis) as person:
        luis = await person.enter()
        await ana.fill("#chat-message-input", "Does anybody understand exercise 3?")
        await ana.click("#chat-message-submit")
        await luis.receive_until("chat_message", message="Does anybody understand exercise 3?", user=desk.ana)
        await luis.say("Yes!", id="yes")
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

    visitor = marta
    await visitor.context.clear_cookies()
    await visitor.goto(desk.server.url + desk.room)
    assert f"/accounts/login/?next={desk.room}" in visitor.url
    await visitor.fill("[name=username]", desk.luis)
    await visitor.fill("[name=password]", PASSWORD)
    await visitor.press("[name=password]", "Enter")
    await expect(visitor.locator("#chat .message.me")).to_contain_text(["Yes!"])
    await expect(visitor.locator("#chat .message.other")).to_contain_text(["Does anybody understand exercise 3?"])


async def test_the_course_list_links_to_the_room(desk: Desk) -> None:
    page = await desk.sit_down(desk.profe, "/students/courses/")
    await page.get_by_role("link", name="Álgebra lineal").click()
    await page.get_by_role("link", name="Course chat room").click()
    await page.wait_for_url(f"**/chat/room/{desk.other_course}/")
    await expect(page.get_by_role("heading", name="Álgebra lineal")).to_be_visible()


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
    page = await desk.sit_down(desk.ana)
    async with desk.person(desk.luis) as luis:
        socket = await luis.enter()
        for number, text in enumerate(HOSTILE):
            await say(page, text)
            await socket.say(text, id=str(number))
    for is_loaded_again in (False, True):
        if is_loaded_again:
            await page.reload()
        await expect(page.locator("#chat .message")).to_have_count(2 * len(HOSTILE))
        await expect(page.locator("#chat .message.pending")).to_have_count(0)
        assert (
            await page.locator(
                ".message script, .message img, .message form, .message [onload], .message [onerror]"
            ).count()
            == 0
        )
        bodies = await page.locator("#chat .body").all_inner_texts()
        for text in HOSTILE[:4]:
            assert sum(text in body for body in bodies) == 2
        assert not any("49" in body for body in bodies)
        for href in await page.locator("#chat a").evaluate_all("all => all.map(a => a.href)"):
            assert href.startswith("https://")
        width = await page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert width[0] <= width[1]


async def test_older_messages_load_silently_and_new_ones_are_announced_without_moving_the_reader(desk: Desk) -> None:
    await seed(desk, 130)
    page = await desk.sit_down(desk.ana)
    await expect(page.locator("#chat")).to_have_attribute("role", "log")
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
    # Screen readers announce only what is new.
    announcer = page.locator("[aria-live=polite]:not([role=status])")
    assert (await announcer.inner_text()).strip() == ""
    reading = page.locator("#chat .message", has_text=re.compile(r"number 40\b"))
    await reading.scroll_into_view_if_needed()
    async with desk.person(desk.luis) as luis:
        socket = await luis.enter()
        await socket.say("listen to this", id="news")
        await expect(announcer).to_contain_text("listen to this")
        await expect(page.locator("#chat .message")).to_have_count(131)
        await expect(reading).to_be_in_viewport()
        pill = page.get_by_role("button", name="1 new message")
        await expect(pill).to_be_visible()
        await pill.click()
        await expect(page.locator("#chat .message").last).to_be_in_viewport()
        await expect(pill).to_be_hidden()
        await socket.say("more", id="more")
        await expect(page.locator("#chat .message", has_text="more")).to_be_in_viewport()


async def test_a_draft_and_unsent_messages_survive_a_reload_and_the_messages_are_sent_once(desk: Desk) -> None:
    ana = await desk.sit_down(desk.ana)
    await say(ana, "stored")
    await expect(ana.locator("#chat .message.pending")).to_have_count(0)
    async with full_disk(desk, seq=2):
        await say(ana, "kept")
        await expect(ana.locator("#chat .message.pending", has_text="kept")).to_have_count(1)
        await ana.fill("#chat-message-input", "half a thou")
    await ana.reload()
    await expect(ana.locator("#chat-message-input")).to_have_value("half a thou")
    await expect(ana.locator("#chat .message", has_text="kept")).to_have_count(1)
    await expect(ana.locator("#chat .message.pending")).to_have_count(0)
    async with desk.person(desk.luis) as luis:
        assert [message["message"] for message in (await luis.messages())["messages"]] == ["stored", "kept"]


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
    page = await desk.sit_down(desk.ana, locale="es-ES", timezone_id="Asia/Tokyo")
    await expect(page.locator("#chat .message .date")).to_have_text(re.compile("0?7:30"))
    await expect(page.get_by_text("16 de enero")).to_be_visible()
    await expect(page.locator("html")).to_have_attribute("lang", "es")
    await expect(page.locator("#status")).to_have_text(re.compile("Conectado|De nuevo en línea"))


async def test_the_room_fits_a_phone_and_its_buttons_are_large_enough_to_tap(desk: Desk) -> None:
    await seed(desk, 20)
    page = await desk.sit_down(desk.ana, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    await expect(page.locator("#chat .message")).to_have_count(20)
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


async def test_the_page_works_by_keyboard_and_shift_enter_starts_a_new_line(desk: Desk) -> None:
    await seed(desk, 5)
    page = await desk.sit_down(desk.ana)
    await expect(page.locator("#chat .message")).to_have_count(5)
    await expect(page.locator("#chat-message-input")).to_be_focused()
    async with desk.person(desk.luis) as luis:
        socket = await luis.enter()
        await page.keyboard.type("by hand")
        await page.keyboard.press("Shift+Enter")
        await page.keyboard.type("in two lines")
        await page.keyboard.press("Enter")
        await socket.receive_until("chat_message", message="by hand\nin two lines")
    await expect(page.locator("#chat .message.me")).to_have_count(1)
    assert "by hand\nin two lines" in await page.locator("#chat .message.me").inner_text()
    await expect(page.locator("#chat-message-input")).to_be_focused()
    await expect(page.locator("#chat-message-input")).to_have_value("")
    await page.keyboard.press("Tab")
    for _ in range(3):
        if await page.evaluate("document.activeElement.closest('.message') !== null"):
            break
        await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.closest('.message').textContent.includes('by hand')")
    await page.keyboard.press("ArrowUp")
    assert await page.evaluate("document.activeElement.closest('.message').textContent.includes('number 5')")


async def test_many_messages_sent_at_once_are_all_stored_in_order(desk: Desk) -> None:
    ana = await desk.sit_down(desk.ana)
    await expect(ana.locator("#status")).to_have_attribute("data-key", "connected")
    await ana.evaluate(
        """() => {
            for (let number = 0; number < 40; number++) {
                const field = document.getElementById('chat-message-input');
                field.value = `number ${number}`;
                field.dispatchEvent(new InputEvent('input', { bubbles: true }));
                document.getElementById('chat-message-submit').click();
            }
        }"""
    )
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


async def test_the_tutorials_page_exchanges_messages_with_current_clients(desk: Desk) -> None:
    """Runs the script of the tutorial's room page on one of our pages, without our policy, which blocks `innerHTML`."""
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
    async with desk.person(desk.luis) as luis:
        socket = await luis.enter()
        await say(ana, "from the tutorial")
        await socket.receive_until("chat_message", message="from the tutorial", user=desk.ana)
        await socket.say("from the new page", id="new")
    await expect(ana.locator(".message")).to_have_count(2)
    assert await ana.locator(".message strong").all_inner_texts() == ["Me", desk.luis]
    assert re.fullmatch(r"\d{1,2}:\d\d\s[AP]M", await ana.locator(".message .date").first.inner_text())

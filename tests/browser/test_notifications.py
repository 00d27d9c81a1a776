"""Browser notifications: when they appear, when they don't, and what the page says about them.

The browser's `Notification` is wrapped to record what a page creates. Showing it on the desktop is up to the browser.
"""

from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from educa_chat.handlers.keys import SOCKETS
from educa_chat.protocol import CloseCode
from educa_chat.storage.accounts import find_user_id
from educa_chat.storage.courses import add_course, enrol
from tests.browser.conftest import TIMEOUT_MS, Desk, PagePool, end_session, until
from tests.browser.test_barriers import barriers
from tests.browser.test_signing_out import FORM, click_sign_out, expect_connected
from tests.browser.test_talking import PHONE, message
from tests.browser.test_unread import turn
from tests.handlers.test_class_commands import give
from tests.serving import Chatter

pytestmark = pytest.mark.asyncio(loop_scope="session")
expect.set_options(timeout=TIMEOUT_MS)

RECORD = """
    window.made = [];
    const Real = window.Notification;
    window.Notification = class extends Real {
        constructor(title, options) {
            super(title, options);
            const record = { title, ...options, isOpen: true };
            if (title) window.made.push(record);
            this.click = () => this.dispatchEvent(new Event('click'));
            record.click = this.click;
            const close = this.close.bind(this);
            this.close = () => { record.isOpen = false; close(); };
        }
    };
"""
PHONE_BROWSER = """
    window.Notification = class {
        static permission = 'default';
        static requestPermission = async () => 'granted';
        constructor() { throw new TypeError('Illegal constructor'); }
    };
"""
ASK = "Notify me of mentions and replies"
ROOM = "Introducción a la programación"


@pytest.fixture(scope="session")
def pages(chromium_with_windows: Browser) -> PagePool:
    return PagePool(chromium_with_windows)


async def sit_down(desk: Desk, *, script: str = RECORD, allow: bool = True, **context: Any) -> Page:
    """Open a page of Ana's with notifications turned on."""
    page = await desk.sit_down(desk.ana, "/students/courses/", reuse=False, **context)
    if allow:
        await page.context.grant_permissions(["notifications"])
    await page.context.add_init_script(script)
    await enter(page, desk)
    if allow:
        await page.get_by_role("button", name=ASK).click()
        await expect(page.locator("#notifications-state")).to_have_text("on")
    return page


async def enter(page: Page, desk: Desk) -> None:
    await page.goto(desk.server.url + desk.room)
    await expect(page.locator("#status")).to_have_attribute("data-key", "connected")


async def made(page: Page) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await page.evaluate("made.map(({ click, ...one }) => one)")
    return found


async def until_made(page: Page, *titles: str) -> None:
    async def is_made() -> bool:
        return [one["title"] for one in await made(page)] == list(titles)

    await until(is_made)


async def answer(socket: Chatter, **command: object) -> int:
    return await give(socket, type="message", **command)


async def test_a_hidden_window_notifies_of_mentions_and_replies_only(desk: Desk) -> None:
    ana = await sit_down(desk)
    async with (
        desk.person(desk.luis) as student,
        desk.person(desk.profe) as teacher,
        desk.person(desk.ana) as herself,
    ):
        luis, profe, other = await student.enter(), await teacher.enter(), await herself.enter()
        mine = await answer(other, message="my question")
        await expect(message(ana, "my question")).to_be_visible()
        await answer(luis, message=f"in the visible window @{desk.ana}")
        await turn(ana, hidden=True)
        await answer(luis, message=f"@{desk.ana} **look** <b>here</b>")
        await answer(luis, message=f"nothing for Ana, but @{desk.profe}")
        await answer(luis, message="so", reply_to=mine)
        await answer(luis, message="to another", reply_to=2)
        await answer(other, message=f"@{desk.ana}, by the same user", reply_to=mine)
        await answer(luis, message="@all says a student")
        await answer(profe, message="@all an exam")
    await until_made(
        ana,
        f"Luis Ortega mentioned you · {ROOM}",
        f"Luis Ortega replied to you · {ROOM}",
        f"Clara Benítez mentioned everyone · {ROOM}",
    )
    first, *_ = await made(ana)
    assert first["body"] == "@Ana Morales look <b>here</b>"
    assert len({one["tag"] for one in await made(ana)}) == 3


async def test_a_window_without_focus_also_notifies(desk: Desk) -> None:
    ana = await sit_down(desk)
    await ana.evaluate("document.hasFocus = () => false")
    async with desk.person(desk.luis) as luis:
        await answer(await luis.enter(), message=f"@{desk.ana}")
    await until_made(ana, f"Luis Ortega mentioned you · {ROOM}")


async def test_clicking_a_notification_shows_its_message_however_old(desk: Desk) -> None:
    ana = await sit_down(desk)
    await turn(ana, hidden=True)
    async with desk.person(desk.luis) as luis:
        socket = await luis.enter()
        await answer(socket, message=f"@{desk.ana} first")
        for number in range(80):
            await answer(socket, message=f"number {number}")
    await until_made(ana, f"Luis Ortega mentioned you · {ROOM}")
    await expect(message(ana, "number 79")).to_be_attached()
    await turn(ana, hidden=False)
    await ana.evaluate("made[0].click()")
    await expect(message(ana, "@Ana Morales first")).to_be_focused()
    await expect(message(ana, "@Ana Morales first")).to_be_in_viewport()
    assert not (await made(ana))[0]["isOpen"]


async def test_mentions_and_replies_in_another_room_notify_and_link_to_it(desk: Desk) -> None:
    other = await add_course(desk.database, "Álgebra", desk.profe)
    for username in (desk.ana, desk.luis):
        await enrol(desk.database, username, other)
    async with (
        desk.person(desk.luis) as student,
        desk.person(desk.profe) as teacher,
        desk.person(desk.ana) as herself,
    ):
        luis, profe, elsewhere = await student.enter(other), await teacher.enter(other), await herself.enter(other)
        mine = await answer(elsewhere, message="my question")
        await answer(luis, message=f"@{desk.ana}, before the page was opened")
        ana = await sit_down(desk)
        badge = ana.locator(f"[data-room='{other}'] .unread")
        await expect(badge).to_be_visible()
        # None of these is announced.
        await answer(luis, message="nothing for Ana")
        # Only the socket can have sent this count, and with it what isn't news: the API may have given the first two.
        await expect(badge).to_contain_text("3 unread messages")
        await answer(luis, message="to myself", reply_to=2)
        by_mistake = await answer(luis, message=f"@{desk.ana} by mistake")
        await give(luis, type="delete", target=by_mistake)
        changed = await answer(luis, message=f"@{desk.ana}, or rather not")
        await give(luis, type="edit", target=changed, message="nobody")
        # All of these are, though the page is in sight: another room is.
        said = await answer(luis, message=f"@{desk.ana} **look**, @{desk.profe}")
        await answer(luis, message="so", reply_to=mine)
        await answer(profe, message="@all.Thanks")
        titles = [f"{what} · Álgebra" for what in ("Luis Ortega mentioned you", "Luis Ortega replied to you")]
        await until_made(ana, *titles, "Clara Benítez mentioned everyone · Álgebra")
        first, *_ = await made(ana)
        assert first["body"] == "@Ana Morales look, @Clara Benítez"
        # A notification disappears when its message is deleted.
        await give(luis, type="delete", target=said)

        async def is_closed() -> bool:
            return [one["isOpen"] for one in await made(ana)] == [False, True, True]

        await until(is_closed)
        # A window that shows the room announces its messages itself: here, the reader is looking at them.
        window = await ana.context.new_page()
        await window.goto(f"{desk.server.url}/chat/room/{other}/")
        await expect(window.locator("#notifications-state")).to_have_text("on")
        await answer(luis, message=f"@{desk.ana}, you are here")
        await expect(message(window, "@Ana Morales, you are here")).to_be_visible()
        await window.close()
        # Nothing is shown while notifications are paused, or for messages that were read elsewhere.
        await ana.get_by_role("switch", name="Pause notifications").check()
        await answer(luis, message=f"@{desk.ana} in quiet")
        await expect(ana.locator(f"[data-room='{other}'] .mentions")).to_be_visible()
        await ana.get_by_role("switch", name="Pause notifications").uncheck()
        read = await answer(luis, message=f"@{desk.ana}, read on the phone")
        await elsewhere.send({"type": "read", "seq": read})
        await expect(ana.locator(f"[data-room='{other}'] .unread")).to_have_count(0)
        last = await answer(luis, message=f"@{desk.ana}, the last one")
        await until_made(ana, *titles, "Clara Benítez mentioned everyone · Álgebra", titles[0])
        await ana.fill("#chat-message-input", "half a thought")
        await ana.evaluate("made.at(-1).click()")
        await ana.wait_for_url(f"**/chat/room/{other}/")
        await expect(message(ana, "@Ana Morales, the last one")).to_be_focused()
        assert last > read


async def test_a_reply_to_a_message_that_is_not_loaded_notifies_its_author(desk: Desk) -> None:
    async with desk.person(desk.ana) as herself, desk.person(desk.luis) as student:
        hers, luis = await herself.enter(), await student.enter()
        await answer(hers, message="long ago")
        await answer(luis, message="long ago by luis")
        for number in range(60):
            await answer(luis, message=f"number {number}")
        ana = await sit_down(desk)
        await turn(ana, hidden=True)
        await answer(luis, message="not to Ana", reply_to=2)
        await answer(luis, message="to Ana", reply_to=1)
        await until_made(ana, f"Luis Ortega replied to you · {ROOM}")
        assert (await made(ana))[0]["body"] == "to Ana"


async def test_messages_read_in_another_window_or_since_do_not_notify(desk: Desk) -> None:
    ana = await sit_down(desk)
    await turn(ana, hidden=True)
    async with desk.person(desk.ana) as herself, desk.person(desk.luis) as student:
        phone, luis = await herself.enter(), await student.enter()
        seq = await answer(luis, message=f"@{desk.ana} reads this")
        await phone.send({"type": "read", "seq": seq})
        seq = await answer(luis, message=f"@{desk.ana} and not that")
        await until_made(ana, f"Luis Ortega mentioned you · {ROOM}")
        assert (await made(ana))[0]["body"] == "@Ana Morales and not that"
        await phone.send({"type": "read", "seq": seq})

        async def is_closed() -> bool:
            return not (await made(ana))[0]["isOpen"]

        await until(is_closed)


async def test_deleting_a_message_prevents_or_closes_its_notification(desk: Desk) -> None:
    ana = await sit_down(desk)
    await turn(ana, hidden=True)
    async with desk.person(desk.luis) as student:
        luis = await student.enter()
        by_mistake = await answer(luis, message=f"@{desk.ana} by mistake")
        await give(luis, type="delete", target=by_mistake)
        told = await answer(luis, message=f"@{desk.ana} it is told")
        await until_made(ana, f"Luis Ortega mentioned you · {ROOM}")
        await give(luis, type="delete", target=told)

        async def is_closed() -> bool:
            return not (await made(ana))[0]["isOpen"]

        await until(is_closed)
        assert (await made(ana))[0]["body"] == "@Ana Morales it is told"


async def test_after_a_reconnect_new_messages_notify_once_and_old_ones_do_not(desk: Desk) -> None:
    ana = await sit_down(desk)
    await turn(ana, hidden=True)
    async with desk.person(desk.luis) as student:
        luis = await student.enter()
        await answer(luis, message=f"@{desk.ana} one")
        await until_made(ana, f"Luis Ortega mentioned you · {ROOM}")
        await ana.context.set_offline(True)
        await cut_off(desk, desk.ana)
        await answer(luis, message=f"@{desk.ana} two")
        await ana.context.set_offline(False)
        await until_made(ana, *2 * [f"Luis Ortega mentioned you · {ROOM}"])
        await ana.context.set_offline(True)
        await cut_off(desk, desk.ana)
        await answer(luis, message=f"@{desk.ana} long before the return")
        # As if an hour had passed in the meantime.
        await ana.evaluate("(now => (Date.now = () => now() + 3600_000))(Date.now)")
        await ana.context.set_offline(False)
        await expect(message(ana, "@Ana Morales long before the return")).to_be_attached()
        await answer(luis, message=f"@{desk.ana} three")
        await until_made(ana, *3 * [f"Luis Ortega mentioned you · {ROOM}"])
    assert [one["body"] for one in await made(ana)] == [f"@Ana Morales {word}" for word in ("one", "two", "three")]


async def cut_off(desk: Desk, username: str) -> None:
    """Break the connections of a user's sockets."""
    sockets = desk.server.app[SOCKETS]
    for socket in list(sockets):
        if socket.visitor.username == username:
            socket.close(CloseCode.GOING_AWAY)


async def test_pausing_notifications_applies_to_all_windows_and_survives_a_reload(desk: Desk) -> None:
    ana = await sit_down(desk)
    other = await ana.context.new_page()
    await enter(other, desk)
    await expect(other.locator("#notifications-state")).to_have_text("on")
    await other.get_by_role("switch", name="Pause notifications").check()
    for page in (ana, other):
        await expect(page.locator("#notifications-state")).to_have_text("paused")
        await expect(page.get_by_role("switch", name="Pause notifications")).to_be_checked()
    await other.reload()
    await expect(other.locator("#notifications-state")).to_have_text("paused")
    await other.close()
    await turn(ana, hidden=True)
    async with desk.person(desk.luis) as student:
        luis = await student.enter()
        await answer(luis, message=f"@{desk.ana} in quiet")
        await expect(message(ana, "@Ana Morales in quiet")).to_be_attached()
        await ana.get_by_role("switch", name="Pause notifications").uncheck()
        await expect(ana.locator("#notifications-state")).to_have_text("on")
        await answer(luis, message=f"@{desk.ana} again")
    await until_made(ana, f"Luis Ortega mentioned you · {ROOM}")
    assert (await made(ana))[0]["body"] == "@Ana Morales again"


async def test_the_page_neither_requests_permission_nor_notifies_until_the_user_opts_in(desk: Desk) -> None:
    ana = await sit_down(desk, allow=False)
    asked = "Notification.requestPermission = async () => { window.asked = true; return 'default'; }"
    await ana.evaluate(f"() => {{ {asked} }}")
    await ana.context.grant_permissions(["notifications"])
    await turn(ana, hidden=True)
    async with desk.person(desk.luis) as student:
        await answer(await student.enter(), message=f"@{desk.ana}")
    await expect(message(ana, "@Ana Morales")).to_be_attached()
    await expect(ana.locator("#notifications-state")).to_have_text("off")
    assert await ana.evaluate("[window.asked, made.length]") == [None, 0]
    await ana.get_by_role("button", name=ASK).click()
    # The click loads the code that asks.
    await ana.wait_for_function("window.asked")


async def test_the_page_says_that_the_browser_blocks_notifications(desk: Desk) -> None:
    script = RECORD + "Object.defineProperty(Notification, 'permission', { get: () => 'denied' });"
    ana = await sit_down(desk, script=script, allow=False)
    await ana.get_by_role("button", name=ASK).click()
    await expect(ana.locator("#notifications-state")).to_contain_text("blocked by the browser")
    await expect(ana.get_by_role("button", name=ASK)).to_be_hidden()


@pytest.mark.parametrize("script", [PHONE_BROWSER, "delete window.Notification"])
async def test_the_page_says_that_the_browser_does_not_support_notifications(desk: Desk, script: str) -> None:
    ana = await sit_down(desk, script=script, allow=False, **PHONE)
    await ana.locator(".menu-button").tap()
    await ana.get_by_role("button", name=ASK).tap()
    await expect(ana.locator("#notifications-state")).to_have_text("not supported by this browser")
    await turn(ana, hidden=True)
    async with desk.person(desk.luis) as student:
        await answer(await student.enter(), message=f"@{desk.ana}")
    await expect(message(ana, "@Ana Morales")).to_be_attached()


async def test_the_room_works_when_creating_a_notification_fails(desk: Desk) -> None:
    ana = await sit_down(desk)
    await ana.evaluate(
        "() => void (window.Notification = class"
        " { static permission = 'granted'; constructor() { throw new TypeError(); } })"
    )
    await turn(ana, hidden=True)
    async with desk.person(desk.luis) as student:
        luis = await student.enter()
        await answer(luis, message=f"@{desk.ana}")
        await expect(ana.locator("#notifications-state")).to_have_text("not supported by this browser")
        await answer(luis, message=f"@{desk.ana} again")
    await expect(message(ana, "@Ana Morales again")).to_be_attached()


async def test_notification_settings_are_not_stored_after_the_session_has_ended(desk: Desk) -> None:
    page = await desk.sit_down(desk.ana)
    await page.context.grant_permissions(["notifications"])
    key = f"educa-chat:notifications:{await find_user_id(desk.database, desk.ana)}"
    await page.evaluate("key => localStorage.setItem(key, 'on')", key)
    await page.reload()
    await expect_connected(page)
    quiet = page.get_by_role("switch", name="Pause notifications")
    await expect(quiet).to_be_visible()
    await end_session(page)
    await expect(page.locator("#status")).to_have_attribute("data-key", "signed-out")
    await quiet.click()
    assert await page.evaluate("key => localStorage.getItem(key)", key) == "on"
    await click_sign_out(page)
    await page.wait_for_url(FORM)
    await expect(page.locator("[name=username]")).to_be_visible()


@pytest.mark.parametrize("device", [{}, PHONE], ids=["wide", "phone"])
async def test_the_notification_settings_pass_axe(
    desk: Desk,
    axe: str,
    device: dict[str, Any],
) -> None:
    page = await sit_down(desk, allow=False, **device)
    await page.context.grant_permissions(["notifications"])
    if device:
        await page.locator(".menu-button").tap()
    assert await barriers(page, axe) == []
    await page.get_by_role("button", name=ASK).click()
    await expect(page.get_by_role("switch", name="Pause notifications")).to_be_visible()
    assert await barriers(page, axe) == []

"""Browser notifications: when they appear, when they don't, and what the page says about them.

The browser's `Notification` is wrapped to record what a page creates. Showing it on the desktop is up to the browser.
"""

from contextlib import suppress
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect
from playwright.async_api import TimeoutError as PlaywrightTimeout

from educa_chat.handlers.keys import SOCKETS
from educa_chat.protocol import CloseCode
from educa_chat.storage.accounts import find_user_id
from educa_chat.storage.courses import add_course, enrol
from tests.browser.conftest import TIMEOUT_MS, Desk, PagePool, end_session
from tests.browser.test_barriers import barriers
from tests.browser.test_signing_out import FORM, click_sign_out, expect_connected
from tests.browser.test_talking import PHONE, message, seed
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
REFUSES_LATER = """
    window.Notification = class {
        static permission = 'granted';
        static requestPermission = async () => 'granted';
        constructor() { throw new TypeError(); }
    };
"""
POLLING_MS = 100
"""How often a page looks for its notifications, which appear after two seconds. Each look from outside is expensive."""
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


async def sit_down(desk: Desk, *, allow: bool = True) -> Page:
    """Open a page of Ana's with notifications turned on."""
    page = await desk.sit_down(desk.ana)
    await run(page, RECORD)
    if allow:
        await page.context.grant_permissions(["notifications"])
        await page.get_by_role("button", name=ASK).click()
        await expect(page.locator("#notifications-state")).to_have_text("on")
    await expect_connected(page)
    return page


async def run(page: Page, script: str) -> None:
    """Run a script in a page, which uses `Notification` only when the user turns notifications on."""
    await page.evaluate(f"() => {{ {script} }}")


async def made(page: Page) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await page.evaluate("made.map(({ click, ...one }) => one)")
    return found


async def until_made(page: Page, *titles: str) -> None:
    with suppress(PlaywrightTimeout):
        await page.wait_for_function(
            "titles => made.map(({ title }) => title).join() === titles.join()", arg=titles, polling=POLLING_MS
        )
    assert [one["title"] for one in await made(page)] == list(titles)


async def until_open(page: Page, *are_open: bool) -> None:
    """Wait until these of the notifications are open, and the others have been closed."""
    with suppress(PlaywrightTimeout):
        await page.wait_for_function(
            "open => made.map(({ isOpen }) => isOpen).join() === open.join()", arg=are_open, polling=POLLING_MS
        )
    assert [one["isOpen"] for one in await made(page)] == list(are_open)


async def answer(socket: Chatter, **command: object) -> int:
    return await give(socket, type="message", **command)


async def test_a_window_out_of_sight_notifies_of_mentions_and_replies_only(desk: Desk) -> None:
    async with (
        desk.person(desk.luis) as student,
        desk.person(desk.profe) as teacher,
        desk.person(desk.ana) as herself,
    ):
        luis, profe, other = await student.enter(), await teacher.enter(), await herself.enter()
        # The page doesn't load the first two.
        long_ago = await answer(other, message="long ago")
        long_ago_by_luis = await answer(luis, message="long ago by luis")
        await seed(desk, 50)
        ana = await sit_down(desk)
        mine = await answer(other, message="my question")
        await expect(message(ana, "my question")).to_be_visible()
        his = await answer(luis, message=f"in the visible window @{desk.ana}")
        await expect(message(ana, "in the visible window @Ana Morales")).to_be_visible()
        await turn(ana, hidden=True)
        await answer(luis, message=f"@{desk.ana} **look** <b>here</b>")
        await answer(luis, message=f"nothing for Ana, but @{desk.profe}")
        await answer(luis, message="so", reply_to=mine)
        await answer(luis, message="to another", reply_to=his)
        await answer(other, message=f"@{desk.ana}, by the same user", reply_to=mine)
        await answer(luis, message="@all says a student")
        await answer(profe, message="@all an exam")
        await answer(luis, message="to another, long ago", reply_to=long_ago_by_luis)
        await answer(luis, message="and that, long ago", reply_to=long_ago)
        titles = [
            f"Luis Ortega mentioned you · {ROOM}",
            f"Luis Ortega replied to you · {ROOM}",
            f"Clara Benítez mentioned everyone · {ROOM}",
            f"Luis Ortega replied to you · {ROOM}",
        ]
        await until_made(ana, *titles)
        first, *_, last = await made(ana)
        assert first["body"] == "@Ana Morales look <b>here</b>"
        assert last["body"] == "and that, long ago"
        assert len({one["tag"] for one in await made(ana)}) == 4
        # A window that is visible but has no focus notifies too.
        await turn(ana, hidden=False)
        await ana.evaluate("document.hasFocus = () => false")
        await answer(luis, message=f"@{desk.ana}")
        await until_made(ana, *titles, titles[0])


async def test_a_notification_disappears_when_its_message_is_deleted_read_elsewhere_or_opened(desk: Desk) -> None:
    ana = await sit_down(desk)
    await turn(ana, hidden=True)
    title = f"Luis Ortega mentioned you · {ROOM}"

    async with desk.person(desk.ana) as herself, desk.person(desk.luis) as student:
        phone, luis = await herself.enter(), await student.enter()
        # Nothing appears if that happens at once.
        by_mistake = await answer(luis, message=f"@{desk.ana} by mistake")
        await give(luis, type="delete", target=by_mistake)
        told = await answer(luis, message=f"@{desk.ana} it is told")
        await until_made(ana, title)
        await give(luis, type="delete", target=told)
        await until_open(ana, False)
        read = await answer(luis, message=f"@{desk.ana} reads this")
        await phone.send({"type": "read", "seq": read})
        read = await answer(luis, message=f"@{desk.ana} and not that")
        await until_made(ana, title, title)
        await phone.send({"type": "read", "seq": read})
        await until_open(ana, False, False)
        await answer(luis, message=f"@{desk.ana} first")
        await until_made(ana, title, title, title)
        # The message is no longer in view when Ana clicks the notification.
        await seed(desk, 30)
        await expect(message(ana, "number 30")).to_be_attached()
        await until_open(ana, False, False, True)
        await turn(ana, hidden=False)
        await ana.evaluate("made[2].click()")
        await expect(message(ana, "@Ana Morales first")).to_be_focused()
        await expect(message(ana, "@Ana Morales first")).to_be_in_viewport()
    await until_open(ana, False, False, False)
    bodies = [one["body"] for one in await made(ana)]
    assert bodies == [f"@Ana Morales {what}" for what in ("it is told", "and not that", "first")]


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

        await until_open(ana, False, True, True)
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
    await other.goto(desk.server.url + desk.room)
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
    await run(ana, "Notification.requestPermission = async () => { window.asked = true; return 'default'; }")
    await ana.context.grant_permissions(["notifications"])
    await turn(ana, hidden=True)
    async with desk.person(desk.luis) as student:
        await answer(await student.enter(), message=f"@{desk.ana}")
    await expect(message(ana, "@Ana Morales")).to_be_attached()
    await expect(ana.locator("#notifications-state")).to_have_text("off")
    assert await ana.evaluate("[window.asked, made.length]") == [None, 0]
    # The user refuses.
    await run(ana, "Object.defineProperty(Notification, 'permission', { get: () => 'denied' })")
    await ana.get_by_role("button", name=ASK).click()
    # The click loads the code that asks.
    await ana.wait_for_function("window.asked")
    await expect(ana.locator("#notifications-state")).to_contain_text("blocked by the browser")
    await expect(ana.get_by_role("button", name=ASK)).to_be_hidden()


async def test_the_page_says_that_the_browser_does_not_support_notifications_and_works(desk: Desk) -> None:
    page = await desk.sit_down(desk.ana)
    await page.context.grant_permissions(["notifications"])
    async with desk.person(desk.luis) as student:
        luis = await student.enter()
        for number, script in enumerate((PHONE_BROWSER, "delete window.Notification", REFUSES_LATER)):
            if number:
                await page.reload()
            await run(page, script)
            await page.get_by_role("button", name=ASK).click()
            if script is REFUSES_LATER:
                await expect(page.locator("#notifications-state")).to_have_text("on")
                await turn(page, hidden=True)
                await answer(luis, message=f"@{desk.ana}, the first")
            await expect(page.locator("#notifications-state")).to_have_text("not supported by this browser")
            await turn(page, hidden=True)
            await answer(luis, message=f"@{desk.ana} {number}")
            await expect(message(page, f"@Ana Morales {number}")).to_be_attached()


async def test_notification_settings_are_not_stored_after_the_session_has_ended(desk: Desk) -> None:
    page = await sit_down(desk)
    quiet = page.get_by_role("switch", name="Pause notifications")
    await end_session(page)
    await expect(page.locator("#status")).to_have_attribute("data-key", "signed-out")
    await quiet.click()
    key = f"educa-chat:notifications:{await find_user_id(desk.database, desk.ana)}"
    assert await page.evaluate("key => localStorage.getItem(key)", key) == "on"
    await click_sign_out(page)
    await page.wait_for_url(FORM)
    await expect(page.locator("[name=username]")).to_be_visible()


async def test_the_notification_settings_pass_axe_on_wide_and_narrow_screens(desk: Desk, axe: str) -> None:
    page = await sit_down(desk, allow=False)
    assert await barriers(page, axe) == []
    await page.set_viewport_size(PHONE["viewport"])
    await page.locator(".menu-button").click()
    assert await barriers(page, axe) == []
    await page.context.grant_permissions(["notifications"])
    await page.get_by_role("button", name=ASK).click()
    await expect(page.get_by_role("switch", name="Pause notifications")).to_be_visible()
    assert await barriers(page, axe) == []
    await page.keyboard.press("Escape")
    await page.set_viewport_size({"width": 1100, "height": 700})
    await expect(page.get_by_role("switch", name="Pause notifications")).to_be_visible()
    assert await barriers(page, axe) == []

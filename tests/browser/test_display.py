"""The page in print, in forced colours, for copying and for screen readers; and the server's clock."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import Page, expect

from educa_chat.storage.courses import add_course, enrol
from tests.browser.conftest import TIMEOUT_MS, Desk, say
from tests.browser.test_talking import act, message, seed
from tests.handlers.test_class_commands import give

pytestmark = pytest.mark.asyncio(loop_scope="session")
expect.set_options(timeout=TIMEOUT_MS)

FIELD = "#chat-message-input"


def with_clock_off(ms: str) -> str:
    """Return a script that moves the clock of a page by the value of this expression, forwards or backwards."""
    return f"""(() => {{
        const ms = {ms};
        const now = Date.now.bind(Date);
        const Real = Date;
        globalThis.Date = class extends Real {{
            constructor(...given) {{ given.length ? super(...given) : super(now() + ms); }}
            static now() {{ return now() + ms; }}
        }};
    }})();"""


async def test_the_servers_clock_is_used_when_the_computers_clock_is_wrong(desk: Desk) -> None:
    async with desk.person(desk.profe) as profe:
        teacher = await profe.enter()
        await give(teacher, type="message", message="a word")
        ana = await desk.sit_down(desk.ana, "/health/live", reuse=False)
        await ana.add_init_script(with_clock_off("Number(sessionStorage.getItem('clock'))"))
        for hours in (-25, 25):
            await ana.evaluate("ms => sessionStorage.setItem('clock', ms)", hours * 3600_000)
            await ana.goto(desk.server.url + desk.room)
            await expect(ana.locator(".day")).to_have_text("Today")
            assert abs(await ana.evaluate("Date.now()") / 3600_000 - datetime.now(UTC).timestamp() / 3600 - hours) < 1
            await say(ana, f"mine {hours}")
            await expect(ana.locator("#chat .pending")).to_have_count(0)
            await message(ana, f"mine {hours}").locator(".body").hover()
            await message(ana, f"mine {hours}").get_by_role("button", name="More").click()
            await expect(ana.get_by_role("menuitem", name="Edit")).to_be_visible()
            await ana.keyboard.press("Escape")
            await give(teacher, type="mute", user=desk.ana, minutes=1)
            await expect(ana.locator("#composer-closed")).to_contain_text("You’re muted")
            # Shortly before its end, as after a reload.
            soon = datetime.now(UTC) + timedelta(seconds=3)
            await desk.database.execute("update educa_chat.mute set until = $1 where course = $2", soon, desk.course)
            await ana.reload()
            await expect(ana.locator("#status")).to_have_attribute("data-key", "connected")
            await expect(ana.locator(FIELD)).to_be_visible()
            assert datetime.now(UTC) >= soon
            await give(teacher, type="slow", seconds=60)
            await say(ana, "again")
            await expect(ana.locator("#composer-wait")).to_contain_text(re.compile(r"Slow mode: \d\d seconds left"))
            await give(teacher, type="slow", seconds=0)


async def test_day_headings_are_updated_after_the_computer_wakes_up(desk: Desk) -> None:
    await seed(desk, 1)
    page = await desk.sit_down(desk.ana)
    await expect(page.locator(".day")).to_have_text("Today")
    await page.evaluate(with_clock_off("24 * 3600_000"))
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await expect(page.locator(".day")).to_have_text("Yesterday")


async def copied(page: Page, selector: str) -> str:
    """Return the content of the clipboard after copying everything in an element."""
    text: str = await page.evaluate(
        """selector => {
            getSelection().selectAllChildren(document.querySelector(selector));
            const data = new DataTransfer();
            const event = new ClipboardEvent('copy', { clipboardData: data, bubbles: true, cancelable: true });
            document.querySelector(selector).dispatchEvent(event);
            return event.defaultPrevented ? data.getData('text/plain') : getSelection().toString();
        }""",
        selector,
    )
    return text


async def test_messages_are_announced_copied_quoted_and_printed_as_text(desk: Desk) -> None:
    async with desk.person(desk.luis) as luis:
        socket = await luis.enter()
        for number in range(60):
            await socket.say(f"line {number}", id=str(number))
        await socket.receive_until("ack", id="59")
        page = await desk.sit_down(desk.ana)
        await expect(page.locator("#chat .message")).to_have_count(50)
        await socket.say("**so** $x^2 + 1$ is\n- `code`\n- two", id="formula")
        await expect(page.locator("#chat .message")).to_have_count(51)
        body = page.locator("#chat .message .body").last
        await expect(body.locator("math")).to_have_accessible_name("x^2 + 1")
        await expect(body.locator("code")).to_have_attribute("translate", "no")
        await expect(page.locator("#announcer")).to_have_text("Luis Ortega says: so x^2 + 1 is\ncode\ntwo")
        assert await copied(page, "#chat .message:last-child .body") == "so $x^2 + 1$ is\ncode\ntwo"
        family = "\N{MAN}\u200d\N{WOMAN}\u200d\N{GIRL}\u200d\N{BOY}"
        await socket.say(family * 130, id="family")
        await expect(page.locator("#chat .message")).to_have_count(52)
        await act(page, family, "Reply")
        about = page.locator("#composer-about bdi").nth(1)
        await expect(about).to_have_text(family * 120 + "…")
        # Deleted text is gone from everywhere.
        await give(socket, type="delete", target=62)
        await expect(about).to_have_text("This message was deleted.")
        await expect(page.locator("#announcer")).not_to_contain_text(family)
        assert family not in await page.evaluate("JSON.stringify(localStorage)")
        await page.emulate_media(media="print")
        assert await page.evaluate(
            """() => {
                const last = [...document.querySelectorAll('#chat .message')].at(-1).getBoundingClientRect();
                return last.bottom <= document.documentElement.scrollHeight + scrollY && last.height > 0
                    && getComputedStyle(document.querySelector('#chat')).overflowY === 'visible';
            }"""
        )
        await expect(page.locator(FIELD)).to_be_hidden()


async def test_pressed_buttons_stand_out_in_forced_colours_and_emoji_variants_count_as_one_reaction(desk: Desk) -> None:
    await seed(desk, 1)
    page = await desk.sit_down(desk.ana)
    await page.emulate_media(forced_colors="active")
    ask = page.locator("#composer-ask")
    colour = "one => getComputedStyle(one).backgroundColor"
    before = await ask.evaluate(colour)
    await ask.click()
    await expect(ask).to_have_attribute("aria-pressed", "true")
    assert await ask.evaluate(colour) != before
    async with desk.person(desk.luis) as luis, desk.person(desk.profe) as profe:
        await give(await luis.enter(), type="react", target=1, emoji="\u2764", on=True)
        await give(await profe.enter(), type="react", target=1, emoji="\u2764\ufe0f", on=True)
    await expect(page.locator(".chip")).to_have_text(["\u2764\ufe0f 2"])


async def test_the_sidebar_shows_unread_counts_and_can_mark_all_rooms_as_read(desk: Desk) -> None:
    database = desk.database
    courses = [await add_course(database, f"Course {number:02}", desk.profe) for number in range(40)]
    for course in courses:
        await enrol(database, desk.ana, course)
    page = await desk.sit_down(desk.ana, f"/chat/room/{courses[29]}/")
    await expect(page.locator("#status")).to_have_attribute("data-key", "connected")
    await expect(page.locator(".sidebar [aria-current]")).to_be_in_viewport()
    async with desk.person(desk.profe) as profe:
        socket = await profe.enter(courses[17])
        await give(socket, type="message", message="hello")
        badge = page.locator(f"[data-room='{courses[17]}'] .unread")
        await expect(badge).to_have_text("11 unread message")
        await give(socket, type="message", message=f"@{desk.ana}: look")
        await expect(badge).to_have_text("@ 22 unread messages, 1 mentions you")
        await expect(badge).to_have_class(re.compile("mentions"))
        await give(socket, type="delete", target=2)
        await expect(badge).to_have_text("11 unread message")
        await page.click("#read-all")
        await expect(badge).to_have_count(0)
        # The button shows the number of unanswered questions.
        here = await profe.enter(courses[29])
        await give(here, type="message", message="why?", question=True)
        await expect(page.locator("#unanswered")).to_have_accessible_name("Unanswered questions: 1 without an answer")
        # After sending, Tab moves to the newest message, not to a code block far above.
        await give(here, type="message", message="```\n" + "long " * 100 + "\n```")
        await give(here, type="message", message="more")
    await say(page, "the newest")
    await expect(message(page, "the newest")).to_be_visible()
    await expect(page.locator("#chat .pending")).to_have_count(0)
    await page.focus("#chat-message-submit")
    await page.keyboard.press("Tab")
    await expect(message(page, "the newest")).to_be_focused()

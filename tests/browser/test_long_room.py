"""A room with a long history: the page keeps only a part of it, and readers don't notice."""

import asyncio
import json
import re
from statistics import median
from typing import Any

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.conftest import TIMEOUT_MS, Desk, say
from tests.browser.test_search import say_much
from tests.serving import Chatter

pytestmark = pytest.mark.asyncio(loop_scope="session")
expect.set_options(timeout=TIMEOUT_MS)

MESSAGES = 400
"""So many that the page removes messages twice on the way up, and twice on the way down."""
MAX_MESSAGES = 300
"""The number of messages that a page keeps, plus a page of the history that has just arrived."""
MAX_ELEMENTS = 3_000

WATCH = r"""
() => {
  const log = document.getElementById('chat');
  const numberOf = (one) => Number(/exercise (\d+)/.exec(one.textContent)?.[1] ?? 30);
  const watched = { numbers: [], frames: [], jumps: [], messages: 0, elements: 0 };
  window.watched = watched;
  let last = performance.now();
  let before = new Map();
  const look = () => {
    const now = performance.now();
    watched.frames.push(now - last);
    last = now;
    const messages = [...log.querySelectorAll('.message')];
    watched.messages = Math.max(watched.messages, messages.length);
    watched.elements = Math.max(watched.elements, document.querySelectorAll('*').length);
    const edge = log.getBoundingClientRect();
    const seen = new Map();
    for (const one of messages) {
      const { top, bottom } = one.getBoundingClientRect();
      if (bottom > edge.top && top < edge.bottom) seen.set(numberOf(one), bottom);
    }
    watched.numbers.push([...seen.keys()]);
    // However it is scrolled: all that is seen in two frames moves by one and the same distance, and never backwards.
    const moves = [...seen].filter(([number]) => before.has(number)).map(([number, end]) => end - before.get(number));
    watched.jumps.push(...moves.filter((move) => move * window.direction < -2));
    watched.jumps.push(...moves.filter((move) => Math.abs(move - moves[0]) > 2));
    before = seen;
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}
"""

NEXT_FRAMES = """
goal => new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(() =>
  resolve(watched.numbers.at(-1).includes(goal)))))
"""


def message(page: Page, number: int) -> Locator:
    """Return the message with this number, but not messages that quote it."""
    return page.locator("#chat .message:not(:has(.quote))", has_text=re.compile(rf"exercise {number}\b"))


async def wheel(page: Page, step: int, goal: int) -> list[int]:
    """Turn the mouse wheel until the message `goal` is visible. Return the numbers in the order in which they became
    visible.
    """
    await page.evaluate("direction => { window.direction = direction; watched.numbers = []; }", -1 if step > 0 else 1)
    box = await page.locator("#chat").bounding_box()
    assert box
    await page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    async with asyncio.timeout(300):
        while True:
            await page.mouse.wheel(0, step)
            # One turn of the wheel scrolls less than a screen, so with a frame between turns no message is skipped.
            if await page.evaluate(NEXT_FRAMES, goal):
                break
    order: dict[int, None] = {}
    for seen in await page.evaluate("watched.numbers"):
        order.update(dict.fromkeys(seen if step > 0 else reversed(seen)))
    return list(order)


async def test_scrolling_shows_each_message_once_in_order_while_few_are_in_the_page(desk: Desk) -> None:
    await say_much(desk, MESSAGES)
    page = await desk.sit_down(desk.ana, viewport={"width": 1100, "height": 1600})
    await expect(message(page, MESSAGES)).to_be_in_viewport()
    await page.evaluate(WATCH)
    assert await wheel(page, -1200, 1) == list(range(MESSAGES, 0, -1))
    await expect(page.get_by_text("This is the start of")).to_be_visible()
    assert await wheel(page, 1200, MESSAGES) == list(range(1, MESSAGES + 1))
    await page.evaluate("direction = 0")
    watched = await page.evaluate("watched")
    assert watched["jumps"] == []
    assert watched["messages"] <= MAX_MESSAGES
    assert watched["elements"] <= MAX_ELEMENTS
    frames = sorted(watched["frames"])
    print(
        json.dumps(
            {
                "frames": len(frames),
                "median ms": round(median(frames), 1),
                "99 of 100 within ms": round(frames[len(frames) * 99 // 100], 1),
                "longest ms": round(frames[-1], 1),
                "most messages": watched["messages"],
                "most elements": watched["elements"],
            }
        )
    )
    async with desk.person(desk.luis) as luis:
        await (await luis.enter()).say("just now", id="now")
    await expect(page.locator("#chat .message").last).to_contain_text("just now")
    await expect(page.locator("#chat .message").last).to_be_in_viewport()


async def give(chatter: Chatter, **command: Any) -> None:
    """Send a command, and wait until it is stored."""
    id = json.dumps(command)[:60]
    await chatter.send({**command, "id": id})
    await chatter.receive_until("ack", id=id)


async def scroll_up(page: Page, number: int) -> None:
    """Scroll up to the message `number`."""
    for _ in range(200):
        if await message(page, number).count():
            break
        await page.locator("#chat .message").first.scroll_into_view_if_needed()
    await message(page, number).scroll_into_view_if_needed()


async def enter_filled(desk: Desk, count: int = 400) -> Page:
    """Open a room in which enough was said that the newest messages are removed on the way to message 150."""
    await say_much(desk, count)
    page = await desk.sit_down(desk.ana)
    await expect(message(page, count)).to_be_in_viewport()
    await expect(page.locator("#status")).to_have_attribute("data-key", "connected")
    return page


async def test_while_the_newest_are_trimmed_new_messages_are_counted_and_all_changes_are_shown(desk: Desk) -> None:
    page = await enter_filled(desk)
    held: list[Any] = []
    release = asyncio.Event()

    async def hold(route: Any) -> None:
        response = await route.fetch()
        held.append(route)
        await release.wait()
        await route.fulfill(response=response)

    async with desk.person(desk.luis) as student, desk.person(desk.profe) as teacher:
        luis, profe = await student.enter(), await teacher.enter()
        await give(profe, type="question", target=150, on=True)
        await give(luis, type="message", message="just now 1", reply_to=150)
        # Far enough from the start that there is more to load below, however fast the page is.
        await scroll_up(page, 150)
        await expect(message(page, 400)).to_have_count(0)

        await give(luis, type="edit", target=390, message="exercise 390, edited")
        await give(profe, type="delete", target=391)
        await give(luis, type="react", target=392, emoji="🎉", on=True)
        # A question that is answered by a reply that isn't on the page.
        mark = message(page, 150).locator(".mark")
        await expect(mark).to_have_text("Question")
        await give(profe, type="answer", target=402, on=True)
        await expect(mark).to_have_text("Answered")
        await give(profe, type="answer", target=402, on=False)
        await expect(mark).to_have_text("Question")

        for number in range(2, 22):
            await give(luis, type="message", message=f"just now {number}")
        await expect(message(page, 150)).to_be_in_viewport()
        await expect(page.locator("#chat .message", has_text="just now")).to_have_count(0)

        # The server creates a page of the history, then something changes, and only then does the page arrive.
        await page.route("**/messages?limit=50&before=*", hold)
        while not held:
            await page.locator("#chat .message").first.scroll_into_view_if_needed()
        first = int(re.search(r"before=(\d+)", held[0].request.url)[1]) - 3  # type: ignore[index]
        await give(profe, type="pin", target=first, on=True)
        await expect(page.locator("#pins")).to_be_visible()
        release.set()
        await expect(message(page, first).get_by_text("Pinned")).to_be_attached()
        await page.unroute("**/messages?limit=50&before=*")

        await page.get_by_role("button", name="20 new messages").press("Enter")
        last = page.locator("#chat .message").last
        await expect(last).to_contain_text("just now 21")
        await expect(last).to_be_in_viewport()
        await expect(last).to_be_focused()
        await expect(message(page, 390)).to_contain_text("exercise 390, edited (edited)")
        await expect(page.get_by_text("This message was deleted.")).to_have_count(1)
        await expect(message(page, 392).locator(".chip")).to_contain_text("🎉")
        days = await page.locator("#chat .message time").evaluate_all(
            "all => new Set(all.map(one => new Date(one.dateTime).toDateString())).size"
        )
        await expect(page.locator("#chat .day")).to_have_count(days)
        await give(luis, type="message", message="and now")
    await expect(last).to_contain_text("and now")
    await expect(last).to_be_in_viewport()


async def test_a_window_keeps_few_messages_but_the_focus_and_the_selection_and_the_keyboard_reaches_all(
    desk: Desk,
) -> None:
    page = await enter_filled(desk, 60)
    log = page.locator("#chat .message")
    async with desk.person(desk.luis) as luis:
        socket = await luis.enter()
        for number in range(61, 351):
            await socket.say(f"exercise {number}", id=f"{number}")
        await expect(log.last).to_contain_text("exercise 350")
    assert await log.count() <= MAX_MESSAGES
    await expect(log.last).to_be_in_viewport()
    await expect(page.locator("#chat .day")).to_have_count(1)

    await message(page, 350).focus()
    await message(page, 340).evaluate("one => getSelection().selectAllChildren(one.querySelector('.body'))")
    selected = await page.evaluate("String(getSelection())")
    assert "exercise 340" in selected
    await scroll_up(page, 100)
    assert await page.evaluate("String(getSelection())") == selected
    await expect(message(page, 340)).to_be_attached()
    await expect(message(page, 350)).to_have_count(0)
    assert await page.evaluate("document.activeElement.matches('.message')")
    await page.evaluate("getSelection().removeAllRanges()")

    for _ in range(100):
        await page.keyboard.press("Home")
        if await message(page, 1).count() and await message(page, 1).evaluate("one => one === document.activeElement"):
            break
    await expect(message(page, 1)).to_be_focused()
    await expect(message(page, 340)).to_have_count(0)
    assert await log.count() <= MAX_MESSAGES
    await page.keyboard.press("ArrowDown")
    await expect(message(page, 2)).to_be_focused()
    await expect(page.locator("#chat .message[tabindex='0']")).to_have_count(1)
    await page.keyboard.press("End")
    await expect(message(page, 350)).to_be_focused()
    await expect(message(page, 350)).to_be_in_viewport()


WITHOUT_SENDING = """
() => {
  const send = WebSocket.prototype.send;
  WebSocket.prototype.send = function (frame) { if (!frame.includes('"type":"message"')) send.call(this, frame); };
}
"""


async def test_the_later_of_two_quick_jumps_wins_and_pending_messages_are_at_the_end_of_the_latest(desk: Desk) -> None:
    page = await enter_filled(desk)
    async with desk.person(desk.profe) as teacher:
        profe = await teacher.enter()
        for target in (100, 200):
            await give(profe, type="pin", target=target, on=True)
    await page.evaluate(WITHOUT_SENDING)
    await say(page, "on its way")
    pending = page.locator("#chat .message.pending")
    await expect(pending).to_be_in_viewport()
    release = asyncio.Event()

    async def hold(route: Any) -> None:
        await release.wait()
        await route.continue_()

    await page.route(re.compile(r"(before=100|after=99)$"), hold)
    pins = page.locator("#pins button")
    await expect(pins).to_have_count(2)
    await pins.filter(has_text="exercise 100").click()
    await pins.filter(has_text="exercise 200").click()
    await expect(message(page, 200)).to_be_focused()
    async with page.expect_response(re.compile("after=99$")) as late:
        release.set()
    await (await late.value).finished()
    await page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    await expect(message(page, 200)).to_be_in_viewport()
    await expect(message(page, 100)).to_have_count(0)

    await expect(pending).to_have_count(0)
    await page.get_by_role("button", name="Jump to latest").click()
    await expect(pending).to_contain_text("on its way")
    await expect(pending).to_be_in_viewport()


async def test_a_reply_quotes_an_original_that_is_not_loaded_and_follows_its_changes(desk: Desk) -> None:
    await say_much(desk, 300)
    async with desk.person(desk.luis) as student, desk.person(desk.profe) as teacher:
        luis, profe = await student.enter(), await teacher.enter()
        for target in range(1, 31):
            await give(luis, type="message", message=f"about that {target}", reply_to=target)
        await give(profe, type="delete", target=2)
        page = await desk.sit_down(desk.ana, "/students/courses/")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url) if "seqs=" in request.url else None)
        await page.goto(desk.server.url + desk.room)

        def quote(number: int) -> Locator:
            reply = page.locator("#chat .message", has_text=re.compile(rf"about that {number}$"))
            return reply.locator(".quote")

        await expect(quote(1)).to_contain_text("Luis Ortega About the exercise 1")
        await expect(quote(2)).to_contain_text("Luis Ortega This message was deleted.")
        await expect(quote(30)).to_contain_text("INTEGRÁLS")
        assert len(asked) == 1
        await give(luis, type="edit", target=3, message="quite another thing")
        await expect(quote(3)).to_contain_text("quite another thing")
        await give(profe, type="delete", target=4)
        await expect(quote(4)).to_contain_text("This message was deleted.")
        assert len(asked) == 1


async def test_unanswered_questions_are_listed_from_the_whole_history_until_they_are_answered(desk: Desk) -> None:
    page = await enter_filled(desk, 320)
    await desk.database.execute(
        "update educa_chat.message set question = true where course = $1 and seq % 5 = 0 and seq <= 300", desk.course
    )
    await scroll_up(page, 250)
    await message(page, 240).scroll_into_view_if_needed()
    before = await message(page, 240).bounding_box()
    button = page.get_by_role("button", name="Unanswered questions")
    await button.click()
    await expect(message(page, 300)).to_be_in_viewport()
    await expect(page.locator("#chat .message:not(.unanswered)")).to_have_count(0)
    await scroll_up(page, 5)
    await expect(page.locator("#chat .message:not(.unanswered)")).to_have_count(0)
    async with desk.person(desk.luis) as student, desk.person(desk.profe) as teacher:
        luis, profe = await student.enter(), await teacher.enter()
        await give(luis, type="message", message="a new one?", question=True)
        await expect(page.locator("#chat .message").last).to_contain_text("a new one?")
        await give(luis, type="message", message="none of these")
        await give(profe, type="message", message="so it is", reply_to=10)
        await give(profe, type="answer", target=323, on=True)
        await expect(message(page, 10)).to_have_count(0)
        await give(profe, type="answer", target=323, on=False)
        await expect(message(page, 10)).to_have_count(1)
        await give(profe, type="question", target=15, on=False)
        await expect(message(page, 15)).to_have_count(0)
        await give(profe, type="question", target=16, on=True)
        await expect(message(page, 16)).to_have_count(1)
        await give(profe, type="delete", target=20)
        await expect(message(page, 20)).to_have_count(0)
    await expect(page.get_by_text("none of these")).to_have_count(0)
    texts = await page.locator("#chat .message .body").all_inner_texts()
    numbers = [int(found[1]) if (found := re.search(r"exercise (\d+)", text)) else 30 for text in texts[:-1]]
    assert numbers == sorted(numbers)
    await button.click()
    await expect(button).to_have_attribute("aria-pressed", "false")
    await expect(message(page, 240)).to_be_in_viewport()
    after = await message(page, 240).bounding_box()
    assert before and after
    assert abs(before["y"] - after["y"]) <= 2

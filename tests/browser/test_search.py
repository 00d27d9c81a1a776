"""The search in a browser: from the button in the header to a message in its conversation, and back."""

import re
from contextlib import suppress

import pytest
from playwright.async_api import Error, Locator, Page, Route, expect

from tests.browser.conftest import TIMEOUT_MS, Desk, say, until, until_indexed
from tests.browser.test_room_page import HOSTILE, seed
from tests.browser.test_unread import until_read

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.usefixtures("prompt_search_index")]
expect.set_options(timeout=TIMEOUT_MS)

TEXT = "About the exercise {number}: the función {number} is continuous, isn't it?"


async def fill(desk: Desk, count: int) -> None:
    """Post many messages, and wait until they can be found."""
    await say_much(desk, count)
    await until_indexed(desk.server, desk.course)


async def say_much(desk: Desk, count: int) -> None:
    """Post many messages as Luis. Only message 30 contains the word 'integrals'."""
    texts = [TEXT.format(number=number) for number in range(1, count + 1)]
    texts[29] = "The INTEGRÁLS of the third sheet are due on Monday"
    await desk.database.execute(
        "with room as (insert into educa_chat.room (course, head, said, last_at)"
        "  values ($3, $2, $2, now() - interval '1 minute' * (1000 - $2::bigint))"
        "  on conflict (course) do update set head = excluded.head, last_at = excluded.last_at),"
        " event as (insert into educa_chat.event (course, seq, kind, actor, client_id, at, said, student)"
        "  select $3, n, 1, -1, n, now() - interval '1 minute' * (1000 - n), n, '{}'"
        "  from generate_series(1, $2::bigint) n)"
        " insert into educa_chat.message (course, seq, author, client_id, username, name, instructor, at, body, html)"
        " select $3, n, u.id, n, $4, 'Luis Ortega', false, now() - interval '1 minute' * (1000 - n), b, ''"
        " from unnest($1::text[]) with ordinality t (b, n), auth_user u where u.username = $4",
        texts,
        count,
        desk.course,
        desk.luis,
    )


async def find(page: Page, words: str) -> None:
    await page.get_by_role("button", name="Search in this room").click()
    await page.get_by_role("searchbox").fill(words)
    await page.keyboard.press("Enter")


def message(page: Page, number: int) -> Locator:
    return page.locator("#chat .message", has_text=re.compile(rf"exercise {number}\b"))


async def test_a_result_opens_in_its_conversation_by_keyboard_and_history_loads_in_both_directions(desk: Desk) -> None:
    await fill(desk, 200)
    page = await desk.sit_down(desk.ana)
    await expect(page.locator("#chat .message")).to_have_count(50)
    while not await page.evaluate("document.activeElement.id === 'search-button'"):
        await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("searchbox")).to_be_focused()
    await page.keyboard.type("integrals")
    await page.keyboard.press("Enter")
    result = page.locator("#search-results button")
    await expect(result).to_have_count(1)
    await expect(page.get_by_text("1 result")).to_be_visible()
    await expect(result).to_contain_text("Luis Ortega")
    await expect(result.locator("mark")).to_have_text("INTEGRÁLS")
    await page.keyboard.press("ArrowDown")
    await expect(result).to_be_focused()
    await page.keyboard.press("Enter")
    target = page.locator("#chat .message", has_text="INTEGRÁLS")
    await expect(target).to_be_focused()
    await expect(target).to_be_in_viewport()
    await expect(target).to_have_class(re.compile(r"\bshown\b"))
    await expect(page.get_by_role("search")).to_be_hidden()
    await expect(message(page, 29)).to_be_in_viewport()
    await expect(message(page, 31)).to_be_in_viewport()
    await expect(target).not_to_have_class(re.compile(r"\bshown\b"))

    await message(page, 5).scroll_into_view_if_needed()
    await expect(message(page, 1)).to_be_attached()
    numbers: set[int] = set()
    for number in range(40, 201, 20):
        await message(page, number).scroll_into_view_if_needed()
        shown = await page.locator("#chat .message").evaluate_all(
            "all => all.map(one => Number(/exercise (\\d+)/.exec(one.textContent)?.[1] ?? 30))"
        )
        assert shown == list(range(shown[0], shown[-1] + 1))
        numbers |= set(shown)
    assert numbers == set(range(1, 201))
    await expect(page.get_by_role("button", name="Jump to latest")).to_be_hidden()
    async with desk.person(desk.luis) as luis:
        await (await luis.enter()).say("just now", id="now")
    await expect(page.locator("#chat .message").last).to_contain_text("just now")
    await expect(page.locator("#chat .message").last).to_be_in_viewport()


async def test_while_an_old_result_is_shown_new_messages_are_counted_but_not_read(desk: Desk) -> None:
    await fill(desk, 200)
    page = await desk.sit_down(desk.ana)
    target = page.locator("#chat .message", has_text="INTEGRÁLS")
    unanswered = page.get_by_role("button", name="Unanswered questions")
    await until_read(desk, desk.ana, 200)
    # The result turns off a filter that would hide it.
    await unanswered.click()
    await expect(message(page, 200)).to_have_count(0)
    await expect(page.get_by_text("No unanswered questions.")).to_be_visible()
    await find(page, "integrals")
    await page.locator("#search-results button").click()
    await expect(target).to_be_in_viewport()
    await expect(unanswered).to_have_attribute("aria-pressed", "false")
    await expect(message(page, 29)).to_be_in_viewport()
    async with desk.person(desk.luis) as luis:
        await (await luis.enter()).say("meanwhile", id="now")
        await expect(page.get_by_role("button", name="1 new message")).to_be_visible()
        await expect(page.get_by_text("meanwhile", exact=True).and_(page.locator("#chat *"))).to_have_count(0)
        await until_read(desk, desk.ana, 200)
        await page.get_by_role("button", name="1 new message").click()
    await expect(page.locator("#chat .message").last).to_contain_text("meanwhile")
    await expect(page.locator("#chat .message").last).to_be_in_viewport()
    await expect(page.locator("#chat .message")).to_have_count(50)
    await expect(page.get_by_role("button", name="Jump to latest")).to_be_hidden()
    await until_read(desk, desk.ana, 201)
    # Posting leads to the newest messages too.
    await find(page, "integrals")
    await page.locator("#search-results button").click()
    await expect(target).to_be_in_viewport()
    await say(page, "thank you")
    await expect(page.locator("#chat .message.me")).to_have_count(1)
    await expect(page.locator("#chat .message.me")).to_be_in_viewport()
    await expect(page.locator("#chat .message.pending")).to_have_count(0)
    await expect(message(page, 200)).to_be_in_viewport()


async def test_arrow_keys_move_through_the_results_and_escape_restores_the_focus(desk: Desk) -> None:
    await fill(desk, 60)
    page = await desk.sit_down(desk.ana)
    await find(page, "funcion")
    results = page.locator("#search-results button")
    await expect(results).to_have_count(50)
    await expect(page.get_by_text("Top 50 results")).to_be_visible()
    await expect(results.first.locator("mark")).to_have_text("función")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("ArrowDown")
    await expect(results.nth(1)).to_be_focused()
    await page.keyboard.press("End")
    await expect(results.last).to_be_focused()
    await page.keyboard.press("Home")
    await page.keyboard.press("ArrowUp")
    await expect(page.get_by_role("searchbox")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("search")).to_be_hidden()
    await expect(page.get_by_role("button", name="Search in this room")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(results).to_have_count(50)
    # Opening a result that is on the page loads nothing.
    await find_again(page, "integrals")
    await expect(results).to_have_count(1)
    await results.click()
    await expect(page.locator("#chat .message", has_text="INTEGRÁLS")).to_be_focused()
    await expect(message(page, 60)).to_be_attached()


async def test_search_results_never_become_html(desk: Desk) -> None:
    async with desk.person(desk.luis) as luis:
        socket = await luis.enter()
        for number, text in enumerate(HOSTILE):
            await socket.say(f"hostile {text}", id=str(number))
        await socket.receive_until("ack", id=str(len(HOSTILE) - 1))
    await seed(desk, 1)
    await until_indexed(desk.server, desk.course)
    page = await desk.sit_down(desk.ana)
    await find(page, "hostile")
    await expect(page.locator("#search-results button")).to_have_count(len(HOSTILE))
    assert await page.locator("#search-results :is(script, img, form, a, [onload], [onerror])").count() == 0
    width = await page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width[0] <= width[1]


async def find_again(page: Page, words: str) -> None:
    await page.get_by_role("searchbox").fill(words)
    await page.get_by_role("searchbox").press("Enter")


async def test_a_search_without_results_says_why(desk: Desk) -> None:
    page = await desk.sit_down(desk.ana)
    nothing = {"messages": [], "lines": [], "head": 100_000, "epoch": "", "more": True}
    # A search ends early only in a room with a hundred thousand messages.
    await page.route("**/search?*", lambda route: route.fulfill(json=nothing))
    await find(page, "many words that seldom come together")
    await expect(page.get_by_text("No results in recent messages. Try fewer words.")).to_be_visible()
    await page.unroute("**/search?*")
    await find_again(page, "nowhere")
    await expect(page.get_by_text("No results.")).to_be_visible()
    await expect(page.locator("#search-results button")).to_have_count(0)

    async def is_refused() -> bool:
        async with page.expect_response("**/search?*") as answer:
            await find_again(page, "another word")
        return (await answer.value).status == 429

    await until(is_refused)
    await expect(page.get_by_text("Too many searches.")).to_be_visible()


async def test_the_search_fits_a_phone_and_its_buttons_are_large_enough_to_tap(desk: Desk) -> None:
    await fill(desk, 80)
    page = await desk.sit_down(
        desk.ana,
        viewport={"width": 360, "height": 740},
        has_touch=True,
        is_mobile=True,
        locale="es-ES",
    )
    await page.get_by_role("button", name="Buscar en esta sala").tap()
    await page.get_by_role("searchbox").fill("integral continuous or mondays")
    await page.keyboard.press("Enter")
    await expect(page.locator("#search-results button").first).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360
    for box in await page.locator("button:visible, input:visible").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect()).map(box => [box.width, box.height])"
    ):
        assert min(box) >= 44, box
    await page.locator("#search-results button", has_text="INTEGRÁLS").tap()
    await expect(page.locator("#chat .message", has_text="INTEGRÁLS")).to_be_in_viewport()


async def test_results_appear_while_typing_and_late_responses_are_ignored(desk: Desk) -> None:
    await fill(desk, 60)
    page = await desk.sit_down(desk.ana)
    await page.get_by_role("button", name="Search in this room").click()
    await expect(page.get_by_text("Filters: from:username")).to_be_visible()
    held: list[Route] = []

    async def hold(route: Route) -> None:
        held.append(route)

    await page.route("**/search?q=exerc*", hold)
    await page.keyboard.type("exerc")

    async def is_held() -> bool:
        return bool(held)

    await until(is_held)
    await page.get_by_role("searchbox").fill("")
    await page.keyboard.type("integr")
    await expect(page.locator("#search-results mark")).to_have_text("INTEGRÁLS")
    for route in held:
        with suppress(Error):
            await route.continue_()
    await expect(page.get_by_text("1 result", exact=True)).to_be_visible()
    await page.get_by_role("searchbox").fill("")
    await expect(page.locator("#search-results button")).to_have_count(0)
    await page.keyboard.type("before:2000-01-01")
    await expect(page.get_by_text("No results.")).to_be_visible()


async def test_deleted_and_edited_text_disappears_from_open_results(desk: Desk) -> None:
    async with desk.person(desk.luis) as luis:
        socket = await luis.enter()
        seqs = []
        for number in range(2):
            await socket.say(f"secret {number}", id=str(number))
            seqs.append((await socket.receive_until("ack", id=str(number)))["seq"])
        await until_indexed(desk.server, desk.course)
        page = await desk.sit_down(desk.ana)
        await find(page, "secret")
        results = page.locator("#search-results button")
        await expect(results).to_have_count(2)
        await page.keyboard.press("ArrowDown")
        await socket.send({"type": "delete", "id": "d", "target": seqs[1]})
        await expect(results).to_have_count(1)
        await expect(results).to_be_focused()
        await expect(page.get_by_text("1 result", exact=True)).to_be_visible()
        await socket.send({"type": "edit", "id": "e", "target": seqs[0], "message": "nothing"})
        await expect(results).to_contain_text("nothing")
        await expect(page.get_by_text("secret")).to_have_count(0)

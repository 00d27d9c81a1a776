"""A server that is reachable but can't store anything: the page says so, and sends pending messages later."""

import pytest
from playwright.async_api import expect

from educa_chat.storage.accounts import find_user_id
from tests.browser.conftest import TIMEOUT_MS, Desk, full_disk, say
from tests.browser.test_talking import act, message

pytestmark = pytest.mark.asyncio(loop_scope="session")
expect.set_options(timeout=TIMEOUT_MS)

RETRIED_WITHIN_MS = 2 * TIMEOUT_MS

WORDS = "The server can’t save messages right now. Yours will be sent as soon as it can."


async def test_the_page_says_that_messages_are_waiting_to_be_stored(desk: Desk) -> None:
    ana, luis = await desk.sit_down(desk.ana), await desk.sit_down(desk.luis)
    status = ana.locator("#status")
    await expect(status).to_have_attribute("data-key", "connected")
    await say(ana, "stored")
    await expect(ana.locator("#chat .pending")).to_have_count(0)
    await say(luis, "stored as well")
    await expect(message(ana, "stored as well")).to_be_visible()
    await expect(status).to_have_text("Connected")

    async with full_disk(desk, seq=3):
        await say(ana, "the first")
        await say(ana, "the second")
        await expect(status).to_have_text(WORDS)
        await expect(status).to_have_attribute("data-key", "waiting")
        # The page still says so after a reload, and so does another window.
        await ana.reload()
        await expect(status).to_have_text(WORDS)
        await expect(luis.locator("#status")).to_have_text("Connected")
        # The user's other actions wait too, unless they undo them.
        await act(luis, "stored as well", "React")
        await luis.get_by_role("button", name="👍").click()
        await expect(ana.locator("#chat .pending")).to_have_count(2)

    await expect(ana.locator("#chat .pending")).to_have_count(0, timeout=RETRIED_WITHIN_MS)
    await expect(status).to_have_text("Connected")
    await expect(luis.locator("#status")).to_have_text("Connected")
    async with desk.person(desk.profe) as profe:
        said = [one["message"] for one in (await profe.messages())["messages"]]
    assert said == ["stored", "stored as well", "the first", "the second"]


async def test_a_message_is_retried_until_it_is_stored(desk: Desk) -> None:
    ana = await desk.sit_down(desk.ana, locale="es-ES")
    status = ana.locator("#status")
    await expect(status).to_have_attribute("data-key", "connected")
    async with full_disk(desk):
        await ana.evaluate(
            """room => localStorage.setItem(`educa-chat:outbox:${room}:often`, JSON.stringify({
                id: 'often', command: {type: 'message', message: 'at last'}, datetime: new Date().toISOString(),
                tries: 40,
            }))""",
            f"{await find_user_id(desk.database, desk.ana)}:{desk.course}",
        )
        await ana.reload()
        await expect(status).to_have_text(
            "Ahora mismo el servidor no puede guardar mensajes. Los tuyos se enviarán en cuanto pueda."
        )
        await expect(ana.locator("#chat .failed")).to_have_count(0)
    await expect(ana.locator("#chat .pending")).to_have_count(0, timeout=RETRIED_WITHIN_MS)
    await expect(status).to_have_text("Conectado")

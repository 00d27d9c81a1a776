"""A server that is reachable but can't store anything: the page says so, and sends pending messages later."""

import pytest
from playwright.async_api import expect

from educa_chat.storage.accounts import find_user_id
from tests.browser.conftest import TIMEOUT_MS, Desk, full_disk, say
from tests.browser.test_talking import message
from tests.handlers.test_class_commands import give

pytestmark = pytest.mark.asyncio(loop_scope="session")
expect.set_options(timeout=TIMEOUT_MS)

RETRIED_WITHIN_MS = 2 * TIMEOUT_MS

WORDS = "The server can’t save messages right now. Yours will be sent as soon as it can."


async def test_the_page_says_that_messages_are_waiting_to_be_stored_and_retries_until_they_are(desk: Desk) -> None:
    async with desk.person(desk.luis) as person:
        luis = await person.enter()
        ana = await desk.sit_down(desk.ana)
        status, pending = ana.locator("#status"), ana.locator("#chat .pending")
        await expect(status).to_have_attribute("data-key", "connected")
        await say(ana, "stored")
        await expect(pending).to_have_count(0)
        await give(luis, type="message", message="stored as well")
        await luis.receive_until("chat_message", message="stored as well")
        await expect(message(ana, "stored as well")).to_be_visible()
        await expect(status).to_have_text("Connected")

        async with full_disk(desk, seq=3):
            await say(ana, "the first")
            await say(ana, "the second")
            await expect(status).to_have_text(WORDS)
            await expect(status).to_have_attribute("data-key", "waiting")
            # The page still says so after a reload, and doesn't give up a message that was sent many times.
            await ana.evaluate(
                """room => localStorage.setItem(`educa-chat:outbox:${room}:often`, JSON.stringify({
                    id: 'often', command: {type: 'message', message: 'at last'}, datetime: new Date().toISOString(),
                    tries: 40,
                }))""",
                f"{await find_user_id(desk.database, desk.ana)}:{desk.course}",
            )
            await ana.reload()
            await expect(status).to_have_text(WORDS)
            await expect(pending).to_have_count(3)
            await expect(ana.locator("#chat .failed")).to_have_count(0)
            # The other users notice nothing, and their actions that can be stored are.
            await luis.send({"type": "react", "id": "r", "target": 2, "emoji": "👍", "on": True})
            assert {(await luis.receive())["type"] for _ in range(2)} == {"ack", "reaction"}
            await expect(message(ana, "stored as well").locator(".chip")).to_be_visible()
            await expect(status).to_have_text(WORDS)
            await expect(pending).to_have_count(3)

        await expect(pending).to_have_count(0, timeout=RETRIED_WITHIN_MS)
        await expect(status).to_have_text("Connected")
        said = [one["message"] for one in (await person.messages())["messages"]]
    assert said == ["stored", "stored as well", "the first", "the second", "at last"]

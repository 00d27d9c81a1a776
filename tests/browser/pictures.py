"""The pictures of the guides for teachers: `make pictures` takes them anew, in both languages."""

import asyncio
import tempfile
from pathlib import Path
from typing import NamedTuple

from playwright.async_api import Page, ViewportSize, async_playwright

from tests.browser.conftest import FLAGS, find_chromium, open_desk, say
from tests.conftest import Postgres
from tests.serving import open_server, settings_for

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
WIDE: ViewportSize = {"width": 820, "height": 600}
NARROW: ViewportSize = {"width": 400, "height": 560}


class Talk(NamedTuple):
    """What is said in a picture, in one language."""

    locale: str
    question: str
    answer: str
    thanks: str
    anonymous: str
    rude: str
    reason: str


TALKS = {
    "en": Talk(
        "en-GB",
        "Why does `for n in range(3)` end with 2?",
        "It begins with 0, so there are three: 0, 1, 2.",
        "Ah, now I see it. Thanks!",
        "I still don’t understand loops. Am I the only one?",
        "You never get anything",
        "This hurts",
    ),
    "es": Talk(
        "es-ES",
        "¿Por qué termina `for n in range(3)` en 2?",
        "Empieza en 0, así que son tres: 0, 1, 2.",
        "Ah, ahora lo veo. ¡Gracias!",
        "Sigo sin entender los bucles. ¿Le pasa a alguien más?",
        "Nunca te enteras de nada",
        "Esto duele",
    ),
}


async def take(language: str, talk: Talk, postgres: Postgres) -> None:
    """Take the pictures of one language."""
    folder = FOLDER / language
    folder.mkdir(parents=True, exist_ok=True)
    url = await postgres.create_chat_database(demo=True)
    async with (
        async_playwright() as playwright,
        open_server(settings_for(url, limits_messages_per_second=0)) as server,
    ):
        browser = await playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        async with open_desk(browser, server) as desk:
            profe = await desk.sit_down("profe", locale=talk.locale, viewport=WIDE)
            ana = await desk.sit_down("ana", locale=talk.locale, viewport=NARROW)
            luis = await desk.sit_down("luis", locale=talk.locale, viewport=NARROW)

            async def picture(page: Page, name: str) -> None:
                await page.evaluate("document.fonts.ready")
                await page.screenshot(path=folder / f"{name}.png", animations="disabled", caret="hide")

            async def menu(page: Page, text: str) -> None:
                found = page.locator("#chat .message", has_text=text.replace("`", "")).last
                await found.locator(".body").hover()
                await found.locator(".tools [data-action=more]").click()

            await ana.click("#composer-ask")
            await say(ana, talk.question)
            await say(luis, talk.answer)
            await say(ana, talk.thanks)
            await menu(profe, talk.answer)
            await picture(profe, "menu")
            await profe.keyboard.press("Escape")

            await profe.click("#class-button")
            await profe.set_checked("#class-anonymity", True)
            await picture(profe, "class")
            await profe.keyboard.press("Escape")

            await ana.click("#composer-anonymous")
            await say(ana, talk.anonymous)
            await profe.set_viewport_size(NARROW)
            for page, name in ((profe, "anonymous-teacher"), (luis, "anonymous-student")):
                await page.get_by_text(talk.anonymous).last.wait_for()
                await picture(page, name)

            await say(luis, talk.rude)
            await menu(ana, talk.rude)
            await ana.click("[role=menuitem][data-name=report]")
            await ana.fill("#report-reason", talk.reason)
            await ana.click("#report-dialog .primary")
            await profe.set_viewport_size(WIDE)
            await profe.goto(f"{server.url}/chat/room/1/reports/")
            await picture(profe, "reports")
        await browser.close()


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="educa-chat-pg-", ignore_cleanup_errors=True) as folder:
        postgres = Postgres(Path(folder) / "data")
        for language, talk in TALKS.items():
            await take(language, talk, postgres)
        postgres.stop()


if __name__ == "__main__":
    asyncio.run(main())

"""Screenshots for the README and the guides: `make pictures` takes them again.

Those of Moodle in `docs/lti.md` are taken by hand.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from playwright.async_api import Page, ViewportSize, async_playwright

from educa_chat.handlers.keys import DATABASE
from educa_chat.protocol import Role
from educa_chat.storage.accounts import add_user, find_user_id
from educa_chat.storage.courses import enrol
from educa_chat.storage.sign_in_links import make_student_link
from tests.browser.conftest import FLAGS, Desk, PagePool, find_chromium, open_desk, say
from tests.conftest import Postgres
from tests.postgres_server import PostgresServer
from tests.prepared import prepare
from tests.serving import open_server, quick_hash, settings_for

DOCS = Path(__file__).parents[2] / "docs"
ROOM: ViewportSize = {"width": 1180, "height": 900}
WIDE: ViewportSize = {"width": 820, "height": 600}
NARROW: ViewportSize = {"width": 400, "height": 560}


class Talk(NamedTuple):
    """The messages in a picture, in one language."""

    locale: str
    question: str
    answer: str
    thanks: str
    anonymous: str
    rude: str
    reason: str
    roster: str
    """A file with people."""


TALKS = {
    "en": Talk(
        "en-GB",
        "Why does `for n in range(3)` end with 2?",
        "It begins with 0, so there are three: 0, 1, 2.",
        "Ah, now I see it. Thanks!",
        "I still don’t understand loops. Am I the only one?",
        "You never get anything",
        "This hurts",
        "username,first name,last name,email,role\n"
        "zoe,Zoe,Smith,zoe@school.example,student\n"
        "omar,Omar,Haddad,omar@school.example,assistant\n"
        "luis,Luis,Ferrer,luis@school.example,student\n"
        "eva maria,Eva,Martin,eva@school.example,student\n",
    ),
    "es": Talk(
        "es-ES",
        "¿Por qué termina `for n in range(3)` en 2?",
        "Empieza en 0, así que son tres: 0, 1, 2.",
        "Ah, ahora lo veo. ¡Gracias!",
        "Sigo sin entender los bucles. ¿Le pasa a alguien más?",
        "Nunca te enteras de nada",
        "Esto duele",
        "usuario;nombre;apellidos;correo;rol\n"
        "zoe;Zoe;Serra;zoe@escuela.example;estudiante\n"
        "omar;Omar;Haddad;omar@escuela.example;ayudante\n"
        "luis;Luis;Ferrer;luis@escuela.example;estudiante\n"
        "eva maria;Eva;Martín;eva@escuela.example;estudiante\n",
    ),
}


@asynccontextmanager
async def open_school(postgres: Postgres) -> AsyncIterator[Desk]:
    """Run a server with the demo data, without messages."""
    url = await postgres.create_chat_database(demo=True)
    async with (
        async_playwright() as playwright,
        open_server(settings_for(url, limits_messages_per_second=0)) as server,
    ):
        browser = await playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        async with open_desk(PagePool(browser), server) as desk:
            yield desk
        await browser.close()


async def picture(page: Page, path: Path, *, is_whole: bool = False) -> None:
    """Take a picture of the window, or of the whole page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    await page.evaluate("document.fonts.ready")
    await page.screenshot(path=path, animations="disabled", caret="hide", full_page=is_whole)


async def choose(page: Page, text: str, action: str) -> None:
    """Choose an action from the buttons next to a message."""
    found = page.locator("#chat .message", has_text=text.replace("`", "")).last
    await found.locator(".body").hover()
    await found.locator(f".tools [data-action={action}]").click()


async def take_room(postgres: Postgres) -> None:
    """Take the picture for the README."""
    async with open_school(postgres) as desk:
        ana, luis, profe = [
            await desk.sit_down(user, locale="en-GB", viewport=ROOM) for user in ("ana", "luis", "profe")
        ]
        question = "Exercise 3: my loop prints one line too many. What am I missing?"
        await luis.click("#composer-ask")
        await say(luis, question)
        await say(ana, "Where does your range begin?")
        await say(luis, "`range(1, n + 1)`, to count from one")
        answer = "Then it runs *n* times, and a print behind the loop adds a line:"
        await choose(profe, question, "reply")
        await say(profe, f"{answer}\n```python\nfor i in range(1, n + 1):\n    print(i)\nprint(i)   # once more\n```")
        await choose(luis, "adds a line", "more")
        await luis.click("[role=menuitem][data-name=answer]")
        await say(luis, "Oh. The print is outside the loop. Thank you, @profe!")
        await ana.get_by_text("Thank you").wait_for()
        await picture(ana, DOCS / "room.png")


async def take_guide(language: str, talk: Talk, postgres: Postgres) -> None:
    """Take the pictures for the guide in one language."""
    folder = DOCS / "pictures" / language
    async with open_school(postgres) as desk:
        profe = await desk.sit_down("profe", locale=talk.locale, viewport=WIDE)
        ana = await desk.sit_down("ana", locale=talk.locale, viewport=NARROW)
        luis = await desk.sit_down("luis", locale=talk.locale, viewport=NARROW)

        await ana.click("#composer-ask")
        for author, text in ((ana, talk.question), (luis, talk.answer), (ana, talk.thanks)):
            await say(author, text)
            # Text with code is stored later than text without.
            await profe.locator("#chat .message", has_text=text.replace("`", "")).wait_for()
        await choose(profe, talk.answer, "more")
        await picture(profe, folder / "menu.png")
        await profe.keyboard.press("Escape")

        await profe.click("#class-button")
        await profe.set_checked("#class-anonymity", True)
        await picture(profe, folder / "class.png")
        await profe.keyboard.press("Escape")

        await ana.click("#composer-anonymous")
        await say(ana, talk.anonymous)
        await profe.set_viewport_size(NARROW)
        for page, name in ((profe, "anonymous-teacher"), (luis, "anonymous-student")):
            await page.get_by_text(talk.anonymous).last.wait_for()
            await picture(page, folder / f"{name}.png")

        await say(luis, talk.rude)
        await choose(ana, talk.rude, "more")
        await ana.click("[role=menuitem][data-name=report]")
        await ana.fill("#report-reason", talk.reason)
        await ana.click("#report-dialog .primary")
        await profe.set_viewport_size(WIDE)
        await profe.goto(f"{desk.server.url}/chat/room/1/reports/")
        await picture(profe, folder / "reports.png")


async def take_administration(language: str, talk: Talk, postgres: Postgres) -> None:
    """Take the pictures for the administrators' guide in one language."""
    folder = DOCS / "pictures" / language
    async with open_school(postgres) as desk:
        database = desk.server.app[DATABASE]
        await add_user(database, "alba", quick_hash(), first_name="Alba", last_name="Ríos", is_superuser=True)
        await enrol(database, "marta", 1, Role.ASSISTANT)
        await desk.sit_down("luis")
        page = await desk.sit_down("alba", "/admin/people/", locale=talk.locale, viewport=WIDE)
        for path, name in (
            ("/admin/people/", "admin-people"),
            ("/admin/courses/1/", "admin-course"),
            ("/chat/course/1/roster/", "roster"),
        ):
            await page.goto(desk.server.url + path)
            await picture(page, folder / f"{name}.png", is_whole=True)

        profe = await desk.sit_down("profe", "/chat/course/1/roster/import/", locale=talk.locale, viewport=WIDE)
        content = talk.roster.encode()
        await profe.set_input_files("[name=file]", {"name": "people.csv", "mimeType": "text/csv", "buffer": content})
        await profe.click(".sheet .primary")
        await profe.locator(".preview").wait_for()
        await picture(profe, folder / "import.png", is_whole=True)

        await make_student_link(database, "ana", 1, await find_user_id(database, "profe"), has_mail=False)
        ana = await desk.sit_down("ana", "/chat/account/", locale=talk.locale, viewport=WIDE)
        await database.execute("update educa_chat.session set browser = 'Firefox', system = 'Windows'")
        await ana.reload()
        await picture(ana, folder / "account.png", is_whole=True)


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="educa-chat-") as folder:
        with PostgresServer(await prepare(Path(folder))) as server:
            postgres = Postgres(server)
            await take_room(postgres)
            for language, talk in TALKS.items():
                await take_guide(language, talk, postgres)
                await take_administration(language, talk, postgres)


if __name__ == "__main__":
    asyncio.run(main())

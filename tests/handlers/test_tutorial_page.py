"""The tutorial's own room page as a client: its script opens a plain socket, sends `{message}` and shows three fields.

What the script does with a frame is `const data = JSON.parse(event.data)`, then it appends `data.user`,
`new Date(data.datetime)` and `data.message`, and compares `data.user` with its own `request-user`.
"""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest

from educa_chat.handlers.keys import DATABASE
from tests.serving import Chatter, Person, Server, add_room

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Line(NamedTuple):
    """The line that the tutorial's script shows for a frame."""

    user: str
    message: str
    at: datetime


class TutorialPage:
    """The page's script: it knows nothing of types, ids or acks."""

    def __init__(self, chatter: Chatter) -> None:
        self._chatter = chatter

    async def press_enter(self, message: str) -> None:
        await self._chatter.socket.send_str(json.dumps({"message": message}))

    async def next_line(self) -> Line:
        data = await self._chatter.receive()
        # The only date format that every JavaScript engine must accept, plus microseconds, which all accept.
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", data["datetime"])
        return Line(data["user"], data["message"], datetime.fromisoformat(data["datetime"]))


async def test_two_tutorial_pages_exchange_messages(server: Server) -> None:
    course, (ana, luis) = await add_room(server.app[DATABASE])
    async with Person(server.url, ana) as one, Person(server.url, luis) as other:
        pages = [TutorialPage(await one.enter(course, basic=True)), TutorialPage(await other.enter(course, basic=True))]
        await pages[0].press_enter("¿Qué es un bucle?")
        lines = [await page.next_line() for page in pages]
        assert lines[0] == lines[1]
        assert lines[0][:2] == (ana, "¿Qué es un bucle?")
        assert abs(lines[0].at - datetime.now(UTC)) < timedelta(minutes=1)
        await pages[1].press_enter("Repetir sin repetirse")
        answers = [await page.next_line() for page in pages]
        assert answers[0] == answers[1]
        assert answers[0][:2] == (luis, "Repetir sin repetirse")
        assert answers[0].at >= lines[0].at


async def test_a_tutorial_page_and_our_page_exchange_messages(server: Server) -> None:
    course, (ana, luis) = await add_room(server.app[DATABASE])
    async with Person(server.url, ana) as one, Person(server.url, luis) as other:
        theirs, ours = TutorialPage(await one.enter(course, basic=True)), await other.enter(course)
        await theirs.press_enter("hello")
        (heard,) = await ours.events(1)
        assert (heard["user"], heard["message"], heard["seq"]) == (ana, "hello", 1)
        assert heard["id"]
        await ours.say("hello yourself", "a")
        assert (await theirs.next_line()).message == "hello"
        assert (await theirs.next_line()).message == "hello yourself"
        assert [message["message"] for message in (await one.messages(course))["messages"]] == [
            "hello",
            "hello yourself",
        ]


async def test_the_same_text_sent_twice_is_shown_twice(server: Server) -> None:
    course, (ana, _) = await add_room(server.app[DATABASE])
    async with Person(server.url, ana) as one:
        page = TutorialPage(await one.enter(course, basic=True))
        await page.press_enter("again")
        await page.press_enter("again")
        assert [(await page.next_line()).message for _ in range(2)] == ["again", "again"]


async def test_a_tutorial_page_receives_only_new_messages_even_with_after(server: Server) -> None:
    course, (ana, _) = await add_room(server.app[DATABASE])
    async with Person(server.url, ana) as one:
        first = TutorialPage(await one.enter(course, basic=True))
        await first.press_enter("before")
        await first.next_line()
        second = TutorialPage(await one.enter(course, basic=True, query="?after=0"))
        await first.press_enter("after")
        assert (await second.next_line()).message == "after"


async def test_a_tutorial_page_shows_the_reason_for_a_refusal(server: Server) -> None:
    course, (ana, _) = await add_room(server.app[DATABASE])
    async with Person(server.url, ana) as one:
        chatter = await one.enter(course, basic=True)
        page = TutorialPage(chatter)
        await page.press_enter("   ")
        refused = await chatter.receive()
        assert (refused["type"], refused["code"]) == ("error", "empty")
        assert refused["message"]
        assert datetime.fromisoformat(refused["datetime"]).tzinfo is not None
        await page.press_enter("there")
        assert (await page.next_line()).message == "there"


async def test_a_tutorial_page_receives_text_as_it_was_typed(server: Server) -> None:
    course, (ana, _) = await add_room(server.app[DATABASE])
    async with Person(server.url, ana) as one:
        page = TutorialPage(await one.enter(course, basic=True))
        typed = "<img src=x onerror=alert(1)> {{7*7}} \"'\\ \n 😀"
        await page.press_enter(typed)
        assert (await page.next_line()).message == typed

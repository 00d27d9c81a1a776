"""Limits on one user's commands and requests, across all of their sockets: they delay nobody else."""

import asyncio
import json
from contextlib import suppress

import pytest

from educa_chat.handlers.keys import DATABASE
from educa_chat.limits import Turns
from educa_chat.markup import prepare, render
from tests.serving import Person, Server, add_room, open_server, settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

CODE = "```python\nx = 1\n```"


@pytest.fixture(scope="module", autouse=True)
def lexers() -> None:
    prepare(["python"])


async def test_messages_keep_their_order_when_some_are_rendered_in_other_processes(server: Server) -> None:
    course, (student, *_) = await add_room(server.app[DATABASE])
    async with Person(server.url, student) as person:
        chatter = await person.enter(course)
        texts = [CODE, "1", "**2**", "3", "$4$", "5"]
        for number, text in enumerate(texts):
            await chatter.say(text, f"{number}")
        for text in texts:
            await chatter.receive_until("chat_message", message=text)
        page = await person.messages(course)
        assert [message["message"] for message in page["messages"]] == texts
        assert [message["html"] for message in page["messages"]] == [render(text) for text in texts]


async def test_every_kind_of_line_break_is_normalised(server: Server, subtests: pytest.Subtests) -> None:
    for separator in ("\r", "\r\n", "\v", "\f", "\x85", "\u2028", "\u2029"):
        with subtests.test(separator=separator):
            course, (student, *_) = await add_room(server.app[DATABASE])
            async with Person(server.url, student) as person:
                chatter = await person.enter(course)
                await chatter.say(f"one{separator}two", "a")
                shown = await chatter.receive_until("chat_message")
                assert (shown["message"], shown["html"]) == ("one\ntwo", "one<br>two")
                # Thousands of lines aren't treated as code: a lexer would take a second.
                await chatter.say("```c++\n" + separator * 1985 + "x", "b")
                assert "<pre>" not in (await chatter.receive_until("chat_message"))["html"]


OBJECTS = "[" + ",".join(["{}"] * 15_000) + "]"


async def test_an_oversized_command_is_refused_without_being_parsed(server: Server, subtests: pytest.Subtests) -> None:
    for frame in (
        '{"type":"typing","x":' + OBJECTS + "}",
        '{"type":"read","seq":1,"x":"' + "x" * 30_000 + '"}',
        '{"type":"react","id":"a","target":1,"emoji":"x","on":true,"x":"' + "x" * 30_000 + '"}',
        '{"type":"message","id":"a","message":"hello","x":' + OBJECTS + "}",
        '{"type":"edit","id":"a","target":1,"message":"hello","x":' + OBJECTS + "}",
    ):
        with subtests.test(frame=frame[:40]):
            course, (student, *_) = await add_room(server.app[DATABASE])
            async with Person(server.url, student) as person:
                chatter = await person.enter(course)
                await chatter.socket.send_str(frame)
                assert (await chatter.receive_until("error"))["code"] == "bad_request"


async def test_a_text_full_of_braces_is_accepted(server: Server) -> None:
    course, (student, *_) = await add_room(server.app[DATABASE])
    async with Person(server.url, student) as person:
        chatter = await person.enter(course)
        text = json.dumps([{"a": {}}] * 300)
        await chatter.say(text, "a")
        assert (await chatter.receive_until("chat_message"))["message"] == text


async def test_strikes_are_counted_per_user_across_sockets(server: Server) -> None:
    course, (student, other) = await add_room(server.app[DATABASE])
    async with Person(server.url, student) as person, Person(server.url, other) as classmate:
        first, second = await person.enter(course), await person.enter(course)
        listening = await classmate.enter(course)
        with suppress(ConnectionError):
            for _ in range(400):
                await first.socket.send_str("[")
        assert await first.close_code() == 1008
        # No budget is left for the other socket either, and hardly any for a new one.
        with suppress(ConnectionError):
            for _ in range(20):
                await second.socket.send_str("[")
        assert await second.close_code() == 1008
        for _ in range(3):
            again = await person.enter(course)
            with suppress(ConnectionError):
                for _ in range(40):
                    await again.socket.send_str("[")
            assert await again.close_code() == 1008
        await listening.say("and I?", "a")
        await listening.receive_until("ack", id="a")


async def test_reading_too_much_gets_429_with_retry_after_and_does_not_affect_others(
    url: str, subtests: pytest.Subtests
) -> None:
    settings = settings_for(url, limits_reads_per_second=0.01, limits_read_burst=5)
    async with open_server(settings) as server:
        for path in ("/api/rooms", "/api/rooms/{}/messages", "/chat/room/{}/", "/students/courses/"):
            with subtests.test(path=path):
                course, (student, other) = await add_room(server.app[DATABASE])
                async with Person(server.url, student) as person, Person(server.url, other) as classmate:
                    answers = [await person.get(path.format(course)) for _ in range(6)]
                    assert [status for status, _, _ in answers] == [200] * 5 + [429]
                    assert 0 < int(answers[-1][2]["Retry-After"]) <= 100
                    assert (await classmate.get(path.format(course)))[0] == 200


async def test_large_history_pages_cost_more_of_the_budget(url: str) -> None:
    settings = settings_for(url, limits_reads_per_second=0.01, limits_read_burst=10)
    async with open_server(settings) as server:
        course, (student, _) = await add_room(server.app[DATABASE])
        async with Person(server.url, student) as person:
            path = f"/api/rooms/{course}/messages?limit=200"
            assert [(await person.get(path))[0] for _ in range(3)] == [200, 200, 429]


async def test_a_users_requests_are_handled_a_few_at_a_time() -> None:
    turns, under_way, most = Turns(2), 0, 0

    async def read(key: int) -> None:
        nonlocal under_way, most
        async with turns.turn(key):
            under_way += key == 1
            most = max(most, under_way)
            await asyncio.sleep(0)
            under_way -= key == 1

    await asyncio.gather(*(read(key) for key in [1] * 20 + [2]))
    assert most == 2

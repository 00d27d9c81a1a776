"""The search API: permissions, valid queries, and rate limits."""

import asyncio
import json

import pytest
from yarl import URL

from educa_chat.handlers.api import MAX_QUERY, SEARCHES_BURST
from educa_chat.handlers.keys import DATABASE
from educa_chat.storage.courses import enrol, unenrol
from tests.handlers.test_pages import check_order_of_refusals
from tests.serving import Person, Server, add_person, add_room

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("prompt_search_index")]


async def test_results_have_the_format_of_the_history(server: Server) -> None:
    course, (ana, luis) = await add_room(server.app[DATABASE])
    async with Person(server.url, ana) as one, Person(server.url, luis) as other:
        socket = await one.enter(course)
        await socket.say("The función is continuous", id="a")
        await socket.say("Another thing", id="b")
        await socket.receive_until("ack", id="b")
        found = await other.search_until_found(course, "funcion")
        page = await other.messages(course)
        assert found["messages"] == page["messages"][:1]
        assert {name: found[name] for name in ("head", "epoch", "more")} == {
            "head": page["head"],
            "epoch": page["epoch"],
            "more": False,
        }


async def test_search_is_limited_to_its_room(server: Server) -> None:
    database = server.app[DATABASE]
    (mine, (ana,)), (other, (berta,)) = await add_room(database, 1), await add_room(database, 1)
    async with Person(server.url, ana) as one, Person(server.url, berta) as two:
        for person, course, text in ((one, mine, "my words"), (two, other, "your words")):
            await (await person.enter(course)).say(text, id="a")
        assert [m["message"] for m in (await two.search_until_found(other, "words"))["messages"]] == ["your words"]
        assert [m["message"] for m in (await one.search_until_found(mine, "words"))["messages"]] == ["my words"]
        assert (await one.get(f"/api/rooms/{other}/search?q=words"))[0] == 403


async def test_requests_are_checked_in_the_documented_order(server: Server, subtests: pytest.Subtests) -> None:
    await check_order_of_refusals(server, "search", ("?q=words", "?q=", ""), subtests)


async def test_search_is_refused_after_leaving_the_course(server: Server) -> None:
    username = await add_person(server.app[DATABASE], 1)
    async with Person(server.url, username) as student:
        await student.search(1, "words")
        await unenrol(server.app[DATABASE], username, 1)
        assert (await student.get("/api/rooms/1/search?q=words"))[0] == 403
        await enrol(server.app[DATABASE], username, 1)
        await student.search(1, "words")


async def test_an_invalid_query_is_refused_and_not_counted(server: Server, subtests: pytest.Subtests) -> None:
    username = await add_person(server.app[DATABASE], 1)
    async with Person(server.url, username) as student:
        for query in (
            "",
            "?q=",
            "?q=%20%09",
            "?q=" + "x" * (MAX_QUERY + 1),
            "?q=" + "x" * 6000,
            "?q=a%00b",
            "?words=a",
        ):
            with subtests.test(query=query):
                for _ in range(SEARCHES_BURST + 2):
                    status, body, _ = await student.get(f"/api/rooms/1/search{query}")
                    assert (status, json.loads(body)["error"]["code"]) == (400, "bad_request")


async def test_hostile_bytes_in_a_query_get_a_response(server: Server, subtests: pytest.Subtests) -> None:
    username = await add_person(server.app[DATABASE], 1)
    async with Person(server.url, username) as student:
        for raw in (
            "%ED%A0%80",
            "%FF%FE",
            "%",
            "%2",
            "%C3%28",
            "-" * 200,
            "%F0%9F%98%80" * 200,
            "'%22%5C%3B--",
            "%EF%BF%BF",
            "+",
        ):
            with subtests.test(raw=raw):
                url = URL(f"{server.url}/api/rooms/1/search?q={raw}", encoded=True)
                async with student.http.get(url) as response:
                    assert response.status in (200, 400)


async def test_the_longest_query_is_answered(server: Server) -> None:
    username = await add_person(server.app[DATABASE], 1)
    async with Person(server.url, username) as student:
        assert (await student.search(1, "ñ" * MAX_QUERY))["messages"] == []


async def test_searching_too_often_gets_429_with_retry_after_and_does_not_affect_others(server: Server) -> None:
    course, (ana, luis) = await add_room(server.app[DATABASE])
    async with Person(server.url, ana) as one, Person(server.url, luis) as other:
        # All at once, because a busy machine could answer one after the other as slowly as the limit allows.
        requests = (one.get(f"/api/rooms/{course}/search?q=words") for _ in range(5 * SEARCHES_BURST))
        answers = await asyncio.gather(*requests)
        refused = [answer for answer in answers if answer[0] != 200]
        assert 0 < len(refused) <= 4 * SEARCHES_BURST
        for status, body, headers in refused:
            assert (status, json.loads(body)["error"]["code"]) == (429, "rate_limited")
            assert int(headers["Retry-After"]) >= 1
        await other.search(course, "words")


async def test_any_time_zone_gets_a_response(server: Server, subtests: pytest.Subtests) -> None:
    username = await add_person(server.app[DATABASE], 1)
    async with Person(server.url, username) as student:
        for zone in ("", "Nowhere/City", "../../etc/passwd", "/etc", "%00", "Europe", "x" * 500, "Europe/Madrid"):
            with subtests.test(zone=zone):
                status, _, _ = await student.get(f"/api/rooms/1/search?q=before:2026-01-01&zone={zone}")
                assert status == 200


async def test_filters_select_by_author_link_question_and_day(server: Server) -> None:
    course, (ana, luis) = await add_room(server.app[DATABASE])
    async with Person(server.url, ana) as one, Person(server.url, luis) as other:
        await (await one.enter(course)).say("see https://example.org", id="a")
        socket = await other.enter(course)
        await socket.send({"type": "message", "id": "b", "message": "is it continuous?", "question": True})
        await socket.receive_until("ack", id="b")
        await one.search_until_found(course, "continuous")

        async def found(words: str) -> list[str]:
            return [message["message"] for message in (await one.search(course, words))["messages"]]

        assert await found(f"from:{ana}") == await found("has:link") == ["see https://example.org"]
        assert await found(f"from:{luis.upper()}") == await found("is:question") == ["is it continuous?"]
        assert len(await found("after:2000-01-01")) == len(await found("before:2999-12-31")) == 2
        assert await found("before:2000-01-01") == await found("after:2999-12-31 see") == []

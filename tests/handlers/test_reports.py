"""Moderation over real sockets and pages: reports, muted students, and system messages in the history."""

from html import escape
from typing import Any

import pytest

from educa_chat.handlers.keys import DATABASE
from tests.handlers.test_class_commands import give
from tests.handlers.test_pages import HOSTILE, MISSING, Page
from tests.serving import Person, Server, add_room

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def post(person: Person, path: str, **form: str) -> tuple[int, str]:
    """Post a form. Return the status and the redirect."""
    async with person.http.post(person.url + path, data=form, allow_redirects=False) as response:
        return response.status, response.headers.get("Location", "")


def state_of(welcome: dict[str, Any]) -> dict[str, Any]:
    state: dict[str, Any] = welcome["state"]
    return state


async def test_only_instructors_receive_reports(server: Server) -> None:
    course, (author, reporter) = await add_room(server.app[DATABASE])
    async with (
        Person(server.url, author) as ana,
        Person(server.url, reporter) as luis,
        Person(server.url, "profe") as profe,
    ):
        writer, reader, teacher = await ana.enter(course), await luis.enter(course), await profe.enter(course)
        basic, teachers_basic = await luis.enter(course, basic=True), await profe.enter(course, basic=True)
        watcher, colleague = await luis.enter(course), await profe.enter(course)
        assert "reports" not in state_of(await watcher.receive_until("welcome"))
        assert state_of(await colleague.receive_until("welcome"))["reports"] == 0
        await give(writer, type="message", message="a rude word")
        await give(reader, type="report", target=1, reason="rude")
        await give(teacher, type="settle", target=1)
        await give(reader, type="report", target=1, message="a field that nobody knows")
        await give(writer, type="message", message="the end")
        for students in (watcher, await ana.enter(course, query="?after=0")):
            events = await students.events(5)
            assert [event["type"] for event in events] == ["chat_message", "hidden", "hidden", "hidden", "chat_message"]
            assert all(set(event) == {"type", "seq", "datetime"} for event in events[1:4])
        for instructors in (colleague, await profe.enter(course, query="?after=0")):
            events = await instructors.events(5)
            told = [{name: value for name, value in event.items() if name != "datetime"} for event in events[1:4]]
            assert told == [
                {"type": "reported", "seq": 2, "user": reporter, "target": 1, "reason": "rude"},
                {"type": "settled", "seq": 3, "user": "profe", "target": 1},
                {"type": "reported", "seq": 4, "user": reporter, "target": 1, "reason": ""},
            ]
        for one in (basic, teachers_basic):
            assert [(await one.receive())["message"] for _ in range(2)] == ["a rude word", "the end"]
        late_teacher, late_student = await profe.enter(course), await luis.enter(course)
        assert state_of(await late_teacher.receive_until("welcome"))["reports"] == 1
        assert "reports" not in state_of(await late_student.receive_until("welcome"))
        for path in ("messages", "search?q=rude"):
            assert "report" not in (await luis.get(f"/api/rooms/{course}/{path}"))[1]


async def test_moderation_pages_are_refused_to_everyone_but_instructors(
    server: Server, subtests: pytest.Subtests
) -> None:
    course, (student, _) = await add_room(server.app[DATABASE])
    async with Person(server.url) as nobody, Person(server.url, student) as ana, Person(server.url, "profe") as profe:
        for path in ("/chat/room/{}/reports/", "/api/rooms/{}/reports", "/api/rooms/{}/muted"):
            with subtests.test(path=path):
                assert (await nobody.get(path.format("01")))[0] == 403
                assert (await nobody.get(path.format(course)))[0] == (302 if path.startswith("/chat") else 401)
                assert (await ana.get(path.format(course)))[0] == 403
                assert (await profe.get(path.format(MISSING)))[0] == 403
                assert (await profe.get(path.format(course)))[0] == 200


async def test_an_instructor_can_handle_the_queue_without_scripts(server: Server) -> None:
    course, (author, reporter) = await add_room(server.app[DATABASE])
    path = f"/chat/room/{course}/reports/"
    async with (
        Person(server.url, author) as ana,
        Person(server.url, reporter) as luis,
        Person(server.url, "profe") as profe,
    ):
        writer, reader, teacher = await ana.enter(course), await luis.enter(course), await profe.enter(course)
        watcher = await luis.enter(course)
        for number in range(1, 4):
            await writer.say(f"{number}: {HOSTILE}", id=f"{number}")
            await writer.receive_until("ack", id=f"{number}")
            await give(reader, type="report", target=2 * number - 1, reason=f"{number}. {HOSTILE}")
        await give(teacher, type="report", target=1)
        status, html, _ = await profe.get(path)
        assert status == 200
        assert "<script>alert" not in html
        assert "<img src=x" not in html
        page = Page(html)
        texts = " ".join(page.texts.values())
        places = [texts.index(f"{number}: {HOSTILE}") for number in (1, 3, 2)]
        assert places == sorted(places), "the newest report first"
        for word in (author, reporter, f"1. {HOSTILE}", "Clara Benítez"):
            assert word in texts
        assert [link["href"] for link in page.named("a") if "#" in (link["href"] or "")][1:] == [
            f"/chat/room/{course}/#message-{seq}" for seq in (1, 5, 3)
        ]
        assert (await profe.get(f"/api/rooms/{course}/reports"))[1] == '{"reported":[5,3,1]}'

        # Dismissing is an event, which all staff receive.
        token = await profe.token(path)
        assert await post(profe, path, csrf_token=token, target="1", act="settle") == (303, path)
        settled = await teacher.receive_until("settled")
        assert (settled["target"], settled["user"]) == (1, "profe")
        assert await post(profe, path, csrf_token=token, target="3", act="delete") == (303, path)
        assert (await watcher.receive_until("deleted"))["target"] == 3
        assert await post(profe, path, csrf_token=token, target="3", act="delete") == (303, path), "dealt with already"
        _, html, _ = await profe.get(path)
        texts = " ".join(Page(html).texts.values())
        assert f"3: {HOSTILE}" in texts
        assert f"1: {HOSTILE}" not in texts
        assert f"2: {HOSTILE}" not in texts

        # Nobody else can do it, or trick an instructor into doing it.
        for person, form, refusal in (
            (luis, {"csrf_token": await luis.token("/students/courses/"), "target": "5", "act": "settle"}, 403),
            (profe, {"target": "5", "act": "settle"}, 403),
            (profe, {"csrf_token": "0" * 80, "target": "5", "act": "delete"}, 403),
            (profe, {"csrf_token": token, "target": "5", "act": "close"}, 400),
            (profe, {"csrf_token": token, "target": "05", "act": "delete"}, 400),
            (profe, {"csrf_token": token, "target": str(2**53 + 1), "act": "delete"}, 400),
            (profe, {"csrf_token": token, "act": "delete"}, 400),
        ):
            assert (await post(person, path, **form))[0] == refusal
        async with profe.http.post(
            server.url + path,
            data={"csrf_token": token, "target": "5", "act": "delete"},
            headers={"Origin": "https://evil.example"},
        ) as response:
            assert response.status == 403
        assert (await profe.get(f"/api/rooms/{course}/reports"))[1] == '{"reported":[5]}'

        # The audit log contains all of it.
        _, html, _ = await profe.get(f"/chat/room/{course}/audit/")
        assert escape(f"1. {HOSTILE}", quote=False) in html.replace("&#34;", '"').replace("&#39;", "'")
        texts = " ".join(Page(html).texts.values())
        assert "reported a message by" in texts
        assert "dismissed the reports of a message by" in texts


async def test_a_long_queue_is_paginated(server: Server) -> None:
    course, (author, reporter) = await add_room(server.app[DATABASE])
    path = f"/chat/room/{course}/reports/"
    async with (
        Person(server.url, author) as ana,
        Person(server.url, reporter) as luis,
        Person(server.url, "profe") as profe,
    ):
        writer, reader = await ana.enter(course), await luis.enter(course)
        for number in range(25):
            await give(writer, type="message", message=f"number {number}")
            await give(reader, type="report", target=2 * number + 1)
        seen: list[str] = []
        query: str | None = ""
        while query is not None:
            page = Page((await profe.get(path + query))[1])
            seen += [page.texts[place].strip() for place, (tag, _) in enumerate(page.elements) if tag == "blockquote"]
            query = next((href for a in page.named("a") if (href := a["href"] or "").startswith("?before=")), None)
        assert seen == [f"number {number}" for number in reversed(range(25))]
        assert (await profe.get(f"{path}?before=x"))[0] == 400


async def test_handling_reports_too_fast_is_rate_limited(server: Server) -> None:
    course, (author,) = await add_room(server.app[DATABASE], students=1)
    path = f"/chat/room/{course}/reports/"
    async with Person(server.url, author) as ana, Person(server.url, "profe") as profe:
        await give(await ana.enter(course), type="message", message="a rude word")
        token = await profe.token(path)
        for _ in range(100):
            async with profe.http.post(
                server.url + path, data={"csrf_token": token, "target": "1", "act": "settle"}, allow_redirects=False
            ) as response:
                if response.status != 303:
                    break
        assert response.status == 429
        assert int(response.headers["Retry-After"]) >= 1


async def test_instructors_can_list_muted_students(server: Server) -> None:
    course, (student,) = await add_room(server.app[DATABASE], students=1)
    async with Person(server.url, "profe") as profe:
        teacher, colleague = await profe.enter(course), await profe.enter(course)
        await give(teacher, type="mute", user=student, minutes=10)
        muted = await colleague.receive_until("muted")
        async with profe.http.get(f"{server.url}/api/rooms/{course}/muted") as response:
            (told,) = (await response.json())["muted"]
        assert (told["user"], told["name"], set(told)) == (student, student, {"user", "name", "until"})
        assert told["until"].replace("Z", "+00:00") == muted["until"]


async def test_a_history_page_includes_the_system_messages_between_its_messages(server: Server) -> None:
    course, (student, _) = await add_room(server.app[DATABASE])
    async with Person(server.url, student) as ana, Person(server.url, "profe") as profe:
        teacher, watcher = await profe.enter(course), await ana.enter(course)
        await give(teacher, type="slow", seconds=30)
        for number in range(1, 4):
            await give(teacher, type="message", message=f"number {number}")
            await give(teacher, type="close", on=number % 2 == 1, message=f"{number}")
            await give(teacher, type="pin", target=2, on=True, message=f"{number}")
        sent = [event for event in await watcher.events(10) if event["type"] in ("slowed", "closed")]
        for query, seqs in (
            ("", [1, 3, 6, 9]),
            ("?limit=2", [6, 9]),
            ("?limit=1", [9]),
            ("?limit=1&before=8", [6]),
            ("?limit=1&before=5", [1, 3]),
            ("?limit=1&after=0", [1]),
            ("?limit=1&after=2", [3]),
            ("?limit=1&after=5", [6, 9]),
            ("?only=unanswered", []),
        ):
            page = await ana.messages(course, query)
            assert [line["seq"] for line in page["lines"]] == seqs, query
            assert page["lines"] == [event for event in sent if event["seq"] in seqs], "the log's own words"

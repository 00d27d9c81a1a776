"""The audit log, as a page and as a file."""

import csv
import io

import pytest

from educa_chat.handlers import audit
from educa_chat.handlers.audit import Change, change_between
from educa_chat.handlers.keys import DATABASE
from educa_chat.storage.accounts import rename
from tests.handlers.test_class_commands import give
from tests.handlers.test_pages import MISSING, Page
from tests.serving import Person, Server, add_room

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_an_edit_is_shown_as_the_difference_of_two_texts() -> None:
    for before, after, change in (
        ("the old word here", "the new word here", Change("the ", "old", "new", " word here")),
        ("one", "one two", Change("one", "", " two", "")),
        ("one two", "two", Change("", "one ", "", "two")),
        ("a a a", "a a", Change("a a", " a", "", "")),
        ("all", "other", Change("", "all", "other", "")),
    ):
        assert change_between(before, after) == change, before


async def test_the_audit_log_says_who_changed_what_and_links_to_the_message(server: Server) -> None:
    database = server.app[DATABASE]
    course, (student,) = await add_room(database, students=1)
    await rename(database, student, "Zoe", "Quinn")
    path = f"/chat/room/{course}/audit/"
    async with Person(server.url, student) as learner, Person(server.url, "profe") as profe:
        writer, teacher = await learner.enter(course), await profe.enter(course)
        await give(writer, type="message", message="an ugly word")
        await give(writer, type="edit", target=1, message="an <b>uglier</b> word")
        await give(writer, type="edit", target=1, message="an <b>uglier</b> word, again")
        await give(teacher, type="delete", target=1)
        await give(teacher, type="mute", user=student, minutes=10)
        await give(teacher, type="slow", seconds=30)
        await give(teacher, type="close", on=True)
        status, html, _ = await profe.get(path)
        assert status == 200
        *_, second_edit, first_edit = html.split("<li>")
        assert "Zoe Quinn" in first_edit
        assert "an <del>ugly</del> word" in first_edit
        assert "an <ins>&lt;b&gt;uglier&lt;/b&gt;</ins> word" in first_edit
        # A deletion leaves no current text, but the removed text is known.
        assert "<ins>word, again</ins>" in second_edit
        assert f'href="/chat/room/{course}/#message-1"' in second_edit
        texts = " ".join(" ".join(Page(html).texts.values()).split())
        for said in ("deleted a message by Zoe Quinn", "muted Zoe Quinn until", "one message every 30 seconds"):
            assert said in texts
        assert texts.index("announcements only") < texts.index("30 seconds"), "the newest first"
        assert (await learner.get(path))[0] == 403
        status, html, _ = await profe.get(f"{path}?before=3")
        assert "an <del>ugly</del> word" in html
        assert "30 seconds" not in html
        assert (await profe.get(f"{path}?before=x"))[0] == 400
        assert (await profe.get(f"/chat/room/{MISSING}/audit/"))[0] == 403


async def test_the_csv_export_has_every_entry_and_no_formulas(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "ENTRIES_A_QUERY", 2)
    course, (student,) = await add_room(server.app[DATABASE], students=1)
    path = f"/chat/room/{course}/audit.csv"
    async with Person(server.url, student) as learner, Person(server.url, "profe") as profe:
        writer, teacher = await learner.enter(course), await profe.enter(course)
        await give(writer, type="message", message="=1+1")
        await give(writer, type="edit", target=1, message="two,\n“lines”")
        await give(teacher, type="pin", target=1, on=True)
        await give(teacher, type="mute", user=student, minutes=10)
        await give(teacher, type="slow", seconds=30)
        await give(teacher, type="delete", target=1)
        async with profe.http.get(server.url + path) as response:
            assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
            assert f'filename="audit-log-{course}.csv"' in response.headers["Content-Disposition"]
            text = (await response.read()).decode()
        rows = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline="")))
        assert [row["type"] for row in rows] == ["deleted", "slowed", "muted", "pinned", "edited"]
        assert (rows[4]["before"], rows[4]["after"]) == ("'=1+1", "two,\n“lines”")
        assert (rows[4]["user"], rows[3]["on"], rows[1]["seconds"]) == (student, "true", "30")
        assert rows[2]["student"] == student
        assert rows[2]["until"]
        assert (await learner.get(path))[0] == 403

"""Mentions: the names in a text, and which of them are members when the message is stored."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from educa_chat.events.marks import Question
from educa_chat.events.message import Delete, Edit, SendMessage
from educa_chat.markup import render
from educa_chat.mentions import EVERYBODY, MOST, mentioned_in
from educa_chat.protocol import Audience, Event, Role
from educa_chat.storage.log import Log
from educa_chat.storage.messages import Reader, read_page
from educa_chat.storage.pool import Database
from tests.storage.platform import add_class
from tests.test_class import ASKER, OUTSIDER, STUDENT, TEACHER, TIMEOUT_S, Class, open_class

READER = Reader(ASKER, is_staff=False)
TABLE = Path(__file__).parent / "mentions.json"
"""Texts by an instructor, the usernames of two students, the mentioned users, and the highlighted parts."""


def names(text: str, *, by_instructor: bool = False) -> list[str]:
    return (mentioned_in(render(text), by_instructor=by_instructor) or "").split()


MENTIONS: list[tuple[str, list[str]]] = [
    ("@ana", ["ana"]),
    ("hi @ana, @luis: (@marta) @pia!", ["ana", "luis", "marta", "pia"]),
    ("@ana @luis @ana", ["ana", "luis"]),
    ("@ana.", ["ana."]),
    ("@ana.morales+1@example.org", ["ana.morales+1@example.org"]),
    ("@Ñandú_7", ["Ñandú_7"]),
    ("ana@example.org", []),
    ("a @ b", []),
    ("@", []),
    ("**@ana** ~~@luis~~\n- @pia\n- @marta", ["ana", "luis", "pia", "marta"]),
    ("> @ana dijo que no\n\nyo creo que sí", []),
    ("> @ana\n@luis", ["luis"]),
    ("> > @ana\n> @luis\n\n@pia\n> @ana\n> > @luis", ["pia"]),
    ("- @pia\n  > @ana\n- @luis", ["pia", "luis"]),
    ("`@ana` and @luis", ["luis"]),
    ("```\n@ana\n```\n@luis", ["luis"]),
    ("```python\n@property\ndef f(): ...\n```", []),
    ("$@ana$ @luis", ["luis"]),
    ("https://example.org/@ana", []),
    ("[@ana](https://example.org/) @luis", ["luis"]),
    ("<@ana> <b>@luis</b>", ["ana", "luis"]),
    ("@" + "a" * 150, ["a" * 150]),
    ("@" + "a" * 151, []),
    ("@ana" + "好" * 400, ["ana" + "好" * 147]),
    ("@ana.Thanks @all.Thanks", ["ana.Thanks", "all.Thanks"]),
    ("@all", []),
    ("@ﷺ", []),
    ("@ﬁn", ["fin"]),
]


def test_names_are_found_where_they_are_meant_as_mentions() -> None:
    for text, expected in MENTIONS:
        assert names(text) == expected, text


def test_only_an_instructor_can_mention_everyone() -> None:
    for text in ("@all", "@All", "hello @all.", "@ana @all"):
        assert names(text, by_instructor=True)[0] == EVERYBODY, text
        assert names(text) == [name for name in ("ana",) if name in text], text


def test_lookalikes_of_everyone_mention_nobody() -> None:
    for text in ("@allan", "all", "a@all", "`@all`"):
        assert EVERYBODY not in names(text, by_instructor=True), text


def test_the_number_of_names_is_limited() -> None:
    text = " ".join(f"@user{number}" for number in range(MOST + 10))
    assert names(text) == [f"user{number}" for number in range(MOST)]
    assert names(f"{text} @all", by_instructor=True) == [EVERYBODY, *(f"user{number}" for number in range(MOST))]


usernames = st.from_regex(r"\A[A-Za-z0-9ñé][A-Za-z0-9ñé.+-]{0,20}[A-Za-z0-9ñé]\Z").filter(lambda n: n.lower() != "all")
around = st.sampled_from([" ", "\n", ", ", "! ", " (", ") ", ": ", "; ", "? "])


@given(st.lists(st.tuples(around, usernames), max_size=MOST))
def test_names_are_found_in_order_whatever_is_between_them(parts: list[tuple[str, str]]) -> None:
    text = "".join(f"{before}@{name}" for before, name in parts)
    assert mentioned_in(text, by_instructor=False) == (" ".join(dict.fromkeys(name for _, name in parts)) or None)


@given(st.text(st.sampled_from("@@@aZñ.+-_*` \n$<>&[]()/:1😀\u0301ﷺ"), max_size=200), st.booleans())
def test_any_text_yields_only_a_few_valid_usernames(text: str, by_instructor: bool) -> None:
    found = names(text, by_instructor=by_instructor)
    if found[:1] == [EVERYBODY]:
        assert by_instructor
        del found[0]
    assert len(found) == len(set(found)) <= MOST
    for name in found:
        assert re.fullmatch(r"[\w.@+-]{1,150}", name)
        assert name.lower().rstrip(".@+-") != "all"


def test_no_text_makes_finding_names_slow() -> None:
    for text in (
        "@" * 4000,
        "@a " * 1300,
        "@a." * 1300,
        "@" + "好" * 3999,
        "好@" * 2000,
        "`@" * 2000,
        "<a " * 1300 + "@",
        "@" + "." * 3999,
    ):
        html = render(text)
        started = time.thread_time()
        mentioned_in(html, by_instructor=True)
        assert time.thread_time() - started < 0.05, text[:20]


@pytest.fixture
async def room(database: Database) -> AsyncIterator[Class]:
    await add_class(database, courses=2, students=4)
    await database.execute("delete from courses_course_students where user_id = $1 and course_id = 1", OUTSIDER)
    async with open_class(database) as opened:
        yield opened


async def rename(database: Database, user: int, username: str) -> None:
    await database.execute("update auth_user set username = $2 where id = $1", user, username)


async def mentions_of(room: Class, user: int, text: str) -> list[str]:
    """Send the text, and return the users whom the event mentions."""
    await room.seq_of(user, SendMessage(message=text))
    found: list[str] = shown(room.events[-1]).get("mentions", [])
    return found


def shown(event: Event, audience: Audience = Audience.STUDENT) -> dict[str, Any]:
    variant = event.variant(audience)
    assert variant is not None
    fields: dict[str, Any] = json.loads(variant)
    return fields


async def test_only_members_are_mentioned(room: Class) -> None:
    text = "@user1 @user2 @user4 @nobody @user1000 @user3"
    assert await mentions_of(room, ASKER, text) == ["user1", "user2", "user1000", "user3"]
    await room.database.execute("delete from courses_course_students where user_id = 2 and course_id = 1")
    await room.database.execute("update auth_user set is_active = false where id = 3")
    assert await mentions_of(room, ASKER, text) == ["user1", "user1000"]


async def test_a_superuser_outside_the_course_is_not_mentioned(room: Class) -> None:
    await room.database.execute("update auth_user set is_superuser = true where id = $1", OUTSIDER)
    assert await mentions_of(room, ASKER, f"@user{OUTSIDER}") == []


async def test_usernames_are_matched_as_people_type_them(room: Class) -> None:
    for case in json.loads(TABLE.read_text(encoding="utf-8")):
        for user in (ASKER, STUDENT):
            await rename(room.database, user, f"nobody{user}")
        for user, username in zip((ASKER, STUDENT), case["members"], strict=True):
            await rename(room.database, user, username)
        assert await mentions_of(room, TEACHER, case["text"]) == case["mentions"], case
        assert shown(room.events[-1]).get("mentions_all", False) == case.get("all", False), case


async def test_a_students_at_all_mentions_nobody_whatever_follows(room: Class) -> None:
    for text in ("@all", "@all.Thanks", "@allさん", "@all's"):
        assert await mentions_of(room, ASKER, text) == []
        assert "mentions_all" not in shown(room.events[-1])


async def test_mentioning_everyone_is_in_the_event_and_the_history(room: Class) -> None:
    await room.seq_of(TEACHER, SendMessage(message="@all and @user1"))
    await room.seq_of(ASKER, SendMessage(message="@all and @user1"))
    await room.seq_of(TEACHER, SendMessage(message="@all"))
    by_teacher, by_student, alone = map(shown, room.events)
    assert (by_teacher["mentions"], by_teacher["mentions_all"]) == (["user1"], True)
    assert (by_student["mentions"], "mentions_all" in by_student) == (["user1"], False)
    assert ("mentions" in alone, alone["mentions_all"]) == (False, True)
    page = await read_page(room.database, 1, READER, before=None, after=None, limit=10)
    assert [(m.mentions, m.mentions_all) for m in page.messages] == [(["user1"], True), (["user1"], False), ([], True)]


async def test_a_former_instructor_cannot_mention_everyone(room: Class) -> None:
    assert await room.code_of(STUDENT, SendMessage(message="@all"), role=Role.INSTRUCTOR) == "forbidden"


async def test_mentions_are_in_every_variant_except_the_basic_one(room: Class) -> None:
    await room.seq_of(TEACHER, SendMessage(message="@all @user1"))
    for audience in (Audience.STUDENT, Audience.INSTRUCTOR):
        assert shown(room.events[0], audience)["mentions"] == ["user1"]
    assert {"mentions", "mentions_all"}.isdisjoint(shown(room.events[0], Audience.BASIC))
    assert await Log(room.database).read(1, 0, 10) == room.events


async def test_an_edit_replaces_the_mentions(room: Class) -> None:
    seq = await room.seq_of(TEACHER, SendMessage(message="@all @user1"))
    await room.seq_of(TEACHER, Edit(target=seq, message="@user2 and @user4"))
    assert shown(room.events[1])["mentions"] == ["user2"]
    assert "mentions_all" not in shown(room.events[1])
    (message,) = (await read_page(room.database, 1, READER, before=None, after=None, limit=10)).messages
    assert (message.mentions, message.mentions_all) == (["user2"], False)
    await room.seq_of(TEACHER, Edit(target=seq, message="nobody"))
    assert "mentions" not in shown(room.events[2])
    (message,) = (await read_page(room.database, 1, READER, before=None, after=None, limit=10)).messages
    assert message.mentions == []


async def test_a_deleted_message_mentions_nobody(room: Class) -> None:
    seq = await room.seq_of(TEACHER, SendMessage(message="@all @user1"))
    await room.seq_of(TEACHER, Delete(target=seq))
    (message,) = (await read_page(room.database, 1, READER, before=None, after=None, limit=10)).messages
    assert (message.mentions, message.mentions_all) == ([], False)
    for event in await Log(room.database).read(1, 0, 10):
        assert b"mentions" not in event.student


async def test_messages_in_one_batch_have_their_own_mentions(room: Class) -> None:
    await room.give(
        ASKER,
        *(SendMessage(message=text) for text in ("@user1", "nobody", "@user2 @user1")),
        Question(target=1, on=True),
    )
    assert [shown(event).get("mentions") for event in room.events] == [["user1"], None, ["user2", "user1"], None]


async def test_mentions_in_a_large_course_use_the_index(room: Class) -> None:
    await room.database.execute(
        "insert into auth_user (id, username, password, first_name, last_name, email,"
        " is_superuser, is_staff, is_active, date_joined)"
        " select n, 'student' || n, '!', '', '', '', false, false, true, now() from generate_series(2000, 11999) n"
    )
    await room.database.execute(
        "insert into courses_course_students (course_id, user_id) select 1, n from generate_series(2000, 11999) n"
    )
    before = await rows_looked_at(room.database)
    text = " ".join(f"@{name}{number}" for number in range(2000, 2025) for name in ("student", "nobody"))
    async with open_class(room.database) as own:
        assert len(await mentions_of(own, ASKER, text)) == 25
    async with asyncio.timeout(TIMEOUT_S):
        # The database updates its statistics when the connection has ended.
        while (rows := await rows_looked_at(room.database) - before) < 25:
            await asyncio.sleep(0.05)
    assert rows < 200


async def rows_looked_at(database: Database) -> int:
    """Return the number of enrolment rows that all queries have read so far."""
    rows: int = await database.fetchval(
        "select (select sum(idx_tup_read) from pg_stat_user_indexes where relname = 'courses_course_students')"
        "::bigint + (select seq_tup_read from pg_stat_user_tables where relname = 'courses_course_students')"
    )
    return rows

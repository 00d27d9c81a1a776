"""Commands other than messages: permissions, effects, and the same page for every client."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from educa_chat.chat import Chat
from educa_chat.errors import CommandRefused
from educa_chat.events.kind import Stored
from educa_chat.events.marks import Answer, Endorse, Pin, Question
from educa_chat.events.message import Delete, Edit, SendMessage
from educa_chat.events.reaction import React
from educa_chat.events.report import Report, Settle
from educa_chat.events.room_rules import Anonymity, Close, Mute, Slow
from educa_chat.markup import render
from educa_chat.metrics import Metrics
from educa_chat.payload import LogUpdate
from educa_chat.presence import Person, Presence
from educa_chat.protocol import Audience, ErrorCode, Event, Role
from educa_chat.room import Room
from educa_chat.settings import Limits
from educa_chat.storage.courses import Membership
from educa_chat.storage.log import Accepted, Appender, Log, Outcome, Refused
from educa_chat.storage.messages import Reader, read_page
from educa_chat.storage.mutes import read_muted
from educa_chat.storage.pool import Database, open_database
from educa_chat.storage.reports import read_queue, reported_messages
from educa_chat.storage.room_state import find_room_states
from educa_chat.storage.sessions import Visitor
from educa_chat.storage.system_messages import read_system_messages
from educa_chat.tasks import running
from tests.conftest import Postgres
from tests.page_model import PageModel
from tests.serving import codec_of
from tests.storage.platform import READER, add_class, clear
from tests.test_room import ListMember

pytestmark = pytest.mark.asyncio(loop_scope="module")

TIMEOUT_S = 20.0
EPOCH = "0123456789abcdef"
ASKER, STUDENT, TEACHER, OUTSIDER, ASSISTANT = 1, 2, 1000, 4, 5
ABSENT = 999
ROLES = {TEACHER: Role.INSTRUCTOR, ASSISTANT: Role.ASSISTANT}


class NobodyTypes:
    """Typing signals without sockets: does nothing."""

    def signal_typing(self, course: int, person: Person, *, is_student: bool) -> None:
        pass

    def end_typing(self, course: int, user_id: int) -> None:
        pass


class RendersHere:
    """Renders in this process, without workers."""

    async def render(self, user_id: int, text: str) -> str:
        return render(text)


class Class:
    """A room on one node, with everything that it announced, and users who give commands."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.events: list[Event] = []
        self.rendering: list[asyncio.Future[None]] = []
        self.appender = Appender(database, self._announce, Metrics())
        self.chat = Chat(self.appender, Log(database), RendersHere(), Limits(messages_per_second=0), NobodyTypes())

    def _announce(self, events: Mapping[int, list[Event]]) -> None:
        self.events += events.get(1, [])

    async def renew(self, courses: int, students: int) -> None:
        """Replace everything in the database by an empty room and new users, and forget what was announced."""
        await self.appender.drained()
        await clear(self.database)
        await add_class(self.database, courses=courses, students=students)
        self.events.clear()

    def give(self, user: int, *commands: Stored, role: Role | None = None) -> Awaitable[list[Outcome]]:
        """Give commands at once, all for one append, and return their outcomes. Each command gets a new id."""
        outcomes = []
        for command in commands:
            outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
            visitor = Visitor(user, f"user{user}", f"user{user}", "")
            membership = Membership(1, "Course", role or ROLES.get(user, Role.STUDENT))
            try:
                remaining = self.chat.handle(command, visitor, membership, partial(_resolve, outcome))
                if remaining is not None:
                    self.rendering.append(asyncio.ensure_future(remaining))
            except CommandRefused as refusal:
                outcome.set_result(Refused(ErrorCode(refusal.code)))
            outcomes.append(outcome)
        return asyncio.wait_for(asyncio.gather(*outcomes), TIMEOUT_S)

    async def seq_of(self, user: int, command: Stored) -> int:
        """Give a command that is accepted. Return the seq of its event."""
        (outcome,) = await self.give(user, command)
        assert isinstance(outcome, Accepted), outcome
        return outcome.seq

    async def code_of(self, user: int, command: Stored, *, role: Role | None = None) -> str:
        """Give a command. Return `ok`, or the error code."""
        (outcome,) = await self.give(user, command, role=role)
        return "ok" if isinstance(outcome, Accepted) else str(outcome.code)


def _resolve(to: asyncio.Future[Outcome], id: str, outcome: Outcome) -> None:
    to.set_result(outcome)


@asynccontextmanager
async def open_class(database: Database) -> AsyncIterator[Class]:
    opened = Class(database)
    async with running(opened.appender.run(), "appender"):
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened_class(postgres: Postgres) -> AsyncIterator[Class]:
    """The class that all tests in this file share and renew: each new connection would plan the append again."""
    async with open_database(await postgres.create_chat_database(), 10) as database, open_class(database) as opened:
        yield opened


async def renew(room: Class) -> None:
    """Renew the room, with an outsider and an assistant among the users."""
    await room.renew(courses=2, students=5)
    await room.database.execute(
        "delete from courses_course_students where user_id = any ($1::integer[]) and course_id = 1",
        [OUTSIDER, ASSISTANT],
    )
    await room.database.execute("insert into educa_chat.staff values (1, $1, 'assistant')", ASSISTANT)


@pytest_asyncio.fixture(loop_scope="module")
async def room(opened_class: Class) -> Class:
    await renew(opened_class)
    return opened_class


# Permissions.

SITUATIONS = (
    "as it is",
    "muted",
    "closed",
    "deleted",
    "absent",
    "another room's",
    "enrolled no more",
    "teaches no more",
)
RIGHTS = """
    command      | who       | as it is  | muted     | closed    | deleted         | absent          | another room's  | enrolled no more | teaches no more
    message      | asker     | ok        | muted     | closed    |                 |                 |                 | forbidden        |
    message      | assistant | ok        |           | ok        |                 |                 |                 |                  | forbidden
    message      | teacher   | ok        |           | ok        |                 |                 |                 |                  | forbidden
    reply        | asker     | ok        | muted     | closed    | no_such_message | no_such_message | no_such_message | forbidden        |
    reply        | assistant | ok        |           | ok        | no_such_message | no_such_message | no_such_message |                  | forbidden
    reply        | teacher   | ok        |           | ok        | no_such_message | no_such_message | no_such_message |                  | forbidden
    edit own     | asker     | ok        | muted     | closed    | no_such_message | no_such_message | no_such_message | forbidden        |
    edit         | student   | forbidden | muted     | closed    | no_such_message | no_such_message | no_such_message | forbidden        |
    edit         | assistant | forbidden |           |           | no_such_message | no_such_message | no_such_message |                  | forbidden
    edit         | teacher   | forbidden |           |           | no_such_message | no_such_message | no_such_message |                  | forbidden
    delete own   | asker     | ok        | ok        | ok        | no_such_message | no_such_message | no_such_message | forbidden        |
    delete       | student   | forbidden | forbidden | forbidden | no_such_message | no_such_message | no_such_message | forbidden        |
    delete       | assistant | ok        |           | ok        | no_such_message | no_such_message | no_such_message |                  | forbidden
    delete       | teacher   | ok        |           | ok        | no_such_message | no_such_message | no_such_message |                  | forbidden
    react        | student   | ok        | muted     | ok        | no_such_message | no_such_message | no_such_message | forbidden        |
    react        | assistant | ok        |           | ok        | no_such_message | no_such_message | no_such_message |                  | forbidden
    react        | teacher   | ok        |           | ok        | no_such_message | no_such_message | no_such_message |                  | forbidden
    pin          | asker     | forbidden | forbidden | forbidden | forbidden       | forbidden       | forbidden       | forbidden        |
    pin          | assistant | ok        |           | ok        | no_such_message | no_such_message | no_such_message |                  | forbidden
    pin          | teacher   | ok        |           | ok        | no_such_message | no_such_message | no_such_message |                  | forbidden
    answer       | asker     | ok        | muted     | closed    | no_such_message | no_such_message | no_such_message | forbidden        |
    answer       | student   | forbidden | muted     | closed    | no_such_message | no_such_message | no_such_message | forbidden        |
    answer       | assistant | ok        |           | ok        | no_such_message | no_such_message | no_such_message |                  | forbidden
    answer       | teacher   | ok        |           | ok        | no_such_message | no_such_message | no_such_message |                  | forbidden
    question own | asker     | ok        | muted     | closed    | no_such_message | no_such_message | no_such_message | forbidden        |
    question     | student   | forbidden | muted     | closed    | no_such_message | no_such_message | no_such_message | forbidden        |
    question     | assistant | ok        |           | ok        | no_such_message | no_such_message | no_such_message |                  | forbidden
    question     | teacher   | ok        |           | ok        | no_such_message | no_such_message | no_such_message |                  | forbidden
    endorse      | asker     | forbidden | forbidden | forbidden | forbidden       | forbidden       | forbidden       | forbidden        |
    endorse      | assistant | ok        |           | ok        | no_such_message | no_such_message | no_such_message |                  | forbidden
    endorse      | teacher   | ok        |           | ok        | no_such_message | no_such_message | no_such_message |                  | forbidden
    mute         | student   | forbidden | forbidden | forbidden |                 |                 |                 | forbidden        |
    mute         | assistant | ok        |           | ok        |                 |                 |                 |                  | forbidden
    mute         | teacher   | ok        |           | ok        |                 |                 |                 |                  | forbidden
    slow         | student   | forbidden | forbidden | forbidden |                 |                 |                 | forbidden        |
    slow         | assistant | forbidden |           | forbidden |                 |                 |                 |                  | forbidden
    slow         | teacher   | ok        |           | ok        |                 |                 |                 |                  | forbidden
    close        | student   | forbidden | forbidden | forbidden |                 |                 |                 | forbidden        |
    close        | assistant | forbidden |           | forbidden |                 |                 |                 |                  | forbidden
    close        | teacher   | ok        |           | ok        |                 |                 |                 |                  | forbidden
    anonymity    | student   | forbidden | forbidden | forbidden |                 |                 |                 | forbidden        |
    anonymity    | assistant | forbidden |           | forbidden |                 |                 |                 |                  | forbidden
    anonymity    | teacher   | ok        |           | ok        |                 |                 |                 |                  | forbidden
    anonymous    | asker     | forbidden | muted     | closed    |                 |                 |                 | forbidden        |
    anonymous    | assistant | forbidden |           | forbidden |                 |                 |                 |                  | forbidden
    anonymous    | teacher   | forbidden |           | forbidden |                 |                 |                 |                  | forbidden
    report       | student   | ok        | ok        | ok        | no_such_message | no_such_message | no_such_message | forbidden        |
    report own   | asker     | forbidden | forbidden | forbidden | no_such_message | no_such_message | no_such_message | forbidden        |
    report       | assistant | ok        |           | ok        | no_such_message | no_such_message | no_such_message |                  | forbidden
    report       | teacher   | ok        |           | ok        | no_such_message | no_such_message | no_such_message |                  | forbidden
    settle       | asker     | forbidden | forbidden | forbidden | forbidden       | forbidden       | forbidden       | forbidden        |
    settle       | assistant | ok        |           | ok        | ok              | no_such_message | no_such_message |                  | forbidden
    settle       | teacher   | ok        |           | ok        | ok              | no_such_message | no_such_message |                  | forbidden
"""  # noqa: E501
PEOPLE = {"asker": ASKER, "student": STUDENT, "assistant": ASSISTANT, "teacher": TEACHER}
COMMANDS: dict[str, Callable[[int], Stored]] = {
    "message": lambda _: SendMessage(message="more"),
    "reply": lambda seq: SendMessage(message="more", reply_to=seq),
    "edit": lambda seq: Edit(target=seq, message="other"),
    "delete": lambda seq: Delete(target=seq),
    "react": lambda seq: React(target=seq, emoji="👍", on=True),
    "pin": lambda seq: Pin(target=seq, on=True),
    "answer": lambda seq: Answer(target=seq, on=True),
    "question": lambda seq: Question(target=seq, on=True),
    "endorse": lambda seq: Endorse(target=seq, on=True),
    "mute": lambda _: Mute(user="user2", minutes=5),
    "slow": lambda _: Slow(seconds=30),
    "close": lambda _: Close(on=True),
    "anonymity": lambda _: Anonymity(on=True),
    "anonymous": lambda _: SendMessage(message="more", anonymous=True),
    "report": lambda seq: Report(target=seq, reason="rude"),
    "settle": lambda seq: Settle(target=seq),
}


def rights() -> list[tuple[str, str, str, str]]:
    _, _, *lines = RIGHTS.split("\n")
    cells = [[cell.strip() for cell in line.split("|")] for line in lines if line.strip()]
    return [
        (command, who, situation, expected)
        for command, who, *row in cells
        for situation, expected in zip(SITUATIONS, row, strict=True)
        if expected
    ]


async def arrange(room: Class, situation: str, user: int, target_of_an_answer: bool) -> int:
    """Renew the room with a question and a reply, bring about the situation, and return the target for commands."""
    await renew(room)
    question = await room.seq_of(ASKER, SendMessage(message="a question?"))
    reply = await room.seq_of(STUDENT, SendMessage(message="an answer", reply_to=question))
    target = reply if target_of_an_answer else question
    if situation == "muted":
        await room.seq_of(TEACHER, Mute(user=f"user{user}", minutes=5))
    elif situation == "closed":
        await room.seq_of(TEACHER, Close(on=True))
    elif situation == "deleted":
        await room.seq_of(TEACHER, Delete(target=target))
    elif situation == "absent":
        target = ABSENT
    elif situation == "another room's":
        target = await said_in_another_room(room)
    elif situation == "enrolled no more":
        await room.database.execute("delete from courses_course_students where user_id = $1", user)
    elif situation == "teaches no more":
        await room.database.execute("update courses_course set owner_id = 3")
        await room.database.execute("delete from educa_chat.staff")
    return target


async def test_each_role_can_give_only_its_commands(room: Class, subtests: pytest.Subtests) -> None:
    # A refusal changes nothing, so the next command can be given in the same room: in a situation, they come first.
    cases = sorted(rights(), key=lambda case: (case[2], case[1], case[0] == "answer", case[3] == "ok"))
    target, arranged = 0, None
    for command, who, situation, expected in cases:
        user, verb = PEOPLE[who], command.removesuffix(" own")
        wanted = (situation, user, verb == "answer")
        with subtests.test(command=command, who=who, situation=situation):
            if arranged != wanted:
                target = await arrange(room, *wanted)
            arranged = None if expected == "ok" else wanted
            head = await head_of(room)
            assert await room.code_of(user, COMMANDS[verb](target)) == expected
            grown = await head_of(room) - head
            assert grown == (expected == "ok"), "a refusal takes no seq, and what is accepted becomes one event"


async def head_of(room: Class) -> int:
    head: int = await room.database.fetchval("select head from educa_chat.room where course = 1")
    return head


async def said_in_another_room(room: Class) -> int:
    """Return the seq of a message in course 2 that course 1 doesn't have."""
    await room.database.execute("update educa_chat.room set head = $1 where course = 2", await head_of(room) + 10)
    outcome_future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    visitor = Visitor(OUTSIDER, "user4", "user4", "")
    membership = Membership(2, "Other", Role.STUDENT)
    room.chat.handle(
        SendMessage(message="elsewhere"), visitor, membership, lambda _, outcome: outcome_future.set_result(outcome)
    )
    outcome = await asyncio.wait_for(outcome_future, TIMEOUT_S)
    assert isinstance(outcome, Accepted)
    return outcome.seq


async def test_earlier_texts_of_an_edited_message_are_stored(room: Class) -> None:
    seq = await room.seq_of(ASKER, SendMessage(message="one < two"))
    said = await Log(room.database).read(1, 0, 1)
    await room.seq_of(ASKER, Edit(target=seq, message="three"))
    await room.seq_of(ASKER, Edit(target=seq, message="four"))
    read = await Log(room.database).read(1, 0, 9)
    assert read[:1] == said
    assert [json.loads(event.student)["message"] for event in read] == ["one < two", "three", "four"]
    await room.seq_of(ASKER, Delete(target=seq))
    texts = [json.loads(event.student).get("message") for event in await Log(room.database).read(1, 0, 9)]
    assert texts == ["", None, None, None]


async def test_a_message_can_be_edited_for_a_day(room: Class) -> None:
    seq = await room.seq_of(ASKER, SendMessage(message="old"))
    await room.database.execute("update educa_chat.message set at = at - interval '23 hours 59 minutes'")
    assert await room.code_of(ASKER, Edit(target=seq, message="new")) == "ok"
    await room.database.execute("update educa_chat.message set at = at - interval '1 minute'")
    assert await room.code_of(ASKER, Edit(target=seq, message="newer")) == "forbidden"


async def test_only_students_of_the_course_can_be_muted(room: Class, subtests: pytest.Subtests) -> None:
    for user in ("user1000", "user5", "nobody", "user4", ""):
        with subtests.test(user=user):
            assert await room.code_of(TEACHER, Mute(user=user, minutes=5)) == "bad_request"


async def test_a_mute_expires_and_can_be_lifted(room: Class) -> None:
    await room.seq_of(TEACHER, Mute(user="user1", minutes=5))
    assert await room.code_of(ASKER, SendMessage(message="a")) == "muted"
    await room.database.execute("update educa_chat.mute set until = now()")
    assert await room.code_of(ASKER, SendMessage(message="a")) == "ok"
    await room.seq_of(TEACHER, Mute(user="user1", minutes=5))
    await room.seq_of(TEACHER, Mute(user="user1", minutes=0))
    assert await room.code_of(ASKER, SendMessage(message="a")) == "ok"


async def test_slow_mode_spaces_the_messages_of_each_student(room: Class) -> None:
    await room.seq_of(TEACHER, Slow(seconds=60))
    first, second = await room.give(ASKER, SendMessage(message="a"), SendMessage(message="b"))
    assert isinstance(first, Accepted)
    assert isinstance(second, Refused)
    assert second.code == ErrorCode.SLOW_MODE
    assert second.wait_s == pytest.approx(60, abs=5)
    assert await room.code_of(STUDENT, SendMessage(message="a")) == "ok"
    assert [
        isinstance(o, Accepted) for o in await room.give(TEACHER, SendMessage(message="a"), SendMessage(message="b"))
    ] == [True] * 2
    await room.seq_of(TEACHER, Slow(seconds=0))
    assert await room.code_of(ASKER, SendMessage(message="b")) == "ok"


async def test_commands_in_a_batch_see_the_effects_of_earlier_ones(room: Class) -> None:
    outcomes = await room.give(
        TEACHER,
        SendMessage(message="one"),
        Edit(target=1, message="two"),
        Delete(target=1),
        Edit(target=1, message="three"),
        Slow(seconds=9),
        Close(on=True),
        SendMessage(message="four"),
    )
    assert [type(outcome).__name__ for outcome in outcomes] == ["Accepted"] * 3 + ["Refused"] + ["Accepted"] * 3
    at_once = (
        room.give(TEACHER, Close(on=False)),
        room.give(ASKER, SendMessage(message="open")),
        room.give(ASKER, SendMessage(message="slow")),
    )
    (_,), (opened,), (slow,) = await asyncio.gather(*at_once)
    assert isinstance(opened, Accepted)
    assert isinstance(slow, Refused)


async def test_an_id_is_unique_across_all_kinds_of_command(room: Class) -> None:
    (said,) = await room.give(ASKER, SendMessage(message="a", id="x"))
    assert await room.give(ASKER, Delete(target=1, id="x"), React(target=1, emoji="👍", on=True, id="x")) == [said] * 2
    (reacted,) = await room.give(ASKER, React(target=1, emoji="👍", on=True, id="y"))
    assert (
        await room.give(ASKER, SendMessage(message="b", id="y"), React(target=1, emoji="👍", on=True, id="y"))
        == [reacted] * 2
    )
    assert len(room.events) == 2


async def test_a_command_that_changes_nothing_is_still_an_event(room: Class) -> None:
    await room.seq_of(ASKER, SendMessage(message="a"))
    for command in (React(target=1, emoji="👍", on=False), React(target=1, emoji="👍", on=True)):
        await room.give(ASKER, command, command)
    assert len(room.events) == 5
    page = await read_page(room.database, 1, READER, before=None, after=None, limit=10)
    assert [(r.emoji, r.users) for r in page.messages[0].reactions] == [("👍", ["user1"])]


async def test_a_reaction_is_one_emoji(room: Class, subtests: pytest.Subtests) -> None:
    for text in ("a", "👍👍", "", "\u200d", "<b>", "1", "👍 "):
        with subtests.test(text=text):
            await room.seq_of(ASKER, SendMessage(message="a"))
            assert await room.code_of(ASKER, React(target=1, emoji=text, on=True)) == "bad_request"


async def test_reactions_per_user_and_message_are_limited(room: Class) -> None:
    await room.seq_of(ASKER, SendMessage(message="a"))
    many = [React(target=1, emoji=chr(0x1F600 + n), on=True) for n in range(21)]
    outcomes = await room.give(ASKER, *many)
    assert [isinstance(outcome, Accepted) for outcome in outcomes] == [True] * 20 + [False]


async def test_a_reply_to_a_non_question_cannot_be_marked_as_the_answer(room: Class) -> None:
    await room.seq_of(ASKER, SendMessage(message="a"))
    assert await room.code_of(TEACHER, Answer(target=1, on=True)) == "bad_request"


async def test_the_count_of_unanswered_questions_follows_answers(room: Class) -> None:
    question = await room.seq_of(ASKER, SendMessage(message="why?", question=True))
    replies = [await room.seq_of(STUDENT, SendMessage(message="so", reply_to=question)) for _ in range(2)]

    async def answers() -> int:
        page = await read_page(room.database, 1, READER, before=None, after=None, limit=10)
        return page.messages[0].answers

    for reply in (replies[0], replies[0], replies[1]):
        await room.seq_of(ASKER, Answer(target=reply, on=True))
    assert await answers() == 2
    await room.seq_of(STUDENT, Delete(target=replies[0]))
    assert await answers() == 1
    await room.seq_of(TEACHER, Answer(target=replies[1], on=False))
    await room.seq_of(TEACHER, Answer(target=replies[1], on=False))
    assert await answers() == 0


async def test_a_room_state_has_the_settings_and_the_users_mute(room: Class) -> None:
    seqs = [await room.seq_of(ASKER, SendMessage(message="a")) for _ in range(3)]
    for seq in (seqs[2], seqs[0]):
        await room.seq_of(TEACHER, Pin(target=seq, on=True))
    await room.give(TEACHER, Slow(seconds=30), Close(on=True), Mute(user="user1", minutes=10))
    room_states = await find_room_states(room.database, [(ASKER, 1), (STUDENT, 1), (ASKER, 2)])
    muted_until = room_states[ASKER, 1].muted_until
    assert muted_until is not None
    assert 0 < (datetime.fromisoformat(muted_until) - datetime.now(UTC)).total_seconds() <= 600
    assert room_states[ASKER, 1][:4] == room_states[STUDENT, 1][:4] == (30, True, False, [seqs[0], seqs[2]])
    assert room_states[STUDENT, 1].muted_until is None
    assert room_states[ASKER, 2] == (0, False, False, [], None)


async def test_muted_students_are_listed_by_name(room: Class) -> None:
    assert await read_muted(room.database, 1) == []
    await room.database.execute("update auth_user set first_name = 'Ana', last_name = 'Morales' where id = 1")
    await room.give(TEACHER, Mute(user="user2", minutes=20), Mute(user="user1", minutes=10))
    muted = await read_muted(room.database, 1)
    assert [(one.user, one.name) for one in muted] == [("user1", "Ana Morales"), ("user2", "user2")]
    assert 0 < (muted[0].until - datetime.now(UTC)).total_seconds() <= 600
    assert await read_muted(room.database, 2) == []
    await room.give(TEACHER, Mute(user="user2", minutes=0))
    await room.database.execute("update educa_chat.mute set until = now()")
    assert await read_muted(room.database, 1) == []
    await room.give(TEACHER, Mute(user="user1", minutes=10))
    await room.database.execute("delete from courses_course_students where user_id = 1")
    assert await read_muted(room.database, 1) == [], "who has left can't be given leave to write"


# Reports.


async def test_only_instructors_see_reports(room: Class) -> None:
    seq = await room.seq_of(ASKER, SendMessage(message="a rude word"))
    await room.seq_of(STUDENT, Report(target=seq, reason="  it is e\u0301vil \n"))
    await room.seq_of(TEACHER, Settle(target=seq))
    reported, settled = (await Log(room.database).read(1, seq, 10))[:2]
    for event in (reported, settled):
        assert set(json.loads(event.student)) == {"seq", "datetime", "type"}
        assert json.loads(event.student)["type"] == "hidden"
        assert event.basic is None
    assert reported.instructor is not None
    assert settled.instructor is not None
    shown = json.loads(reported.instructor)
    assert (shown["type"], shown["user"], shown["target"], shown["reason"]) == ("reported", "user2", 1, "it is évil")
    shown = json.loads(settled.instructor)
    assert (shown["type"], shown["user"], shown["target"]) == ("settled", "user1000", 1)
    assert room.events[-2:] == [reported, settled]


async def test_a_reason_is_short_or_missing(room: Class, subtests: pytest.Subtests) -> None:
    for reason, code in (
        ("", "ok"),
        ("x" * 500, "ok"),
        (" " * 9000, "ok"),
        ("x" * 501, "too_long"),
        ("a\0", "bad_request"),
    ):
        with subtests.test(reason=reason):
            seq = await room.seq_of(ASKER, SendMessage(message="a rude word"))
            assert await room.code_of(STUDENT, Report(target=seq, reason=reason)) == code


async def test_the_queue_has_open_reports_newest_first(room: Class) -> None:
    first, second, third = [await room.seq_of(ASKER, SendMessage(message=text)) for text in ("one", "two", "three")]
    await room.seq_of(STUDENT, Report(target=first, reason="rude"))
    await room.seq_of(STUDENT, Report(target=second))
    await room.seq_of(3, Report(target=first, reason="so it is"))
    await room.seq_of(ASKER, Edit(target=first, message="one, politely"))

    async def queue(before: int | None = None, limit: int = 10) -> list[tuple[int, str, str, list[tuple[str, str]]]]:
        read = await read_queue(room.database, 1, before=before, limit=limit)
        return [(one.seq, one.author, one.text, [(r.name, r.reason) for r in one.reports]) for one in read]

    both = [
        (first, "user1", "one, politely", [("user3", "so it is"), ("user2", "rude")]),
        (second, "user1", "two", [("user2", "")]),
    ]
    assert await queue() == both
    assert await queue(limit=1) == both[:1]
    (newest,) = await read_queue(room.database, 1, before=None, limit=1)
    assert await queue(before=newest.newest) == both[1:], "none twice: a message stands at its newest report"
    assert await reported_messages(room.database, 1) == [second, first]

    # Reporting again replaces the reason.
    await room.seq_of(STUDENT, Report(target=first, reason="rude indeed"))
    assert (await queue())[0][3] == [("user2", "rude indeed"), ("user3", "so it is")]
    await room.seq_of(TEACHER, Settle(target=first))
    assert await queue() == both[1:]
    await room.seq_of(STUDENT, Report(target=first, reason="again"))
    assert (await queue())[0] == (first, "user1", "one, politely", [("user2", "again")])
    await room.seq_of(ASKER, Delete(target=first))
    await room.seq_of(TEACHER, Delete(target=second))
    assert await queue() == []
    assert await reported_messages(room.database, 1) == []
    await room.seq_of(STUDENT, Report(target=third))
    await room.database.execute("delete from educa_chat.room where course = 1")
    assert await room.database.fetchval("select count(*) from educa_chat.report") == 0


async def test_the_newest_reports_of_a_message_are_shown_and_the_rest_counted(room: Class) -> None:
    seq = await room.seq_of(ASKER, SendMessage(message="one"))
    await room.database.execute(
        "insert into educa_chat.report select 1, $1, n, 'user' || n, '', now(), 100 + n from generate_series(1, 50) n",
        seq,
    )
    (reported,) = await read_queue(room.database, 1, before=None, limit=10)
    assert [len(reported.reports), reported.others] == [20, 30]
    assert reported.reports[0].name == "user50"


# Deletion.


async def test_deleted_text_is_removed_from_the_log_and_kept_only_for_instructors(room: Class) -> None:
    seq = await room.seq_of(ASKER, SendMessage(message="a secret word"))
    await room.seq_of(ASKER, Edit(target=seq, message="another secret"))
    await room.seq_of(ASKER, Delete(target=seq))
    log = await Log(room.database).read(1, 0, 100)
    stored = b"".join(variant for event in log for variant in (event.student, event.instructor, event.basic) if variant)
    assert b"secret" not in stored
    assert [json.loads(event.student)["type"] for event in log] == ["chat_message", "hidden", "deleted"]
    first = json.loads(log[0].student)
    assert (first["deleted"], first["message"], first["html"], first["user"]) == (True, "", "", "user1")
    assert all(event.basic is None for event in log)
    page = await read_page(room.database, 1, READER, before=None, after=None, limit=10)
    assert [(m.deleted, m.message, m.html) for m in page.messages] == [(True, "", "")]
    kept = await room.database.fetch("select body from educa_chat.revision order by changed_by")
    assert [row["body"] for row in kept] == ["a secret word", "another secret"]


@pytest.mark.parametrize("way", ["the commit", "the bus", "the log"])
async def test_a_room_removes_deleted_text_however_it_learns_of_the_deletion(room: Class, way: str) -> None:
    await room.give(ASKER, SendMessage(message="a secret word"), Edit(target=1, message="another secret"))
    said = list(room.events)
    await room.seq_of(ASKER, Delete(target=1))
    log = Log(room.database)
    heard = room.events[2:]
    if way == "the bus":
        (payload,) = codec_of(EPOCH).encode_events(heard)
        update = codec_of(EPOCH).decode(payload)
        assert isinstance(update, LogUpdate)
        assert update.events == heard
        heard = update.events
    elif way == "the log":
        heard = await log.read(1, 2, 10)
    for order in (said + heard, heard + said, heard + said[::-1], said[:1] + heard + said[1:]):
        shown = Room(1, 0, "", lambda after, count: log.read(1, after, count), Presence(b"here"), Metrics())
        shown.gap_patience_s = 3600.0
        stayed, late, basic = ListMember(), ListMember(), ListMember(Audience.BASIC)
        await shown.join(stayed, 0)
        for event in order:
            shown.offer([event])
        await shown.join(late, 0)
        await shown.join(basic, 0)
        assert shown.head == 3
        assert b"secret" not in late.received + basic.received
        if order[0] is not said[0]:
            assert b"secret" not in stayed.received
        shown.close(1001)  # type: ignore[arg-type]


async def test_a_replay_read_before_a_deletion_does_not_contain_the_deleted_text(room: Class) -> None:
    await room.give(ASKER, *(SendMessage(message="a secret word") for _ in range(3)))
    log = Log(room.database)
    has_read, may_return = asyncio.Event(), asyncio.Event()

    async def read(after: int, count: int) -> list[Event]:
        events = await log.read(1, after, count)
        has_read.set()
        await may_return.wait()
        return events

    shown = Room(1, 3, room.events[-1].at, read, Presence(b"here"), Metrics())
    late, later = ListMember(), ListMember()
    async with asyncio.timeout(TIMEOUT_S), asyncio.TaskGroup() as tasks:
        tasks.create_task(shown.join(late, 0))
        await has_read.wait()
        for seq in (1, 2, 3):
            await room.seq_of(TEACHER, Delete(target=seq))
        shown.offer(room.events[3:])
        may_return.set()
    await shown.join(later, 0)
    assert b"secret" not in late.received + later.received
    assert shown.head == 6


# The same page for every client.

seqs = st.integers(1, 12)
texts = st.sampled_from(["one", "two https://example.org", "three\nlines", "@user1 and @user4.", "@all", "@all @User2"])
on = st.booleans()
commands = st.one_of(
    st.builds(SendMessage, message=texts, question=on),
    st.builds(SendMessage, message=texts, reply_to=seqs, anonymous=on),
    st.builds(Edit, target=seqs, message=texts),
    st.builds(Delete, target=seqs),
    st.builds(React, target=seqs, emoji=st.sampled_from(["👍", "🎉"]), on=on),
    *(st.builds(mark, target=seqs, on=on) for mark in (Pin, Answer, Question, Endorse)),
    st.builds(Mute, user=st.sampled_from(["user1", "user2"]), minutes=st.sampled_from([0, 5])),
    st.builds(Slow, seconds=st.sampled_from([0, 0, 30])),
    st.builds(Close, on=st.sampled_from([False, False, True])),
    st.builds(Anonymity, on=on),
    st.builds(Report, target=seqs, reason=texts),
    st.builds(Settle, target=seqs),
)
given_by = st.tuples(st.sampled_from([ASKER, STUDENT, TEACHER, TEACHER]), commands)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(batches=st.lists(st.lists(given_by, min_size=1, max_size=6), min_size=1, max_size=10))
async def test_a_client_that_resumes_at_any_point_ends_up_with_the_same_page(
    opened_class: Class, batches: list[list[tuple[int, Stored]]]
) -> None:
    room = opened_class
    await room.renew(courses=1, students=4)
    await room.seq_of(TEACHER, Anonymity(on=True))
    await room.give(ASKER, *(SendMessage(message=f"message {n}", anonymous=n > 0) for n in range(3)))
    for batch in batches:
        await asyncio.gather(*(room.give(user, command) for user, command in batch))
    for reader in (Reader(STUDENT, is_staff=False), READER):
        await all_pages_are_equal(room, reader)


async def all_pages_are_equal(room: Class, reader: Reader) -> None:
    stayed = PageModel(reader).take(room.events)
    log = Log(room.database)
    opened = await log.open_room(1)
    assert opened is not None
    for cut in range(len(room.events) + 1):
        missed = await log.read(1, cut, 1000)
        came_back = PageModel(reader).take(room.events[:cut]).take(missed)
        assert vars(came_back) == vars(stayed)
        shown = Room(1, 0, "", lambda after, count: log.read(1, after, count), Presence(b"here"), Metrics())
        shown.offer(room.events[:cut])
        shown.offer(missed)
        assert shown.presence.conceals_students == (opened.anonymity or opened.anonymous_messages > 0)
        shown.close(1001)  # type: ignore[arg-type]
    page = await read_page(room.database, 1, reader, before=None, after=None, limit=200)
    assert [as_shown(message) for message in page.messages] == [
        {"seq": seq, **shown} for seq, shown in stayed.messages.items()
    ]
    room_state = (await find_room_states(room.database, [(reader.user_id, 1)]))[reader.user_id, 1]
    assert {name: getattr(room_state, name) for name in stayed.room} == stayed.room
    assert room_state.pinned == [seq for seq, shown in stayed.messages.items() if shown["pinned"]]
    if reader.is_staff:
        assert await reported_messages(room.database, 1) == sorted(stayed.reported, reverse=True)
    else:
        assert stayed.reported == set()
    for limit in (1, 3):
        for direction in ("before", "after"):
            lines = [json.loads(line) for line in await lines_page_by_page(room.database, reader, direction, limit)]
            assert lines == stayed.lines


async def lines_page_by_page(database: Database, reader: Reader, direction: str, limit: int) -> list[bytes]:
    """Return the system messages that a reader of the whole history sees, page by page."""
    found: list[bytes] = []
    before: int | None = None
    after = 0 if direction == "after" else None
    while True:
        page = await read_page(database, 1, reader, before=before, after=after, limit=limit)
        lines = await read_system_messages(database, 1, reader, page, before=before, after=after)
        found = lines + found if direction == "before" else found + lines
        if not page.more:
            return found
        if direction == "before":
            before = page.messages[0].seq
        else:
            after = page.messages[-1].seq


def as_shown(message: msgspec.Struct) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(message)
    del shown["answers"]
    shown["reacted_as"] = {reaction["emoji"]: reaction["own"] for reaction in shown["reactions"] if "own" in reaction}
    shown["reactions"] = {reaction["emoji"]: reaction["users"] for reaction in shown["reactions"]}
    return shown

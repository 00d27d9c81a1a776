"""Rendering outside the event loop: with a time limit, fairly between users, and only for accepted texts."""

import asyncio
import os
import re
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from educa_chat.chat import Chat
from educa_chat.events.kind import Stored
from educa_chat.events.message import Edit, SendMessage
from educa_chat.events.room_rules import Close, Mute, Slow
from educa_chat.markup import is_plain, prepare, render, render_plain
from educa_chat.markup import pool as pool_module
from educa_chat.markup.pool import WORKERS, RenderPool, open_render_pool
from educa_chat.markup.worker import RenderTimeout, cpu_limit, packed
from educa_chat.metrics import Metrics
from educa_chat.protocol import ErrorCode, Role
from educa_chat.settings import Limits
from educa_chat.storage.courses import Membership
from educa_chat.storage.log import Accepted, Appender, Log, Outcome, Refused
from educa_chat.storage.pool import Database
from educa_chat.storage.sessions import Visitor
from educa_chat.tasks import running
from tests.processes import is_alive
from tests.storage.platform import add_class
from tests.test_class import NobodyTypes

TIMEOUT_S = 30.0
CODE = "```python\nx = 1\n```"


@pytest.fixture(scope="module", autouse=True)
def lexers() -> None:
    prepare(["python"])


@pytest.fixture(scope="module", autouse=True)
def started() -> Iterator[set[int]]:
    """The ids of the processes that pools of this module have started. Servers of other modules may have more."""
    start, started = pool_module._start_worker, set[int]()

    async def noting() -> Process:
        worker = await start()
        started.add(worker.pid)
        return worker

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool_module, "_start_worker", noting)
        yield started


def alive(started: set[int]) -> list[int]:
    """Return the ids of the processes that are still running."""
    return [pid for pid in started if is_alive(pid)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened_pool() -> AsyncIterator[RenderPool]:
    """A pool whose wait doesn't time out on a busy machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool_module, "PATIENCE_S", TIMEOUT_S)
        patch.setattr(pool_module, "ANSWER_TIMEOUT_S", TIMEOUT_S)
        async with open_render_pool() as opened:
            yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def pool(opened_pool: RenderPool, started: set[int]) -> RenderPool:
    """The pool, with all of its workers running, although an earlier test may have killed some."""
    async with asyncio.timeout(TIMEOUT_S):
        while len(alive(started)) < WORKERS:
            await asyncio.gather(*(opened_pool.render(user, CODE) for user in range(2 * WORKERS)))
        # Each worker loads a lexer with its first text that needs it.
        await asyncio.gather(*(opened_pool.render(user, CODE) for user in range(2 * WORKERS)))
    return opened_pool


async def test_a_second_worker_starts_only_when_the_first_is_busy(started: set[int]) -> None:
    async with open_render_pool() as pool:
        for user in range(5):
            await pool.render(user, CODE)
        assert len(alive(started)) == 1
        async with asyncio.timeout(TIMEOUT_S):
            while len(alive(started)) < 2:
                await asyncio.gather(*(pool.render(user, CODE) for user in range(10)))


@pytest.mark.asyncio(loop_scope="module")
async def test_rendering_in_a_worker_gives_the_same_html(pool: RenderPool) -> None:
    for text in ("**bold** and ñ \U0001f600", CODE, "$x^2$", "> a\n\n- b", ""):
        assert await pool.render(1, text) == render(text)


@pytest.mark.asyncio(loop_scope="module")
async def test_rendering_is_fair_between_users(pool: RenderPool, monkeypatch: pytest.MonkeyPatch) -> None:
    ask, order = pool_module._request, list[str]()

    async def noting(worker: Process, text: str) -> str:
        order.append(text)
        return await ask(worker, text)

    monkeypatch.setattr(pool_module, "_request", noting)
    await asyncio.gather(*(pool.render(user, f"**{user}**") for user in [1] * 50 + [2]))
    assert order.index("**2**") <= WORKERS


@pytest.mark.asyncio(loop_scope="module")
async def test_one_user_never_occupies_more_than_one_worker(pool: RenderPool, monkeypatch: pytest.MonkeyPatch) -> None:
    ask, under_way, most = pool_module._request, 0, 0

    async def counting(worker: Process, text: str) -> str:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            return await ask(worker, text)
        finally:
            under_way -= 1

    monkeypatch.setattr(pool_module, "_request", counting)
    await asyncio.gather(*(pool.render(1, CODE) for _ in range(20)))
    assert most == 1
    await asyncio.gather(*(pool.render(user, CODE) for user in range(20)))
    assert most == WORKERS


@pytest.mark.asyncio(loop_scope="module")
async def test_a_worker_that_dies_leaves_its_text_unformatted(pool: RenderPool, started: set[int]) -> None:
    for pid in alive(started):
        os.kill(pid, signal.SIGKILL)
    for html in await asyncio.gather(*(pool.render(user, CODE) for user in range(WORKERS))):
        assert html == render_plain(CODE)
    assert await pool.render(1, CODE) == render(CODE)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_text_that_is_not_rendered_in_time_is_shown_as_typed(
    pool: RenderPool, started: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "PATIENCE_S", 0.1)
    monkeypatch.setattr(pool_module, "ANSWER_TIMEOUT_S", 1.0)
    for pid in alive(started):
        os.kill(pid, signal.SIGSTOP)
    for html in await asyncio.gather(*(pool.render(user, CODE) for user in range(WORKERS + 1))):
        assert html == render_plain(CODE)
    monkeypatch.setattr(pool_module, "PATIENCE_S", TIMEOUT_S)
    monkeypatch.setattr(pool_module, "ANSWER_TIMEOUT_S", TIMEOUT_S)
    assert await pool.render(1, CODE) == render(CODE)


def test_the_time_limit_interrupts_a_regular_expression() -> None:
    with pytest.raises(RenderTimeout), cpu_limit(0.05):
        re.match(r"(a+)+$", "a" * 64 + "!")
    with cpu_limit(10):
        assert re.match(r"(a+)+$", "aaa")


def test_messages_between_processes_have_a_length_prefix() -> None:
    assert packed("añ") == b"\0\0\0\x03a\xc3\xb1"


def test_ordinary_text_is_rendered_without_a_worker() -> None:
    for text in ("hello", "¿a las 10:30?", "https://example.org/a-b", "a\n\nb", "3 - 2 = 1", "día 1."):
        assert is_plain(text), text
        assert render(text) == render_plain(text), text


# Only accepted texts.


class CountingRenderer:
    """Renders in this process, and records the texts."""

    def __init__(self) -> None:
        self.rendered: list[str] = []

    async def render(self, user_id: int, text: str) -> str:
        self.rendered.append(text)
        return render(text)


class Room:
    """A room with messages that have to be rendered."""

    STUDENT, OTHER, TEACHER, OUTSIDER = 1, 2, 1000, 4

    def __init__(self, database: Database) -> None:
        self.database = database
        self.renderer = CountingRenderer()
        self.appender = Appender(database, lambda _: None, Metrics())
        self.chat = Chat(self.appender, Log(database), self.renderer, Limits(messages_per_second=0), NobodyTypes())

    async def give(self, user: int, command: Stored) -> Outcome:
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        membership = Membership(1, "Course", Role.INSTRUCTOR if user == self.TEACHER else Role.STUDENT)
        visitor = Visitor(user, f"user{user}", f"user{user}", "")
        remaining = self.chat.handle(command, visitor, membership, lambda _, told: outcome.set_result(told))
        if remaining is not None:
            await remaining
        return await asyncio.wait_for(outcome, TIMEOUT_S)


@pytest.fixture
async def room(database: Database) -> AsyncIterator[Room]:
    await add_class(database, courses=2, students=4)
    await database.execute("delete from courses_course_students where user_id = $1 and course_id = 1", Room.OUTSIDER)
    await Log(database).open_room(1)
    opened = Room(database)
    async with running(opened.appender.run(), "appender"):
        yield opened


async def refused(room: Room, user: int, command: Stored) -> ErrorCode:
    outcome = await room.give(user, command)
    assert isinstance(outcome, Refused)
    return outcome.code


async def test_refused_commands_are_not_rendered(room: Room) -> None:
    first = await room.give(Room.STUDENT, SendMessage(message="first"))
    assert isinstance(first, Accepted)
    say = SendMessage(message=CODE)

    assert await refused(room, Room.OUTSIDER, say) == "forbidden"
    assert await refused(room, Room.STUDENT, SendMessage(message=CODE, anonymous=True)) == "forbidden"
    assert await refused(room, Room.STUDENT, SendMessage(message=CODE, reply_to=99)) == "no_such_message"
    assert await refused(room, Room.STUDENT, Edit(target=99, message=CODE)) == "no_such_message"
    assert await refused(room, Room.OTHER, Edit(target=first.seq, message=CODE)) == "forbidden"
    await room.give(Room.TEACHER, Slow(seconds=1000))
    slow = await room.give(Room.STUDENT, say)
    assert isinstance(slow, Refused)
    assert slow.code == "slow_mode"
    assert slow.wait_s is not None
    assert 0 < slow.wait_s <= 1000
    await room.give(Room.TEACHER, Close(on=True))
    assert await refused(room, Room.STUDENT, say) == "closed"
    assert await refused(room, Room.STUDENT, Edit(target=first.seq, message=CODE)) == "closed"
    await room.give(Room.TEACHER, Mute(user="user1", minutes=5))
    assert await refused(room, Room.STUDENT, say) == "muted"
    await room.database.execute(
        "update educa_chat.message set at = at - interval '25 hours' where course = 1 and seq = $1", first.seq
    )
    await room.give(Room.TEACHER, Mute(user="user1", minutes=0))
    await room.give(Room.TEACHER, Close(on=False))
    assert await refused(room, Room.STUDENT, Edit(target=first.seq, message=CODE)) == "forbidden"

    assert room.renderer.rendered == []


async def test_a_repeated_id_is_not_rendered_again(room: Room) -> None:
    first = await room.give(Room.STUDENT, SendMessage(id="a", message="first"))
    assert await room.give(Room.STUDENT, SendMessage(id="a", message=CODE)) == first
    assert room.renderer.rendered == []


async def test_an_accepted_message_is_rendered_once(room: Room) -> None:
    said = await room.give(Room.STUDENT, SendMessage(message=CODE))
    assert isinstance(said, Accepted)
    assert isinstance(await room.give(Room.STUDENT, Edit(target=said.seq, message="**b**")), Accepted)
    assert isinstance(await room.give(Room.TEACHER, SendMessage(message="*c*", reply_to=said.seq)), Accepted)
    assert room.renderer.rendered == [CODE, "**b**", "*c*"]

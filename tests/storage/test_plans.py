"""The queries of hot paths use an index, whatever the amount of data: no table is scanned or sorted."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from educa_chat.storage.audit import read_audit_entries
from educa_chat.storage.courses import courses_of, find_members, find_memberships
from educa_chat.storage.log import Log
from educa_chat.storage.markers import find_markers, mark_first_seen, mark_joined, unread_counts
from educa_chat.storage.messages import Page, read_messages, read_page
from educa_chat.storage.mutes import read_muted
from educa_chat.storage.pool import Database, open_database
from educa_chat.storage.reports import read_queue, reported_messages
from educa_chat.storage.room_state import find_room_states
from educa_chat.storage.sessions import find_visitors
from educa_chat.storage.system_messages import read_system_messages
from tests.conftest import Postgres
from tests.storage.platform import READER

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVENTS = 30_000
"""The number in course 1; the other courses have a few each."""
COURSES = 5_000
USERS = 10_000
SMALL_TABLES = ("courses_subject", "pg_database")
PAGE = 51
"""50 messages, plus one to find out whether there are more."""
PAGE_BLOCKS = 200
UNREAD_BLOCKS = 25
"""How many blocks a page of messages, and the unread count of a course, may take."""

FILL = f"""
    insert into auth_user (id, username, password, first_name, last_name, email,
                           is_superuser, is_staff, is_active, date_joined)
    select n, 'user' || n, '!', '', '', '', false, false, true, now() from generate_series(1, {USERS}) n;
    insert into educa_chat.profile (user_id, language) select n, '' from generate_series(1, {USERS}) n;
    insert into courses_subject (id, title, slug) values (1, 'Subject', 'subject');
    insert into courses_course (id, title, slug, overview, created, owner_id, subject_id)
    select n, 'Course ' || n, 'course-' || n, '', now(), n, 1 from generate_series(1, {COURSES}) n;
    insert into courses_course_students (course_id, user_id)
    select 1 + (n * 7 + k * 13) % {COURSES}, n from generate_series(1, {USERS}) n, generate_series(1, 5) k
    on conflict do nothing;
    insert into educa_chat.staff (course, user_id, role)
    select n, {COURSES} + n, case n % 2 when 0 then 'assistant' else 'instructor' end::educa_chat.role
    from generate_series(1, {COURSES}) n;
    insert into educa_chat.room (course, head, said, last_at)
    select n, case n when 1 then {EVENTS} else 5 end, case n when 1 then {EVENTS} else 5 end, now()
    from generate_series(1, {COURSES}) n;
    with said as (
        select 1 as course, n as seq from generate_series(1, {EVENTS}) n
        union all select course, n from generate_series(2, {COURSES}) course, generate_series(1, 5) n
    ),
    event as (
        insert into educa_chat.event (course, seq, kind, actor, client_id, at, said, student, instructor, basic)
        select course, seq, case seq % 100 when 0 then 5 when 50 then 9 else 1 end, 1 + seq % {USERS},
            course || ':' || seq, now(), seq, '{{"seq":0}}', null, '{{}}'
        from said
    )
    insert into educa_chat.message
        (course, seq, author, client_id, username, name, instructor, at, body, html, pseudonym)
    select course, seq, 1, course || ':' || seq, 'user1', 'User', false, now(), 'A text', 'A text',
        case seq % 1000 when 7 then '~000001' end
    from said;
    insert into educa_chat.reaction (course, seq, emoji, user_id, username, event)
    select 1, seq, '👍', seq, 'user' || seq, seq from generate_series(1, {EVENTS}, 10) seq;
    insert into educa_chat.mute (course, user_id, until)
    select 1, n, now() + case n % 1000 when 0 then interval '1 day' else interval '0' end
    from generate_series(1, {USERS}) n;
    insert into educa_chat.report (course, seq, user_id, username, reason, at, event, settled_by)
    select course, n, 1 + n, 'user' || n, '', now(), n + 1, case when n % 500 > 0 then n + 2 end
    from generate_series(1, 5) course, generate_series(1, {USERS}) n;
    insert into educa_chat.report (course, seq, user_id, username, reason, at, event)
    select 1, n, -k, 'user', '', now(), {USERS} + 100 * n + k from generate_series(1, 5) n, generate_series(1, 30) k;
    insert into educa_chat.revision (course, seq, changed_by, body, html)
    select 1, n, n, '', '' from generate_series(1, {USERS}) n;
    insert into educa_chat.marker (course, user_id, seq)
    select course_id, user_id, 1 + user_id % 5 from courses_course_students
    on conflict (course, user_id) do update set seq = excluded.seq;
    insert into educa_chat.session (digest, user_id, password_digest, expires_at)
    select sha256(convert_to('session' || n, 'utf8')), n, sha256('!'), now() + interval '1 day'
    from generate_series(1, {USERS}) n
"""


class ExplainingDatabase(Database):
    """Records the plan of each query as it was executed with its arguments."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", url: str) -> None:
        super().__init__(pool, url)
        self.plans: list[dict[str, Any]] = []

    async def fetch(self, sql: str, *arguments: Any) -> list[asyncpg.Record]:
        await self._explain(sql, arguments)
        return await super().fetch(sql, *arguments)

    async def fetchrow(self, sql: str, *arguments: Any) -> asyncpg.Record | None:
        await self._explain(sql, arguments)
        return await super().fetchrow(sql, *arguments)

    async def execute(self, sql: str, *arguments: Any) -> None:
        await self._explain(sql, arguments)
        await super().execute(sql, *arguments)

    async def _explain(self, sql: str, arguments: tuple[Any, ...]) -> None:
        explained = await super().fetchval(f"explain (analyze, format json) {sql}", *arguments)
        self.plans.append(json.loads(explained)[0])


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def database(postgres: Postgres) -> AsyncIterator[ExplainingDatabase]:
    async with open_database(await postgres.create_chat_database(), 2) as opened:
        async with opened.connection() as connection:
            await connection.execute(FILL, timeout=120)
            await connection.execute("vacuum analyze", timeout=120)
        yield ExplainingDatabase(opened._pool, opened.url)


SESSIONS = [f"session{number}" for number in range(1, 20)]
QUESTIONS: dict[str, Callable[[Database], Awaitable[object]]] = {
    "the newest page": lambda database: read_page(database, 1, READER, before=None, after=None, limit=50),
    "a page before": lambda database: read_page(database, 1, READER, before=EVENTS // 2, after=None, limit=50),
    "a page after": lambda database: read_page(database, 1, READER, before=None, after=EVENTS // 2, limit=50),
    "some messages by seq": lambda database: read_messages(database, 1, READER, range(1, EVENTS, EVENTS // 50)),
    "the unanswered questions": lambda database: read_page(
        database, 1, READER, before=None, after=None, limit=50, only_unanswered=True
    ),
    "the lines of a page": lambda database: read_system_messages(
        database, 1, READER, Page([], EVENTS, more=False), before=EVENTS // 2, after=None
    ),
    "who is muted": lambda database: read_muted(database, 1),
    "the reported messages": lambda database: reported_messages(database, 1),
    "the queue of reports": lambda database: read_queue(database, 1, before=None, limit=21),
    "the queue of reports before a seq": lambda database: read_queue(database, 1, before=USERS // 2, limit=21),
    "what was done": lambda database: read_audit_entries(database, 1, before=None, limit=51),
    "the standings of some": lambda database: find_room_states(database, [(user, 1) for user in range(1, 20)]),
    "a room that is opened": lambda database: Log(database).open_room(1),
    "the log after a seq": lambda database: Log(database).read(1, EVENTS - 500, 1000),
    "the log at the head": lambda database: Log(database).read(1, EVENTS, 1000),
    "by a client's id": lambda database: Log(database).find(1, 8, "1:7"),
    "the heads of some rooms": lambda database: Log(database).heads(list(range(1, 20))),
    "the times of some events": lambda database: Log(database).datetimes(dict.fromkeys(range(1, 20), 5)),
    "a marker": lambda database: find_markers(database, [(7, 63)]),
    "many markers": lambda database: find_markers(database, [(user, 63) for user in range(1, 100)]),
    "the unread counts of one course": lambda database: unread_counts(database, USERS, {1: 0}),
    "the unread counts of a hundred courses": lambda database: unread_counts(
        database, USERS, dict.fromkeys(range(1, 101), 0)
    ),
    "courses in which users are new": lambda database: mark_first_seen(database, list(range(7, 20))),
    "users who join a course": lambda database: mark_joined(database, [(user, 63) for user in range(1, 20)]),
    "one visitor": lambda database: find_visitors(database, SESSIONS[:1]),
    "many visitors": lambda database: find_visitors(database, SESSIONS),
    "one membership": lambda database: find_memberships(database, [(7, 63)]),
    "many memberships": lambda database: find_memberships(database, [(user, 63) for user in range(1, 20)]),
    "members whose names begin alike": lambda database: find_members(database, 63, "user"),
    "members whose names are nobody's": lambda database: find_members(database, 63, "zz"),
    "the courses of a student": lambda database: courses_of(database, USERS),
    "the courses of an assistant": lambda database: courses_of(database, COURSES + 2),
    "the courses of a teacher": lambda database: courses_of(database, 1),
}


async def test_hot_paths_scan_no_table(database: ExplainingDatabase, subtests: pytest.Subtests) -> None:
    for question, ask in QUESTIONS.items():
        with subtests.test(question):
            database.plans.clear()
            await ask(database)
            assert database.plans
            for explained, node in ((plan, node) for plan in database.plans for node in nodes(plan["Plan"])):
                # The branch for superusers is planned for everyone, but only executed for them.
                assert (
                    node["Node Type"] != "Seq Scan" or node["Relation Name"] in SMALL_TABLES or not node["Actual Loops"]
                ), explained
                # Only given values are sorted, at most a page. An index that finds more is the wrong one.
                assert "Sort" not in node["Node Type"] or node["Actual Rows"] <= PAGE, explained
                # Small tables, including those of the catalogue, may be scanned.
                if node.get("Relation Name") not in SMALL_TABLES:
                    assert node.get("Rows Removed by Filter", 0) <= PAGE, explained


async def test_hot_paths_read_few_blocks(database: ExplainingDatabase, subtests: pytest.Subtests) -> None:
    for question, blocks in (
        ("the newest page", PAGE_BLOCKS),
        ("a page before", PAGE_BLOCKS),
        ("a page after", PAGE_BLOCKS),
        ("the unread counts of a hundred courses", 100 * UNREAD_BLOCKS),
    ):
        with subtests.test(question=question):
            database.plans.clear()
            await QUESTIONS[question](database)
            read = sum(
                plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"] for plan in database.plans
            )
            assert 0 < read <= blocks

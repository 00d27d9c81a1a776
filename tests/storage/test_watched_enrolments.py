"""The triggers on the platform's tables: their notifications and privileges, and that they never disturb the site."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from hashlib import sha256

import asyncpg
import pytest

from educa_chat.errors import PlatformBusy, RightMissing
from educa_chat.storage.access_changes import CHANNEL
from educa_chat.storage.migrate import enrolments_are_watched, migrate, watch_enrolments
from educa_chat.storage.pool import Database, open_database
from tests.conftest import Postgres
from tests.storage.platform import add_class

TIMEOUT_S = 10.0
SESSIONS = """
    create table django_session (
        session_key varchar(40) primary key, session_data text not null, expire_date timestamptz not null
    );
    insert into django_session select 'key' || n, '', now() from generate_series(1, 3) n
"""
KEY_1 = sha256(b"key1").hexdigest()


class Site:
    """A connection that changes the platform's tables, and one that receives the notifications."""

    def __init__(self, connection: asyncpg.Connection, received: "asyncio.Queue[str]") -> None:
        self._connection = connection
        self._received = received

    async def changes_after(self, *statements: str) -> list[str]:
        """The notifications about `statements`, run in one transaction. A last notification marks their end."""
        async with self._connection.transaction():
            for statement in statements:
                await self._connection.execute(statement)
        await self._connection.execute("select pg_notify($1, 'the end')", CHANNEL)
        access_changes: list[str] = []
        async with asyncio.timeout(TIMEOUT_S):
            while (subject := await self._received.get()) != "the end":
                access_changes.append(subject)
        return sorted(access_changes)


@asynccontextmanager
async def open_site(url: str) -> AsyncIterator[Site]:
    received: asyncio.Queue[str] = asyncio.Queue()
    connection, listener = await asyncpg.connect(url), await asyncpg.connect(url)
    try:
        await listener.add_listener(CHANNEL, lambda *notification: received.put_nowait(str(notification[-1])))
        yield Site(connection, received)
    finally:
        await connection.close()
        await listener.close()


@pytest.fixture
async def watched(database: Database) -> Database:
    """Three students in two courses of the user 1000, and three sessions of a Django site."""
    await database.execute(SESSIONS)
    await add_class(database, courses=2)
    await watch_enrolments(database)
    return database


@pytest.fixture
async def site(watched: Database) -> AsyncIterator[Site]:
    async with open_site(watched.url) as site:
        yield site


@pytest.mark.parametrize(
    ("statement", "access_changes"),
    [
        ("delete from courses_course_students where course_id = 1 and user_id = 2", ["user 2"]),
        ("delete from courses_course_students where course_id = 1", ["user 1", "user 2", "user 3"]),
        ("delete from courses_course_students where user_id = 3", ["user 3"]),
        ("update courses_course_students set user_id = 1000 where course_id = 1 and user_id = 2", ["user 2"]),
        ("update courses_course_students set id = id + 1000", []),
        ("insert into courses_course_students (course_id, user_id) values (1, 1000)", []),
        ("truncate courses_course_students", ["everybody"]),
        ("update auth_user set is_active = false where id = 1", ["user 1"]),
        ("update auth_user set is_superuser = true where id = 1", ["user 1"]),
        ("update auth_user set password = 'another' where id in (1, 2)", ["user 1", "user 2"]),
        ("update auth_user set last_login = now()", []),
        ("update auth_user set first_name = 'Ana', password = password, is_active = is_active", []),
        ("update auth_user set is_active = false where id = 99", []),
        ("delete from courses_course_students; delete from auth_user where id < 3", ["user 1", "user 2", "user 3"]),
        ("update courses_course set owner_id = 1 where id = 2", ["course 2"]),
        ("update courses_course set title = 'Algebra', owner_id = owner_id", []),
        ("delete from courses_course_students; delete from courses_course where id = 1",
         ["course 1", "user 1", "user 2", "user 3"]),
        ("delete from django_session where session_key = 'key1'", [f"session {KEY_1}"]),
        ("update django_session set session_data = 'x', expire_date = now() + interval '1 day'", []),
        ("truncate django_session", ["everybody"]),
        ("truncate auth_user cascade", ["everybody"]),
    ],
)  # fmt: skip
async def test_a_statement_notifies_of_users_who_may_have_lost_access(
    site: Site, statement: str, access_changes: list[str]
) -> None:
    assert await site.changes_after(statement) == access_changes


async def test_a_rolled_back_statement_notifies_of_nobody(site: Site) -> None:
    with pytest.raises(asyncpg.DivisionByZeroError):
        await site.changes_after("delete from courses_course_students", "select 1 / 0")
    assert await site.changes_after() == []


async def test_a_user_is_notified_of_once_per_transaction(site: Site) -> None:
    statements = [f"delete from courses_course_students where user_id = 1 and course_id = {c}" for c in (1, 2)]
    assert await site.changes_after(*statements, "update auth_user set password = 'x' where id = 1") == ["user 1"]


@pytest.mark.parametrize(("students", "access_changes"), [(100, 100), (101, 1), (10_000, 1)])
async def test_emptying_a_course_sends_few_notifications(
    database: Database, students: int, access_changes: int
) -> None:
    await add_class(database, students=students)
    async with open_site(database.url) as site:
        told = await site.changes_after("delete from courses_course_students")
    assert len(told) == access_changes
    assert (told == ["everybody"]) == (access_changes == 1)


async def test_a_standalone_chat_watches_its_own_tables_and_no_others(
    postgres: Postgres,
) -> None:
    own, others = await postgres.create_chat_database(), await postgres.create_chat_database()
    async with open_database(own, 1) as database:
        assert await enrolments_are_watched(database)
    async with open_database(others, 1) as database:
        # A site's database before the chat's first migration: its tables exist, and none of ours.
        await database.execute("drop schema educa_chat cascade")
        assert not await enrolments_are_watched(database)
        await migrate(database)
        await migrate(database)
        assert not await enrolments_are_watched(database)
        assert await triggers(database) == []


async def test_a_recreated_table_can_be_watched_again(watched: Database) -> None:
    before = await triggers(watched)
    assert len(before) == 3 * 3 + 2 + 1
    await watch_enrolments(watched)
    assert await triggers(watched) == before
    await watched.execute("create table anew (like courses_course_students including all)")
    await watched.execute("drop table courses_course_students")
    await watched.execute("alter table anew rename to courses_course_students")
    assert not await enrolments_are_watched(watched)
    await watch_enrolments(watched)
    assert await enrolments_are_watched(watched)
    assert await triggers(watched) == before


async def triggers(database: Database) -> list[tuple[str, str]]:
    rows = await database.fetch(
        "select tgrelid::regclass::text, tgname::text from pg_trigger"
        " where not tgisinternal and tgrelid::regclass::text not like 'educa_chat.%' order by 1, 2"
    )
    return [tuple(row) for row in rows]


@asynccontextmanager
async def roles(database: Database, *statements: str) -> AsyncIterator[tuple[str, str]]:
    """Create the roles of a chat, and of a site that owns its tables. Return the URLs for both."""
    names = ("watching_chat", "watched_site")
    tables = await database.fetchval(
        "select string_agg(quote_ident(tablename), ', ') from pg_tables where schemaname = 'public'"
    )
    for name in names:
        await database.execute(f"create role {name} login")
    try:
        await database.execute(f"grant select, insert, update, delete, truncate on {tables} to watched_site")
        await database.execute("alter schema educa_chat owner to watching_chat")
        await database.execute(f"grant select on {tables} to watching_chat")
        for statement in statements:
            await database.execute(statement)
        chat, site = (database.url.replace("postgres@", f"{name}@") for name in names)
        yield chat, site
    finally:
        for name in names:
            await database.execute(f"drop owned by {name} cascade; drop role {name}")


@pytest.fixture
async def sites_database(postgres: Postgres) -> AsyncIterator[Database]:
    """A site's tables, and the schema of a chat that watches nothing yet."""
    async with open_database(await postgres.create_chat_database(), 2) as database:
        await database.execute(SESSIONS)
        await database.execute("drop function educa_chat.notify_of_change, educa_chat.begin_at_head cascade")
        await add_class(database)
        yield database


GRANT = "grant trigger on auth_user, courses_course, courses_course_students, django_session to watching_chat"


async def test_the_sites_role_needs_no_privileges_to_fire_a_trigger(sites_database: Database) -> None:
    async with roles(sites_database, GRANT, "revoke all on function pg_notify from public") as (chat, site):
        # Not even the privilege to notify: then nothing is sent, and the site still works.
        async with open_database(chat, 1) as database:
            await watch_enrolments(database)
        connection = await asyncpg.connect(site)
        try:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute("select educa_chat.notify_of_change()")
            await connection.execute("delete from courses_course_students where user_id = 1")
            assert await connection.fetchval("select count(*) from courses_course_students") == 2
            await sites_database.execute("grant execute on function pg_notify to public")
        finally:
            await connection.close()
        async with open_site(site) as other:
            assert await other.changes_after("delete from courses_course_students where user_id = 2") == ["user 2"]
            assert await other.changes_after("update auth_user set is_active = false where id = 3") == ["user 3"]
            assert await other.changes_after("delete from django_session where session_key = 'key1'") == [
                f"session {KEY_1}"
            ]


@pytest.mark.parametrize(
    ("granted", "missing"),
    [
        ((), "grant trigger on auth_user, courses_course, courses_course_students, django_session to watching_chat"),
        (("grant trigger on auth_user, courses_course, django_session to watching_chat",),
         "grant trigger on courses_course_students to watching_chat"),
    ],
)  # fmt: skip
async def test_a_missing_privilege_is_named_and_no_table_is_changed(
    sites_database: Database, granted: Iterable[str], missing: str
) -> None:
    async with roles(sites_database, *granted) as (chat, _), open_database(chat, 1) as database:
        with pytest.raises(RightMissing) as refusal:
            await watch_enrolments(database)
        assert str(refusal.value).endswith(missing)
        assert await triggers(sites_database) == []
        for statement in (missing, GRANT):
            await sites_database.execute(statement)
        await watch_enrolments(database)
        assert await enrolments_are_watched(database)


async def test_triggers_created_by_the_table_owner_need_no_grant_and_are_left_unchanged(
    sites_database: Database,
) -> None:
    async with roles(sites_database, GRANT) as (chat, _), open_database(chat, 1) as database:
        await watch_enrolments(sites_database)
        assert await enrolments_are_watched(database)
        with pytest.raises(RightMissing, match="owner"):
            await watch_enrolments(database)


async def test_a_busy_site_is_not_blocked(watched: Database) -> None:
    connection = await asyncpg.connect(watched.url)
    try:
        async with connection.transaction():
            await connection.execute("update auth_user set last_login = now()")
            with pytest.raises(PlatformBusy):
                await watch_enrolments(watched)
            await asyncio.wait_for(watched.execute("update auth_user set email = '' where id < 0"), TIMEOUT_S)
    finally:
        await connection.close()

"""Markers in the database: they only move forwards, never beyond the head, and are deleted with their course."""

import asyncio

from educa_chat.storage.log import Log
from educa_chat.storage.markers import find_markers, unread_counts, write_markers
from educa_chat.storage.pool import Database
from tests.serving import TIMEOUT_S

ANA, LUIS = 101, 102
WAITING = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"


async def add_log(database: Database, course: int, kinds: list[int]) -> None:
    """Add a log with events of these kinds to `course`; 1 is a message."""
    await database.execute(
        "insert into auth_user (id, username, password, first_name, last_name, email, is_superuser, is_staff,"
        " is_active, date_joined) values (1, 'owner', '!', '', '', '', false, false, true, now())"
        " on conflict do nothing"
    )
    await database.execute("insert into courses_subject (id, title, slug) values (1, 's', 's') on conflict do nothing")
    await database.execute(
        "insert into courses_course (id, title, slug, overview, created, owner_id, subject_id)"
        " values ($1::bigint, $1::text, $1::text, '', now(), 1, 1)",
        course,
    )
    await Log(database).open_room(course)
    await database.execute(
        "insert into educa_chat.event (course, seq, kind, actor, client_id, at, said, student)"
        " select $1, seq, kind, 1, seq::text, now(), sum((kind = 1)::int) over (order by seq), ''"
        " from unnest($2::smallint[]) with ordinality e (kind, seq)",
        course,
        kinds,
    )
    await database.execute(
        "update educa_chat.room set head = $2, said = $3 where course = $1", course, len(kinds), kinds.count(1)
    )


async def test_a_marker_only_moves_forwards_and_stops_at_the_head(database: Database) -> None:
    await add_log(database, 7, [1] * 10)
    await write_markers(database, {(ANA, 7): 5, (LUIS, 7): 11})
    assert await find_markers(database, [(ANA, 7), (LUIS, 7), (ANA, 8)]) == {(ANA, 7): 5, (LUIS, 7): 10}
    await write_markers(database, {(ANA, 7): 4, (LUIS, 7): 9})
    assert await find_markers(database, [(ANA, 7), (LUIS, 7)]) == {(ANA, 7): 5, (LUIS, 7): 10}
    await write_markers(database, {(ANA, 7): 6})
    assert await find_markers(database, [(ANA, 7)]) == {(ANA, 7): 6}


async def test_markers_for_an_unknown_course_are_dropped(database: Database) -> None:
    await add_log(database, 7, [1])
    await write_markers(database, {(ANA, 8): 5, (ANA, 7): 1})
    assert await find_markers(database, [(ANA, 7), (ANA, 8)]) == {(ANA, 7): 1}
    await write_markers(database, {})
    assert await find_markers(database, []) == {}


async def test_deleting_a_course_deletes_its_markers(database: Database) -> None:
    await add_log(database, 7, [1])
    await add_log(database, 8, [1])
    await write_markers(database, {(ANA, 7): 1, (ANA, 8): 1})
    await database.execute("delete from courses_course where id = 7")
    assert await find_markers(database, [(ANA, 7), (ANA, 8)]) == {(ANA, 8): 1}
    assert await database.fetchval("select count(*) from educa_chat.event where course = 7") == 0


async def test_only_messages_count_as_unread(database: Database) -> None:
    await add_log(database, 7, [1, 2, 1, 2, 2, 1])
    await add_log(database, 8, [1, 1])
    await add_log(database, 9, [])
    courses = dict.fromkeys((7, 8, 9, 10), 0)
    assert await unread_counts(database, ANA, courses) == {7: 3, 8: 2, 9: 0}
    await write_markers(database, {(ANA, 7): 2, (ANA, 8): 2})
    assert await unread_counts(database, ANA, courses) == {7: 2, 8: 0, 9: 0}
    assert await unread_counts(database, LUIS, courses) == {7: 3, 8: 2, 9: 0}


async def test_a_newer_marker_that_is_not_written_yet_counts(database: Database) -> None:
    await add_log(database, 7, [1] * 5)
    assert await unread_counts(database, ANA, {7: 2}) == {7: 3}
    await write_markers(database, {(ANA, 7): 4})
    assert await unread_counts(database, ANA, {7: 2}) == {7: 1}
    assert await unread_counts(database, ANA, {7: 5}) == {7: 0}


async def test_processes_writing_the_same_markers_in_different_orders_do_not_deadlock(
    database: Database,
) -> None:
    await add_log(database, 7, [1] * 10)
    users = range(1, 10)
    await write_markers(database, {(user, 7): 1 for user in users})
    async with database.connection() as connection:
        # Both are stopped between rows, and then continue.
        async with connection.transaction():
            await connection.execute("update educa_chat.marker set seq = 2 where user_id = 5")
            forwards = asyncio.create_task(write_markers(database, {(user, 7): 3 for user in users}))
            backwards = asyncio.create_task(write_markers(database, {(user, 7): 4 for user in reversed(users)}))
            async with asyncio.timeout(TIMEOUT_S):
                while await database.fetchval(WAITING) < 2:
                    await asyncio.sleep(0.01)
    await asyncio.gather(forwards, backwards)
    assert set((await find_markers(database, [(user, 7) for user in users])).values()) == {4}

"""An archived course can be read but not changed, and a removed one is gone."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping

import pytest
import pytest_asyncio

from educa_chat.errors import PlatformOwned, RecordMissing
from educa_chat.events.registry import BY_COMMAND_NAME
from educa_chat.handlers.keys import DATABASE
from educa_chat.storage.administration import (
    archive_course,
    list_courses,
    read_admin_log,
    remove_course,
    rename_course,
    restore_course,
)
from educa_chat.storage.courses import add_course
from tests.serving import Chatter, Classroom, Person, Server, add_classroom, add_person

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("prompt_search_index")]


@pytest_asyncio.fixture(loop_scope="module")
async def classroom(server: Server) -> Classroom:
    return await add_classroom(server.app[DATABASE])


@pytest_asyncio.fixture(loop_scope="module")
async def teacher(server: Server, classroom: Classroom) -> AsyncIterator[Person]:
    async with Person(server.url, classroom.teacher) as person:
        yield person


@pytest_asyncio.fixture(loop_scope="module")
async def ana(server: Server, classroom: Classroom) -> AsyncIterator[Person]:
    async with Person(server.url, classroom.ana) as person:
        yield person


async def answer_to(socket: Chatter, command: Mapping[str, object]) -> str:
    """Send `command`, and return the code of its refusal or `ack`."""
    await socket.send(command)
    while (frame := await socket.receive())["type"] not in ("ack", "error") or frame.get("id") != command["id"]:
        pass
    return str(frame.get("code", "ack"))


async def test_every_command_in_an_archived_room_is_refused_for_every_role(
    server: Server, classroom: Classroom, teacher: Person, ana: Person
) -> None:
    database, course = server.app[DATABASE], classroom.course
    fields: dict[str, object] = {
        "target": 1, "message": "a *new* text", "emoji": "🎉", "on": True, "user": classroom.luis, "minutes": 1,
        "seconds": 0, "reason": "",
    }  # fmt: skip
    of_kind = {
        "message": ("message",), "edit": ("target", "message"), "react": ("target", "emoji", "on"),
        "mute": ("user", "minutes"), "slow": ("seconds",), "close": ("on",), "anonymity": ("on",),
        "report": ("target", "reason"), "delete": ("target",), "settle": ("target",),
    }  # fmt: skip
    sockets = [await teacher.enter(course), await ana.enter(course)]
    assert await answer_to(sockets[0], {"type": "message", "id": "before", "message": "before"}) == "ack"
    await archive_course(database, course)
    for socket in sockets:
        await socket.receive_until("room", archived=True)
    head = await database.fetchval("select head from educa_chat.room where course = $1", course)
    for socket, refusals in zip(sockets, ({"archived"}, {"archived", "forbidden"}), strict=True):
        for name in BY_COMMAND_NAME:
            given = {field: fields[field] for field in of_kind.get(name, ("target", "on"))}
            assert await answer_to(socket, {"type": name, "id": f"{name}-{id(socket)}", **given}) in refusals, name
        plain = {"type": "message", "id": f"plain-{id(socket)}", "message": "plain"}
        assert await answer_to(socket, plain) == "archived"
    assert await database.fetchval("select head from educa_chat.room where course = $1", course) == head
    assert await answer_to(sockets[0], {"type": "message", "id": "before", "message": "before"}) == "ack", "stored once"

    await restore_course(database, course)
    for socket in sockets:
        await socket.receive_until("room", archived=False)
        assert await answer_to(socket, {"type": "message", "id": f"after-{id(socket)}", "message": "after"}) == "ack"


async def test_archiving_a_course_stops_storing_messages_at_once(
    server: Server, classroom: Classroom, teacher: Person, ana: Person
) -> None:
    database, course = server.app[DATABASE], classroom.course
    is_begun = asyncio.Event()

    async def write(socket: Chatter) -> list[str]:
        answers: list[str] = []
        while "archived" not in answers:
            answers.append(await answer_to(socket, {"type": "message", "id": f"{len(answers)}", "message": "quick"}))
            is_begun.set()
        return answers

    writing = [asyncio.create_task(write(await person.enter(course))) for person in (teacher, ana)]
    await is_begun.wait()
    await archive_course(database, course)
    head = await database.fetchval("select head from educa_chat.room where course = $1", course)
    answers = await asyncio.gather(*writing)
    assert all(set(one[:-1]) <= {"ack"} for one in answers)
    assert await database.fetchval("select head from educa_chat.room where course = $1", course) == head
    assert head == sum(one.count("ack") for one in answers)


async def test_an_archived_course_is_listed_separately_and_can_be_read_and_searched(
    server: Server, classroom: Classroom, teacher: Person, ana: Person
) -> None:
    database, course = server.app[DATABASE], classroom.course
    socket = await ana.enter(course)
    assert await answer_to(socket, {"type": "message", "id": "m", "message": "about eigenvalues"}) == "ack"
    await ana.search_until_found(course, "eigenvalue")
    await archive_course(database, course)
    page = (await ana.get("/chat/courses/"))[1]
    assert page.index("Archived courses") < page.index(f"/chat/course/{course}/")
    assert json.loads((await ana.get("/api/rooms"))[1]) == {"rooms": []}
    assert "Archived" in (await ana.get(f"/chat/course/{course}/"))[1]
    assert (await ana.get(f"/chat/room/{course}/"))[0] == 200
    assert [m["message"] for m in (await ana.messages(course))["messages"]] == ["about eigenvalues"]
    found = await ana.search(course, "eigenvalue")
    assert [m["message"] for m in found["messages"]] == ["about eigenvalues"]
    welcome = await (await ana.enter(course)).receive()
    assert welcome["room"] == {"id": course, "title": welcome["room"]["title"], "archived": True}
    assert [one.is_archived for one in await list_courses(database) if one.id == course] == [True]
    await restore_course(database, course)
    assert "Archived courses" not in (await ana.get("/chat/courses/"))[1]


async def test_open_pages_learn_a_new_course_title(server: Server, classroom: Classroom, ana: Person) -> None:
    socket = await ana.enter(classroom.course)
    await rename_course(server.app[DATABASE], classroom.course, "Number theory")
    assert (await socket.receive_until("room"))["title"] == "Number theory"


async def test_removing_a_course_closes_its_sockets_and_deletes_its_room(
    server: Server, classroom: Classroom, teacher: Person, ana: Person
) -> None:
    database, course = server.app[DATABASE], classroom.course
    await database.execute(
        "insert into courses_module (title, description, course_id, \"order\") values ('Sets', '', $1, 0)", course
    )
    socket, leader = await ana.enter(course), await teacher.enter(course)
    for command in (
        {"type": "message", "message": "one"},
        {"type": "edit", "target": 1, "message": "two"},
        {"type": "react", "target": 1, "emoji": "🎉", "on": True},
    ):
        assert await answer_to(socket, {**command, "id": str(command["type"])}) == "ack"
    assert await answer_to(leader, {"type": "mute", "id": "mute", "user": classroom.luis, "minutes": 9}) == "ack"
    await remove_course(database, course)
    assert await socket.close_code() in (4003, 1001)
    assert (await ana.get(f"/chat/room/{course}/"))[0] == 403
    with pytest.raises(RecordMissing):
        await remove_course(database, course)
    columns = await database.fetch(
        "select table_schema || '.' || table_name as table, column_name as column from information_schema.columns"
        " join information_schema.tables using (table_schema, table_name)"
        " where column_name in ('course', 'course_id') and table_schema in ('public', 'educa_chat')"
        " and table_type = 'BASE TABLE' and table_name <> 'admin_entry'"
    )
    assert len(columns) > 10
    for table, column in columns:
        assert not await database.fetchval(f"select exists (select from {table} where {column} = $1)", course), table


async def test_removing_a_course_also_removes_words_being_indexed(server: Server, classroom: Classroom) -> None:
    database, course = server.app[DATABASE], classroom.course
    await archive_course(database, course)
    async with database.connection() as indexer:
        transaction = indexer.transaction()
        await transaction.start()
        await indexer.execute("select pg_advisory_xact_lock(x'65647563615f7365'::bigint)")
        await indexer.execute("insert into educa_chat.search_entry values ($1, 1, 'secret')", course)
        removal = asyncio.create_task(remove_course(database, course))
        while not await database.fetchval("select exists (select from pg_locks where not granted)"):
            await asyncio.sleep(0.02)
        await transaction.commit()
    await removal
    assert not await database.fetchval("select exists (select from educa_chat.search_entry where course = $1)", course)


async def test_beside_a_django_site_courses_can_be_archived_but_not_removed(
    server: Server, classroom: Classroom
) -> None:
    database, course = server.app[DATABASE], classroom.course
    await database.execute("create table django_migrations (id int)")
    try:
        await archive_course(database, course)
        with pytest.raises(PlatformOwned):
            await remove_course(database, course)
    finally:
        await database.execute("drop table django_migrations")


async def test_course_changes_are_audited_once_with_their_author(server: Server, classroom: Classroom) -> None:
    database = server.app[DATABASE]
    admin = await add_person(database, is_superuser=True)
    course = await add_course(database, "A name", classroom.teacher)
    admin_id = await database.fetchval("select id from auth_user where username = $1", admin)
    for _ in range(2):
        await archive_course(database, course, by=admin_id)
    await restore_course(database, course)
    await rename_course(database, course, "Renamed", by=admin_id)
    await remove_course(database, course)
    entries = await read_admin_log(database, before=None, limit=5)
    assert [(one.action, one.actor_name, one.title == "Renamed") for one in reversed(entries)] == [
        ("course.added", "", False),
        ("course.archived", admin, False),
        ("course.restored", "", False),
        ("course.renamed", admin, True),
        ("course.removed", "", True),
    ]


async def test_courses_with_the_same_title_have_different_slugs(server: Server, classroom: Classroom) -> None:
    database = server.app[DATABASE]
    courses = [await add_course(database, "Linear algebra", classroom.teacher) for _ in range(3)]
    slugs = await database.fetch("select slug from courses_course where id = any ($1::bigint[]) order by id", courses)
    assert [slug for (slug,) in slugs] == ["linear-algebra", "linear-algebra-2", "linear-algebra-3"]

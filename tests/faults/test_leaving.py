"""Losing access by a change of the platform's tables closes sockets on every node at once, even without Redis."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import NamedTuple

import pytest
import pytest_asyncio

from educa_chat.storage.migrate import watch_enrolments
from educa_chat.storage.pool import Database, open_database
from tests.conftest import Postgres
from tests.django_site import DjangoSite
from tests.django_site.settings import SECRET_KEY
from tests.processes import Process, free_port, open_node
from tests.serving import Chatter, Person, add_person, add_room
from tests.stopwatch import Stopwatch

pytestmark = pytest.mark.asyncio(loop_scope="module")

OUT_WITHIN_S = 2.0


@contextmanager
def at_once() -> Iterator[None]:
    stopwatch = Stopwatch()
    yield
    assert stopwatch.own_s < OUT_WITHIN_S


class Watched(NamedTuple):
    nodes: tuple[Process, Process]
    database: Database


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def watched(postgres: Postgres) -> AsyncIterator[Watched]:
    """Two nodes on a database with watched enrolments, without a Redis."""
    url = await postgres.create_chat_database(demo=True)
    bus_url = f"redis://127.0.0.1:{free_port()}"
    async with (
        open_database(url, 1) as database,
        open_node(url, bus_url) as one,
        open_node(url, bus_url) as two,
    ):
        yield Watched((one, two), database)


@pytest.mark.parametrize(
    ("who", "statement", "code"),
    [
        ("student", "delete from courses_course_students where user_id = {student}", 4003),
        ("student", "truncate courses_course_students", 4003),
        ("student", "update auth_user set is_active = false where id = {student}", 4001),
        ("student", "update auth_user set password = 'another' where id = {student}", 4001),
        ("teacher", "update courses_course set owner_id = {student} where id = {course}", 4003),
    ],
    ids=["unenrolled", "truncated", "deactivated", "another password", "another owner"],
)
async def test_losing_access_closes_a_users_sockets_on_both_nodes_and_no_others(
    watched: Watched, who: str, statement: str, code: int
) -> None:
    superuser = await add_person(watched.database, is_superuser=True)
    teacher = await add_person(watched.database)
    course, (student,) = await add_room(watched.database, 1, teacher)
    student_id = await watched.database.fetchval("select id from auth_user where username = $1", student)
    async with AsyncExitStack() as stack:
        leaving: list[Chatter] = []
        staying: list[Chatter] = []
        for node in watched.nodes:
            for username, sockets in ((teacher if who == "teacher" else student, leaving), (superuser, staying)):
                socket = await (await stack.enter_async_context(Person(node.url, username))).enter(course)
                await socket.receive()
                sockets.append(socket)
        await watched.database.execute(statement.format(student=student_id, course=course))
        with at_once():
            assert [await socket.close_code() for socket in leaving] == [code, code]
        for number, socket in enumerate(staying):
            await socket.say("still here", id=str(number))
            await socket.receive_until("ack", id=str(number))


async def test_signing_out_on_one_node_closes_sockets_on_the_other(watched: Watched) -> None:
    one, two = watched.nodes
    course, (student,) = await add_room(watched.database, 1)
    async with Person(one.url, student) as ana, ana.again(two.url) as elsewhere, Person(two.url, student) as otherwise:
        same_session, other_session = await elsewhere.enter(course), await otherwise.enter(course)
        with at_once():
            assert await ana.sign_out() == 302
            assert await same_session.close_code() == 4001
        await other_session.say("still here", id="1")
        assert (await other_session.receive_until("ack"))["seq"] == 1


async def test_signing_out_of_the_django_site_closes_sockets_at_once(postgres: Postgres) -> None:
    url = await postgres.create_database()
    site = DjangoSite(url)
    await site.migrate()
    seeded = await site.seed()
    algebra = seeded["courses"]["algebra"]["id"]
    keys = {username: await site.sign_in(username) for username in ("ana", "berta")}
    async with open_node(url, f"redis://127.0.0.1:{free_port()}", auth_django_secret_key=SECRET_KEY) as node:
        async with open_database(url, 1) as database:
            await watch_enrolments(database)
        async with Person(node.url) as ana, Person(node.url) as berta:
            sockets: dict[str, Chatter] = {}
            for username, person in (("ana", ana), ("berta", berta)):
                person.http.cookie_jar.update_cookies({"sessionid": keys[username]})
                sockets[username] = await person.enter(algebra)
                await sockets[username].receive()
            await site.remove_student("ana", "algebra")
            with at_once():
                assert await sockets["ana"].close_code() == 4003
            await site.sign_out(keys["berta"])
            with at_once():
                assert await sockets["berta"].close_code() == 4001

"""Concealed presence: students don't see who is online or typing while somebody may act anonymously."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from educa_chat.handlers.keys import DATABASE
from tests.conftest import Postgres
from tests.handlers.test_class_commands import give
from tests.redis_server import RedisServer
from tests.serving import Chatter, Person, Server, add_room, open_server, prompt_signals, settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servers(postgres: Postgres, redis_server: RedisServer) -> AsyncIterator[tuple[Server, Server, Server]]:
    """Two servers on one bus, and one that only reads the log, because its bus reaches nobody."""
    url = await postgres.create_chat_database(demo=True)
    settings = settings_for(url, bus_url=redis_server.url)
    with prompt_signals():
        async with open_server(settings) as one, open_server(settings) as two, open_server(settings_for(url)) as deaf:
            yield one, two, deaf


async def first_presence(person: Person, course: int) -> dict[str, Any]:
    """Open a socket, and return its first presence frame."""
    socket = await person.enter(course)
    presence = await socket.receive_until("presence")
    await socket.socket.close()
    return presence


async def shown_again(socket: Chatter) -> None:
    """Wait until the socket receives the users online."""
    while "users" not in await socket.receive_until("presence"):
        pass


async def told_until(socket: Chatter, **last: object) -> list[str]:
    """Return the users in presence and typing frames, up to the frame with the fields of `last`."""
    told: list[str] = []
    while True:
        frame = await socket.receive_any()
        told += frame.get("users", [frame["user"]] if frame["type"] == "typing" else [])
        if last.items() <= frame.items():
            return told


async def test_students_are_concealed_until_the_last_anonymous_message_is_deleted(
    servers: tuple[Server, Server, Server],
) -> None:
    one, two, deaf = servers
    course, (author_name, watcher_name, third_name) = await add_room(one.app[DATABASE], 3)
    async with (
        Person(one.url, "profe") as profe,
        Person(one.url, author_name) as ana,
        Person(one.url, third_name) as carla,
        Person(two.url, watcher_name) as luis,
        Person(deaf.url, watcher_name) as far_luis,
    ):
        teacher, author, third = await profe.enter(course), await ana.enter(course), await carla.enter(course)
        await give(teacher, type="anonymity", on=True)
        watcher, far = await luis.enter(course), await far_luis.enter(course)
        kept = await give(author, type="message", message="one", anonymous=True)
        deleted = await give(author, type="message", message="two", anonymous=True)
        await give(author, type="delete", target=deleted)
        await give(author, type="message", message="not anonymous")
        await give(teacher, type="anonymity", on=False)
        for socket in (third, watcher, far):
            await socket.receive_until("anonymity", on=False)

        # Live, after a reload, and in a room that is opened only now.
        presences = await asyncio.gather(*(first_presence(person, course) for person in (carla, luis, far_luis)))
        assert all("users" not in presence for presence in presences)
        async with open_server(settings_for(one.app[DATABASE].url)) as late:
            carla.url = late.url
            assert "users" not in await first_presence(carla, course)
            late_socket = await carla.enter(course)
            assert author_name in (await first_presence(profe, course))["users"], "instructors see who is here"
            await author.send({"type": "typing"})
            await author.send({"type": "anything"})
            await author.receive_until("error", code="unknown_type")
            # Their node's signals about the teacher come after those it would send about the student.
            await teacher.send({"type": "typing"})
            assert await told_until(watcher, type="typing", user="profe") == ["profe"]

            await give(author, type="delete", target=kept)
            for socket in (third, watcher, far, late_socket):
                assert set(await told_until(socket, type="deleted", target=kept)) <= {"profe"}
                await shown_again(socket)
            presences = await asyncio.gather(*(first_presence(person, course) for person in (luis, far_luis, carla)))
            assert all("users" in presence for presence in presences)
            await third.send({"type": "typing"})
            await watcher.receive_until("typing", user=third_name)
            await late_socket.socket.close()


async def test_students_are_shown_at_once_if_nobody_posted_anonymously(
    servers: tuple[Server, Server, Server],
) -> None:
    one, two, _ = servers
    course, (username, classmate) = await add_room(one.app[DATABASE])
    async with (
        Person(one.url, "profe") as profe,
        Person(one.url, username) as ana,
        Person(two.url, classmate) as luis,
    ):
        teacher, student = await profe.enter(course), await ana.enter(course)
        await give(teacher, type="anonymity", on=True)
        watcher = await luis.enter(course)
        assert "users" not in await watcher.receive_until("presence")
        await give(student, type="message", message="under my name")
        await give(teacher, type="anonymity", on=False)
        await shown_again(watcher)
        assert "users" in await first_presence(luis, course)


async def test_deletion_by_an_instructor_ends_the_concealment_and_anonymity_restarts_it(
    servers: tuple[Server, Server, Server],
) -> None:
    one, two, _ = servers
    course, (username, classmate) = await add_room(one.app[DATABASE])
    async with (
        Person(one.url, "profe") as profe,
        Person(one.url, username) as ana,
        Person(two.url, classmate) as luis,
    ):
        teacher, author, watcher = await profe.enter(course), await ana.enter(course), await luis.enter(course)
        await give(teacher, type="anonymity", on=True)
        seq = await give(author, type="message", message="psst", anonymous=True)
        await give(teacher, type="delete", target=seq)
        await give(teacher, type="anonymity", on=False)
        await watcher.receive_until("anonymity", on=False)
        await shown_again(watcher)
        async with open_server(settings_for(one.app[DATABASE].url)) as late:
            luis.url = late.url
            assert "users" in await first_presence(luis, course)
        await give(teacher, type="anonymity", on=True)
        await watcher.receive_until("anonymity", on=True)
        assert "users" not in await watcher.receive_until("presence")

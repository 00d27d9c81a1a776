"""Mentions over real sockets: who receives them, and what they don't reveal."""

import json

import pytest

from educa_chat.handlers.keys import DATABASE
from educa_chat.mentions import MOST
from educa_chat.storage.accounts import add_user
from educa_chat.storage.courses import enrol, unenrol
from tests.handlers.test_class_commands import give
from tests.serving import Person, Server, add_person, add_room, quick_hash

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_mentions_are_sent_live_and_in_replays_but_never_to_basic_clients(server: Server) -> None:
    course, (ana, luis) = await add_room(server.app[DATABASE])
    async with Person(server.url, ana) as one, Person(server.url, "profe") as teacher:
        writer, profe = await one.enter(course), await teacher.enter(course)
        watcher, basic = await one.enter(course), await one.enter(course, basic=True)
        await give(writer, type="message", message=f"@{luis}, @profe and @all: look")
        await give(profe, type="message", message="@all: look")
        await give(writer, type="edit", target=1, message=f"@{ana}")
        late = await teacher.enter(course, query="?after=0")
        for socket in (watcher, late):
            said, to_all, edited = await socket.events(3)
            assert said["mentions"] == [luis, "profe"]
            assert "mentions_all" not in said
            assert "mentions" not in to_all
            assert to_all["mentions_all"] is True
            assert edited["mentions"] == [ana]
        for _ in range(2):
            assert set(await basic.receive()) == {"type", "message", "user", "datetime", "seq"}
        page = await one.messages(course)
        assert [(m["mentions"], m["mentions_all"]) for m in page["messages"]] == [([ana], False), ([], True)]


async def test_mentioning_does_not_reveal_whether_a_non_member_exists(server: Server) -> None:
    database = server.app[DATABASE]
    course, (ana, former) = await add_room(database)
    stranger, superuser = await add_person(database), await add_person(database, is_superuser=True)
    await unenrol(database, former, course)
    async with Person(server.url, ana) as one:
        socket, watcher = await one.enter(course), await one.enter(course)
        names = [stranger, superuser, former, "nobody", "marta", "*", "", ".", "' or true --", '"', "\u202eana"]
        for name in names:
            await give(socket, type="message", message=f"@{name} hello")
        for event in await watcher.events(len(names)):
            assert {"mentions", "mentions_all"}.isdisjoint(event)
        for message in (await one.messages(course))["messages"]:
            assert (message["mentions"], message["mentions_all"]) == ([], False)


async def test_a_username_that_django_would_refuse_cannot_be_mentioned_and_causes_no_error(
    server: Server, subtests: pytest.Subtests
) -> None:
    for username in ("*", "all", "a b", 'q"uote', "back\\slash", "<b>", "@ana", "a|b"):
        with subtests.test(username=username):
            database = server.app[DATABASE]
            course, (ana,) = await add_room(database, 1)
            username = username if username in ("*", "all") else f"{username}{course}"
            await add_user(database, username, quick_hash())
            await enrol(database, username, course)
            async with Person(server.url, "profe") as teacher:
                socket = await teacher.enter(course)
                await socket.say(f"@{username} @{ana}", id="a")
                await socket.say("@all *", id="b")
                first, second = await socket.events(2)
                assert first["mentions"][-1] == ana
                assert {*first["mentions"]} <= {ana, username}
                assert ("mentions" in second, second["mentions_all"]) == (False, True)


async def test_names_beyond_the_limit_are_plain_text(server: Server) -> None:
    database = server.app[DATABASE]
    course, _ = await add_room(database, 0)
    students = [await add_person(database, course) for _ in range(MOST + 2)]
    async with Person(server.url, "profe") as teacher:
        socket = await teacher.enter(course)
        await socket.say(" ".join(f"@{name}" for name in students), id="a")
        (event,) = await socket.events(1)
        assert event["mentions"] == students[:MOST]


async def test_deleted_messages_lose_their_mentions(server: Server) -> None:
    course, (ana, luis) = await add_room(server.app[DATABASE])
    async with Person(server.url, ana) as one:
        socket = await one.enter(course)
        await give(socket, type="message", message=f"@{luis}")
        await give(socket, type="edit", target=1, message=f"@{luis}!")
        await give(socket, type="delete", target=1)
        replay = await one.enter(course, query="?after=0")
        assert "mentions" not in json.dumps(await replay.events(3))


async def test_anonymous_authors_can_mention_without_being_revealed(server: Server) -> None:
    course, (ana, luis) = await add_room(server.app[DATABASE])
    async with Person(server.url, ana) as one, Person(server.url, luis) as two, Person(server.url, "profe") as teacher:
        writer, watcher, profe = await one.enter(course), await two.enter(course), await teacher.enter(course)
        await give(profe, type="anonymity", on=True)
        await give(writer, type="message", message=f"@{luis} and @all", anonymous=True)
        await give(writer, type="edit", target=2, message=f"@{luis} and @profe")
        _, said, edited = await watcher.events(3)
        assert (said["mentions"], edited["mentions"]) == ([luis], [luis, "profe"])
        assert "mentions_all" not in said
        page = await two.messages(course)
        assert page["messages"][0]["mentions"] == [luis, "profe"]
        for told in (said, edited, page):
            assert ana not in json.dumps(told)

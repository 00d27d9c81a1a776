"""Mutes: only the muted student and the instructors learn of one."""

import pytest

from educa_chat.handlers.keys import DATABASE
from tests.handlers.test_class_commands import give
from tests.serving import Person, Server, add_room, open_server, settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("anonymity", [False, True], ids=["named", "anonymous"])
async def test_only_the_muted_student_and_instructors_learn_of_a_mute(
    server: Server, url: str, anonymity: bool
) -> None:
    course, (username, classmate) = await add_room(server.app[DATABASE])
    async with (
        open_server(settings_for(url)) as late_server,
        Person(server.url, username) as ana,
        Person(server.url, classmate) as luis,
        Person(server.url, "profe") as profe,
    ):
        teacher, colleague = await profe.enter(course), await profe.enter(course)
        muted, window, other = await ana.enter(course), await ana.enter(course), await luis.enter(course)
        basic, own_basic = await luis.enter(course, basic=True), await ana.enter(course, basic=True)
        for socket in (colleague, muted, window, other):
            await socket.receive_until("welcome")
        await give(teacher, type="anonymity", on=anonymity)
        await give(teacher, type="mute", user=username, minutes=5)
        await give(teacher, type="mute", user=username, minutes=0)
        await give(teacher, type="message", message="that is all")

        told = (await colleague.events(3))[1:]
        assert [(event["seq"], event["type"], event["user"], event["target_user"]) for event in told] == [
            *((2, "muted", "profe", username), (3, "muted", "profe", username))
        ]
        assert told[0]["until"]
        assert told[1]["until"] is None
        theirs = [{"type": "own", "seq": 2}, told[0], {"type": "own", "seq": 3}, told[1]]
        hidden = [{"seq": event["seq"], "datetime": event["datetime"], "type": "hidden"} for event in told]

        for socket in (muted, window):
            assert (await socket.events(5))[1:] == theirs
        assert (await other.events(3))[1:] == hidden
        for socket in (basic, own_basic):
            assert (await socket.receive())["message"] == "that is all"

        # From the ring, and on another node from the log.
        for base in (server.url, late_server.url):
            ana.url = luis.url = base
            assert (await (await ana.enter(course, query="?after=1")).events(4)) == theirs
            assert (await (await luis.enter(course, query="?after=1")).events(2)) == hidden

        lines = {person.username: (await person.messages(course))["lines"][1:] for person in (ana, luis, profe)}
        assert lines == {username: [{"own": True, **event} for event in told], classmate: [], "profe": told}
        assert (await profe.get(f"/chat/room/{course}/audit/"))[1].count(username) >= 2


async def test_the_welcome_tells_only_the_muted_student_until_when(server: Server) -> None:
    course, (username, classmate) = await add_room(server.app[DATABASE])
    async with (
        Person(server.url, username) as ana,
        Person(server.url, classmate) as luis,
        Person(server.url, "profe") as profe,
    ):
        teacher = await profe.enter(course)
        await give(teacher, type="mute", user=username, minutes=5)
        until = (await teacher.receive_until("muted"))["until"]
        assert (await (await ana.enter(course)).receive())["limits"]["muted_until"] == until
        for person in (luis, profe):
            assert (await (await person.enter(course)).receive())["limits"]["muted_until"] is None

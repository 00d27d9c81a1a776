"""The commands for a class over real sockets, and who receives their events."""

from itertools import count

import pytest

from educa_chat.handlers.keys import DATABASE
from tests.serving import Chatter, Person, Server, add_room

pytestmark = pytest.mark.asyncio(loop_scope="module")


_numbers = count(1)


async def give(socket: Chatter, **command: object) -> int:
    """Send a command that is accepted. Return the seq of its event."""
    id = f"{command['type']}-{next(_numbers)}"
    await socket.send(command | {"id": id})
    seq: int = (await socket.receive_until("ack", id=id))["seq"]
    return seq


async def test_everyone_receives_every_event_and_basic_clients_only_messages(server: Server) -> None:
    course, (asker, other) = await add_room(server.app[DATABASE])
    async with (
        Person(server.url, asker) as ana,
        Person(server.url, other) as luis,
        Person(server.url, "profe") as profe,
    ):
        writer, helper, teacher = await ana.enter(course), await luis.enter(course), await profe.enter(course)
        basic, watcher = await luis.enter(course, basic=True), await ana.enter(course)
        await watcher.receive_until("welcome")
        await give(writer, type="message", message="why?", question=True)
        await give(helper, type="message", message="so", reply_to=1)
        await give(writer, type="answer", target=2, on=True)
        await give(helper, type="react", target=1, emoji="👍", on=True)
        await give(writer, type="edit", target=1, message="why, please?")
        await give(teacher, type="endorse", target=2, on=True)
        await give(teacher, type="pin", target=1, on=True)
        await give(teacher, type="mute", user=other, minutes=5)
        await give(teacher, type="slow", seconds=10)
        await give(teacher, type="delete", target=1)
        await give(teacher, type="close", on=True)
        await give(teacher, type="message", message="that is all")
        events = await watcher.events(12)
        assert [event["seq"] for event in events] == list(range(1, 13))
        assert [event["type"] for event in events] == [
            *("chat_message", "chat_message", "answered", "reaction", "edited", "endorsed"),
            *("pinned", "hidden", "slowed", "deleted", "closed", "chat_message"),
        ]
        assert events[0]["question"]
        assert [(await basic.receive())["message"] for _ in range(3)] == ["why?", "so", "that is all"]

        # A new client receives the current state, in agreement with the page and the welcome.
        late = await luis.enter(course, query="?after=0")
        welcome = await late.receive_until("welcome")
        assert welcome["state"]["closed"]
        assert welcome["state"]["pinned"] == []
        assert welcome["limits"]["slow_seconds"] == 10
        replayed = await late.events(13)
        assert [event["type"] for event in replayed] == [
            *("chat_message", "chat_message", "answered", "reaction", "hidden", "endorsed"),
            *("pinned", "own", "muted", "slowed", "deleted", "closed", "chat_message"),
        ]
        assert replayed[8]["target_user"] == other
        assert replayed[8]["until"] == welcome["limits"]["muted_until"]
        assert replayed[0] | {"deleted": True, "message": "", "html": ""} == replayed[0]
        page = await luis.messages(course)
        assert [message["deleted"] for message in page["messages"]] == [True, False, False]
        assert page["messages"][1]["answered"]
        assert page["messages"][1]["endorsed"]


async def test_unanswered_questions_can_be_requested(server: Server) -> None:
    course, (asker, _) = await add_room(server.app[DATABASE])
    async with Person(server.url, asker) as ana:
        socket = await ana.enter(course)
        for text, question in (("one?", True), ("two?", True), ("three", False)):
            await give(socket, type="message", message=text, question=question)
        await give(socket, type="message", message="so", reply_to=1)
        assert [m["message"] for m in (await ana.messages(course, "?only=unanswered"))["messages"]] == ["one?", "two?"]
        await give(socket, type="answer", target=4, on=True)
        assert [m["message"] for m in (await ana.messages(course, "?only=unanswered"))["messages"]] == ["two?"]
        assert (await ana.get(f"/api/rooms/{course}/messages?only=mine"))[0] == 400


async def test_messages_can_be_requested_by_seq_in_their_current_state(server: Server) -> None:
    course, (asker, other) = await add_room(server.app[DATABASE])
    async with Person(server.url, asker) as ana, Person(server.url, other) as luis:
        socket = await ana.enter(course)
        for text in ("one", "two", "three", "four"):
            await give(socket, type="message", message=text)
        await give(socket, type="edit", target=2, message="zwei")
        await give(socket, type="delete", target=3)
        await give(socket, type="react", target=2, emoji="👍", on=True)
        page = await luis.messages(course, "?seqs=4,2,3,2,5,999,0")
        assert [(one["seq"], one["message"], one["deleted"]) for one in page["messages"]] == [
            *((2, "zwei", False), (3, "", True), (4, "four", False))
        ]
        assert page["messages"][0]["reactions"] == [{"emoji": "👍", "users": [asker]}]
        assert (page["head"], page["more"]) == (7, False)
        none = await luis.messages(course, "?seqs=100")
        assert (none["messages"], none["head"]) == ([], 7)
        fifty = ",".join(map(str, range(1, 51)))
        assert len((await luis.messages(course, f"?seqs={fifty}"))["messages"]) == 4
        for wrong in (f"{fifty},51", "", "1,", "-1", "1;2", "x", "1.5", str(2**53 + 1)):
            assert (await luis.get(f"/api/rooms/{course}/messages?seqs={wrong}"))[0] == 400, wrong


async def test_a_malformed_command_is_a_bad_request(server: Server, subtests: pytest.Subtests) -> None:
    course, _ = await add_room(server.app[DATABASE])
    async with Person(server.url, "profe") as profe:
        socket = await profe.enter(course)
        await give(socket, type="message", message="something")
        for command in (
            {"type": "edit", "message": "x"},
            {"type": "edit", "target": "1", "message": "x"},
            {"type": "edit", "target": 0, "message": "x"},
            {"type": "delete", "target": 2**53 + 1},
            {"type": "react", "target": 1, "emoji": "👍"},
            {"type": "react", "target": 1, "emoji": "👍", "on": "true"},
            {"type": "react", "target": 1, "emoji": "not one", "on": True},
            {"type": "pin", "target": 1, "on": None},
            {"type": "mute", "user": "luis", "minutes": -1},
            {"type": "mute", "user": "luis", "minutes": 1.5},
            {"type": "mute", "user": "luis\0", "minutes": 1},
            {"type": "mute", "user": "", "minutes": 1},
            {"type": "mute", "user": "luis", "minutes": 10**9},
            {"type": "slow", "seconds": 10**9},
            {"type": "close"},
            {"type": "report"},
            {"type": "report", "target": 1, "reason": 5},
            {"type": "report", "target": 0, "reason": "rude"},
            {"type": "settle"},
            {"type": "settle", "target": "1"},
        ):
            with subtests.test(command=command):
                await socket.send(command | {"id": "wrong"})
                error = await socket.receive_until("error", id="wrong")
                assert error["code"] == "bad_request"

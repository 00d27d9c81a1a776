"""Anonymous posting: classmates receive the same frames whoever the author is."""

import asyncio
import json
import re
from contextlib import AsyncExitStack
from typing import Any

import pytest

from educa_chat.handlers.keys import DATABASE
from tests.handlers.test_class_commands import give
from tests.serving import TIMEOUT_S, Chatter, Person, Server, add_room

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("prompt_search_index")]

PSEUDONYM = re.compile(r"~\d{6}")
VARYING = re.compile(r'course-id">\d+|id="now">"[^"]*"|"(datetime|until|epoch)": ?"[^"]*"|nonce="[^"]*"|value="[^"]*"')


class Everything:
    """Everything that a user receives, over every channel."""

    def __init__(self, person: Person, course: int) -> None:
        self.person = person
        self.course = course
        self.received: list[str] = []
        self.signals: set[str] = set()

    async def listen(self, query: str = "", *, until: int, basic: bool = False) -> None:
        """Receive all frames of a socket up to the event `until`, or the message on a basic socket."""
        socket = await self.person.enter(self.course, query=query, basic=basic)
        await self.take(socket, until)

    async def take(self, socket: Chatter, until: int) -> None:
        while True:
            frame = await socket.receive_any()
            if frame["type"] in ("presence", "typing"):
                # The number of users online may change at any time. Only the content of the frames matters.
                self.signals.add(json.dumps(frame | {"count": 0}))
                continue
            self.received.append(json.dumps(frame))
            if frame.get("seq") == until:
                return

    async def get(self, path: str) -> None:
        self.received.append("{} {}".format(*(await self.person.get(path))[:2]))

    async def ask(self, socket: Chatter, **command: object) -> None:
        await socket.send(command | {"id": f"probe-{len(self.received)}"})
        self.received.append(json.dumps(await socket.receive_until("error")))


def alike(received: str, course: int) -> str:
    """Return `received` without the differences between any two runs, and with numbered pseudonyms."""
    names: dict[str, str] = {}
    text = re.sub(r"message-\d+", "message-n", VARYING.sub("", received))
    # The reader's own id.
    text = re.sub(r'("me": \{[^}]*"id": |data-key="|data-user="|>\{"id": )\d+', r"\1N", text)
    text = PSEUDONYM.sub(lambda found: names.setdefault(found[0], f"~{len(names)}"), text)
    return (
        re.sub(r"Course u?[0-9a-f]{10}", "Course", text)
        .replace(f"/{course}/", "/N/")
        .replace(f'"id": {course}', '"id": N')
        .replace(f'data-key="N:{course}"', 'data-key="N:N"')
    )


async def observe(server: Server, author_number: int) -> tuple[list[str], set[str], list[str]]:
    """Let one of two classmates post anonymously, act on the message in every way, and record everything a third
    receives.
    """
    database = server.app[DATABASE]
    course, usernames = await add_room(database, 3)
    observer = usernames.pop()
    async with AsyncExitStack() as stack, asyncio.timeout(6 * TIMEOUT_S):
        people = [await stack.enter_async_context(Person(server.url, username)) for username in usernames]
        carla = await stack.enter_async_context(Person(server.url, observer))
        profe = await stack.enter_async_context(Person(server.url, "profe"))
        everything = Everything(carla, course)
        teacher = await profe.enter(course)
        await give(teacher, type="anonymity", on=True)
        sockets = [await person.enter(course) for person in people]
        live, basic = await carla.enter(course), await carla.enter(course, basic=True)
        author = sockets[author_number]
        await author.send({"type": "typing"})
        await give(author, type="message", message="why **is** that so?", anonymous=True, question=True)  # 2
        await give(teacher, type="message", message="who asks", reply_to=2)  # 3
        await author.send({"type": "typing"})
        await give(author, type="message", message="me, still", reply_to=3, anonymous=True)  # 4
        await give(author, type="answer", target=3, on=True)  # 5
        await give(author, type="edit", target=2, message="why is **this** so?")  # 6
        await give(author, type="react", target=4, emoji="👍", on=True)  # 7
        await give(teacher, type="react", target=4, emoji="👍", on=True)  # 8
        await give(author, type="question", target=4, on=True)  # 9
        await give(teacher, type="pin", target=2, on=True)  # 10
        await author.send({"type": "read", "seq": 9})
        await give(author, type="delete", target=4)  # 11
        await give(teacher, type="mute", user=usernames[author_number], minutes=5)  # 12
        await give(teacher, type="mute", user=usernames[author_number], minutes=0)  # 13
        await give(author, type="message", message="another matter", anonymous=True)  # 14
        await give(author, type="react", target=14, emoji="🎉", on=True)  # 15
        await author.socket.close()
        sockets[author_number] = author = await people[author_number].enter(course, query="?after=0")
        await give(author, type="message", message="the last", anonymous=True)  # 16
        await everything.take(live, 16)
        await everything.take(basic, 16)
        await everything.listen("?after=0", until=16)
        await everything.listen("?after=7", until=16)
        for seq in (2, 4, 14):
            for command in ("edit", "delete", "question", "pin", "endorse"):
                await everything.ask(live, type=command, target=seq, on=True, message="mine")
        await everything.ask(live, type="answer", target=3, on=False)
        await everything.ask(live, type="mute", user=usernames[author_number], minutes=1)
        late = await carla.enter(course)
        everything.signals.add(json.dumps(await late.receive_until("presence") | {"count": 0}))
        await carla.search_until_found(course, "last")
        for query in ("", "?after=0", "?before=16", "?only=unanswered", "?limit=1"):
            await everything.get(f"/api/rooms/{course}/messages{query}")
        for words in ("why", "matter", *usernames, "still", "last"):
            await everything.get(f"/api/rooms/{course}/search?q={words}")
        for path in ("", "audit/", "reports/"):
            await everything.get(f"/chat/room/{course}/{path}")
        await everything.get("/students/courses/")
        # Names are visible in a room without anonymity, but this test isn't about that.
        shown = [alike(text, course) for text in everything.received]
        for number, username in enumerate(usernames):
            shown = [text.replace(f"search?q={username}", f"search?q={number}") for text in shown]
        shown = [text.replace(observer, "observer") for text in shown]
        return shown, everything.signals, usernames


async def test_classmates_receive_the_same_whoever_posted_anonymously(server: Server) -> None:
    (first, first_signals, names), (second, second_signals, other_names) = await asyncio.gather(
        observe(server, 0), observe(server, 1)
    )
    for one, other in zip(first, second, strict=True):
        assert one == other
    assert first_signals == second_signals == {json.dumps({"type": "presence", "count": 0})}
    for username in names:
        assert username not in "".join([*first, *first_signals])
    for username in other_names:
        assert username not in "".join([*second, *second_signals])


async def test_authors_recognise_their_anonymous_messages_and_teachers_see_the_name(server: Server) -> None:
    course, (username, classmate) = await add_room(server.app[DATABASE])
    async with (
        Person(server.url, username) as ana,
        Person(server.url, classmate) as luis,
        Person(server.url, "profe") as profe,
    ):
        teacher, author, window = await profe.enter(course), await ana.enter(course), await ana.enter(course)
        other, basic = await luis.enter(course), await ana.enter(course, basic=True)
        await give(teacher, type="anonymity", on=True)
        await author.send({"type": "message", "id": "mine", "message": "psst", "anonymous": True})
        frames: list[dict[str, Any]] = [await author.receive() for _ in range(5)]
        assert [frame["type"] for frame in frames] == ["welcome", "anonymity", "ack", "own", "chat_message"]
        assert frames[3] == {"type": "own", "seq": 2}
        pseudonym = frames[4]["user"]
        assert PSEUDONYM.fullmatch(pseudonym)
        assert frames[4] | {"name": pseudonym, "role": "student", "anonymous": True, "message": "psst"} == frames[4]
        assert "id" not in frames[4]
        assert (await window.receive_until("own"))["seq"] == 2
        assert await window.receive() == frames[4]
        assert (await other.events(2))[1] == frames[4]
        told = await teacher.receive_until("chat_message")
        assert told | {"user": username, "id": "mine", "anonymous": True, "pseudonym": pseudonym} == told
        heard = await basic.receive()
        assert (heard["user"], heard["message"]) == (pseudonym, "psst")

        late = await ana.enter(course, query="?after=0")
        assert [(await late.receive())["type"] for _ in range(4)] == ["welcome", "anonymity", "own", "chat_message"]
        for person, owns in ((ana, True), (luis, False), (profe, False)):
            (message,) = (await person.messages(course))["messages"]
            assert message["own"] == owns
            assert message["anonymous"]
            assert message["user"] == (username if person is profe else pseudonym)
            assert ("id" in message) == ("pseudonym" in message) == (person is profe)

        # The author may do everything with their own message, under the same pseudonym.
        await give(author, type="edit", target=2, message="psst!")
        edited = await other.receive_until("edited")
        assert edited["user"] == pseudonym
        assert (await window.receive_until("own"))["seq"] == edited["seq"]
        assert (await teacher.receive_until("edited"))["user"] == username


async def test_pseudonyms_are_unique_per_person_and_thread(server: Server) -> None:
    course, usernames = await add_room(server.app[DATABASE])
    async with (
        Person(server.url, usernames[0]) as ana,
        Person(server.url, usernames[1]) as luis,
        Person(server.url, "profe") as profe,
    ):
        teacher, one, two = await profe.enter(course), await ana.enter(course), await luis.enter(course)
        await give(teacher, type="anonymity", on=True)
        await give(one, type="message", message="a", anonymous=True)
        await give(two, type="message", message="b", anonymous=True, reply_to=2)
        await give(one, type="message", message="c", anonymous=True, reply_to=3)
        await give(one, type="message", message="d", anonymous=True)
        names = [message["user"] for message in (await luis.messages(course))["messages"]]
        assert names[0] == names[2]
        assert len(set(names)) == 3


async def test_anonymous_messages_are_refused_unless_allowed(server: Server) -> None:
    course, (username, _) = await add_room(server.app[DATABASE])
    async with Person(server.url, username) as ana, Person(server.url, "profe") as profe:
        teacher, author = await profe.enter(course), await ana.enter(course)
        await author.send({"type": "message", "id": "a", "message": "psst", "anonymous": True})
        assert (await author.receive_until("error"))["code"] == "forbidden"
        await give(teacher, type="anonymity", on=True)
        await teacher.send({"type": "message", "id": "a", "message": "psst", "anonymous": True})
        assert (await teacher.receive_until("error"))["code"] == "forbidden"
        await give(author, type="message", message="psst", anonymous=True)
        await give(teacher, type="anonymity", on=False)
        await author.send({"type": "message", "id": "b", "message": "psst", "anonymous": True})
        assert (await author.receive_until("anonymity", on=False))["user"] == "profe"
        assert (await author.receive_until("error"))["code"] == "forbidden"

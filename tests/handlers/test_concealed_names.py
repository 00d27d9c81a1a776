"""Actions on messages in threads with anonymous ones: they don't reveal the authors."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from itertools import product
from typing import Any

import pytest
import pytest_asyncio

from educa_chat.handlers.keys import DATABASE
from tests.conftest import Postgres
from tests.handlers.test_anonymity import PSEUDONYM, Everything, alike
from tests.handlers.test_class_commands import give
from tests.serving import TIMEOUT_S, Chatter, Person, Server, add_room, open_server, settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIXES = list(product((False, True), repeat=3))
"""Which are anonymous: a question, a reply to it, and a reply to that."""
Observed = tuple[list[str], list[dict[str, Any]]]
"""Everything that a student receives, and the events among it."""
MARKS = ("edited", "deleted", "pinned", "questioned", "answered", "endorsed")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(postgres: Postgres) -> AsyncIterator[Server]:
    url = await postgres.create_chat_database(demo=True)
    async with open_server(settings_for(url, limits_messages_per_second=0)) as opened:
        yield opened


def is_concealed(mix: tuple[bool, ...], index: int) -> bool:
    """Return whether the message at `place`, the one it replies to or the question is anonymous."""
    return mix[index] or mix[0] or mix[max(0, index - 1)]


async def observe(server: Server, mix: tuple[bool, ...], author_number: int) -> Observed:
    """Let one of two students write the anonymous messages, and the first one the others, and act on them in every way.

    Return everything that a third student receives, and the events among it.
    """
    course, usernames = await add_room(server.app[DATABASE], 3)
    observer = usernames.pop()
    async with AsyncExitStack() as stack, asyncio.timeout(6 * TIMEOUT_S):
        people = [await stack.enter_async_context(Person(server.url, username)) for username in usernames]
        carla = await stack.enter_async_context(Person(server.url, observer))
        profe = await stack.enter_async_context(Person(server.url, "profe"))
        teacher, named, author = (
            await profe.enter(course),
            await people[0].enter(course),
            await people[author_number].enter(course),
        )
        live, basic, reporter = (
            await carla.enter(course),
            await carla.enter(course, basic=True),
            await carla.enter(course),
        )
        everything = Everything(carla, course)
        await give(teacher, type="anonymity", on=True)
        writers: list[Chatter] = []
        seqs: list[int] = []
        for index, anonymous in enumerate(mix):
            writers.append(author if anonymous else named)
            replies = {"reply_to": seqs[-1]} if seqs else {}
            seqs.append(
                await give(
                    writers[-1], type="message", message=f"at {index}", anonymous=anonymous, question=True, **replies
                )
            )
        for index, seq in enumerate(seqs):
            writer, asker = writers[index], writers[max(0, index - 1)]
            await give(writer, type="edit", target=seq, message=f"edited at {index}")
            for socket in (writer, teacher):
                await give(socket, type="question", target=seq, on=False)
            if index:
                for on in (True, False, True):
                    for socket in (asker, teacher):
                        await give(socket, type="answer", target=seq, on=on)
            for on in (True, False, True):
                await give(author if is_concealed(mix, index) else named, type="react", target=seq, emoji="👍", on=on)
            await give(teacher, type="react", target=seq, emoji="👍", on=True)
            await give(teacher, type="pin", target=seq, on=True)
            await give(teacher, type="endorse", target=seq, on=True)
            await give(reporter, type="report", target=seq, reason="so")
            await give(teacher, type="settle", target=seq)
        await give(teacher, type="mute", user=usernames[author_number], minutes=5)
        await give(teacher, type="mute", user=usernames[author_number], minutes=0)
        for query in ("", "?after=0&limit=1", f"?seqs={','.join(map(str, seqs))}", "?only=unanswered"):
            await everything.get(f"/api/rooms/{course}/messages{query}")
        last = await give(teacher, type="message", message="now delete")
        await everything.listen("?after=0", until=last)
        await give(writers[2], type="delete", target=seqs[2])
        await give(teacher, type="delete", target=seqs[1])
        await give(writers[0], type="delete", target=seqs[0])
        last = await give(teacher, type="message", message="the last")
        before = len(everything.received)
        await everything.take(live, last)
        events = [frame for frame in map(json.loads, everything.received[before:]) if frame["type"] != "welcome"]
        await everything.take(basic, last)
        await everything.listen("?after=0", until=last)
        await everything.get(f"/api/rooms/{course}/messages")
    shown = [alike(text, course) for text in everything.received]
    for number, username in enumerate((*usernames, observer)):
        shown = [text.replace(username, f"student {number}") for text in shown]
    return shown, events


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def observed(server: Server) -> dict[tuple[bool, ...], tuple[Observed, Observed]]:
    """What others see of each mix: first if one student wrote the anonymous messages, then if the other did."""
    return {mix: await asyncio.gather(observe(server, mix, 0), observe(server, mix, 1)) for mix in MIXES}


async def test_events_about_messages_do_not_reveal_anonymous_authors(
    observed: Mapping[tuple[bool, ...], tuple[Observed, Observed]], subtests: pytest.Subtests
) -> None:
    for mix, ((first, events), (second, _)) in observed.items():
        with subtests.test(mix=mix):
            assert len(first) > 60
            for one, other in zip(first, second, strict=True):
                assert one == other
            messages = {event["seq"]: event for event in events if event["type"] == "chat_message"}
            seqs = list(messages)[:3]
            for event in events:
                if event["type"] in MARKS and is_concealed(mix, seqs.index(event["target"])):
                    by_author_alone = event["type"] in ("edited", "deleted", "questioned")
                    assert "user" not in event or (
                        by_author_alone and event["user"] == messages[event["target"]]["user"]
                    )
                    assert "user" not in event or PSEUDONYM.fullmatch(event["user"])
                elif event["type"] == "reaction" and is_concealed(mix, seqs.index(event["target"])):
                    assert event["user"] == "profe" or PSEUDONYM.fullmatch(event["user"])
                elif event["type"] != "hidden":
                    assert event["user"]


async def test_an_instructors_mark_looks_like_the_askers_own(
    observed: Mapping[tuple[bool, ...], tuple[Observed, Observed]], subtests: pytest.Subtests
) -> None:
    for mix, (_, (_, events)) in observed.items():
        with subtests.test(mix=mix):
            seqs = [event["seq"] for event in events if event["type"] == "chat_message"][:3]
            for index in (1, 2):
                if is_concealed(mix, index):
                    marks = [
                        event for event in events if event["type"] == "answered" and event["target"] == seqs[index]
                    ]
                    assert len(marks) == 6
                    for mark in marks:
                        assert mark == {
                            "seq": mark["seq"],
                            "datetime": mark["datetime"],
                            "type": "answered",
                            "target": seqs[index],
                            "on": mark["on"],
                        }


async def test_instructors_see_who_acted_and_users_recognise_their_own_actions(server: Server) -> None:
    course, (username, classmate) = await add_room(server.app[DATABASE])
    async with (
        Person(server.url, username) as ana,
        Person(server.url, classmate) as luis,
        Person(server.url, "profe") as profe,
    ):
        teacher, colleague = await profe.enter(course), await profe.enter(course)
        author, window, other = await ana.enter(course), await ana.enter(course), await luis.enter(course)
        await give(teacher, type="anonymity", on=True)
        question = await give(author, type="message", message="why?", anonymous=True)
        reply = await give(author, type="message", message="so", reply_to=question)
        mark = await give(author, type="answer", target=reply, on=True)
        pin = await give(teacher, type="pin", target=question, on=True)
        assert (await colleague.receive_until("answered"))["user"] == username
        assert (await colleague.receive_until("pinned"))["user"] == "profe"
        assert "user" not in await other.receive_until("answered")
        assert await window.receive_until("own", seq=mark)
        assert (await window.receive())["seq"] == mark
        assert (await window.receive())["seq"] == pin, "it is not the reader's, so no frame says so"


async def test_students_react_under_a_pseudonym_in_an_anonymous_thread_and_know_their_own(server: Server) -> None:
    """Otherwise, everyone whose reaction has a name would be ruled out as the author."""
    course, (username, classmate) = await add_room(server.app[DATABASE])
    async with (
        Person(server.url, username) as ana,
        Person(server.url, classmate) as luis,
        Person(server.url, "profe") as profe,
    ):
        teacher, author, other = await profe.enter(course), await ana.enter(course), await luis.enter(course)
        window = await luis.enter(course)
        await give(teacher, type="anonymity", on=True)
        question = await give(author, type="message", message="why?", anonymous=True)
        reply = await give(other, type="message", message="so", reply_to=question, anonymous=True)
        for socket in (author, other, teacher):
            await give(socket, type="react", target=question, emoji="👍", on=True)
        messages = {message["seq"]: message for message in (await luis.messages(course))["messages"]}
        asker, replier = messages[question]["user"], messages[reply]["user"]
        users = [asker, replier, "profe"]
        assert messages[question]["reactions"] == [{"emoji": "👍", "users": users, "own": replier}]
        (seen,) = (await ana.messages(course, f"?seqs={question}"))["messages"]
        assert seen["reactions"] == [{"emoji": "👍", "users": users, "own": asker}]
        (seen,) = (await profe.messages(course, f"?seqs={question}"))["messages"]
        assert seen["reactions"] == [{"emoji": "👍", "users": [username, classmate, "profe"]}]
        assert (await window.receive_until("reaction", user=replier))["target"] == question

        await give(other, type="react", target=question, emoji="👍", on=False)
        taken_back = await author.receive_until("reaction", on=False)
        assert taken_back["user"] == replier
        (seen,) = (await luis.messages(course, f"?seqs={question}"))["messages"]
        assert seen["reactions"] == [{"emoji": "👍", "users": [asker, "profe"]}]

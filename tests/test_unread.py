"""Unread counts: with mentions, without deleted messages, and sent to pages of other rooms."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from educa_chat.handlers.keys import DATABASE
from educa_chat.storage.courses import enrol
from tests.conftest import Postgres
from tests.handlers.test_class_commands import give
from tests.serving import (
    TIMEOUT_S,
    Chatter,
    Person,
    Server,
    add_person,
    add_room,
    open_server,
    prompt_signals,
    settings_for,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module", autouse=True)
def _signals_are_prompt() -> Iterator[None]:
    with prompt_signals():
        yield


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servers(postgres: Postgres) -> AsyncIterator[tuple[Server, Server]]:
    """Two nodes without a common bus: what one stores reaches the other only through the log."""
    url = await postgres.create_chat_database(demo=True)
    async with open_server(settings_for(url)) as one, open_server(settings_for(url)) as two:
        yield one, two


async def rooms_of(person: Person) -> dict[int, tuple[int, int]]:
    """Return the unread messages and mentions by room from the API."""
    _, body, _ = await person.get("/api/rooms")
    return {one["id"]: (one["unread"], one.get("mentions", 0)) for one in json.loads(body)["rooms"]}


async def receive_counts(chatter: Chatter, room: int, unread: int, mentions: int) -> None:
    """Wait until the socket receives these counts for `room`."""
    wanted = {"id": room, "unread": unread, "mentions": mentions}
    async with asyncio.timeout(TIMEOUT_S):
        while wanted not in (await chatter.receive_until("unread"))["rooms"]:
            pass


async def test_an_open_page_receives_the_counts_of_other_rooms_from_any_node(
    servers: tuple[Server, Server],
) -> None:
    here, there = servers
    database = here.app[DATABASE]
    shown, (ana,) = await add_room(database, 1)
    other, (luis,) = await add_room(database, 1)
    await enrol(database, ana, other)
    async with Person(here.url, ana) as reader, Person(there.url, luis) as author:
        page = await reader.enter(shown, query="?unread=1")
        await receive_counts(page, other, 0, 0)
        socket = await author.enter(other)
        first = await give(socket, type="message", message="hello")
        second = await give(socket, type="message", message=f"@{ana}: look")
        await receive_counts(page, other, 2, 1)
        assert (await rooms_of(reader))[other] == (2, 1)
        await give(socket, type="edit", target=second, message="never mind")
        await receive_counts(page, other, 2, 0)
        await give(socket, type="delete", target=first)
        await receive_counts(page, other, 1, 0)
        assert (await rooms_of(reader))[other] == (1, 0)
        # Read in another window on this node.
        window = await reader.enter(other)
        await window.send({"type": "read", "seq": second})
        await receive_counts(page, other, 0, 0)
        await give(socket, type="message", message=f"@{ana}")
        await receive_counts(page, other, 1, 1)
        await page.send({"type": "read_all"})
        await receive_counts(page, other, 0, 0)


async def test_unread_counts_are_sent_only_to_clients_that_request_them(servers: tuple[Server, Server]) -> None:
    here, _ = servers
    database = here.app[DATABASE]
    shown, (ana,) = await add_room(database, 1)
    other, (luis,) = await add_room(database, 1)
    await enrol(database, ana, other)
    async with Person(here.url, ana) as reader, Person(here.url, luis) as author:
        silent, basic = await reader.enter(shown), await reader.enter(shown, basic=True, query="?unread=1")
        asking = await reader.enter(shown, query="?unread=1")
        await give(await author.enter(other), type="message", message="hello")
        await receive_counts(asking, other, 1, 0)
        for socket in (silent, basic):
            await socket.say("a word", id="w")
        while (frame := await silent.receive_any())["type"] != "chat_message":
            assert frame["type"] != "unread"
        assert (await basic.receive_any())["type"] == "chat_message"


@pytest.mark.parametrize("broker", ["redis_server", "redis_cluster"])
async def test_reading_on_another_node_reaches_a_page_in_another_room(
    postgres: Postgres, request: pytest.FixtureRequest, broker: str
) -> None:
    url = await postgres.create_chat_database(demo=True)
    bus = request.getfixturevalue(broker).url
    settings = settings_for(url, bus_url=bus, bus_prefix=f"{broker}-unread:")
    async with open_server(settings) as here, open_server(settings) as there:
        database = here.app[DATABASE]
        shown, (ana,) = await add_room(database, 1)
        other, (luis,) = await add_room(database, 1)
        await enrol(database, ana, other)
        async with Person(here.url, ana) as reader, Person(there.url, ana) as phone, Person(there.url, luis) as author:
            page = await reader.enter(shown, query="?unread=1")
            socket = await author.enter(other)
            for number in range(3):
                last = await give(socket, type="message", message=f"number {number}")
                await receive_counts(page, other, number + 1, 0)
            # Nobody has this room open on the page's node, and nothing happens in it afterwards.
            window = await phone.enter(other)
            await window.send({"type": "read", "seq": last - 1})
            await receive_counts(page, other, 1, 0)
            await window.send({"type": "read_all"})
            await receive_counts(page, other, 0, 0)


async def test_a_page_learns_of_mentions_and_replies_in_other_rooms(servers: tuple[Server, Server]) -> None:
    here, there = servers
    database = here.app[DATABASE]
    shown, (ana, marta) = await add_room(database)
    other, (luis,) = await add_room(database, 1)
    for username in (ana, marta):
        await enrol(database, username, other)
    async with Person(here.url, ana) as reader, Person(there.url, luis) as author, Person(here.url, marta) as third:
        page, bystander = await reader.enter(shown, query="?unread=1"), await third.enter(shown, query="?unread=1")
        await receive_counts(page, other, 0, 0)
        socket, own = await author.enter(other), await reader.enter(other)
        mine = await give(own, type="message", message="my question")
        await give(socket, type="message", message="nothing for anybody")
        await give(socket, type="message", message=f"@{luis}, to myself", reply_to=2)
        mention = await give(socket, type="message", message=f"@{ana}: look")
        reply = await give(socket, type="message", message="so", reply_to=mine)
        await give(own, type="message", message=f"@{ana}, by the same user", reply_to=mine)
        last = await give(socket, type="message", message=f"@{ana} @{marta}")
        assert await addressed_seqs(page, other, last) == [mention, reply, last]
        assert await addressed_seqs(bystander, other, last) == [last]
        # After a reconnect, what is recent and unread is named again.
        await own.receive_until("chat_message", seq=last)
        await own.send({"type": "read", "seq": mention})
        await receive_counts(page, other, 3, 1)
        again = await reader.enter(shown, query="?unread=1")
        assert await addressed_seqs(again, other, last) == [reply, last]


async def addressed_seqs(chatter: Chatter, room: int, last: int) -> list[int]:
    """Return the seqs that the socket receives for messages in `room` to its user, until `last` is among them."""
    seqs: list[int] = []
    async with asyncio.timeout(TIMEOUT_S):
        while last not in seqs:
            for one in (await chatter.receive_until("unread")).get("addressed", ()):
                assert one["id"] == room
                seqs += one["seqs"]
    return seqs


async def test_messages_from_before_joining_are_not_unread(servers: tuple[Server, Server]) -> None:
    here, _ = servers
    database = here.app[DATABASE]
    course, (luis,) = await add_room(database, 1)
    async with Person(here.url, luis) as author:
        socket = await author.enter(course)
        await give(socket, type="message", message="before")
        ana = await add_person(database, course)
        async with Person(here.url, ana) as reader:
            assert await rooms_of(reader) == {course: (0, 0)}
            await give(socket, type="message", message="after")
            assert await rooms_of(reader) == {course: (1, 0)}


async def test_unanswered_questions_are_counted(servers: tuple[Server, Server]) -> None:
    here, _ = servers
    course, (ana,) = await add_room(here.app[DATABASE], 1)
    async with Person(here.url, ana) as reader:
        socket = await reader.enter(course)
        asked = await give(socket, type="message", message="why?", question=True)
        path = f"/api/rooms/{course}/unanswered"
        assert json.loads((await reader.get(path))[1]) == {"count": 1}
        await give(socket, type="delete", target=asked)
        assert json.loads((await reader.get(path))[1]) == {"count": 0}

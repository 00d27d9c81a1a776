"""Presence and typing by gossip, which needs no cleanup."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from educa_chat.handlers.keys import DATABASE
from educa_chat.presence import (
    FORGET_AFTER_S,
    MAX_PUBLISH_INTERVAL_S,
    MIN_BROADCAST_INTERVAL_S,
    NAMED_PEOPLE,
    ROSTER_PEOPLE,
    SIGNAL_BUFFER_BYTES,
    Person,
    Presence,
    Roster,
)
from educa_chat.protocol import Audience
from tests.conftest import Postgres
from tests.redis_server import RedisServer
from tests.serving import (
    Chatter,
    Classroom,
    Server,
    add_classroom,
    add_room,
    codec_of,
    open_server,
    prompt_signals,
    settings_for,
)
from tests.serving import Person as Browser

ANA, LUIS, PROFE = Person(1, "ana", "Ana"), Person(2, "luis", "Luis"), Person(3, "profe", "Clara")
EPOCH = "0123456789abcdef"


class Watcher:
    """A member that records the signals it receives."""

    def __init__(self, person: Person, audience: Audience = Audience.STUDENT) -> None:
        self.person = person
        self.audience = audience
        self.marker = 0
        self.buffered = 0
        self.seen: list[dict[str, object]] = []

    def write(self, data: bytes) -> None:
        self.seen.append(json.loads(data[data.index(b"{") :]))

    def buffer_size(self) -> int:
        return self.buffered

    @property
    def users(self) -> object:
        return self.seen[-1].get("users")


class Town:
    """Some processes with one room, one clock, and a bus that can be cut."""

    def __init__(self, *names: bytes) -> None:
        self.now = 1000.0
        self.processes = {name: Presence(name.ljust(8), lambda: self.now) for name in names}
        self._codec = codec_of(EPOCH)
        self.published: list[tuple[float, Roster]] = []

    def __getitem__(self, name: bytes) -> Presence:
        return self.processes[name]

    def run(self, seconds: float) -> None:
        """Let time pass in steps of 0.1 seconds, like the hub."""
        for _ in range(round(seconds * 10)):
            self.now += 0.1
            for presence in list(self.processes.values()):
                if presence.due_at > self.now:
                    continue
                presence.broadcast()
                if (roster := presence.roster()) is not None:
                    self.published.append((self.now, roster))
                    decoded = self._codec.decode(self._codec.encode_roster(roster))
                    assert isinstance(decoded, Roster)
                    for other in self.processes.values():
                        other.receive(decoded)


def test_joins_and_leaves_are_known_everywhere_within_two_seconds() -> None:
    town = Town(b"one", b"two")
    ana, luis = Watcher(ANA), Watcher(LUIS)
    town[b"one"].join(ana)
    town.run(2)
    assert ana.users == ["ana"]
    town[b"two"].join(luis)
    town.run(2)
    assert ana.users == luis.users == ["ana", "luis"]
    assert ana.seen[-1] == {
        "type": "presence",
        "count": 2,
        "users": ["ana", "luis"],
        "names": {"ana": "Ana", "luis": "Luis"},
    }
    town[b"two"].leave(luis)
    town.run(2)
    assert ana.users == ["ana"]


def test_a_user_with_sockets_on_many_processes_counts_once() -> None:
    town = Town(b"one", b"two")
    first, second, elsewhere, luis = Watcher(ANA), Watcher(ANA), Watcher(ANA), Watcher(LUIS)
    town[b"one"].join(first)
    town[b"one"].join(second)
    town[b"two"].join(elsewhere)
    town[b"two"].join(luis)
    town.run(2)
    assert luis.seen[-1]["count"] == 2
    town[b"one"].leave(first)
    town[b"one"].leave(first)
    town.run(2)
    assert luis.users == ["ana", "luis"]
    town[b"one"].leave(second)
    town.run(2)
    assert luis.users == ["ana", "luis"]


def test_presence_frames_are_limited_to_one_a_second() -> None:
    town = Town(b"one", b"two")
    ana = Watcher(ANA)
    town[b"one"].join(ana)
    town.run(2)
    ana.seen.clear()
    for number in range(100):
        visitor = Watcher(Person(100 + number, f"u{number}", f"U{number}"))
        town[b"two" if number % 2 else b"one"].join(visitor)
        town.run(0.1)
    assert len(ana.seen) <= 10 / MIN_BROADCAST_INTERVAL_S + 1
    assert len([published for _, published in town.published if published.process == b"two     "]) <= 10 / 0.5 + 1


def test_a_newcomer_receives_the_presence_and_others_only_changes() -> None:
    town = Town(b"one")
    ana = Watcher(ANA)
    town[b"one"].join(ana)
    town.run(3)
    shown = len(ana.seen)
    second_window = Watcher(ANA)
    town[b"one"].join(second_window)
    town.run(2)
    assert second_window.users == ["ana"]
    assert len(ana.seen) == shown


def test_users_of_a_dead_process_are_offline_after_30_seconds() -> None:
    town = Town(b"one", b"two")
    ana, luis = Watcher(ANA), Watcher(LUIS)
    town[b"one"].join(ana)
    town[b"two"].join(luis)
    town.run(12)
    del town.processes[b"two"]
    town.run(5)
    assert ana.users == ["ana", "luis"]
    town.run(24.9)
    assert ana.users == ["ana"]
    assert town[b"one"].due_at < town.now + MAX_PUBLISH_INTERVAL_S + 1


def test_users_who_reconnect_elsewhere_during_a_restart_stay_online() -> None:
    town = Town(b"one", b"two")
    watcher = Watcher(PROFE)
    town[b"two"].join(watcher)
    people = [Watcher(Person(10 + n, f"u{n}", f"U{n}")) for n in range(20)]
    for person in people:
        town[b"one"].join(person)
    town.run(3)
    watcher.seen.clear()
    # It stops and no longer publishes its users, who reconnect one by one.
    del town.processes[b"one"]
    for person in people:
        town[b"two"].join(person)
        town.run(0.3)
    town.run(FORGET_AFTER_S + 2)
    assert {frame["count"] for frame in watcher.seen} <= {21}


def test_a_starting_process_learns_of_others_before_it_sends_presence() -> None:
    town = Town(b"one", b"two")
    town[b"one"].join(Watcher(LUIS))
    town.run(3)
    ana = Watcher(ANA)
    town[b"two"].join(ana)
    town.run(2)
    assert [frame["count"] for frame in ana.seen] == [2]


def test_a_large_room_shows_only_the_count() -> None:
    town = Town(b"one", b"two")
    first = Watcher(Person(1, "u1", "U1"))
    town[b"one"].join(first)
    for number in range(2, NAMED_PEOPLE + 1):
        town[b"two"].join(Watcher(Person(number, f"u{number}", "")))
    town.run(2)
    assert len(first.users) == NAMED_PEOPLE  # type: ignore[arg-type]
    town[b"two"].join(Watcher(Person(NAMED_PEOPLE + 1, "one too many", "")))
    town.run(2)
    assert first.seen[-1] == {"type": "presence", "count": NAMED_PEOPLE + 1}


def test_more_people_than_fit_into_a_payload_are_counted() -> None:
    town = Town(b"one", b"two")
    ana = Watcher(ANA)
    town[b"two"].join(ana)
    for number in range(ROSTER_PEOPLE + 100):
        town[b"one"].join(Watcher(Person(2**31 - 1 - number, f"u{number}", "")))
    town.run(3)
    assert ana.seen[-1]["count"] == ROSTER_PEOPLE + 101


def test_basic_clients_are_counted_but_receive_no_presence_and_slow_readers_no_signals() -> None:
    town = Town(b"one")
    ana, basic, slow = Watcher(ANA), Watcher(LUIS, Audience.BASIC), Watcher(PROFE, Audience.INSTRUCTOR)
    slow.buffered = SIGNAL_BUFFER_BYTES + 1
    for watcher in (ana, basic, slow):
        town[b"one"].join(watcher)
    town.run(2)
    assert ana.users == ["ana", "luis", "profe"]
    assert not basic.seen
    assert not slow.seen


def test_an_empty_room_is_published_once() -> None:
    town = Town(b"one")
    ana = Watcher(ANA)
    town[b"one"].join(ana)
    town.run(1)
    town[b"one"].leave(ana)
    town.run(100)
    assert [len(published.people) for _, published in town.published] == [1, 0]


@given(
    st.lists(
        st.tuples(st.sampled_from([b"one", b"two", b"three"]), st.integers(1, 6), st.booleans(), st.integers(0, 20)),
        max_size=40,
    )
)
def test_presence_converges_on_exactly_the_users_online(
    steps: list[tuple[bytes, int, bool, int]],
) -> None:
    town = Town(b"one", b"two", b"three")
    here: dict[tuple[bytes, int], list[Watcher]] = {}
    for process, person, comes, tenths in steps:
        watchers = here.setdefault((process, person), [])
        if comes:
            watchers.append(Watcher(Person(person, f"u{person}", "")))
            town[process].join(watchers[-1])
        elif watchers:
            town[process].leave(watchers.pop())
        town.run(tenths / 10)
    town.run(2.5)
    users = sorted({f"u{person}" for (_, person), watchers in here.items() if watchers})
    for watchers in here.values():
        for watcher in watchers:
            assert watcher.users == users


# Real sockets.


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servers(postgres: Postgres, redis_server: RedisServer) -> AsyncIterator[tuple[Server, Server]]:
    settings = settings_for(await postgres.create_chat_database(demo=True), bus_url=redis_server.url)
    with prompt_signals():
        async with open_server(settings) as one, open_server(settings) as two:
            yield one, two


async def counted(chatter: Chatter, count: int) -> dict[str, object]:
    return await chatter.receive_until("presence", count=count)


@asynccontextmanager
async def open_room(servers: tuple[Server, Server]) -> AsyncIterator[tuple[Classroom, Chatter, Chatter, Chatter]]:
    """Yield a new room and its sockets: Ana's, Luis's on the other server, and the teacher's next to Ana's."""
    one, two = servers
    people = await add_classroom(one.app[DATABASE])
    async with (
        Browser(one.url, people.ana) as ana,
        Browser(two.url, people.luis) as luis,
        Browser(one.url, people.teacher) as teacher,
    ):
        here, there, beside = [await person.enter(people.course) for person in (ana, luis, teacher)]
        yield people, here, there, beside


@pytest.mark.asyncio(loop_scope="module")
async def test_users_on_two_servers_see_each_other_join_type_and_leave(servers: tuple[Server, Server]) -> None:
    one, two = servers
    async with Browser(one.url, "ana") as ana, Browser(two.url, "luis") as luis, Browser(two.url, "profe") as profe:
        here = await ana.enter()
        assert (await counted(here, 1))["users"] == ["ana"]
        there, teacher = await luis.enter(), await profe.enter()
        for chatter in (here, there, teacher):
            assert (await counted(chatter, 3))["users"] == ["ana", "luis", "profe"]
        await here.send({"type": "typing"})
        assert await there.receive_until("typing") == {"type": "typing", "user": "ana", "name": "Ana Morales"}
        assert (await teacher.receive_until("typing"))["user"] == "ana"
        await there.socket.close()
        await counted(here, 2)
        await counted(teacher, 2)
        # Users don't see themselves typing: the next frame is the answer to their message.
        await here.say("there", id="1")
        assert (await here.receive_any())["type"] == "ack"


@pytest.mark.asyncio(loop_scope="module")
async def test_typing_sent_before_a_message_is_not_shown_after_it(servers: tuple[Server, Server]) -> None:
    async with open_room(servers) as (people, here, there, teacher):
        await counted(there, 3)
        await here.send({"type": "typing"})
        await here.say("quickly typed", id="1")
        await there.receive_until("chat_message")
        # The user's node sends the teacher's signal after the one that it must not send.
        await teacher.send({"type": "typing"})
        assert (await there.receive_until("typing"))["user"] == people.teacher


@pytest.mark.asyncio(loop_scope="module")
async def test_typing_of_a_muted_student_is_not_shown(servers: tuple[Server, Server]) -> None:
    async with open_room(servers) as (people, here, there, teacher):
        await teacher.send({"type": "mute", "id": "1", "user": people.ana, "minutes": 5})
        await here.receive_until("muted")
        await counted(there, 3)
        await here.say("heard?", id="1")
        assert (await here.receive_until("error"))["code"] == "muted"
        await here.send({"type": "typing"})
        # The user's node sends the teacher's signal after the one that it must not send.
        await here.send({"type": "anything"})
        await here.receive_until("error", code="unknown_type")
        await teacher.send({"type": "typing"})
        assert (await there.receive_until("typing"))["user"] == people.teacher


@pytest.mark.asyncio(loop_scope="module")
async def test_presence_and_typing_stay_within_the_room(servers: tuple[Server, Server]) -> None:
    one, _ = servers
    course, (member,) = await add_room(one.app[DATABASE], 1)
    other, (outsider,) = await add_room(one.app[DATABASE], 1)
    async with Browser(one.url, member) as ana, Browser(one.url, outsider) as marta:
        outside = await marta.enter(other)
        assert (await counted(outside, 1))["users"] == [outsider]
        inside = await ana.enter(course)
        await counted(inside, 1)
        await inside.say("x", id="1")
        await inside.receive_until("ack")
        await inside.send({"type": "typing"})
        # Not with a message, which would end the typing signal before it is sent.
        await inside.send({"type": "anything"})
        await inside.receive_until("error", code="unknown_type")
        await outside.say("y", id="1")
        assert (await outside.receive_any())["type"] == "ack"


@pytest.mark.asyncio(loop_scope="module")
async def test_typing_needs_no_id_and_is_rate_limited(servers: tuple[Server, Server]) -> None:
    one, _ = servers
    course, (writer, reader) = await add_room(one.app[DATABASE])
    async with Browser(one.url, writer) as ana, Browser(one.url, reader) as luis:
        here, there = await ana.enter(course), await luis.enter(course)
        await counted(there, 2)
        for _ in range(220):
            await here.send({"type": "typing"})
        await here.say("at last", id="1")
        frames: list[dict[str, object]] = []
        while not frames or frames[-1]["type"] != "chat_message":
            frames.append(await there.receive_any())
        assert [frame["type"] for frame in frames].count("typing") <= 2
        async with asyncio.timeout(30):
            assert (await here.receive())["type"] in ("welcome", "ack")


@pytest.mark.parametrize("conceals", [True, False])
def test_typing_of_a_student_on_another_node_is_concealed_too(conceals: bool) -> None:
    """The student's process may not know yet that the room conceals students."""
    presence = Presence(b"process1", lambda: 0.0)
    watcher = Watcher(LUIS)
    presence.join(watcher)
    presence.conceals_students = conceals
    presence.broadcast_typing(ANA, is_student=True)
    assert [frame["user"] for frame in watcher.seen] == ([] if conceals else ["ana"])
    presence.broadcast_typing(ANA, is_student=False)
    assert watcher.seen[-1]["user"] == "ana"

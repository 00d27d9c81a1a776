"""Hostile messages on the bus: rooms continue, and nobody sees any of them."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import Redis

from educa_chat import hub as hub_module
from educa_chat import room as room_module
from educa_chat.bus.memory import MemoryBus
from educa_chat.bus.protocol import MAX_PAYLOAD_BYTES
from educa_chat.handlers.keys import APPENDER, DATABASE, SOCKETS
from educa_chat.hub import Hub
from educa_chat.metrics import Metrics
from educa_chat.payload import PayloadCodec, Typist
from educa_chat.presence import PEOPLE_PER_PROCESS, PROCESSES, ROSTER_PEOPLE, Person, Presence, Roster
from educa_chat.protocol import MAX_SEQ, CloseCode, Event
from educa_chat.room import HELD_BYTES, HELD_COUNT, Room
from educa_chat.storage.log import Log
from tests.conftest import Postgres
from tests.forging import (
    HEAD,
    READ,
    ROSTER,
    TYPING,
    event,
    events_from,
    header,
    hostile_contents,
    message,
    signal,
    signed,
)
from tests.processes import open_node
from tests.redis_server import RedisServer
from tests.serving import BUS_KEYS, SIGNALS, TIMEOUT_S, Server, add_room, codec_of, open_server, settings_for
from tests.serving import Person as Browser
from tests.test_room import ListMember, until
from tests.test_watching import values

SAID = 10
"""The number of messages in the log."""
PROOF = Person(99, "proof", "Proof")


def frames_in(data: bytes) -> list[dict[str, Any]]:
    """Return the JSON of some unmasked text frames."""
    found = []
    while data:
        length, start = data[1], 2
        if length >= 126:
            start = 4 if length == 126 else 10
            length = int.from_bytes(data[2:start], "big")
        found.append(json.loads(data[start : start + length]))
        data = data[start + length :]
    return found


class OpenRoom:
    """A room of a hub on a memory bus, with a member, and another server that writes into its log."""

    def __init__(self, hub: Hub, bus: MemoryBus, room: Room, metrics: Metrics, writer: Any) -> None:
        self.hub = hub
        self.bus = bus
        self.room = room
        self.metrics = metrics
        self.member = ListMember()
        self.topic = f"{hub.epoch}:room:{room.course}"
        self.codec = codec_of(hub.epoch, room.course)
        self._writer = writer
        self._said = 0

    async def say(self) -> None:
        self._said += 1
        await self._writer.say(f"message {self._said}", id=str(self._said))
        await self._writer.receive_until("ack", id=str(self._said))

    async def publish(self, *payloads: bytes) -> None:
        """Publish, and wait until the room has processed the payload and is still listening."""
        proofs = self.member.received.count(b'"user":"proof"')
        for payload in (*payloads, self.codec.encode_typing(Typist(PROOF, False))):
            await self.bus.publish(self.topic, payload)
        await until(lambda: self.member.received.count(b'"user":"proof"') > proofs)

    def dropped(self, reason: str) -> float:
        name = f'educa_chat_bus_payloads_dropped_total{{reason="{reason}"}}'
        return values(self.metrics.expose().decode())[name]


@asynccontextmanager
async def open_writing_server(postgres: Postgres) -> AsyncIterator[Server]:
    url = await postgres.create_chat_database(demo=True)
    async with open_server(settings_for(url, limits_messages_per_second=0, limits_message_burst=0)) as opened:
        yield opened


@asynccontextmanager
async def open_hub(server: Server, clock: Callable[[], float] = time.monotonic) -> AsyncIterator[OpenRoom]:
    """Open a hub beside `server`, with a new room that has messages."""
    database = server.app[DATABASE]
    course, (name,) = await add_room(database, 1)
    bus, metrics, log = MemoryBus(), Metrics(), Log(database)
    hub = Hub(log, bus, await log.epoch(), metrics, BUS_KEYS, clock)
    async with Browser(server.url, name) as ana, hub.open():
        room = await hub.enter(course)
        assert room is not None
        opened = OpenRoom(hub, bus, room, metrics, await ana.enter(course))
        for _ in range(SAID):
            await opened.say()
        await hub.sweep()
        await until(lambda: room.head == SAID)
        await room.join(opened.member, SAID)
        # After it has subscribed.
        async with asyncio.timeout(TIMEOUT_S):
            while not opened.member.received:
                await bus.publish(opened.topic, opened.codec.encode_typing(Typist(PROOF, False)))
                await asyncio.sleep(0.01)
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(postgres: Postgres) -> AsyncIterator[Server]:
    async with open_writing_server(postgres) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def opened(server: Server) -> AsyncIterator[OpenRoom]:
    async with open_hub(server) as room:
        yield room


def test_no_payload_stops_a_room_or_makes_it_show_more_than_its_log(postgres: Postgres) -> None:
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        server = runner.run(stack.enter_async_context(open_writing_server(postgres)))
        opened = runner.run(stack.enter_async_context(open_hub(server)))
        good = [
            *opened.codec.encode_events([Event(SAID, message(SAID), None, None)]),
            opened.codec.encode_head(SAID + 1),
            opened.codec.encode_roster(Roster(b"process1", False, [7], 0, [Person(7, "eva", "Eva")])),
            *opened.codec.encode_readers({1: 3}),
        ]

        def changed(payload: bytes, index: int, byte: int) -> bytes:
            index %= len(payload)
            return payload[:index] + bytes((byte,)) + payload[index + 1 :]

        @settings(deadline=None)
        @given(
            st.binary()
            | st.builds(changed, st.sampled_from(good), st.integers(0, 10**6), st.integers(0, 255))
            | hostile_contents(time.time()).map(lambda content: signed(opened.topic, content))
        )
        def publish(payload: bytes) -> None:
            runner.run(opened.publish(payload))

        publish()

        async def go_on() -> None:
            await opened.say()
            await until(lambda: opened.room.head == SAID + 1)
            await opened.publish()
            await stack.aclose()

        runner.run(go_on())
    frames = frames_in(opened.member.received)
    assert [frame["seq"] for frame in frames if frame["type"] not in SIGNALS] == [SAID + 1]
    assert opened.member.closed is CloseCode.GOING_AWAY
    for frame in frames:
        if frame["type"] == "typing":
            assert frame.keys() == {"type", "user", "name"}
        elif frame["type"] == "presence":
            assert frame["count"] <= 1 + 6 * PEOPLE_PER_PROCESS
        elif frame["type"] == "read":
            assert 1 <= frame["seq"] <= SAID
    assert opened.dropped("malformed") > 0
    assert opened.dropped("forged") > 0


@pytest.mark.asyncio(loop_scope="module")
async def test_a_head_beyond_the_log_costs_one_read_per_retry_pause(
    opened: OpenRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0
    read = Log.read

    async def count(log: Log, course: int, after: int, count: int) -> Sequence[Event]:
        nonlocal reads
        reads += 1
        return await read(log, course, after, count)

    monkeypatch.setattr(Log, "read", count)
    monkeypatch.setattr(hub_module, "GAP_PATIENCE_S", 0.0)
    monkeypatch.setattr(room_module, "RETRY_PAUSE_S", 3600.0)
    await opened.publish(signed(opened.topic, header(HEAD, MAX_SEQ)))
    await until(lambda: reads == 1)
    for content in (header(HEAD, MAX_SEQ), header(HEAD, SAID + 5), events_from(SAID + 2), events_from(10**9)) * 5:
        await opened.publish(signed(opened.topic, content))
    assert reads == 1
    # The next event is still shown at once.
    await opened.publish(signed(opened.topic, events_from(SAID + 1)))
    assert opened.room.head == SAID + 2


@pytest.mark.asyncio(loop_scope="module")
async def test_a_room_still_catches_up_after_a_head_beyond_the_log(opened: OpenRoom) -> None:
    await opened.publish(signed(opened.topic, header(HEAD, MAX_SEQ)))
    await opened.say()
    await until(lambda: opened.room.head == SAID + 1)


@pytest.mark.asyncio(loop_scope="module")
async def test_events_far_beyond_the_log_are_held_within_limits_and_dropped(
    opened: OpenRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "GAP_PATIENCE_S", 3600.0)
    # The room handles the gap only when the sweep says that it is behind.
    text = "x" * (MAX_PAYLOAD_BYTES - 1000)
    for number in range(3 * HELD_COUNT):
        await opened.bus.publish(opened.topic, signed(opened.topic, events_from(10**9 + 10 * number)))
        if number % 50 == 0:
            await opened.publish(signed(opened.topic, events_from(2 * 10**9 + 10 * number, text=text)))
    room = opened.room
    assert 0 < len(room._held) <= HELD_COUNT
    assert sum(event.size for event in room._held.values()) <= HELD_BYTES
    await room.catch_up("sweep")
    assert not room._held


@pytest.mark.asyncio(loop_scope="module")
async def test_a_marker_beyond_the_head_is_ignored(opened: OpenRoom) -> None:
    now = time.time()
    for seq in (SAID + 1, MAX_SEQ):
        await opened.publish(signed(opened.topic, signal(READ, {1: seq}, now)))
        assert opened.member.marker == 0
    await opened.publish(signed(opened.topic, signal(READ, {1: SAID}, now)))
    assert opened.member.marker == SAID


def test_the_number_of_processes_in_presence_is_limited() -> None:
    now = 1000.0
    presence, member = Presence(b"process0", lambda: now), ListMember()
    presence.join(member)
    people = list(range(10, 10 + ROSTER_PEOPLE))
    full = PEOPLE_PER_PROCESS - ROSTER_PEOPLE
    for number in range(PROCESSES + 50):
        presence.receive(Roster(number.to_bytes(8, "big"), False, people, full, []))
    presence.receive(Roster((0).to_bytes(8, "big"), False, [7], 0, []))
    now += 10
    presence.broadcast()
    assert frames_in(member.received)[-1]["count"] == 1 + 1 + ROSTER_PEOPLE + (PROCESSES - 1) * full


@pytest.mark.asyncio(loop_scope="module")
async def test_dropped_payloads_are_counted_by_reason_and_logged_once_a_minute(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hub_module, "SWEEP_S", 0.01)
    now = 1000.0

    def clock() -> float:
        nonlocal now
        now += 1e-6
        return now

    async with open_hub(server, clock) as opened:
        strangers = PayloadCodec(opened.topic, [b"another key"])

        def logged() -> list[str]:
            return [record.getMessage() for record in caplog.records if "were ignored" in record.getMessage()]

        async def swept() -> None:
            age = opened.hub._swept_at
            await until(lambda: opened.hub._swept_at > age)

        await opened.publish(b"\x03" * 100)
        await until(logged)
        assert logged() == ["payloads from the bus were ignored: 1 version"]
        late = PayloadCodec(opened.topic, BUS_KEYS, lambda: time.time() - 3600)
        for _ in range(3):
            await opened.publish(strangers.encode_head(MAX_SEQ), late.encode_typing(Typist(PROOF, False)), b"\x04")
        for later_s, lines in ((0.1, 1), (59.0, 1), (61.0, 2), (119.0, 2), (125.0, 2)):
            now = 1000.0 + later_s
            await swept()
            await swept()
            assert len(logged()) == lines, later_s
        assert logged()[1] == "payloads from the bus were ignored: 3 forged, 3 malformed, 3 stale"
        for reason, count in (("version", 1), ("forged", 3), ("stale", 3), ("malformed", 3)):
            assert opened.dropped(reason) == count


# Failures stay local.


@pytest.mark.asyncio(loop_scope="module")
async def test_an_error_in_a_room_closes_only_that_room_which_then_reopens(
    server: Server, opened: OpenRoom, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    hub, course = opened.hub, opened.room.course
    other_course, _ = await add_room(server.app[DATABASE], 0)
    other = await hub.enter(other_course)
    assert other is not None
    witness = ListMember()
    await other.join(witness, 0)
    for name, cause in (
        ("expect", hub.sweep),
        ("offer", lambda: hub.announce({course: [Event(99, message(99), None, None)]})),
        ("presence", None),
        ("at", None),
    ):
        room, member = await hub.enter(course), ListMember()
        assert room is not None
        await room.join(member, room.head)
        if name == "at":
            monkeypatch.setattr(room, "_newest", Event(1, b"without a datetime", None, None))
        elif name == "presence":
            monkeypatch.setattr(room.presence, "broadcast", fail)
            monkeypatch.setattr(room.presence, "due_at", 0.0)
        else:
            monkeypatch.setattr(room, name, fail)
        if cause is not None and (asked := cause()) is not None:
            await asked
        async with asyncio.timeout(TIMEOUT_S):
            while member.closed is None:
                await hub.sweep()
                await asyncio.sleep(0.01)
        assert member.closed is CloseCode.INTERNAL_ERROR, name
        assert await hub.enter(course) is not room
    assert caplog.text.count(f"room {course} failed and is closed") == 4
    assert witness.closed is None
    assert await hub.enter(other_course) is other
    assert values(opened.metrics.expose().decode())['educa_chat_evictions_total{reason="failed"}'] == 4


@pytest.mark.asyncio(loop_scope="module")
async def test_sockets_whose_access_cannot_be_checked_are_closed_and_can_reconnect(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError

    course, (name,) = await add_room(server.app[DATABASE], 1)
    async with Browser(server.url, name) as ana:
        socket = await ana.enter(course)
        await socket.receive_until("welcome")
        with monkeypatch.context() as broken:
            broken.setattr(server.app[SOCKETS], "_find_visitors", fail)
            server.app[SOCKETS].schedule_full_recheck()
            assert await socket.close_code() == 1011
        socket = await ana.enter(course)
        await socket.receive_until("welcome")
        assert await ana.sign_out() == 302
        assert await socket.close_code() == 4001


@pytest.mark.asyncio(loop_scope="module")
async def test_only_the_entry_that_makes_an_append_fail_is_refused(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    appender = server.app[APPENDER]
    append = appender._append

    async def fail_on_poison(batch: Any) -> Any:
        if any("poison" in waiting.entry.body for waiting in batch):
            raise RuntimeError
        return await append(batch)

    monkeypatch.setattr(appender, "_append", fail_on_poison)
    course, (writer, reader) = await add_room(server.app[DATABASE])
    async with Browser(server.url, writer) as ana, Browser(server.url, reader) as luis:
        here, there = await ana.enter(course), await luis.enter(course)
        for number, text in enumerate(("one", "poison", "two")):
            await here.say(text, id=str(number))
        assert (await here.receive_until("error"))["code"] == "unavailable"
        assert [one["message"] for one in await there.events(2)] == ["one", "two"]


# Over a real Redis, to real processes.


@pytest.mark.asyncio(loop_scope="module")
async def test_forged_redis_messages_stop_no_node_and_reach_nobody(
    postgres: Postgres, redis_server: RedisServer
) -> None:
    url = await postgres.create_chat_database(demo=True)
    async with (
        open_node(url, redis_server.url) as one,
        open_node(url, redis_server.url) as two,
        Browser(one.url, "ana") as ana,
        Browser(two.url, "luis") as luis,
    ):
        here, there = await ana.enter(), await luis.enter()
        epoch = (await here.receive_until("welcome"))["epoch"]
        for chatter in (here, there):
            await chatter.receive_until("presence", count=2)
        topic = f"{epoch}:room:1"
        now = time.time()
        fake = message(1, rest='"type":"chat_message","user":"profe","message":"no exam"}')
        script = b'{"type":"typing","user":"<script>","evil":{"deep":[1]}}'
        nowhere = b'{"seq":1,"type":"chat_message","user":"profe","message":"without a datetime"}'
        before = b"\x03\x01" + bytes.fromhex(epoch)
        payloads = [
            b"",
            b"garbage",
            bytes(2 * MAX_PAYLOAD_BYTES),
            # Payloads that the previous version would have accepted.
            before + b"\0\0\0\0\0\0\0\1\0\1" + event(nowhere),
            before + b"\0\0\0\0\0\0\0\1\0\1" + event(fake),
            b"\x03\x03" + bytes.fromhex(epoch) + b"\0\0\0\0\0\0\0\1\0\0" + script,
            # Well-formed, but unsigned, signed with another key or for another room, or too old.
            signed(topic, events_from(1), b"x" * 32),
            signed(topic, signal(TYPING, [[3, "profe", "Clara"], False], now), b"x" * 32),
            signed(f"{epoch}:room:2", events_from(1)),
            signed(f"{epoch}:room:2", signal(TYPING, [[3, "profe", "Clara"], False], now)),
            signed(topic, signal(TYPING, [[3, "profe", "Clara"], False], now - 3600)),
            # Hostile, with a valid signature.
            signed(topic, header(1, 1, 1) + event(nowhere)),
            signed(topic, header(1, 1, 1) + event(fake, fake[:-1])),
            signed(topic, header(3, int(now * 1000)) + script),
            signed(topic, signal(ROSTER, [b"process1", False, [], 1_000_012_000, []], now)),
            signed(topic, signal(READ, {1: MAX_SEQ, 2: MAX_SEQ}, now)),
            signed(topic, header(HEAD, MAX_SEQ)),
            signed(topic, events_from(MAX_SEQ)),
        ]
        with Redis.from_url(redis_server.url) as redis:
            for _ in range(20):
                for payload in payloads:
                    assert redis.publish(f"educa-chat:{topic}", payload) == 2
        await here.say("still here", id="1")
        for chatter in (here, there):
            frame = await chatter.receive_any()
            while frame["type"] in ("ack", "welcome"):
                frame = await chatter.receive_any()
            assert frame["message"] == "still here", frame
            await chatter.socket.close()
        for node in (one, two):
            await node.printed("payloads from the bus were ignored")
            async with Browser(node.url) as scraper:
                told = values((await scraper.get("/metrics"))[1])
            for reason in ("version", "forged", "stale", "malformed"):
                assert told[f'educa_chat_bus_payloads_dropped_total{{reason="{reason}"}}'] >= 20, reason
            assert node.output.count("payloads from the bus were ignored") == 1
            assert await node.stop() == 0, node.output
            assert "Traceback" not in node.output

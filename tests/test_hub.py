"""Delivery over the bus alone: the sweep is turned off."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from educa_chat import hub as hub_module
from educa_chat import room as room_module
from educa_chat.bus import redis_link
from educa_chat.bus.memory import MemoryBus
from educa_chat.errors import BusUnavailable
from educa_chat.handlers.keys import DATABASE, HUB
from educa_chat.hub import Hub
from educa_chat.metrics import Metrics
from educa_chat.payload import Typist
from educa_chat.presence import Person as PersonHere
from educa_chat.protocol import Event
from educa_chat.storage.log import Log
from educa_chat.storage.pool import Database
from tests.conftest import Postgres
from tests.redis_server import RedisServer
from tests.serving import BUS_KEYS, Person, Server, add_room, codec_of, open_server, settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seqs from which rooms have read the log."""
    seen: list[int] = []
    read = Log.read

    async def count(log: Log, course: int, after: int, count: int) -> Sequence[Event]:
        seen.append(after)
        return await read(log, course, after, count)

    monkeypatch.setattr(Log, "read", count)
    return seen


@pytest.fixture(scope="module", autouse=True)
def _no_sweep() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hub_module, "SWEEP_S", 3600.0)
        yield


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servers(postgres: Postgres, redis_server: RedisServer) -> AsyncIterator[tuple[Server, Server]]:
    settings = settings_for(
        await postgres.create_chat_database(demo=True),
        bus_url=redis_server.url,
        limits_messages_per_second=0,
    )
    async with open_server(settings) as one, open_server(settings) as two:
        yield one, two


@pytest.fixture
def database(servers: tuple[Server, Server]) -> Database:
    return servers[0].app[DATABASE]


async def test_two_processes_with_a_busy_room_show_all_events_without_reading_the_log(
    servers: tuple[Server, Server], reads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Rooms read the log instead of waiting for a slow bus, and on a busy machine the bus is slow.
    monkeypatch.setattr(hub_module, "SWEEP_S", 60.0)
    for module in (hub_module, room_module):
        monkeypatch.setattr(module, "GAP_PATIENCE_S", 10.0)
    monkeypatch.setattr(hub_module, "BUS_DOUBTED_AFTER_S", 30.0)
    monkeypatch.setattr(redis_link, "PUBLISH_TIMEOUT_S", 30.0)
    monkeypatch.setattr(redis_link, "DEAF_AFTER_BEATS", 60)
    one, two = servers
    course, names = await add_room(one.app[DATABASE])
    async with Person(one.url, names[0]) as ana, Person(two.url, names[1]) as luis:
        sockets = [await ana.enter(course), await luis.enter(course)]
        # Each room reads the log once when its subscription is live.
        async with asyncio.timeout(30):
            while len(reads) < 2:
                await asyncio.sleep(0.01)
        for which, socket in enumerate(sockets):
            for number in range(200):
                await socket.say(f"{number}", id=f"{which}:{number}")
        seen = [await socket.events(400) for socket in sockets]
    assert [event["seq"] for event in seen[0]] == list(range(1, 401))
    assert seen[0] == seen[1]
    assert reads == [0, 0]


async def test_an_event_too_large_for_the_bus_is_read_from_the_log(servers: tuple[Server, Server]) -> None:
    one, two = servers
    course, names = await add_room(one.app[DATABASE])
    async with Person(one.url, names[0]) as ana, Person(two.url, names[1]) as luis:
        here, there = await ana.enter(course), await luis.enter(course)
        await there.receive()
        large = "&" * 4000  # Its HTML is five times as long, and occurs twice.
        await here.say(large, id="large")
        assert (await there.events(1))[0]["message"] == large


async def test_two_deployments_on_one_redis_are_isolated(
    servers: tuple[Server, Server], postgres: Postgres, redis_server: RedisServer
) -> None:
    one, _ = servers
    elsewhere = await postgres.create_chat_database(demo=True)
    async with open_server(settings_for(elsewhere, bus_url=redis_server.url)) as two:
        assert one.app[HUB].epoch != two.app[HUB].epoch
        async with Person(one.url, "ana") as ana, Person(two.url, "ana") as other:
            here, there = await ana.enter(), await other.enter()
            await there.receive()
            await here.say("ours", id="1")
            await here.receive_until("chat_message")
            await there.say("theirs", id="1")
            assert [event["message"] for event in await there.events(1)] == ["theirs"]


async def test_a_process_without_a_broker_publishes_only_signals(database: Database) -> None:
    class Bus(MemoryBus):
        def __init__(self) -> None:
            super().__init__()
            self.payloads: asyncio.Queue[bytes] = asyncio.Queue()

        async def publish(self, topic: str, payload: bytes) -> None:
            self.payloads.put_nowait(payload)

    bus = Bus()
    hub = Hub(Log(database), bus, await Log(database).epoch(), Metrics(), BUS_KEYS)
    async with hub.open():
        hub.announce({1: [Event(1, b'{"seq":1,"datetime":""}', None, None)]})
        hub.signal_typing(1, PersonHere(7, "ana", "Ana"), is_student=False)
        async with asyncio.timeout(30):
            signal = await bus.payloads.get()
        assert isinstance(codec_of(hub.epoch).decode(signal), Typist)
        assert bus.payloads.empty()


async def test_a_failed_publish_puts_the_bus_in_doubt_until_it_works_again(database: Database) -> None:
    class Bus(MemoryBus):
        silence_s = 0.2
        reaches_others = True
        is_away = True

        async def publish(self, topic: str, payload: bytes) -> None:
            if self.is_away:
                raise BusUnavailable("away")
            await super().publish(topic, payload)

    now = 100.0
    bus = Bus()
    hub = Hub(Log(database), bus, await Log(database).epoch(), Metrics(), BUS_KEYS, clock=lambda: now)

    def doubted() -> bool:
        return hub.bus_in_doubt

    async with hub.open():
        assert not doubted()
        hub.announce({1: [Event(1, b'{"seq":1,"datetime":""}', None, None)]})
        async with asyncio.timeout(30):
            while not doubted():
                await asyncio.sleep(0.01)
        now += 0.3  # With a silence of 0.2 seconds, the bus has delivered something since.
        assert not doubted()
        bus.silence_s = 1.1
        assert doubted()
        assert not hub.bus_lost
        bus.silence_s = 10.1
        assert hub.bus_lost


async def test_a_room_resubscribes_if_the_bus_delivers_nothing_but_not_if_it_is_late(
    servers: tuple[Server, Server], database: Database
) -> None:
    class Bus(MemoryBus):
        subscriptions = 0

        @asynccontextmanager
        async def subscribe(self, topic: str) -> AsyncIterator[AsyncIterator[bytes]]:
            self.subscriptions += 1
            async with super().subscribe(topic) as payloads:
                yield payloads

    elsewhere, _ = servers
    course, (name,) = await add_room(database, 1)
    bus = Bus()
    log = Log(database)
    hub = Hub(log, bus, await log.epoch(), Metrics(), BUS_KEYS)
    async with hub.open(), Person(elsewhere.url, name) as ana:
        room = await hub.enter(course)
        assert room is not None
        socket = await ana.enter(course)

        async def is_behind(seq: int) -> None:
            """Let a sweep find that the room is behind, and wait until it has caught up."""
            await socket.say("x", id=str(seq))
            await socket.receive_until("ack", id=str(seq))
            await hub.sweep()
            async with asyncio.timeout(30):
                while room.head < seq:
                    await asyncio.sleep(0.01)

        await is_behind(1)
        for seq in (2, 3, 4):
            await bus.publish(f"{hub.epoch}:room:{course}", codec_of(hub.epoch, course).encode_head(1))
            await is_behind(seq)
        assert bus.subscriptions == 1
        await is_behind(5)
        async with asyncio.timeout(30):
            while bus.subscriptions < 2:
                await asyncio.sleep(0.01)

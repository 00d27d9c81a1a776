"""The room: ordering, replays and writes, with lists as members."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from educa_chat import room as room_module
from educa_chat.errors import DatabaseUnavailable
from educa_chat.metrics import Metrics
from educa_chat.presence import Person, Presence
from educa_chat.protocol import Audience, CloseCode, Event, text_frame
from educa_chat.room import BUFFER_LIMIT_BYTES, Room

TIMEOUT_S = 5.0
AT = "2026-01-01T00:00:00.000000+00:00"


def event(seq: int, text: str = "", *, instructor: bool = False, basic: bool = True) -> Event:
    def variant(audience: str) -> bytes:
        return f'{{"seq":{seq},"datetime":"{AT}","to":"{audience}","text":"{text}"}}'.encode()

    return Event(
        seq, variant("student"), variant("instructor") if instructor else None, variant("basic") if basic else None
    )


class ListMember:
    """A member that records everything written to it. It pretends that `buffered` has not been sent."""

    def __init__(self, audience: Audience = Audience.STUDENT) -> None:
        self.audience = audience
        self.person = Person(1, "ana", "Ana")
        self.marker = 0
        self.writes: list[bytes] = []
        self.buffered = 0
        self.closed: CloseCode | None = None
        self.waits = 0

    def write(self, data: bytes) -> None:
        assert self.closed is None, "written to after its close"
        self.writes.append(data)

    def buffer_size(self) -> int:
        return self.buffered

    async def wait_until_sent(self) -> None:
        self.waits += 1
        await asyncio.sleep(0)

    def close(self, code: CloseCode) -> None:
        self.closed = code

    @property
    def received(self) -> bytes:
        return b"".join(self.writes)


class Log:
    """The log that a room reads: the events so far, and the start of each read."""

    def __init__(self, count: int = 0) -> None:
        self.events = [event(seq) for seq in range(1, count + 1)]
        self.reads: list[int] = []
        self.is_away = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def read(self, after: int, count: int) -> Sequence[Event]:
        self.reads.append(after)
        await self.gate.wait()
        if self.is_away:
            raise DatabaseUnavailable("away")
        return self.events[after : after + count]


def frames(*events: Event, audience: Audience = Audience.STUDENT) -> bytes:
    return b"".join(text_frame(variant) for one in events if (variant := one.variant(audience)) is not None)


async def a_turn() -> None:
    """Let everything that is due in this turn of the event loop be sent."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():
            await asyncio.sleep(0.001)


async def open_room(log: Log, head: int = 0) -> Room:
    return Room(1, head, AT, log.read, Presence(b"here"), Metrics())


async def test_events_of_one_loop_iteration_reach_a_member_in_one_write() -> None:
    room, member = await open_room(Log()), ListMember()
    await room.join(member, 0)
    room.offer([event(1), event(2)])
    room.offer([event(3)])
    await a_turn()
    assert member.writes == [frames(event(1), event(2), event(3))]


async def test_an_event_seen_before_is_ignored() -> None:
    room, member = await open_room(Log()), ListMember()
    await room.join(member, 0)
    for seqs in ((1, 2), (1,), (2, 1)):
        room.offer([event(seq) for seq in seqs])
        await a_turn()
    assert member.received == frames(event(1), event(2))


async def test_an_event_after_a_gap_waits_for_the_missing_one_without_reading_the_log() -> None:
    log = Log(3)
    room, member = await open_room(log), ListMember()
    await room.join(member, 0)
    room.offer([event(2), event(3)])
    await a_turn()
    assert member.received == b""
    room.offer([event(1)])
    await a_turn()
    assert member.received == frames(event(1), event(2), event(3))
    # The next gap causes a read. If the first one had, that read would have come before.
    room.expect(4, "sweep")
    await until(lambda: log.reads)
    assert log.reads == [3]


async def test_events_that_stay_missing_are_read_from_the_log_once() -> None:
    log = Log(5)
    room, member = await open_room(log), ListMember()
    await room.join(member, 0)
    room.offer([event(3)])
    room.offer([event(5)])
    await until(lambda: room.head == 5)
    await a_turn()
    assert member.received == frames(*(event(seq) for seq in range(1, 6)))
    assert log.reads == [0]


async def test_held_events_are_released_once_they_are_read_from_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room_module, "HELD_COUNT", 2)
    log = Log()
    room = await open_room(log)
    for head in (3, 6, 9):
        log.events = [event(seq) for seq in range(1, head + 1)]
        room.offer(log.events[-2:])
        await until(lambda: room.head == len(log.events))
    log.reads.clear()
    room.offer([event(11), event(12)])
    room.offer([event(10)])
    assert room.head == 12
    assert log.reads == []


async def test_a_seq_published_without_its_event_is_read_from_the_log() -> None:
    log = Log(2)
    room = await open_room(log)
    room.expect(2, "sweep")
    await until(lambda: room.head == 2)


async def test_a_seq_that_the_log_does_not_have_is_forgotten() -> None:
    log = Log(1)
    room, member = await open_room(log, 1), ListMember()
    await room.join(member, 1)
    room.offer([event(3, "never said")])
    await until(lambda: log.reads)
    await a_turn()
    log.events.append(event(2))
    room.offer([event(2)])
    await a_turn()
    assert member.received == frames(event(2))
    room.expect(3, "sweep")
    await until(lambda: len(log.reads) > 1)
    assert log.reads == [1, 2]


async def test_reading_an_unavailable_log_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room_module, "RETRY_PAUSE_S", 0.01)
    log = Log(2)
    log.is_away = True
    room = await open_room(log)
    room.offer([event(2)])
    await until(lambda: len(log.reads) >= 2)
    log.is_away = False
    await until(lambda: room.head == 2)


async def test_each_audience_receives_its_own_variant() -> None:
    room = await open_room(Log())
    members = {audience: ListMember(audience) for audience in Audience}
    for member in members.values():
        await room.join(member, 0)
    one, two = event(1, instructor=True), event(2, basic=False)
    room.offer([one, two])
    await a_turn()
    assert members[Audience.STUDENT].received == text_frame(one.student) + text_frame(two.student)
    assert members[Audience.INSTRUCTOR].received == text_frame(one.instructor or b"") + text_frame(two.student)
    assert members[Audience.BASIC].received == text_frame(one.basic or b"")


async def test_only_the_concealed_user_receives_own_frames_live_and_in_replays() -> None:
    log = Log()
    mine = msgspec.structs.replace(event(2, instructor=True), concealed_user_id=7)
    log.events = [event(1), mine, event(3)]
    room, author, other, basic = await open_room(log), ListMember(), ListMember(), ListMember(Audience.BASIC)
    author.person = basic.person = Person(7, "eva", "Eva")
    for member in (author, other, basic):
        await room.join(member, 0)
    room.offer(log.events)
    await a_turn()
    own = text_frame(b'{"type":"own","seq":2}')
    assert author.writes == [frames(event(1)) + own + frames(mine, event(3))]
    assert other.writes == [frames(event(1), mine, event(3))]
    assert basic.writes == [frames(event(1), mine, event(3), audience=Audience.BASIC)]
    late = ListMember()
    late.person = author.person
    await room.join(late, 1)
    assert late.received == own + frames(mine, event(3))


async def test_only_a_slow_member_is_cut_off() -> None:
    room, slow, quick = await open_room(Log()), ListMember(), ListMember()
    await room.join(slow, 0)
    await room.join(quick, 0)
    slow.buffered = BUFFER_LIMIT_BYTES + 1
    room.offer([event(1)])
    await a_turn()
    assert (slow.closed, slow.received) == (CloseCode.TOO_SLOW, b"")
    assert (quick.closed, quick.received) == (None, frames(event(1)))
    assert list(room) == [quick]


async def test_a_member_that_joins_behind_the_head_receives_missed_events_once() -> None:
    log = Log(5)
    room, member = await open_room(log, 5), ListMember()
    log.gate.clear()
    joining = asyncio.create_task(room.join(member, 2))
    await until(lambda: log.reads)
    room.offer([event(6)])
    log.gate.set()
    await joining
    room.offer([event(7)])
    await a_turn()
    assert member.received == frames(*(event(seq) for seq in range(3, 8)))


async def test_an_event_pending_during_a_join_is_received_once() -> None:
    room, old, new = await open_room(Log()), ListMember(), ListMember()
    await room.join(old, 0)
    room.offer([event(1)])
    await room.join(new, 0)
    await a_turn()
    assert old.received == new.received == frames(event(1))


async def test_events_in_the_ring_are_not_read_from_the_log() -> None:
    log = Log()
    room, member = await open_room(log), ListMember()
    room.offer([event(seq) for seq in range(1, 11)])
    await room.join(member, 4)
    assert member.received == frames(*(event(seq) for seq in range(5, 11)))
    assert log.reads == []


async def test_a_storm_of_reconnects_costs_one_read() -> None:
    log = Log(200)
    room = await open_room(log, 200)
    members = [ListMember() for _ in range(100)]
    log.gate.clear()
    joins = [asyncio.create_task(room.join(member, 100 + number)) for number, member in enumerate(members)]
    await until(lambda: log.reads)
    log.gate.set()
    await asyncio.gather(*joins)
    assert log.reads == [0]
    for number, member in enumerate(members):
        assert member.received == frames(*(event(seq) for seq in range(101 + number, 201)))
    # The read events are kept for later members.
    late = ListMember()
    await room.join(late, 150)
    assert late.received == frames(*(event(seq) for seq in range(151, 201)))
    assert log.reads == [0]


async def test_the_first_replay_loads_events_for_later_members_that_missed_more() -> None:
    log = Log(200)
    room = await open_room(log, 200)
    for after in (199, 150, 0):
        member = ListMember()
        await room.join(member, after)
        assert member.received == frames(*(event(seq) for seq in range(after + 1, 201)))
    assert len(log.reads) == 1


async def test_members_that_join_during_a_log_read_share_it() -> None:
    log = Log(200)
    room = await open_room(log, 200)
    log.gate.clear()
    joins = [asyncio.create_task(room.join(ListMember(), 150))]
    await until(lambda: log.reads)
    joins += [asyncio.create_task(room.join(ListMember(), after)) for after in (100, 0)]
    await a_turn()
    log.gate.set()
    await asyncio.gather(*joins)
    assert len(log.reads) == 1


async def test_each_member_behind_the_ring_costs_one_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(room_module, "RING_COUNT", 50)
    log = Log(200)
    room = await open_room(log, 200)
    for after in (199, 120, 130, 160):
        member = ListMember()
        await room.join(member, after)
        assert member.received == frames(*(event(seq) for seq in range(after + 1, 201)))
    assert log.reads == [150, 120, 130]


async def test_the_time_of_an_event_and_the_replay_after_it_cost_one_read() -> None:
    log = Log(200)
    room = await open_room(log, 200)
    assert await asyncio.gather(*(room.datetime_of(seq) for seq in (150, 1, 200))) == [AT, AT, AT]
    await room.join(ListMember(), 1)
    assert len(log.reads) == 1


async def test_the_time_of_a_missing_event_is_unknown() -> None:
    log = Log(200)
    del log.events[:100]
    assert await (await open_room(log, 200)).datetime_of(50) is None


async def test_an_event_sent_in_a_replay_before_it_is_live_is_not_sent_again() -> None:
    log = Log(3)
    room, member, other = await open_room(log, head=2), ListMember(), ListMember()
    await room.join(other, 2)
    await room.join(member, 0)
    room.offer([event(3)])
    await a_turn()
    assert member.received == frames(event(1), event(2), event(3))
    assert other.received == frames(event(3))


async def test_a_long_replay_is_sent_in_parts_that_wait_for_the_buffer() -> None:
    log = Log()
    log.events = [event(seq, "x" * 50_000) for seq in range(1, 31)]
    room, member = await open_room(log, 30), ListMember()
    await room.join(member, 0)
    assert member.received == frames(*log.events)
    assert max(map(len, member.writes)) <= BUFFER_LIMIT_BYTES // 2
    assert member.waits >= 2


async def test_a_replay_that_does_not_reach_the_head_in_time_is_a_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room_module, "REPLAY_TIMEOUT_S", 0.05)
    log = Log(3)
    log.gate.clear()
    room, member = await open_room(log, 3), ListMember()
    await room.join(member, 0)
    assert member.received == text_frame(b'{"type":"reset","after":3}')
    room.offer([event(4)])
    await a_turn()
    assert member.writes[1:] == [frames(event(4))]


async def test_a_closed_room_refuses_new_members() -> None:
    room, inside, late = await open_room(Log()), ListMember(), ListMember()
    await room.join(inside, 0)
    room.close(CloseCode.GOING_AWAY)
    await room.join(late, 0)
    assert inside.closed is late.closed is CloseCode.GOING_AWAY
    assert len(room) == 0


async def test_a_member_that_left_receives_nothing() -> None:
    room, member = await open_room(Log()), ListMember()
    await room.join(member, 0)
    room.offer([event(1)])
    room.leave(member)
    await a_turn()
    assert member.received == b""


_OFFERS = st.lists(st.lists(st.integers(1, 30), max_size=8), max_size=12)
_JOINS = st.lists(st.integers(0, 30), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(offers=_OFFERS, joins=_JOINS, audience=st.sampled_from(Audience))
def test_every_member_receives_every_event_once_in_order_whatever_the_arrival_order(
    offers: list[list[int]], joins: list[int], audience: Audience
) -> None:
    """Any mix of reordered, repeated and missing events, with members that join after any seq in between."""

    async def play() -> None:
        log = Log(30)
        room = await open_room(log)
        members: list[tuple[int, ListMember]] = []
        comings: list[Awaitable[object]] = []
        for turn in range(max(len(offers), len(joins))):
            if turn < len(offers):
                room.offer([event(seq) for seq in offers[turn]])
            if turn < len(joins) and joins[turn] <= room.head:
                member = ListMember(audience)
                members.append((joins[turn], member))
                comings.append(asyncio.create_task(room.join(member, joins[turn])))
            if turn % 3 == 0:
                await a_turn()
        await asyncio.gather(*comings)
        room.offer(log.events)
        await a_turn()
        room.close(CloseCode.GOING_AWAY)
        for after, member in members:
            assert member.received == frames(*log.events[after:], audience=audience)

    asyncio.run(play())

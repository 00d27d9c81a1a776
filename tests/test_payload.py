"""Bus payloads: only signed and well-formed ones are accepted, and none raises an exception."""

import itertools
import json
import math
from datetime import datetime
from struct import pack
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from educa_chat.bus.protocol import MAX_PAYLOAD_BYTES
from educa_chat.events.registry import EVENT_TYPES
from educa_chat.payload import (
    MARKERS_PER_PAYLOAD,
    MAX_REDACTED_BYTES,
    READERS_PER_PAYLOAD,
    SIGNAL_LIFE_S,
    Dropped,
    LogUpdate,
    Marker,
    MovedMarkers,
    PayloadCodec,
    Readers,
    Typist,
)
from educa_chat.presence import MAX_USER_ID, NAMED_PEOPLE, PEOPLE_PER_PROCESS, ROSTER_PEOPLE, Person, Roster
from educa_chat.protocol import MAX_SEQ, Event
from tests.forging import (
    AT,
    EVENTS,
    HEAD,
    MARKERS,
    READ,
    ROSTER,
    TYPING,
    event,
    header,
    hostile_contents,
    message,
    signal,
    signed,
)

TOPIC = "0123456789abcdef:room:1"
OLD, NEW, OTHER = b"o" * 32, b"n" * 32, b"x" * 32
NOW = 1_800_000_000.0
CODEC = PayloadCodec(TOPIC, [NEW], lambda: NOW)
MALFORMED, FORGED, STALE = Dropped("malformed"), Dropped("forged"), Dropped("stale")
ANA = Person(1, "ana", "Ana")


def variant(seq: int, at: str, type: str, text: str) -> bytes:
    return message(seq, at, json.dumps({"type": type, "message": text}, ensure_ascii=False)[1:])


def made_event(
    seq: int, at: datetime, type: str, text: str, concealed_user_id: int | None, redacted: int | None
) -> Event:
    time = at.isoformat(timespec="microseconds") + "+00:00"
    student = variant(seq, time, type, text)
    redacts = (
        ()
        if redacted is None or redacted >= seq
        else (Event(redacted, variant(redacted, time, "hidden", ""), None, None),)
    )
    if concealed_user_id is None:
        return Event(seq, student, None, None, None, redacts)
    return Event(
        seq, student, variant(seq, time, type, text * 2), variant(seq, time, type, text[1:]), concealed_user_id, redacts
    )


EVENT_LISTS = st.lists(
    st.builds(
        made_event,
        st.integers(1, 30) | st.integers(1, MAX_SEQ),
        st.datetimes(),
        st.sampled_from(sorted(EVENT_TYPES)),
        st.text(),
        st.none() | st.integers(1, MAX_USER_ID),
        st.none() | st.integers(1, 30),
    ),
    unique_by=lambda event: event.seq,
).map(lambda events: sorted(events, key=lambda event: event.seq))
PEOPLE = st.builds(Person, st.integers(1, MAX_USER_ID), st.text(min_size=1, max_size=150), st.text(max_size=301))


# Encoding and decoding.


@given(EVENT_LISTS)
def test_events_survive_encoding(events: list[Event]) -> None:
    payloads = CODEC.encode_events(events)
    assert all(len(payload) <= MAX_PAYLOAD_BYTES for payload in payloads)
    updates = [CODEC.decode(payload) for payload in payloads]
    assert [one for update in updates if isinstance(update, LogUpdate) for one in update.events] == events
    assert [update.head for update in updates if isinstance(update, LogUpdate)] == [
        update.events[-1].seq for update in updates if isinstance(update, LogUpdate)
    ]


@given(st.integers(1, MAX_SEQ))
def test_a_head_survives_encoding(seq: int) -> None:
    assert CODEC.decode(CODEC.encode_head(seq)) == LogUpdate(seq, [])


@given(PEOPLE, st.booleans())
def test_typing_survives_encoding(person: Person, is_student: bool) -> None:
    assert CODEC.decode(CODEC.encode_typing(Typist(person, is_student))) == Typist(person, is_student)


@given(st.lists(PEOPLE, max_size=NAMED_PEOPLE, unique_by=lambda person: person.id), st.booleans(), st.booleans())
def test_a_roster_survives_encoding(people: list[Person], is_request: bool, is_named: bool) -> None:
    roster = Roster(b"process1", is_request, [person.id for person in people], 0, people if is_named else [])
    assert CODEC.decode(CODEC.encode_roster(roster)) == roster


def test_markers_of_one_room_survive_encoding() -> None:
    for count in (0, 1, READERS_PER_PAYLOAD, 3 * READERS_PER_PAYLOAD - 1):
        seqs = {2**31 - 1 - number: 2**53 - number for number in range(count)}
        payloads = list(CODEC.encode_readers(seqs))
        assert all(len(payload) <= MAX_PAYLOAD_BYTES for payload in payloads), count
        decoded: dict[int, int] = {}
        for payload in payloads:
            readers = CODEC.decode(payload)
            assert isinstance(readers, Readers), count
            decoded |= readers.seqs
        assert decoded == seqs, count


MARKER = st.builds(Marker, st.integers(1, 2**63 - 1), st.integers(1, MAX_USER_ID), st.integers(1, MAX_SEQ))


@given(st.lists(MARKER))
def test_markers_of_several_rooms_survive_encoding(markers: list[Marker]) -> None:
    decoded = [CODEC.decode(payload) for payload in CODEC.encode_markers("epoch", markers)]
    assert decoded == ([MovedMarkers("epoch", markers)] if markers else [])


def test_the_largest_markers_fit_into_payloads() -> None:
    markers = [Marker(2**63 - 1, MAX_USER_ID, MAX_SEQ)] * (MARKERS_PER_PAYLOAD + 1)
    payloads = list(CODEC.encode_markers("e" * 64, markers))
    assert all(len(payload) <= MAX_PAYLOAD_BYTES for payload in payloads)
    decoded = [CODEC.decode(payload) for payload in payloads]
    assert [len(one.markers) for one in decoded if isinstance(one, MovedMarkers)] == [MARKERS_PER_PAYLOAD, 1]


def test_the_largest_roster_fits_into_a_payload() -> None:
    people = list(range(MAX_USER_ID - ROSTER_PEOPLE + 1, MAX_USER_ID + 1))
    roster = Roster(b"process1", True, people, PEOPLE_PER_PROCESS - ROSTER_PEOPLE, [])
    payload = CODEC.encode_roster(roster)
    assert len(payload) <= MAX_PAYLOAD_BYTES
    assert CODEC.decode(payload) == roster


def test_events_are_decoded_only_if_the_payload_has_new_ones() -> None:
    (payload,) = CODEC.encode_events([Event(seq, message(seq), None, None) for seq in (7, 8)])
    assert CODEC.decode(payload, 8) == LogUpdate(8, [])
    seven = CODEC.decode(payload, 7)
    assert isinstance(seven, LogUpdate)
    assert [one.seq for one in seven.events] == [7, 8]


# Signatures.


def every_kind(codec: PayloadCodec = CODEC) -> list[bytes]:
    return [
        *codec.encode_events([Event(1, message(1), None, None)]),
        codec.encode_head(1),
        codec.encode_typing(Typist(ANA, True)),
        codec.encode_roster(Roster(b"process1", False, [1], 0, [ANA])),
        *codec.encode_readers({1: 1}),
    ]


def test_a_payload_of_another_room_another_history_or_another_key_is_forged() -> None:
    for codec in (
        PayloadCodec("0123456789abcdef:room:11", [NEW]),
        PayloadCodec("0123456789abcdef:room:2", [NEW]),
        PayloadCodec("fedcba9876543210:room:1", [NEW]),
        PayloadCodec(TOPIC, [OTHER]),
    ):
        assert [CODEC.decode(payload) for payload in every_kind(codec)] == [FORGED] * 5


def test_keys_can_be_changed_node_by_node() -> None:
    """First all nodes accept the new key, then all sign with it, and then none accepts the old one."""
    steps = [PayloadCodec(TOPIC, keys) for keys in ([OLD], [OLD, NEW], [NEW, OLD], [NEW])]
    for one, other in itertools.pairwise(steps):
        for sender, receiver in ((one, other), (other, one)):
            assert not any(isinstance(receiver.decode(payload), Dropped) for payload in every_kind(sender))
    assert all(steps[3].decode(payload) == FORGED for payload in every_kind(steps[0]))


def test_a_payload_of_another_version_is_recognised() -> None:
    for version in (0, 3, 5, 255):
        assert CODEC.decode(signed(TOPIC, header(HEAD, 1), NEW, version)) == Dropped("version")
    # Signed as another version, but sent as ours.
    other = signed(TOPIC, header(HEAD, 1), NEW, version=5)
    assert CODEC.decode(b"\x04" + other[1:]) == FORGED


@given(EVENT_LISTS, st.data())
def test_a_payload_with_any_change_is_ignored(events: list[Event], data: st.DataObject) -> None:
    for original in (*CODEC.encode_events(events), *every_kind()):
        payload = bytearray(original)
        index = data.draw(st.integers(0, len(payload) - 1))
        payload[index] ^= data.draw(st.integers(1, 255))
        assert isinstance(CODEC.decode(bytes(payload)), Dropped)
        assert isinstance(CODEC.decode(original[: data.draw(st.integers(0, len(original) - 1))]), Dropped)
        assert isinstance(CODEC.decode(original + data.draw(st.binary(min_size=1))), Dropped)


def test_signals_are_valid_for_one_minute() -> None:
    now = NOW
    codec = PayloadCodec(TOPIC, [NEW], lambda: now)
    head, *signals = every_kind(codec)[1:]
    sent_at = now
    for later_s, is_heard in (
        (SIGNAL_LIFE_S - 1, True),
        (SIGNAL_LIFE_S + 1, False),
        (1 - SIGNAL_LIFE_S, True),
        (-SIGNAL_LIFE_S - 1, False),
        (1e9, False),
    ):
        now = sent_at + later_s
        assert [codec.decode(payload) == STALE for payload in signals] == [not is_heard] * 3
        assert codec.decode(head) == LogUpdate(1, [])


# Hostile content with a valid signature.


def decode_signed(content: bytes, known: int = 0) -> object:
    return CODEC.decode(signed(TOPIC, content, NEW), known)


def of_event(*parts: bytes, seq: int = 5, count: int = 1) -> bytes:
    return header(EVENTS, seq, count) + b"".join(parts)


WRONG_EVENTS = [
    b"",
    b"{}",
    b"x",
    b'{"type":"chat_message","message":"without a datetime"}',
    b'{"seq":5,"type":"chat_message"}',
    b'{"seq":5,"datetime":"","type":"chat_message"}',
    b'{"datetime":"%s","seq":5,"type":"chat_message"}' % AT.encode(),
    b' {"seq":5,"datetime":"%s","type":"chat_message"}' % AT.encode(),
    b'{"seq": 5,"datetime":"%s","type":"chat_message"}' % AT.encode(),
    message(6),
    message(55),
    message(5) + b" ",
    message(5) + message(5),
    message(5)[:-1],
    message(5, "2026-11-22T14:53:22.962631Z"),
    message(5, "2026-11-22T14:53:22.962631+01:00"),
    message(5, "2026-11-22T14:53:22.962631-00:00"),
    message(5, "2026-11-22 14:53:22.962631+00:00"),
    message(5, "2026-13-22T14:53:22.962631+00:00"),
    message(5, "2026-02-30T14:53:22.962631+00:00"),
    message(5, "2026-11-22T24:53:22.962631+00:00"),
    message(5, "2026-11-22T14:53:22.9626310+00:0"),
    message(5, "0000-11-22T14:53:22.962631+00:00"),
    message(5, "２026-11-22T14:53:22.962631+00:0"),
    message(5, rest='"type":"chat_message"'),
    message(5, rest='"type":"chat_message",}'),
    message(5, rest="}"),
    message(5, rest='"user":"eve"}'),
    message(5, rest='"type":"chat_message","message":"\\ud800"}'),
    message(5, rest='"type":"chat_message","message":"x').ljust(200) + b'\xff"}',
    message(5, rest='"type":"chat_message","message":"\x01"}'),
    message(5, rest='"type":"chat_message","message":NaN}'),
    message(5, rest='"type":"chat_message","message":1e999}'),
    message(5, rest='"type":"chat_message","message":' + "9" * 5000 + "}"),
    message(5, rest='"type":"chat_message","message":{"nested":1}}'),
    message(5, rest='"type":"chat_message","message":' + "[" * 20_000 + "]" * 20_000 + "}"),
    message(5, rest='"type":"chat_message","seq":9}'),
    message(5, rest='"type":"chat_message","s\\u0065q":9}'),
    message(5, rest='"type":"chat_message","datetime":"2099"}'),
    message(5, rest='"type":["chat_message"]}'),
    message(5, rest='"type":null}'),
    message(5, rest='"type":1}'),
    message(5, rest='"type":"unheard of"}'),
    *(
        message(5, rest=f'"type":"{type}"}}')
        for type in ("welcome", "reset", "own", "ack", "error", "presence", "typing", "read")
    ),
]


def test_an_event_with_the_wrong_json_or_seq_is_malformed_in_every_variant() -> None:
    good = message(5)
    hidden = message(4, rest='"type":"hidden"}')
    assert isinstance(decode_signed(of_event(event(good, good, good, 7, [pack("!Q", 4) + event(hidden)]))), LogUpdate)
    for student in WRONG_EVENTS:
        assert decode_signed(of_event(event(student))) == MALFORMED, student
        if student:
            assert decode_signed(of_event(event(good, student))) == MALFORMED, student
            assert decode_signed(of_event(event(good, b"", student))) == MALFORMED, student
        taken_back = pack("!Q", 4) + event(student.replace(b'"seq":5', b'"seq":4'))
        assert decode_signed(of_event(event(good, redacts=[taken_back]))) == MALFORMED, student


def test_all_variants_of_an_event_must_have_the_same_time() -> None:
    other = message(5, "2026-11-22T14:53:22.962632+00:00")
    assert decode_signed(of_event(event(message(5), other))) == MALFORMED
    assert decode_signed(of_event(event(message(5), b"", other))) == MALFORMED


INCONSISTENT = [
    b"",
    header(EVENTS, 5)[:-1],
    of_event(),
    of_event(count=0),
    of_event(event(message(5)), count=0),
    of_event(event(message(5)), count=2),
    of_event(event(message(5)), b"x"),
    of_event(event(message(5)), event(message(6))),
    of_event(event(message(5)), event(message(5)), count=2),
    of_event(event(message(5)), event(message(7)), count=2),
    of_event(event(message(0)), seq=0),
    of_event(event(message(MAX_SEQ + 1)), seq=MAX_SEQ + 1),
    of_event(event(message(MAX_SEQ)), event(message(MAX_SEQ + 1)), seq=MAX_SEQ, count=2),
    of_event(event(message(2**64 - 1)), seq=2**64 - 1),
    of_event(event(message(5), concealed_user_id=MAX_USER_ID + 1)),
    of_event(event(message(5), concealed_user_id=2**32 - 1)),
    of_event(pack("!IIIII", 2**32 - 1, 0, 0, 0, 0), message(5)),
    of_event(pack("!IIIII", len(message(5)), 2**32 - 1, 0, 0, 0), message(5)),
    of_event(pack("!IIIII", len(message(5)), 0, 0, 0, 2**32 - 1), message(5)),
    # A redacted event is earlier, has little content, and redacts nothing itself.
    of_event(event(message(5), redacts=[pack("!Q", 5) + event(message(5))])),
    of_event(event(message(5), redacts=[pack("!Q", 6) + event(message(6))])),
    of_event(event(message(5), redacts=[pack("!Q", 0) + event(message(0))])),
    of_event(event(message(5), redacts=[pack("!Q", 4) + event(message(3))])),
    of_event(
        event(
            message(5),
            redacts=[pack("!Q", 4) + event(message(4), redacts=[pack("!Q", 3) + event(message(3))])],
        )
    ),
    of_event(
        event(
            message(5),
            redacts=[
                pack("!Q", 4)
                + event(message(4, rest='"type":"chat_message","message":"' + "x" * MAX_REDACTED_BYTES + '"}'))
            ],
        )
    ),
    header(HEAD, 0),
    header(HEAD, MAX_SEQ + 1),
    header(HEAD, 2**64 - 1),
    header(HEAD, 5, 1),
    header(HEAD, 5) + b"x",
    *(header(kind, int(NOW * 1000)) for kind in (0, TYPING, ROSTER, READ, 6, 255)),
]


def test_inconsistent_or_out_of_range_payloads_are_malformed() -> None:
    for content in INCONSISTENT:
        assert decode_signed(content) == MALFORMED, content


def test_a_payload_too_large_for_the_bus_is_malformed() -> None:
    rest = '"type":"chat_message","message":"' + "x" * (MAX_PAYLOAD_BYTES - 500) + '"}'
    assert isinstance(decode_signed(of_event(event(message(5, rest=rest)))), LogUpdate)
    rest = '"type":"chat_message","message":"' + "x" * MAX_PAYLOAD_BYTES + '"}'
    assert decode_signed(of_event(event(message(5, rest=rest)))) == MALFORMED


ROSTER_FIELDS: list[Any] = [b"process1", False, [1], 0, [[1, "ana", "Ana"]]]
ALL_PEOPLE = list(range(1, ROSTER_PEOPLE + 1))


def each(kind: int, *contents: Any) -> list[tuple[int, Any]]:
    return [(kind, content) for content in contents]


def rosters(field: int, *values: Any) -> list[tuple[int, Any]]:
    """Rosters with one different field."""
    return each(ROSTER, *([*ROSTER_FIELDS[:field], value, *ROSTER_FIELDS[field + 1 :]] for value in values))


SIGNALS = [
    *each(TYPING, {}, [], "x", None, math.nan, [1, "a"], [1, "a", "A", 1], ["1", "a", "A"]),
    *each(TYPING, *([id, "a", "A"] for id in (0, -1, MAX_USER_ID + 1, 1.0, True))),
    *each(TYPING, *([1, user, "A"] for user in ("", "x" * 151, b"a", None, ["a"]))),
    *each(TYPING, *([1, "a", name] for name in ("x" * 302, b"A", None, {"html": "<b>"}))),
    *each(ROSTER, {}, [], ROSTER_FIELDS[:-1], [*ROSTER_FIELDS, 1]),
    *rosters(0, b"", b"process", b"process12", "process1", 1),
    *rosters(1, 0, None),
    *rosters(2, None, [0], [-1], [MAX_USER_ID + 1], [1, 1], [2], ["1"]),
    *rosters(3, -1, 1, 10**9, 2**63, 1.5),
    *rosters(4, [[2, "a", "A"]], [[1, "", "A"]], [[1, "x" * 151, ""]], [1]),
    *each(ROSTER, [b"process1", False, [], 1_000_012_000, []]),
    *each(ROSTER, [b"process1", False, [*ALL_PEOPLE, ROSTER_PEOPLE + 1], 0, []]),
    *each(ROSTER, [b"process1", False, ALL_PEOPLE, PEOPLE_PER_PROCESS - ROSTER_PEOPLE + 1, []]),
    *each(ROSTER, [b"process1", False, ALL_PEOPLE[:101], 0, [[id, "u", "U"] for id in ALL_PEOPLE[:101]]]),
    *each(READ, [], {"1": 1}, {1: 0}, {1: -1}, {1: MAX_SEQ + 1}, {0: 1}, {1: None}, {1: 1.0}),
    *each(READ, {-1: 1}, {MAX_USER_ID + 1: 1}, dict.fromkeys(range(1, READERS_PER_PAYLOAD + 2), 1)),
    *each(MARKERS, {}, [], ["e"], ["e", [], 1], [1, []], ["e" * 65, []], ["e", [[1, 1]]], ["e", {1: 1}]),
    *each(MARKERS, *(["e", [[*marker]]] for marker in ((0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 1, MAX_SEQ + 1)))),
    *each(MARKERS, ["e", [[1, 1, 1]] * (MARKERS_PER_PAYLOAD + 1)]),
]


def test_signals_outside_the_limits_are_malformed() -> None:
    for kind, content in SIGNALS:
        assert decode_signed(signal(kind, content, NOW)) == MALFORMED, content
        assert decode_signed(signal(kind, content, NOW) + b"\xc0") == MALFORMED, content


def test_signals_within_the_limits_are_accepted() -> None:
    """Shows that the contents above are refused for their errors, and not because of the way they are made."""
    assert decode_signed(signal(TYPING, [[1, "ana", "Ana"], True], NOW)) == Typist(ANA, True)
    assert decode_signed(signal(ROSTER, ROSTER_FIELDS, NOW)) == Roster(b"process1", False, [1], 0, [ANA])
    assert decode_signed(signal(READ, {1: MAX_SEQ}, NOW)) == Readers({1: MAX_SEQ})
    assert decode_signed(signal(TYPING, [[1, "ana", "Ana"], True], NOW) + b"\xc0") == MALFORMED


# No exceptions.


@given(st.binary(), st.integers(0, 10))
def test_random_bytes_are_ignored(data: bytes, known: int) -> None:
    for payload in (data, b"\x04" + data):
        decoded = CODEC.decode(payload, known)
        # A payload about known events is not even verified.
        assert isinstance(decoded, Dropped) or decoded == LogUpdate(decoded.head, [])  # type: ignore[union-attr]


@given(hostile_contents(NOW), st.integers(0, 10))
def test_signed_payloads_are_within_the_limits_or_ignored(content: bytes, known: int) -> None:
    decoded = decode_signed(content, known)
    match decoded:
        case Dropped():
            pass
        case LogUpdate(head, events):
            assert 1 <= head <= MAX_SEQ
            for one in events:
                assert json.loads(one.student)["seq"] == one.seq
                assert one.at == AT
        case Typist(person, _):
            assert 1 <= person.id <= MAX_USER_ID
        case Roster() as roster:
            assert len(roster.people) + roster.others <= PEOPLE_PER_PROCESS
        case Readers(seqs):
            assert all(1 <= seq <= MAX_SEQ for seq in seqs.values())
        case _:
            pytest.fail(f"{decoded!r}")


def test_excessive_nesting_and_counts_are_malformed() -> None:
    for byte in (b"\x91", b"\x81", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc9\xff\xff\xff\xff\0"):
        for kind in (TYPING, ROSTER, READ):
            content = header(kind, int(NOW * 1000)) + byte * (60_000 // len(byte))
            assert decode_signed(content) == MALFORMED, (kind, byte)
            deep = msgspec.msgpack.encode(ROSTER_FIELDS[:-1])[:-1] + byte * (60_000 // len(byte))
            assert decode_signed(header(kind, int(NOW * 1000)) + deep) == MALFORMED, (kind, byte)

"""A chat socket without a server: it writes into a list. Its room, chat and markers are real."""

import asyncio
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from gettext import NullTranslations
from typing import Any, cast

import pytest

from educa_chat.chat import Chat
from educa_chat.chat_socket import DRAIN_TIMEOUT_S, STRIKES_BURST, WEIGHT_OTHERWISE, ChatSocket, SocketServices
from educa_chat.events.kind import Entry
from educa_chat.frames import Text
from educa_chat.markers import Markers
from educa_chat.metrics import Metrics, ResetReason
from educa_chat.presence import Presence
from educa_chat.protocol import CloseCode, ErrorCode, Limits, Me, Role, State, Welcome, close_frame, pong_frame
from educa_chat.protocol import Room as WelcomeRoom
from educa_chat.room import BUFFER_LIMIT_BYTES, Room
from educa_chat.settings import Limits as LimitSettings
from educa_chat.sockets import Socket, Sockets
from educa_chat.storage.courses import Membership
from educa_chat.storage.log import Accepted, Appender, Log, Outcome, Refused
from educa_chat.storage.pool import Database
from educa_chat.storage.sessions import Visitor
from tests.raw_socket import FIN, PING, TEXT, frame
from tests.test_class import NobodyTypes, RendersHere
from tests.test_room import AT, ListMember, a_turn, event, frames, until
from tests.test_room import Log as EventLog

COURSE = 1
NO_DATABASE = cast(Database, None)


class ListTransport(asyncio.Transport):
    """A transport that calls `write` for each write. It pretends that `unsent` has not been sent."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        # Like a TLS transport, so that the socket writes to it and not to a descriptor.
        super().__init__({"sslcontext": object()})
        self._write = write
        self.unsent = 0
        self.reads = True
        self.was_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._write(bytes(data))

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def is_closing(self) -> bool:
        return self.was_closed

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def close(self) -> None:
        self.was_closed = True


class WaitingAppender(Appender):
    """Keeps entries until the test decides on their outcome."""

    def __init__(self) -> None:
        super().__init__(NO_DATABASE, lambda _: None, Metrics())
        self.entries: list[tuple[Entry, Callable[[Outcome], None]]] = []

    def append(self, entry: Entry, on_outcome: Callable[[Outcome], None]) -> None:
        self.entries.append((entry, on_outcome))


class ForgetfulLog(Log):
    """A log without earlier commands."""

    async def find(self, course: int, actor: int, client_id: str) -> Accepted | None:
        return None


class Scene:
    """A room with one socket, and everything that the socket writes."""

    def __init__(self, head: int = 0, limits: LimitSettings = LimitSettings(), *, is_full: bool = True) -> None:  # noqa: B008
        self.sent: list[bytes] = []
        self.markers_published: list[tuple[int, Mapping[int, int]]] = []
        self.log = EventLog(head)
        metrics = Metrics()
        self.room = Room(COURSE, head, AT, self.log.read, Presence(b"here"), metrics)
        self.appender = WaitingAppender()
        log = ForgetfulLog(NO_DATABASE)
        self.markers = Markers(NO_DATABASE, lambda course, seqs: self.markers_published.append((course, seqs)))
        self.services = SocketServices(
            Chat(self.appender, log, RendersHere(), limits, NobodyTypes()),
            log,
            self.markers,
            metrics,
            Sockets(NO_DATABASE, find_nobody, limit=0),
            limits,
        )
        self.socket = ChatSocket(
            self.services,
            self.room,
            Visitor(1, "ana", "Ana", "a session"),
            Membership(COURSE, "Algebra", Role.STUDENT),
            0,
            NullTranslations(),
            is_full=is_full,
        )
        self.transport = ListTransport(self.sent.append)
        self.socket.connection_made(self.transport)

    async def serve(self, after: int | None = None, reset: ResetReason | None = None) -> None:
        """Serve the socket until it has joined its room, and reads."""
        await self.socket.serve(welcome(self.room.head), after, reset)
        await until(lambda: self.transport.reads)

    def give(self, **command: object) -> None:
        self.socket.data_received(frame(FIN | TEXT, json.dumps(command).encode()))

    @property
    def received(self) -> list[dict[str, Any]]:
        """The JSON of every frame that was written, except close frames."""
        return [json.loads(payload) for opcode, payload in frames_in(b"".join(self.sent)) if opcode == TEXT]


async def find_nobody(_: object) -> Sequence[Visitor]:
    return ()


def frames_in(data: bytes) -> list[tuple[int, bytes]]:
    """The opcode and payload of each unmasked frame in `data`."""
    found = []
    while data:
        start = 2 if data[1] < 126 else 4
        length = data[1] if start == 2 else int.from_bytes(data[2:4], "big")
        found.append((data[0] & 0xF, data[start : start + length]))
        data = data[start + length :]
    return found


def welcome(head: int) -> Welcome:
    return Welcome(
        room=WelcomeRoom(id=COURSE, title="Algebra", archived=False),
        me=Me(user="ana", name="Ana", role="student"),
        head=head,
        epoch="epoch",
        limits=Limits(message_length=4000),
        state=State(closed=False, pinned=[], anonymity=False, read=0),
    )


async def test_a_socket_sends_the_welcome_before_any_event() -> None:
    scene = Scene()
    await scene.serve()
    scene.room.offer([event(1)])
    await a_turn()
    assert [sent["type"] for sent in scene.received[:1]] == ["welcome"]
    assert scene.sent[-1] == frames(event(1))


async def test_a_resuming_socket_receives_missed_events_before_new_ones() -> None:
    scene = Scene(head=3)
    await scene.serve(after=1)
    scene.room.offer([event(4)])
    await a_turn()
    assert b"".join(scene.sent).endswith(frames(event(2), event(3), event(4)))
    assert [sent.get("seq") for sent in scene.received] == [None, 2, 3, 4]


async def test_a_socket_that_cannot_resume_receives_a_reset_and_no_old_events() -> None:
    scene = Scene(head=3)
    await scene.serve(after=1, reset="epoch")
    await a_turn()
    assert scene.received[1:] == [{"type": "reset", "after": 3}]
    assert scene.log.reads == []


async def test_a_basic_socket_receives_neither_welcome_nor_acks() -> None:
    scene = Scene(is_full=False)
    await scene.serve()
    scene.give(message="hello")
    ((entry, on_outcome),) = scene.appender.entries
    on_outcome(Accepted(1, AT))
    await a_turn()
    assert (entry.body, scene.sent) == ("hello", [])


async def test_a_command_is_acknowledged_only_once_it_is_stored() -> None:
    scene = Scene()
    await scene.serve()
    scene.give(type="message", id="one", message="hello")
    await a_turn()
    assert len(scene.received) == 1
    ((entry, on_outcome),) = scene.appender.entries
    assert (entry.client_id, entry.body, entry.actor) == ("one", "hello", 1)
    on_outcome(Accepted(1, AT))
    await a_turn()
    assert scene.received[1:] == [{"type": "ack", "id": "one", "seq": 1, "datetime": AT}]


async def test_an_ack_and_its_event_are_sent_together_in_this_order() -> None:
    scene = Scene()
    await scene.serve()
    scene.give(type="message", id="one", message="hello")
    await a_turn()
    scene.sent.clear()
    # Like the appender: the room gets its turn first.
    scene.room.offer([event(1)])
    scene.appender.entries[0][1](Accepted(1, AT))
    await a_turn()
    assert [sent.get("id", sent.get("seq")) for sent in scene.received] == ["one", 1]
    assert len(scene.sent) == 1


async def test_a_refused_command_gets_the_reason_and_triggers_an_access_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = Scene()
    await scene.serve()
    scene.give(type="message", id="one", message="hello")
    checked: list[Collection[Socket]] = []
    monkeypatch.setattr(scene.services.sockets, "schedule_recheck", checked.append)
    scene.appender.entries[0][1](Refused(ErrorCode.FORBIDDEN))
    await a_turn()
    assert (scene.received[1]["code"], scene.received[1]["id"]) == ("forbidden", "one")
    assert checked == [[scene.socket]]


async def test_a_read_command_cannot_move_the_marker_beyond_the_head() -> None:
    scene = Scene(head=3)
    await scene.serve()
    scene.give(type="read", seq=2)
    scene.give(type="read", seq=4)
    scene.markers.publish()
    assert scene.markers_published == [(COURSE, {1: 2})]
    assert scene.socket.marker == 2


async def test_a_ping_is_answered_with_its_payload() -> None:
    scene = Scene()
    await scene.serve()
    scene.socket.data_received(frame(FIN | PING, b"there?"))
    await a_turn()
    assert scene.sent[-1] == pong_frame(b"there?")


async def test_a_client_that_keeps_sending_invalid_commands_is_disconnected() -> None:
    scene = Scene()
    await scene.serve()
    for _ in range(STRIKES_BURST // WEIGHT_OTHERWISE + 1):
        assert scene.socket.close_code is None
        scene.socket.receive(Text("no JSON"))
    assert scene.socket.close_code == CloseCode.POLICY_VIOLATION
    assert scene.received[1]["code"] == "bad_json"


async def test_a_socket_that_reads_too_slowly_is_closed_instead_of_answered() -> None:
    scene = Scene()
    await scene.serve()
    scene.socket.pause_writing()
    scene.transport.unsent = BUFFER_LIMIT_BYTES + 1
    scene.socket.data_received(frame(FIN | PING, b"there?"))
    assert scene.socket.close_code == CloseCode.TOO_SLOW
    assert len(scene.room) == 0


async def test_draining_waits_for_pending_acks_and_handles_no_further_commands() -> None:
    scene = Scene()
    await scene.serve()
    scene.give(type="message", id="one", message="stored")
    drain = asyncio.create_task(scene.socket.drain())
    await a_turn()
    scene.give(type="message", id="two", message="for the next process")
    assert (scene.socket.close_code, len(scene.appender.entries)) == (None, 1)
    scene.appender.entries[0][1](Accepted(1, AT))
    await until(lambda: scene.socket.close_code)
    assert [sent.get("id") for sent in scene.received] == [None, "one"]
    assert b"".join(scene.sent).endswith(close_frame(CloseCode.GOING_AWAY))
    scene.socket.connection_lost(None)
    await asyncio.wait_for(drain, DRAIN_TIMEOUT_S)


async def test_an_error_in_one_socket_closes_only_that_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    await scene.serve()
    other = ListMember()
    await scene.room.join(other, 0)
    monkeypatch.setattr(scene.markers, "move", None)
    scene.room.offer([event(1)])
    scene.give(type="read", seq=1)
    await a_turn()
    assert scene.socket.close_code == CloseCode.INTERNAL_ERROR
    assert (other.closed, other.received) == (None, frames(event(1)))

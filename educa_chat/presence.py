"""Presence: who is in a room, across all processes; typing; and read markers. Signals are broadcast, never stored."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Annotated, NamedTuple, Protocol

import msgspec

from educa_chat.protocol import Audience, PresenceSignal, ReadSignal, TypingSignal, encode, text_frame

NAMED_PEOPLE = 100
"""A room with more people than this shows only their number."""
ROSTER_PEOPLE = 12_000
"""How many ids fit into a payload of the bus. Further people are only counted."""
PEOPLE_PER_PROCESS = 65_536
"""A process can't have more people in a room: its systemd unit limits the number of open files."""
PROCESSES = 128
"""A process ignores the rosters of more processes than this."""
GATHER_S = 0.25
"""Changes within this time are published and broadcast together."""
MIN_PUBLISH_INTERVAL_S = 0.5
MIN_BROADCAST_INTERVAL_S = 1.0
MAX_PUBLISH_INTERVAL_S = 10.0
COMPLETE_AFTER_S = 1.5
FORGET_AFTER_S = 25.0
"""A process that has published nothing for this long counts as gone: its people disappear 30 seconds after a crash."""
SIGNAL_BUFFER_BYTES = 64 * 1024
"""A member with more than this unsent gets no signals: events are more urgent."""


MAX_USER_ID = 2**31 - 1
"""The ids of `auth_user` are of Postgres' type integer."""
UserId = Annotated[int, msgspec.Meta(ge=1, le=MAX_USER_ID)]


class Person(NamedTuple):
    """A user in a room. `name` is the full name, or the username if there is none.

    The names are as long as the columns of `auth_user` allow, the first and the last name with a space in between.
    """

    id: UserId
    user: Annotated[str, msgspec.Meta(min_length=1, max_length=150)]
    name: Annotated[str, msgspec.Meta(max_length=301)]


class Roster(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The people that a process has in a room.

    Raises ValueError if the fields contradict each other. Decoding one also checks the bounds of each field.
    """

    process: Annotated[bytes, msgspec.Meta(min_length=8, max_length=8)]
    is_request: bool
    """Whether the other processes should publish their rosters, because this one has just opened the room."""
    people: Annotated[list[UserId], msgspec.Meta(max_length=ROSTER_PEOPLE)]
    others: Annotated[int, msgspec.Meta(ge=0, le=PEOPLE_PER_PROCESS - ROSTER_PEOPLE)]
    """The number of people who don't fit into `people`."""
    named: Annotated[list[Person], msgspec.Meta(max_length=NAMED_PEOPLE)]
    """All people if there are at most NAMED_PEOPLE, otherwise none."""

    def __post_init__(self) -> None:
        if len(set(self.people)) < len(self.people):
            raise ValueError("a person is listed twice")
        if self.others and len(self.people) < ROSTER_PEOPLE:
            raise ValueError("the others would fit into the list")
        if self.named and [person.id for person in self.named] != self.people:
            raise ValueError("the names belong to other people")


class Member(Protocol):
    """A socket of a person in the room."""

    audience: Audience
    person: Person
    marker: int
    """How far the user has read, as far as this socket knows."""

    def write(self, data: bytes) -> None:
        """Send whole frames, now or from a buffer; never raises, never waits."""

    def buffer_size(self) -> int:
        """Return how many bytes are written but not sent."""


class _ReceivedRoster(NamedTuple):
    roster: Roster
    at: float


class Presence:
    """The people of one room: those of this process, and those of the other processes, by gossip.

    A process publishes the roster of its own people when it changes and every ten seconds, and forgets another process
    that has fallen silent. So nothing has to be cleaned up after a crash. A process that stops does not publish that
    its people leave, because they reconnect to another process before it is forgotten.
    """

    def __init__(self, process: bytes, clock: Callable[[], float] = time.monotonic) -> None:
        self._process = process
        self._clock = clock
        self.complete_at = clock() + COMPLETE_AFTER_S
        """When the rosters of the other processes have arrived, after this one has opened the room."""
        self._members: dict[Member, None] = {}
        self._sockets_of: dict[Person, int] = {}
        self._received: dict[bytes, _ReceivedRoster] = {}
        self._newcomers: set[Member] = set()
        self._last_broadcast: tuple[bytes, ...] = ()
        self._conceals_students = False
        self._requests_rosters = True
        self._last_published_at = self._last_broadcast_at = -math.inf
        self._publish_at = self._broadcast_at = self._forget_at = math.inf
        self.due_at = math.inf
        """When `roster` or `broadcast` next has something to do."""

    @property
    def conceals_students(self) -> bool:
        """Whether students see only how many people are here, and not which students are typing.

        Otherwise classmates could guess who has just done something anonymously.
        """
        return self._conceals_students

    @conceals_students.setter
    def conceals_students(self, conceals: bool) -> None:
        if conceals != self._conceals_students:
            self._conceals_students = conceals
            self._schedule_broadcast()

    @property
    def online(self) -> frozenset[int]:
        """The ids of the people in the room, as far as this process knows them."""
        return frozenset(person.id for person in self._sockets_of).union(
            *(received.roster.people for received in self._received.values())
        )

    def join(self, member: Member) -> None:
        """Count `member`, and soon send them who is online."""
        self._members[member] = None
        self._newcomers.add(member)
        self._schedule_broadcast()
        sockets = self._sockets_of.get(member.person, 0)
        self._sockets_of[member.person] = sockets + 1
        if not sockets:
            self._schedule_publish()

    def leave(self, member: Member) -> None:
        """Stop counting `member`; do nothing if they were not here."""
        if member not in self._members:
            return
        del self._members[member]
        self._newcomers.discard(member)
        self._sockets_of[member.person] -= 1
        if not self._sockets_of[member.person]:
            del self._sockets_of[member.person]
            self._schedule_broadcast()
            self._schedule_publish()

    def request_rosters(self) -> None:
        """Request the rosters of the other processes: earlier ones may have been missed."""
        self._requests_rosters = True
        self._schedule_publish()

    def receive(self, roster: Roster) -> None:
        """Take the roster of any process, this one included."""
        if roster.process == self._process:
            return
        before = self._received.get(roster.process)
        if before is None and len(self._received) >= PROCESSES:
            return
        if before is None or (before.roster.people, before.roster.others) != (roster.people, roster.others):
            self._schedule_broadcast()
        if roster.people or roster.others:
            self._received[roster.process] = _ReceivedRoster(roster, self._clock())
        else:
            self._received.pop(roster.process, None)
        self._update_forget_at()
        if roster.is_request and self._members:
            self._schedule_publish()

    def roster(self) -> Roster | None:
        """Return the roster to publish now, or None if none is due."""
        now = self._clock()
        if now < self._publish_at:
            return None
        self._last_published_at = now
        self._publish_at = now + MAX_PUBLISH_INTERVAL_S if self._members else math.inf
        self._update_due_at()
        is_request, self._requests_rosters = self._requests_rosters, False
        people = list(self._sockets_of)
        return Roster(
            process=self._process,
            is_request=is_request,
            people=[person.id for person in people[:ROSTER_PEOPLE]],
            others=max(0, min(len(people), PEOPLE_PER_PROCESS) - ROSTER_PEOPLE),
            named=people if len(people) <= NAMED_PEOPLE else [],
        )

    def broadcast(self) -> None:
        """Forget silent processes, and broadcast who is online to the members that don't know it yet."""
        now = self._clock()
        silent = [process for process, received in self._received.items() if now - received.at >= FORGET_AFTER_S]
        for process in silent:
            del self._received[process]
            self._schedule_broadcast()
        self._update_forget_at()
        if now < self._broadcast_at:
            return
        self._last_broadcast_at, self._broadcast_at = now, math.inf
        self._update_due_at()
        whole = self._signal()
        instructors = text_frame(encode(whole))
        students = text_frame(encode(PresenceSignal(count=whole.count))) if self._conceals_students else instructors
        members = self._newcomers if self._last_broadcast == (students, instructors) else self._members
        for member in members:
            if _accepts_signals(member):
                member.write(students if member.audience is Audience.STUDENT else instructors)
        self._last_broadcast = students, instructors
        self._newcomers.clear()

    def broadcast_typing(self, person: Person, *, is_student: bool) -> None:
        """Tell the other members that `person` is typing, unless this room conceals its students.

        The process that sends the signal checks this too, but it may not have heard yet that the room conceals them.
        """
        if is_student and self._conceals_students:
            return
        frame = text_frame(encode(TypingSignal(user=person.user, name=person.name)))
        for member in self._members:
            if member.person.id != person.id and _accepts_signals(member):
                member.write(frame)

    def broadcast_read(self, seqs: Mapping[int, int]) -> None:
        """Send the users, by their ids, how far they have read in other windows, unless they know it already."""
        for member in self._members:
            seq = seqs.get(member.person.id, 0)
            if seq > member.marker and _accepts_signals(member):
                member.marker = seq
                member.write(text_frame(encode(ReadSignal(seq=seq))))

    def _signal(self) -> PresenceSignal:
        rosters = [received.roster for received in self._received.values()]
        count = len(self.online) + sum(roster.others for roster in rosters)
        if count > NAMED_PEOPLE:
            return PresenceSignal(count=count)
        named = {person.user: person.name for roster in rosters for person in roster.named}
        named |= {person.user: person.name for person in self._sockets_of}
        return PresenceSignal(count=count, users=sorted(named), names={user: named[user] for user in sorted(named)})

    def _schedule_publish(self) -> None:
        self._publish_at = min(
            self._publish_at, max(self._clock() + GATHER_S, self._last_published_at + MIN_PUBLISH_INTERVAL_S)
        )
        self._update_due_at()

    def _schedule_broadcast(self) -> None:
        # A process that has just opened the room waits for the rosters of the others first.
        gather_s = MIN_BROADCAST_INTERVAL_S if self._requests_rosters else GATHER_S
        self._broadcast_at = min(
            self._broadcast_at, max(self._clock() + gather_s, self._last_broadcast_at + MIN_BROADCAST_INTERVAL_S)
        )
        self._update_due_at()

    def _update_forget_at(self) -> None:
        self._forget_at = min((received.at for received in self._received.values()), default=math.inf) + FORGET_AFTER_S
        self._update_due_at()

    def _update_due_at(self) -> None:
        self.due_at = min(self._publish_at, self._broadcast_at, self._forget_at)


def _accepts_signals(member: Member) -> bool:
    return member.audience is not Audience.BASIC and member.buffer_size() <= SIGNAL_BUFFER_BYTES

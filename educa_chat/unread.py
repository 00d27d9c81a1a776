"""Sends open pages the unread counts of their users' other rooms."""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

from educa_chat.errors import DatabaseUnavailable
from educa_chat.markers import Markers
from educa_chat.payload import Marker
from educa_chat.presence import SIGNAL_BUFFER_BYTES, Person
from educa_chat.protocol import Addressed, UnreadRoom, UnreadSignal, encode, json_id, text_frame
from educa_chat.storage.courses import Membership
from educa_chat.storage.markers import Unread, mark_first_seen, read_heads, read_named_courses
from educa_chat.storage.messages import Addressing, find_addressing
from educa_chat.storage.pool import Database
from educa_chat.tasks import supervised

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
READ_COURSES_EVERY_S = 30.0
MOST_ADDRESSED = 20
"""How many messages of a room are named at a time to those whom they address."""
MISSED_EVENTS = 100
"""How many events back a new socket learns of messages to its user, who may have been offline for a moment."""


class Socket(Protocol):
    """A socket in a room, whose client wants to know about the other rooms of its user."""

    person: Person
    membership: Membership

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be written any more."""

    def write(self, data: bytes) -> None:
        """Send whole frames, now or from a buffer."""

    def buffer_size(self) -> int:
        """Return how many bytes are written but not sent."""


class UnreadFeed:
    """Sends `unread` to the sockets that asked for it when the counts of another room of their user have changed.

    It also names new messages there that mention the user or reply to them.

    Twice a second, it compares the heads of these users' rooms with those that it knows. So it needs no bus, and
    doesn't depend on which node has stored an event. Only rooms that have changed are counted again.
    """

    def __init__(self, database: Database, markers: Markers) -> None:
        self._database = database
        self._markers = markers
        self._sent: dict[Socket, dict[int, Unread]] = {}
        """What each socket knows, by course."""
        self._new: set[Socket] = set()
        self._courses: dict[int, frozenset[int]] = {}
        """The courses of each user."""
        self._heads: dict[int, int] = {}
        self._read: set[tuple[int, int]] = set()
        """The users and courses whose markers have moved since the last look."""
        self._read_to: dict[tuple[int, int], int] = {}
        """The newest known markers of users with a socket here: those of other nodes are written later."""
        self._courses_read_at = 0.0

    def add(self, socket: Socket) -> None:
        """Send `socket` the unread counts now and whenever they change, until it is closed."""
        self._sent[socket] = {}
        self._new.add(socket)

    def note_read(self, markers: Collection[Marker]) -> None:
        """Recount for users who have read further, on whichever node."""
        users = {socket.person.id for socket in self._sent}
        for course, user_id, seq in markers:
            if user_id in users and seq > self._read_to.get((user_id, course), 0):
                self._read_to[user_id, course] = seq
                self._read.add((user_id, course))

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Check for changes while the context lasts."""
        async with supervised(self._look_periodically, "unread counts"):
            yield

    async def _look_periodically(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self.look()
            except DatabaseUnavailable as error:
                logger.debug("the unread counts can't be read: %s", error)

    async def look(self) -> None:
        """Send the changes since the last check. Raises DatabaseUnavailable."""
        for socket in [one for one in self._sent if one.is_closed]:
            del self._sent[socket]
            self._new.discard(socket)
        if not self._sent:
            self._courses.clear()
            self._heads.clear()
            self._read.clear()
            self._read_to.clear()
            return
        await self._read_courses()
        new, self._new = self._new, set()
        read, self._read = self._read, set()
        try:
            known: set[int] = set().union(*self._courses.values())
            # A course without messages has no room yet.
            heads = dict.fromkeys(known, 0) | await read_heads(self._database, known)
            changed = {course for course, head in heads.items() if self._heads.get(course, 0) != head}
            wanted = {socket: self._wanted(socket, changed, read, is_new=socket in new) for socket in self._sent}
            keys = {(socket.person.id, course) for socket, courses in wanted.items() for course in courses}
            counts = await self._markers.unread(keys, self._read_to) if keys else {}
            addressed = await self._find_addressed(wanted, new, heads)
        except DatabaseUnavailable:
            self._new |= new & set(self._sent)
            self._read |= read
            raise
        self._heads = heads
        for socket, courses in wanted.items():
            user_id = socket.person.id
            unread = {course: counts.get((user_id, course), Unread(0, 0)) for course in courses}
            named = {course: seqs for course, seqs in addressed.get(socket, {}).items() if unread[course].messages}
            self._send(socket, unread, named)

    async def _read_courses(self) -> None:
        """Read the courses of new users, and of all users from time to time, because they change."""
        users = {socket.person.id for socket in self._sent}
        now = asyncio.get_running_loop().time()
        if now - self._courses_read_at > READ_COURSES_EVERY_S:
            self._courses_read_at, missing = now, users
        else:
            missing = users - self._courses.keys()
        if missing:
            await mark_first_seen(self._database, missing)
        known = {user_id: courses for user_id, courses in self._courses.items() if user_id in users}
        self._read_to = {key: seq for key, seq in self._read_to.items() if key[0] in users}
        self._courses = known | (await read_named_courses(self._database, missing) if missing else {})

    def _wanted(
        self, socket: Socket, changed: Collection[int], read: Collection[tuple[int, int]], *, is_new: bool
    ) -> list[int]:
        user_id, here = socket.person.id, socket.membership.course
        return [
            course
            for course in self._courses.get(user_id, ())
            if course != here and (is_new or course in changed or (user_id, course) in read)
        ]

    async def _find_addressed(
        self, wanted: Mapping[Socket, Collection[int]], new: Collection[Socket], heads: Mapping[int, int]
    ) -> dict[Socket, dict[int, list[int]]]:
        """Find the unread messages that address the user of a socket, by course.

        New sockets are told of those that are recent, and the others of those that have come since the last look.
        """
        after = {course: seq for course, seq in self._heads.items() if seq < heads.get(course, 0)}
        for course in {course for socket in new for course in wanted.get(socket, ())}:
            recent = max(0, heads.get(course, 0) - MISSED_EVENTS)
            after[course] = min(after.get(course, recent), recent)
        messages: dict[int, list[Addressing]] = {}
        for message in await find_addressing(self._database, after, MOST_ADDRESSED) if after else ():
            if message.seq <= heads[message.course]:
                messages.setdefault(message.course, []).append(message)
        found: dict[Socket, dict[int, list[int]]] = {}
        for socket, courses in wanted.items():
            for course in courses:
                seqs = [
                    one.seq for one in messages.get(course, ()) if one.addresses(socket.person.id, socket.person.user)
                ]
                if seqs:
                    known = await self._markers.find(socket.person.id, course)
                    known = max(known, self._read_to.get((socket.person.id, course), 0))
                    if socket not in new:
                        known = max(known, self._heads.get(course, heads[course]))
                    seqs = [seq for seq in seqs if seq > known]
                if seqs:
                    found.setdefault(socket, {})[course] = seqs
        return found

    def _send(self, socket: Socket, counts: dict[int, Unread], addressed: Mapping[int, list[int]]) -> None:
        sent = self._sent.get(socket)
        if sent is None or socket.is_closed or socket.buffer_size() > SIGNAL_BUFFER_BYTES:
            return
        fresh = {course: count for course, count in counts.items() if sent.get(course) != count}
        if fresh or addressed:
            sent.update(fresh)
            rooms = [UnreadRoom(json_id(course), count.messages, count.mentions) for course, count in fresh.items()]
            named = [Addressed(json_id(course), seqs) for course, seqs in addressed.items()]
            socket.write(text_frame(encode(UnreadSignal(rooms, named))))

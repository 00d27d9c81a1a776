"""How far each user has read: collected, published to their other windows, and written in batches."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial

from educa_chat.batch_loader import BatchLoader
from educa_chat.bus.protocol import MessageBus
from educa_chat.errors import BusUnavailable, DatabaseUnavailable, SubscriptionLost
from educa_chat.metrics import Metrics
from educa_chat.payload import Dropped, Marker, MovedMarkers, PayloadCodec
from educa_chat.storage.markers import (
    Unread,
    find_markers,
    find_unread,
    mark_new_members,
    read_heads,
    read_named_courses,
    unread_counts,
    write_markers,
)
from educa_chat.storage.pool import Database
from educa_chat.tasks import supervised

logger = logging.getLogger(__name__)

PUBLISH_EVERY_S = 0.5
WRITE_EVERY_S = 2.0
LAST_WRITE_TIMEOUT_S = 1.0
EXCHANGE_TOPIC = "markers"
RESUBSCRIBE_PAUSE_S = 0.5
NEW_MEMBERS_EVERY_S = 30.0
"""How often the server looks for members whom a site has enrolled."""


class Markers:
    """A marker is a seq for each user and room: how far the user has read. It only grows.

    `publish` receives the markers of a room that have moved, by user: the first at once, then the newest of each twice
    a second. All are written every two seconds and kept until then, so a crash loses no more than that.
    """

    def __init__(self, database: Database, publish: Callable[[int, Mapping[int, int]], None]) -> None:
        self._database = database
        self._publish = publish
        self._loader = BatchLoader(partial(find_markers, database), "loader of markers")
        self._unwritten: dict[tuple[int, int], int] = {}
        self._unpublished: dict[int, dict[int, int]] = {}
        self._has_moved = asyncio.Event()

    def move(self, user_id: int, course: int, seq: int) -> None:
        """Remember that the user has read up to `seq`, unless their marker is already there or further."""
        if seq <= self._unwritten.get((user_id, course), 0):
            return
        self._unwritten[user_id, course] = seq
        self._unpublished.setdefault(course, {})[user_id] = seq
        self._has_moved.set()

    async def find(self, user_id: int, course: int) -> int:
        """Return how far the user has read, or 0 if they have read nothing yet. Raises DatabaseUnavailable."""
        membership_key = (user_id, course)
        # Before and after the query: a marker that is being written may have left this object but not be stored yet.
        here = self._unwritten.get(membership_key, 0)
        return max(here, await self._loader.load(membership_key) or 0, self._unwritten.get(membership_key, 0))

    async def unread_counts(self, user_id: int, courses: Collection[int]) -> dict[int, int]:
        """Return the number of unread messages of the user in each course. Raises DatabaseUnavailable."""
        here = {course: self._unwritten.get((user_id, course), 0) for course in courses}
        return await unread_counts(self._database, user_id, here)

    async def unread(
        self, membership_keys: Collection[tuple[int, int]], known: Mapping[tuple[int, int], int] | None = None
    ) -> dict[tuple[int, int], Unread]:
        """Return what is unread for each membership key (user, course). Raises DatabaseUnavailable.

        `known` has markers of other nodes, which may not be in the database yet.
        """
        known = known or {}
        seqs = {key: max(self._unwritten.get(key, 0), known.get(key, 0)) for key in membership_keys}
        return await find_unread(self._database, seqs)

    async def move_to_heads(self, user_id: int) -> None:
        """Remember that the user has read everything in all of their rooms. Raises DatabaseUnavailable."""
        courses = (await read_named_courses(self._database, [user_id]))[user_id]
        for course, head in (await read_heads(self._database, courses)).items():
            self.move(user_id, course, head)

    def publish(self) -> None:
        """Publish the markers that have moved since the last time."""
        self._has_moved.clear()
        unpublished, self._unpublished = self._unpublished, {}
        for course, seqs in unpublished.items():
            self._publish(course, seqs)

    async def write(self) -> None:
        """Write the markers that have moved. Raises DatabaseUnavailable; they are then written the next time."""
        written = dict(self._unwritten)
        if written:
            await write_markers(self._database, written)
        for membership_key, seq in written.items():
            if self._unwritten.get(membership_key) == seq:
                del self._unwritten[membership_key]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Publish and write while the context lasts, and write once more when it ends."""
        try:
            async with (
                supervised(self._publish_periodically, "publisher of markers"),
                supervised(self._write_periodically, "writer of markers"),
                supervised(self._mark_new_members_periodically, "markers of new members"),
            ):
                yield
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_WRITE_TIMEOUT_S):
                    await self._try_to_write()

    async def _publish_periodically(self) -> None:
        while True:
            await self._has_moved.wait()
            self.publish()
            await asyncio.sleep(PUBLISH_EVERY_S)

    async def _write_periodically(self) -> None:
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            await self._try_to_write()

    async def _mark_new_members_periodically(self) -> None:
        while True:
            try:
                await mark_new_members(self._database)
            except DatabaseUnavailable as error:
                logger.warning("new members can't be looked for: %s", error)
            await asyncio.sleep(NEW_MEMBERS_EVERY_S)

    async def _try_to_write(self) -> None:
        try:
            await self.write()
        except DatabaseUnavailable as error:
            logger.warning("%d markers can't be written yet: %s", len(self._unwritten), error)


class MarkerExchange:
    """Tells the other nodes at once which markers have moved, on one topic for all rooms.

    The topics of rooms don't suffice, because a node doesn't subscribe to a room that nobody has open there. A marker
    that is lost shows when a page asks again, like everything on the bus. `epoch` returns which history the seqs belong
    to, and `on_moved` receives the markers of the other nodes.
    """

    def __init__(
        self,
        bus: MessageBus,
        keys: Sequence[bytes],
        epoch: Callable[[], str],
        metrics: Metrics,
        on_moved: Callable[[Collection[Marker]], None],
    ) -> None:
        self._bus = bus
        self._codec = PayloadCodec(EXCHANGE_TOPIC, keys)
        self._epoch = epoch
        self._metrics = metrics
        self._on_moved = on_moved
        self._outbox: dict[tuple[int, int], int] = {}
        self._outbox_filled = asyncio.Event()

    def publish(self, course: int, seqs: Mapping[int, int]) -> None:
        """Tell the other nodes how far users have read in `course`. `seqs` maps user ids to seqs."""
        if self._bus.reaches_others:
            self._outbox |= {(course, user_id): seq for user_id, seq in seqs.items()}
            self._outbox_filled.set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Publish and receive while the context lasts."""
        if not self._bus.reaches_others:
            yield
            return
        async with (
            supervised(self._publish, "publisher of markers to other nodes"),
            supervised(self._receive, "receiver of markers"),
        ):
            yield

    async def _publish(self) -> None:
        while True:
            await self._outbox_filled.wait()
            self._outbox_filled.clear()
            outbox, self._outbox = self._outbox, {}
            markers = [Marker(course, user_id, seq) for (course, user_id), seq in outbox.items()]
            try:
                for payload in self._codec.encode_markers(self._epoch(), markers):
                    await self._bus.publish(EXCHANGE_TOPIC, payload)
            except BusUnavailable as error:
                logger.debug("markers are not published: %s", error)

    async def _receive(self) -> None:
        while True:
            try:
                async with self._bus.subscribe(EXCHANGE_TOPIC) as payloads:
                    async for payload in payloads:
                        match self._codec.decode(payload):
                            case MovedMarkers(epoch, markers) if epoch == self._epoch():
                                self._on_moved(markers)
                            case Dropped(fault):
                                self._metrics.count_dropped_payload(fault)
            except (BusUnavailable, SubscriptionLost) as error:
                logger.debug("markers are not received: %s", error)
            await asyncio.sleep(RESUBSCRIBE_PAUSE_S)

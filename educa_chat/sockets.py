"""The open sockets of this process, and whether each may stay open."""

import asyncio
import logging
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Protocol

from educa_chat.errors import DatabaseUnavailable
from educa_chat.protocol import CloseCode
from educa_chat.storage.access_changes import listen
from educa_chat.storage.courses import Membership, find_memberships
from educa_chat.storage.pool import Database
from educa_chat.storage.sessions import Visitor, session_digest
from educa_chat.tasks import running, supervised

logger = logging.getLogger(__name__)

RECHECK_S = 30.0
RETRY_PAUSE_S = 1.0
DRAIN_PAUSE_S = 0.1
DRAIN_BATCH = 50
"""How many sockets are closed at once. More, if closing all of them would otherwise take longer than DRAIN_S."""
DRAIN_S = 10.0


class Socket(Protocol):
    """An open socket of a member of a course."""

    visitor: Visitor
    membership: Membership

    def close(self, code: CloseCode) -> None:
        """Leave the room at once and begin to close."""

    def update_membership(self, membership: Membership) -> None:
        """Note that the course has another title, or was archived or restored. The role is the same."""

    async def drain(self) -> None:
        """Stop handling messages, finish what is in progress, and close with 1001. Return when the socket is closed."""


class Sockets:
    """Counts the sockets, and checks whether each may stay open: when access changes, and every 30 seconds.

    `find_visitors` returns the users who are signed in by some session ids, and raises DatabaseUnavailable.
    If a user opens more than `limit` sockets (0: no limit), their oldest one is closed.
    """

    def __init__(
        self,
        database: Database,
        find_visitors: Callable[[Collection[str]], Awaitable[Collection[Visitor]]],
        limit: int,
    ) -> None:
        self.draining = False
        """Whether this process is shutting down and accepts no new clients."""
        self._database = database
        self._find_visitors = find_visitors
        self._limit = limit
        self._by_user: dict[int, dict[Socket, None]] = {}
        self._unchecked: set[Socket] = set()
        self._recheck_due = asyncio.Event()

    def __iter__(self) -> Iterator[Socket]:
        for sockets in self._by_user.values():
            yield from sockets

    def __len__(self) -> int:
        return sum(map(len, self._by_user.values()))

    def add(self, socket: Socket) -> None:
        """Count `socket` until it is discarded."""
        sockets = self._by_user.setdefault(socket.visitor.user_id, {})
        if self._limit and len(sockets) >= self._limit:
            oldest = next(iter(sockets))
            del sockets[oldest]
            oldest.close(CloseCode.REPLACED)
        sockets[socket] = None
        if self.draining:
            # Its handshake began before the others were closed.
            socket.close(CloseCode.GOING_AWAY)

    def discard(self, socket: Socket) -> None:
        """Stop counting `socket`."""
        self._unchecked.discard(socket)
        sockets = self._by_user.get(socket.visitor.user_id, {})
        sockets.pop(socket, None)
        if not sockets:
            self._by_user.pop(socket.visitor.user_id, None)

    def schedule_recheck(self, sockets: Collection[Socket]) -> None:
        """Check soon whether `sockets` may stay open."""
        if sockets:
            self._unchecked.update(sockets)
            self._recheck_due.set()

    def schedule_full_recheck(self) -> None:
        """Check soon whether each socket may stay open."""
        self.schedule_recheck(list(self))

    def access_changed(self, subject: str, name: str) -> None:
        """Recheck the sockets of a user, a session, a course or all users: they may have lost access."""
        if subject == "user" and name.isdecimal():
            self.schedule_recheck(list(self._by_user.get(int(name), ())))
        elif subject == "session":
            self.schedule_recheck([s for s in self if session_digest(s.visitor.session_id) == name])
        elif subject == "course" and name.isdecimal():
            self.schedule_recheck([s for s in self if s.membership.course == int(name)])
        elif subject == "everybody":
            self.schedule_full_recheck()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Recheck the sockets while the context lasts."""
        async with (
            running(self._recheck_periodically(), "recheck of the sockets"),
            supervised(
                partial(listen, self._database, self.access_changed, self.schedule_full_recheck),
                "listener for access changes",
            ),
        ):
            yield

    async def drain(self) -> None:
        """Accept no new clients. Close all sockets, in batches, so that they don't all reconnect at the same time."""
        self.draining = True
        leaving = list(self)
        random.shuffle(leaving)
        batch = max(DRAIN_BATCH, math.ceil(len(leaving) * DRAIN_PAUSE_S / DRAIN_S))
        async with asyncio.TaskGroup() as drains:
            for start in range(0, len(leaving), batch):
                if start:
                    await asyncio.sleep(DRAIN_PAUSE_S)
                for socket in leaving[start : start + batch]:
                    drains.create_task(socket.drain())

    async def _recheck_periodically(self) -> None:
        while True:
            try:
                async with asyncio.timeout(RECHECK_S):
                    await self._recheck_due.wait()
            except TimeoutError:
                self._unchecked.update(self)
            self._recheck_due.clear()
            unchecked, self._unchecked = self._unchecked, set()
            try:
                await self._recheck(unchecked)
            except DatabaseUnavailable as error:
                logger.warning("the access of the sockets can't be checked: %s", error)
                await asyncio.sleep(RETRY_PAUSE_S)
                self.schedule_recheck(unchecked & set(self))
            except Exception:
                # This is an edge: if the check fails, access is refused. Clients can reconnect, and the handshake
                # checks them.
                logger.exception("the recheck of %d sockets failed, and they are closed", len(unchecked))
                for socket in unchecked:
                    socket.close(CloseCode.INTERNAL_ERROR)

    async def _recheck(self, unchecked: Collection[Socket]) -> None:
        if not unchecked:
            return
        visitors = await self._find_visitors({socket.visitor.session_id for socket in unchecked})
        users = {visitor.session_id: visitor.user_id for visitor in visitors}
        membership_keys = {socket: _membership_key(socket) for socket in unchecked}
        memberships = await find_memberships(self._database, set(membership_keys.values()))
        for socket, membership_key in membership_keys.items():
            membership = memberships.get(membership_key)
            if users.get(socket.visitor.session_id) != socket.visitor.user_id:
                socket.close(CloseCode.SESSION_ENDED)
            elif membership is None:
                socket.close(CloseCode.NOT_A_MEMBER)
            elif membership.role is not socket.membership.role:
                # It reconnects in the new role, and misses nothing.
                socket.close(CloseCode.GOING_AWAY)
            elif membership != socket.membership:
                socket.update_membership(membership)


def _membership_key(socket: Socket) -> tuple[int, int]:
    return socket.visitor.user_id, socket.membership.course

"""The sockets that are open in this process, and who may keep them."""

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
from educa_chat.storage.courses import Membership, present_memberships
from educa_chat.storage.notices import listen
from educa_chat.storage.pool import Database
from educa_chat.storage.sessions import Visitor, session_digest
from educa_chat.tasks import running, supervised

logger = logging.getLogger(__name__)

RECHECK_S = 30.0
RETRY_PAUSE_S = 1.0
DRAIN_PAUSE_S = 0.1
DRAIN_BATCH = 50
"""So many sockets are sent away at once, or more where there are so many that it would take longer than DRAIN_S."""
DRAIN_S = 10.0


class Socket(Protocol):
    """An open socket of a member of a course."""

    visitor: Visitor
    membership: Membership

    def close(self, code: CloseCode) -> None:
        """Leave the room at once and begin to close."""

    async def retire(self) -> None:
        """Obey nothing more, finish what is under way, and close with 1001; return when it is closed."""


class Sockets:
    """Keeps count of the sockets, and looks again whether each may stay: when a notice comes, and every 30 seconds.

    `find_visitors` returns the users who are signed in by some session ids, and raises DatabaseUnavailable.
    With `limit` sockets of one user open (0: no limit), the oldest gives way to a new one.
    """

    def __init__(
        self,
        database: Database,
        find_visitors: Callable[[Collection[str]], Awaitable[Collection[Visitor]]],
        limit: int,
    ) -> None:
        self.draining = False
        """Whether this process is going away, and takes nobody new."""
        self._database = database
        self._find_visitors = find_visitors
        self._limit = limit
        self._by_user: dict[int, dict[Socket, None]] = {}
        self._suspects: set[Socket] = set()
        self._suspicion = asyncio.Event()

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
            # It was on its way in when the others were sent away.
            socket.close(CloseCode.GOING_AWAY)

    def discard(self, socket: Socket) -> None:
        """Count `socket` no more."""
        self._suspects.discard(socket)
        sockets = self._by_user.get(socket.visitor.user_id, {})
        sockets.pop(socket, None)
        if not sockets:
            self._by_user.pop(socket.visitor.user_id, None)

    def suspect(self, sockets: Collection[Socket]) -> None:
        """Look again soon whether `sockets` may stay."""
        if sockets:
            self._suspects.update(sockets)
            self._suspicion.set()

    def suspect_all(self) -> None:
        """Look again soon whether everybody may stay."""
        self.suspect(list(self))

    def notice(self, subject: str, name: str) -> None:
        """Take a notice that a user, a session, a course or everybody may have lost a right."""
        if subject == "user" and name.isdecimal():
            self.suspect(list(self._by_user.get(int(name), ())))
        elif subject == "session":
            self.suspect([s for s in self if session_digest(s.visitor.session_id) == name])
        elif subject == "course" and name.isdecimal():
            self.suspect([s for s in self if s.membership.course == int(name)])
        elif subject == "everybody":
            self.suspect_all()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Look after the sockets while the context lasts."""
        async with (
            running(self._recheck_for_ever(), "recheck of the sockets"),
            supervised(partial(listen, self._database, self.notice, self.suspect_all), "listener for notices"),
        ):
            yield

    async def drain(self) -> None:
        """Take nobody new and send everybody away, some at a time: where they go to they should not come as a storm."""
        self.draining = True
        leaving = list(self)
        random.shuffle(leaving)
        batch = max(DRAIN_BATCH, math.ceil(len(leaving) * DRAIN_PAUSE_S / DRAIN_S))
        async with asyncio.TaskGroup() as retirements:
            for start in range(0, len(leaving), batch):
                if start:
                    await asyncio.sleep(DRAIN_PAUSE_S)
                for socket in leaving[start : start + batch]:
                    retirements.create_task(socket.retire())

    async def _recheck_for_ever(self) -> None:
        while True:
            try:
                async with asyncio.timeout(RECHECK_S):
                    await self._suspicion.wait()
            except TimeoutError:
                self._suspects.update(self)
            self._suspicion.clear()
            suspects, self._suspects = self._suspects, set()
            try:
                await self._recheck(suspects)
            except DatabaseUnavailable as error:
                logger.warning("who may stay can't be checked: %s", error)
                await asyncio.sleep(RETRY_PAUSE_S)
                self.suspect(suspects & set(self))
            except Exception:
                # An edge. A check that can't be made refuses: they may come in again by the door, where they are
                # checked as well.
                logger.exception("the recheck of %d sockets failed, and they are closed", len(suspects))
                for socket in suspects:
                    socket.close(CloseCode.INTERNAL_ERROR)

    async def _recheck(self, suspects: Collection[Socket]) -> None:
        if not suspects:
            return
        visitors = await self._find_visitors({socket.visitor.session_id for socket in suspects})
        owners = {visitor.session_id: visitor.user_id for visitor in visitors}
        places = {socket: _place(socket) for socket in suspects}
        present = await present_memberships(self._database, set(places.values()))
        for socket, place in places.items():
            if owners.get(socket.visitor.session_id) != socket.visitor.user_id:
                socket.close(CloseCode.SESSION_ENDED)
            elif place not in present:
                socket.close(CloseCode.NOT_A_MEMBER)


def _place(socket: Socket) -> tuple[int, int, bool]:
    return socket.visitor.user_id, socket.membership.course, socket.membership.is_instructor

"""The state of the database, checked once for all requests that ask for it."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextvars import Context

from educa_chat.errors import DatabaseUnavailable, SchemaMismatch
from educa_chat.storage.migrate import require_current_schema
from educa_chat.storage.pool import Database
from educa_chat.storage.writing import require_writable

logger = logging.getLogger(__name__)

FRESH_S = 1.0
OK = "ok"


class Readiness:
    """The state of the database, from a check that is at most a second old."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._state = OK
        self._check: asyncio.Task[str] | None = None
        self._fresh_until = 0.0

    async def database(self) -> str:
        """Return `ok`, or what is wrong. Calls during a check share its result."""
        if self._check is None or (self._check.done() and self._clock() >= self._fresh_until):
            # In a context of its own, because it isn't only for the request that starts it.
            self._check = asyncio.create_task(self._try(), name="check of the readiness", context=Context())
        return await asyncio.shield(self._check)

    async def _try(self) -> str:
        state, reason = await self._find_state()
        if state != self._state:
            logger.warning("the database is %s%s", state, f": {reason}" if reason else " again")
        self._state = state
        self._fresh_until = self._clock() + FRESH_S
        return state

    async def _find_state(self) -> tuple[str, str]:
        """Return the state and, unless it is `ok`, the reason."""
        try:
            await require_current_schema(self._database)
        except DatabaseUnavailable as error:
            return "unavailable", str(error)
        except SchemaMismatch as error:
            return "of another schema", str(error)
        try:
            await require_writable(self._database)
        except DatabaseUnavailable as error:
            return "not writable", str(error)
        return OK, ""

"""What must reach every process at once though the bus be dead: Postgres NOTIFY.

A notice names whose rights may have changed: `user ID`, `session DIGEST`, `course ID`, or `everybody`. Those of our own
commands are sent here, those of a site's changes by the triggers of `migrations/watch_enrolments.sql`.
"""

import asyncio
import logging
from collections.abc import Callable

import asyncpg

from educa_chat.errors import DatabaseUnavailable
from educa_chat.storage.pool import Database, database_errors

logger = logging.getLogger(__name__)

CHANNEL = "educa_chat"
RECONNECT_PAUSE_S = 0.5
PROBE_S = 5.0


async def notify(database: Database, subject: str, name: str) -> None:
    """Tell every process that the rights of `subject` (such as 'user') `name` may have changed."""
    await database.execute("select pg_notify($1, $2)", CHANNEL, f"{subject} {name}")


async def listen(database: Database, notice: Callable[[str, str], None], missed: Callable[[], None]) -> None:
    """Call `notice(subject, name)` for each notice, until cancelled; `missed()` when some may have been lost.

    Notices are kept by nobody, so each new connection begins with `missed()`. The connection is probed, since one
    that only listens would not notice that its peer is gone.
    """

    def heard(_: object, __: int, ___: str, payload: object) -> None:
        subject, _, name = str(payload).partition(" ")
        notice(subject, name)

    while True:
        try:
            connection = await database.connect()
            try:
                with database_errors():
                    await connection.add_listener(CHANNEL, heard)
                    missed()
                    while True:
                        await asyncio.sleep(PROBE_S)
                        await connection.execute("select 1")
            finally:
                connection.terminate()
        except (DatabaseUnavailable, asyncpg.PostgresError) as error:
            logger.warning("notices can't be heard: %s", error)
        await asyncio.sleep(RECONNECT_PAUSE_S)

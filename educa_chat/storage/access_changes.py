"""Access changes, which reach every process at once by Postgres NOTIFY, even while the bus is down.

A notification names the subject whose access may have changed: `user ID`, `session DIGEST`, `course ID`, or
`everybody`. This module sends those of our own commands. The triggers of `migrations/watch_enrolments.sql` send those
for changes by a site.
"""

import asyncio
import logging
from collections.abc import Callable

import asyncpg

from educa_chat.errors import DatabaseUnavailable
from educa_chat.storage.pool import Database, Queries, database_errors

logger = logging.getLogger(__name__)

CHANNEL = "educa_chat"
RECONNECT_PAUSE_S = 0.5
PROBE_S = 5.0


async def notify(database: Queries, subject: str, name: str) -> None:
    """Notify every process that the access of `subject` (such as 'user') `name` may have changed.

    On a connection with a transaction, the notification is sent when it is committed.
    """
    await database.execute("select pg_notify($1, $2)", CHANNEL, f"{subject} {name}")


async def listen(database: Database, changed: Callable[[str, str], None], missed: Callable[[], None]) -> None:
    """Call `changed(subject, name)` for each notification until cancelled, and `missed()` if some may have been lost.

    Postgres keeps no notifications for later, so each new connection begins with `missed()`. The connection is tested
    regularly, because a connection that only listens doesn't notice that its peer is gone.
    """

    def receive(_: object, __: int, ___: str, payload: object) -> None:
        subject, _, name = str(payload).partition(" ")
        changed(subject, name)

    while True:
        try:
            connection = await database.connect()
            try:
                with database_errors():
                    await connection.add_listener(CHANNEL, receive)
                    missed()
                    while True:
                        await asyncio.sleep(PROBE_S)
                        await connection.execute("select 1")
            finally:
                connection.terminate()
        except (DatabaseUnavailable, asyncpg.PostgresError) as error:
            logger.warning("can't listen for access changes: %s", error)
        await asyncio.sleep(RECONNECT_PAUSE_S)

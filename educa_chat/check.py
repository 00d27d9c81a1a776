"""Proves, part by part, that everything a server needs works."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable

from cryptography.fernet import Fernet

from educa_chat.bus import open_bus
from educa_chat.errors import EducaChatError, SettingsInvalid
from educa_chat.settings import DEMO_SESSION_KEY, Settings
from educa_chat.sockets import RECHECK_S
from educa_chat.storage.migrate import applied_version, enrolments_are_watched, require_current_schema
from educa_chat.storage.pool import Database, open_database
from educa_chat.storage.writing import require_writable

ROUND_TRIP_TIMEOUT_S = 3.0


async def check(settings: Settings) -> AsyncIterator[tuple[str, bool, str]]:
    """Yield (part, whether it is sound, what was seen or is to be done) for each part."""
    yield "settings", True, f"{settings.server.mode} mode"
    yield await _outcome("session key", lambda: _session_key(settings))
    async with open_database(settings.database.url, 1) as database:
        yield await _outcome("database", lambda: _database(database, settings))
        yield await _outcome("schema", lambda: _schema(database))
        yield await _outcome("enrolments", lambda: _enrolments(database))
    yield await _outcome("bus", lambda: _bus(settings))


async def _outcome(part: str, prove: Callable[[], Awaitable[str]]) -> tuple[str, bool, str]:
    try:
        return part, True, await prove()
    except (EducaChatError, TimeoutError) as error:
        return part, False, str(error) or "no answer in time"


async def _session_key(settings: Settings) -> str:
    if not settings.session.key:
        raise SettingsInvalid("missing: sign-ins would end with the process; set session.key")
    fernet = Fernet(settings.session.key)
    if fernet.decrypt(fernet.encrypt(b"proof")) != b"proof":
        raise SettingsInvalid("it does not decrypt what it encrypts")
    return "the demo key, for development only" if settings.session.key == DEMO_SESSION_KEY else "sound"


async def _database(database: Database, settings: Settings) -> str:
    await require_durability(database, settings)
    if await applied_version(database):  # before the first migration there is nothing to write to
        await require_writable(database)
    version: str = await database.fetchval("select current_setting('server_version')")
    return f"PostgreSQL {version}"


async def require_durability(database: Database, settings: Settings) -> None:
    """Raise SettingsInvalid where production runs on a database that may lose what it has committed."""
    if settings.server.mode != "production":
        return
    for parameter in ("fsync", "full_page_writes"):
        if await database.fetchval("select current_setting($1)", parameter) != "on":
            raise SettingsInvalid(f"the database runs with {parameter} off, and may lose what it has committed")


async def _schema(database: Database) -> str:
    await require_current_schema(database)
    return f"version {await applied_version(database)}"


async def _enrolments(database: Database) -> str:
    """Both are sound; they differ in how soon somebody who left a course is out."""
    if await enrolments_are_watched(database):
        return "watched"
    return f"looked at every {RECHECK_S:.0f} seconds; `educa-chat migrate --watch-enrolments` makes it at once"


async def _bus(settings: Settings) -> str:
    """A payload on a test topic, there and back."""
    payload = secrets.token_bytes(16)
    topic = f"check:{payload.hex()}"
    async with (
        asyncio.timeout(ROUND_TRIP_TIMEOUT_S),
        open_bus(settings.bus.url, settings.bus.prefix) as bus,
        bus.subscribe(topic) as payloads,
    ):
        await bus.publish(topic, payload)
        async for received in payloads:
            if received == payload:
                break
    return f"{settings.bus.url.partition(':')[0]}, heard itself"

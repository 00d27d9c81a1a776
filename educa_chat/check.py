"""Checks that each part of the server's configuration works."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

from cryptography.fernet import Fernet

from educa_chat.bus import open_bus
from educa_chat.errors import EducaChatError, SettingsInvalid
from educa_chat.people.id_tokens import ALGORITHMS
from educa_chat.people.key_sets import KeySets
from educa_chat.people.mailer import connect
from educa_chat.people.openid import OpenIdProvider
from educa_chat.people.outbound import Outbound
from educa_chat.people.portal_pages import SigningPortal
from educa_chat.settings import DEMO_SESSION_KEY, Email, Portal, Settings
from educa_chat.sockets import RECHECK_S
from educa_chat.storage.migrate import applied_version, enrolments_are_watched, require_current_schema
from educa_chat.storage.pool import Database, open_database
from educa_chat.storage.writing import require_writable

ROUND_TRIP_TIMEOUT_S = 3.0


async def check(settings: Settings) -> AsyncIterator[tuple[str, bool, str]]:
    """Yield (part, whether it works, details or what to do) for each part."""
    yield "settings", True, f"{settings.server.mode} mode"
    yield await _outcome("session key", lambda: _session_key(settings))
    async with open_database(settings.database.url, 1) as database:
        yield await _outcome("database", lambda: _database(database, settings))
        yield await _outcome("schema", lambda: _schema(database))
        yield await _outcome("enrolments", lambda: _enrolments(database))
    yield await _outcome("bus", lambda: _bus(settings))
    if settings.email.is_set_up:
        yield await _outcome("e-mail", lambda: _email(settings.email))
    for name, portal in settings.portals.items():
        yield await _outcome(f"portal {name}", partial(_portal, name, portal))
    async with Outbound(settings.outbound.private_networks).open() as outbound:
        for name, issuer in settings.issuers.items():
            provider = OpenIdProvider(issuer, outbound, KeySets(outbound))
            yield await _outcome(f"issuer {name}", partial(_issuer, provider))


async def _outcome(part: str, run: Callable[[], Awaitable[str]]) -> tuple[str, bool, str]:
    try:
        return part, True, await run()
    except (EducaChatError, TimeoutError) as error:
        return part, False, str(error) or "no answer in time"


async def _session_key(settings: Settings) -> str:
    if not settings.session.key:
        raise SettingsInvalid("missing: every restart would sign everyone out. Set session.key")
    fernet = Fernet(settings.session.key)
    if fernet.decrypt(fernet.encrypt(b"proof")) != b"proof":
        raise SettingsInvalid("the key can't decrypt what it has encrypted")
    return "the demo key, for development only" if settings.session.key == DEMO_SESSION_KEY else "valid"


async def _database(database: Database, settings: Settings) -> str:
    await require_durability(database, settings)
    if await applied_version(database):  # Before the first migration there is no table to test.
        await require_writable(database)
    version: str = await database.fetchval("select current_setting('server_version')")
    return f"PostgreSQL {version}"


async def require_durability(database: Database, settings: Settings) -> None:
    """Raise SettingsInvalid in production if the database may lose committed transactions in a crash."""
    if settings.server.mode != "production":
        return
    for parameter in ("fsync", "full_page_writes"):
        if await database.fetchval("select current_setting($1)", parameter) != "on":
            raise SettingsInvalid(f"the database runs with {parameter} off, so a crash may lose committed messages")


async def _schema(database: Database) -> str:
    await require_current_schema(database)
    return f"version {await applied_version(database)}"


async def _enrolments(database: Database) -> str:
    """Say how soon a connection is closed after its user has left the course. Never fails."""
    if await enrolments_are_watched(database):
        return "triggers report changes at once"
    return f"checked every {RECHECK_S:.0f} seconds; to see changes at once, run `educa-chat migrate --watch-enrolments`"


async def _email(settings: Email) -> str:
    """Connect to the mail server, and sign in if the settings say so."""
    async with connect(settings):
        return f"connected to {settings.host}"


async def _portal(name: str, portal: Portal) -> str:
    """Read the key of a portal."""
    return f"{SigningPortal(name, portal).algorithms[0]}, for {portal.audience}"


async def _issuer(provider: OpenIdProvider) -> str:
    """Read the configuration of an issuer."""
    metadata = await provider.metadata()
    if not provider.accepted_algorithms(metadata):
        raise SettingsInvalid(f"it signs with none of {', '.join(ALGORITHMS)}")
    can_end_sessions = "" if metadata.backchannel_logout_supported else ", without back-channel logout"
    return f"{metadata.issuer}{can_end_sessions}"


async def _bus(settings: Settings) -> str:
    """Publish a random payload on a topic of its own and wait until it is received."""
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
    return f"{settings.bus.url.partition(':')[0]}, received its own message"

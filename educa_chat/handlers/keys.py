"""The typed keys of the components that `build_app` stores in the application."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from gettext import NullTranslations

import jinja2
from aiohttp import web

from educa_chat.batch_loader import BatchLoader
from educa_chat.chat import Chat
from educa_chat.chat_socket import SocketServices
from educa_chat.handlers.connections import Connections
from educa_chat.handlers.readiness import Readiness
from educa_chat.handlers.static import StaticFiles
from educa_chat.hub import Hub
from educa_chat.limits import RateLimit, Turns
from educa_chat.markers import Markers
from educa_chat.metrics import Metrics
from educa_chat.settings import Settings
from educa_chat.sockets import Sockets
from educa_chat.storage.courses import Membership
from educa_chat.storage.log import Appender
from educa_chat.storage.pool import Database
from educa_chat.storage.room_state import RoomState
from educa_chat.storage.sessions import Visitor
from educa_chat.translations import LANGUAGES
from educa_chat.unread import UnreadFeed

SETTINGS = web.AppKey("SETTINGS", Settings)
DATABASE = web.AppKey("DATABASE", Database)
APPENDER = web.AppKey("APPENDER", Appender)
METRICS = web.AppKey("METRICS", Metrics)
HUB = web.AppKey("HUB", Hub)
READINESS = web.AppKey("READINESS", Readiness)
STATIC_FILES = web.AppKey("STATIC_FILES", StaticFiles)
CONNECTIONS = web.AppKey("CONNECTIONS", Connections)
CHAT = web.AppKey("CHAT", Chat)
MARKERS = web.AppKey("MARKERS", Markers)
SOCKETS = web.AppKey("SOCKETS", Sockets)
UNREAD_FEED = web.AppKey("UNREAD_FEED", UnreadFeed)
SOCKET_SERVICES = web.AppKey("SOCKET_SERVICES", SocketServices)
VISITORS: web.AppKey[BatchLoader[str, Visitor]] = web.AppKey("VISITORS")
"""Loads the visitor by session id."""
MEMBERSHIPS: web.AppKey[BatchLoader[tuple[int, int], Membership]] = web.AppKey("MEMBERSHIPS")
"""Loads memberships by user and course."""
ROOM_STATES: web.AppKey[BatchLoader[tuple[int, int], RoomState]] = web.AppKey("ROOM_STATES")
"""Loads room states by user and course."""
HANDSHAKES = web.AppKey("HANDSHAKES", asyncio.Semaphore)
"""Limits how many socket handshakes are processed at a time."""
RENDERING = web.AppKey("RENDERING", asyncio.Lock)
"""Held while a page is rendered."""
READS = web.AppKey("READS", RateLimit)
"""Requests that read the database, by user; the API's larger answers count more."""
READING_TURNS = web.AppKey("READING_TURNS", Turns)
"""Current requests that read the database, by user."""
SEARCHES = web.AppKey("SEARCHES", RateLimit)
"""Searches, by user."""
MEMBER_LOOKUPS = web.AppKey("MEMBER_LOOKUPS", RateLimit)
"""Searches for members, by user."""
SESSION_ID: web.AppKey[Callable[[web.Request], Awaitable[str | None]]] = web.AppKey("SESSION_ID")
"""Reads the session id of a request."""
CSRF_KEYS: web.AppKey[Sequence[bytes]] = web.AppKey("CSRF_KEYS")
"""The first key signs, and signatures by any of them are accepted, as with the other keys."""
FRAME_ANCESTORS: web.AppKey[Callable[[], Awaitable[str]]] = web.AppKey("FRAME_ANCESTORS")
"""Returns the sites that may embed pages of sessions that a learning platform has started."""
BUS_KEYS: web.AppKey[Sequence[bytes]] = web.AppKey("BUS_KEYS")
PAGES = {language: web.AppKey(f"PAGES_{language}", jinja2.Environment) for language in LANGUAGES}
"""The templates, by language."""
TRANSLATIONS = web.AppKey("TRANSLATIONS", Mapping[str, NullTranslations])

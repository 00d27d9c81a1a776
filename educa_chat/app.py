"""Creates the components. The only module that knows every concrete class."""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, suppress
from functools import partial
from importlib import resources
from pathlib import Path

import aiohttp_jinja2
import jinja2
from aiohttp import web

from educa_chat.batch_loader import BatchLoader
from educa_chat.bus import open_bus
from educa_chat.chat import Chat
from educa_chat.chat_socket import SocketServices
from educa_chat.errors import SettingsInvalid
from educa_chat.handlers import api, audit, formatting, health, keys, pages, reports, roster, static, websocket
from educa_chat.handlers.access import end_turns
from educa_chat.handlers.connections import Connections, check_requests
from educa_chat.handlers.middleware import (
    add_headers,
    answer_errors,
    identify_requests,
    log_requests,
    trust_proxies,
)
from educa_chat.handlers.readiness import Readiness
from educa_chat.handlers.rendering import COMPILED, PLATFORM_SIGN_OUT_PATH, SIGN_OUT_PATH, render_strings
from educa_chat.hub import Hub
from educa_chat.limits import RateLimit, Turns
from educa_chat.logo import Logo, read_logo
from educa_chat.markers import MarkerExchange, Markers
from educa_chat.markup.pool import open_render_pool
from educa_chat.metrics import Metrics
from educa_chat.payload import Marker
from educa_chat.people.identity import Identity, open_identity
from educa_chat.people.openid_pages import issuer_logo
from educa_chat.people.sign_out import sign_out_with
from educa_chat.settings import Settings
from educa_chat.sockets import Sockets
from educa_chat.storage.courses import find_memberships
from educa_chat.storage.log import Appender, Log
from educa_chat.storage.migrate import migrate, require_current_schema
from educa_chat.storage.pool import open_database
from educa_chat.storage.room_state import find_room_states
from educa_chat.storage.search import keep_index
from educa_chat.storage.sessions import Visitor
from educa_chat.tasks import running, supervised
from educa_chat.translations import load_translations
from educa_chat.unread import UnreadFeed

logger = logging.getLogger(__name__)

READS_AT_ONCE = 4
"""How many requests of one user may read the database at a time, per process."""
FORM_BYTES = 64 * 1024
COMMIT_TIMEOUT_S = 1.0
"""How long a stopping process waits for a last commit. Commits with a waiting client are already done."""


def build_app(settings: Settings) -> web.Application:
    """Return the whole server as one application. It opens its resources at startup and closes them at shutdown.

    Starting it raises DatabaseUnavailable, and in production SchemaMismatch if the schema is not up to date. Raises
    SettingsInvalid without a session key; `serve` sets one if there is none.
    """
    if not settings.session.key:
        raise SettingsInvalid("session.key: missing")
    identity = open_identity(settings)
    connections = Connections()
    app = web.Application(
        client_max_size=FORM_BYTES,
        # Browsers never compress a form, and 200 KB could decompress to 200 MB in the event loop.
        handler_args={"auto_decompress": False},
        middlewares=[
            identify_requests(settings.server.trusted_proxies),
            connections.note_request,
            check_requests,
            trust_proxies(settings.server.trusted_proxies),
            log_requests,
            answer_errors,
            end_turns,
        ],
    )
    app[keys.SETTINGS] = settings
    app[keys.CONNECTIONS] = connections
    app[keys.TRANSLATIONS] = load_translations()
    app[keys.SESSION_ID] = identity.read_session_id
    app[keys.CSRF_KEYS] = settings.session.derived_keys("csrf")
    app[keys.BUS_KEYS] = settings.session.derived_keys("bus")
    app[keys.RENDERING] = asyncio.Lock()
    app[keys.HANDSHAKES] = asyncio.Semaphore(websocket.HANDSHAKES_AT_ONCE)
    app[keys.READS] = RateLimit(settings.limits.reads_per_second, settings.limits.read_burst)
    app[keys.READING_TURNS] = Turns(READS_AT_ONCE)
    app[keys.SEARCHES] = RateLimit(api.SEARCHES_PER_SECOND, api.SEARCHES_BURST)
    app[keys.MEMBER_LOOKUPS] = RateLimit(api.MEMBER_LOOKUPS_PER_SECOND, api.MEMBER_LOOKUPS_BURST)
    app.on_response_prepare.append(add_headers)
    app.on_response_prepare.append(connections.note_upgrade)
    for language, catalogue in app[keys.TRANSLATIONS].items():
        environment = aiohttp_jinja2.setup(
            app,
            app_key=keys.PAGES[language],
            loader=jinja2.FileSystemLoader(Path(str(resources.files("educa_chat.templates")))),
            extensions=["jinja2.ext.i18n"],
            bytecode_cache=COMPILED,
            undefined=jinja2.StrictUndefined,
        )
        environment.install_gettext_translations(catalogue, newstyle=True)  # type: ignore[attr-defined]
        environment.filters["as_message"] = formatting.as_message
        if settings.server.mode == "production":
            # Compile now. Otherwise the first visitor of a page would block the event loop for 50 ms.
            for name in environment.list_templates(["html"]):
                environment.get_template(name)
    strings = render_strings({language: app[page] for language, page in keys.PAGES.items()})
    app[keys.STATIC_FILES] = static.StaticFiles(resources.files("educa_chat") / "static", strings, _logos(settings))
    _route(app, settings, identity)
    app.cleanup_ctx.append(partial(_resources, identity))
    app.on_shutdown.append(_drain)
    return app


def _logos(settings: Settings) -> dict[str, Logo]:
    """Read the logos of the site and of the issuers that have one. Raises SettingsInvalid."""
    logos = {"logo": read_logo("site.logo", Path(settings.site.logo))} if settings.site.logo else {}
    for name, issuer in settings.issuers.items():
        if issuer.logo:
            logos[issuer_logo(name)] = read_logo(f"issuers.{name}.logo", Path(issuer.logo))
    return logos


def _route(app: web.Application, settings: Settings, identity: Identity) -> None:
    app.add_routes(
        [
            web.get("/", pages.home),
            web.get("/chat/", pages.home),
            web.get("/chat/room/{course}/", pages.room),
            web.post("/chat/room/{course}/reload/", pages.room),
            web.get("/chat/room/{course}/audit/", audit.page),
            web.get("/chat/room/{course}/audit.csv", audit.file),
            web.get("/chat/room/{course}/reports/", reports.queue),
            web.post("/chat/room/{course}/reports/", reports.deal),
            web.get("/chat/course/{course}/roster/", roster.page),
            web.post("/chat/course/{course}/roster/", roster.change),
            web.get(formatting.PATH, formatting.page),
            web.get("/ws/chat/room/{course}/", websocket.room_socket, allow_head=False),
            web.get("/health/live", health.live),
            web.get("/health/ready", health.ready),
            web.get("/metrics", health.metrics_for(settings.server.metrics_networks)),
            web.get(static.PATH + "{path:.+}", app[keys.STATIC_FILES].serve),
        ]
    )
    # Our pages use the addresses under /chat/. The others are for programs, and for a stand-alone chat.
    for prefix in ("/chat", "/students"):
        app.router.add_get(f"{prefix}/courses/", pages.my_courses)
        app.router.add_get(f"{prefix}/course/{{course}}/", pages.course)
    for prefix in ("/chat/api/rooms", "/api/rooms"):
        app.router.add_get(prefix, api.rooms)
        app.router.add_get(f"{prefix}/{{course}}/messages", api.messages)
        app.router.add_get(f"{prefix}/{{course}}/search", api.found_messages)
        app.router.add_get(f"{prefix}/{{course}}/muted", api.muted)
        app.router.add_get(f"{prefix}/{{course}}/reports", api.reported)
        app.router.add_get(f"{prefix}/{{course}}/members", api.members)
        app.router.add_get(f"{prefix}/{{course}}/roster", api.roster)
        app.router.add_get(f"{prefix}/{{course}}/unanswered", api.unanswered)
    sign_out = sign_out_with(identity)
    for path in (SIGN_OUT_PATH, PLATFORM_SIGN_OUT_PATH):
        app.router.add_post(path, sign_out)
    identity.set_up(app)


async def _resources(identity: Identity, app: web.Application) -> AsyncIterator[None]:
    settings = app[keys.SETTINGS]
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(settings.database.url, settings.database.pool_size))
        if settings.server.mode == "development":
            for name in await migrate(database):
                logger.info("migrated: %s", name)
        await require_current_schema(database)
        log = Log(database)
        bus = await stack.enter_async_context(open_bus(settings.bus.url, settings.bus.prefix))
        metrics = Metrics()
        hub = Hub(log, bus, await log.epoch(), metrics, app[keys.BUS_KEYS])
        appender = Appender(database, hub.announce, metrics)
        await stack.enter_async_context(identity.connect(database))
        sockets = Sockets(database, identity.visitors, settings.limits.sockets_per_user)
        app[keys.DATABASE] = database
        app[keys.READINESS] = Readiness(database)
        app[keys.HUB] = hub
        app[keys.SOCKETS] = sockets
        app[keys.VISITORS] = BatchLoader(partial(_find_visitors, identity), "loader of visitors")
        app[keys.MEMBERSHIPS] = BatchLoader(partial(find_memberships, database), "loader of memberships")
        app[keys.ROOM_STATES] = BatchLoader(partial(find_room_states, database), "loader of room states")
        renderer = await stack.enter_async_context(open_render_pool())
        app[keys.CHAT] = chat = Chat(appender, log, renderer, settings.limits, hub)

        def publish_read(course: int, seqs: Mapping[int, int]) -> None:
            hub.signal_read(course, seqs)
            unread_feed.note_read([Marker(course, user_id, seq) for user_id, seq in seqs.items()])
            exchange.publish(course, seqs)

        app[keys.MARKERS] = markers = Markers(database, publish_read)
        app[keys.UNREAD_FEED] = unread_feed = UnreadFeed(database, markers)
        exchange = MarkerExchange(bus, app[keys.BUS_KEYS], lambda: hub.epoch, metrics, unread_feed.note_read)
        app[keys.METRICS] = metrics
        app[keys.SOCKET_SERVICES] = socket_services = SocketServices(
            chat, log, markers, metrics, sockets, settings.limits
        )
        app[keys.APPENDER] = appender
        metrics.watch(
            sockets=lambda: len(sockets),
            rooms=lambda: len(hub),
            is_draining=lambda: sockets.draining,
            waiting_entries=lambda: len(appender),
            bus_state=lambda: hub.bus_state,
            bus_silence_s=lambda: bus.silence_s,
            sweep_age_s=lambda: hub.sweep_age_s,
            busy_connections=lambda: database.busy_connections,
            idle_connections=lambda: database.idle_connections,
        )
        await stack.enter_async_context(running(metrics.measure_event_loop(), "measuring of the event loop"))
        await stack.enter_async_context(hub.open())
        await stack.enter_async_context(markers.open())
        await stack.enter_async_context(unread_feed.open())
        await stack.enter_async_context(exchange.open())
        await stack.enter_async_context(running(appender.run(), "appender"))
        await stack.enter_async_context(sockets.open())
        await stack.enter_async_context(supervised(partial(keep_index, database), "index of the search"))
        await stack.enter_async_context(running(socket_services.heartbeat.run(), "heartbeat of the sockets"))
        yield


async def _find_visitors(identity: Identity, session_ids: Collection[str]) -> dict[str, Visitor]:
    return {visitor.session_id: visitor for visitor in await identity.visitors(session_ids)}


async def _drain(app: web.Application) -> None:
    """Accept no new clients, finish what is in progress, and send all clients to other nodes."""
    if app[keys.SOCKETS].draining:
        return
    app[keys.HUB].stop_presence()
    await app[keys.SOCKETS].drain()
    with suppress(TimeoutError):
        async with asyncio.timeout(COMMIT_TIMEOUT_S):
            await app[keys.APPENDER].drained()

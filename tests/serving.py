"""A server for tests, and its users."""

import asyncio
import hashlib
import hmac
import json
import re
import ssl
import uuid
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, NamedTuple, Self

import aiohttp
import pytest
from aiohttp import web

from educa_chat import hub, markers, presence, unread
from educa_chat.app import build_app
from educa_chat.demo import PASSWORD, add_demo
from educa_chat.handlers.api import SEARCHES_PER_SECOND
from educa_chat.payload import PayloadCodec
from educa_chat.settings import DEMO_SESSION_KEY, Settings, load_settings
from educa_chat.storage.accounts import add_user
from educa_chat.storage.courses import add_course, enrol
from educa_chat.storage.pool import Database

BUS_KEYS = (hmac.digest(DEMO_SESSION_KEY.encode(), b"bus", "sha256"),)
"""The keys of servers with settings from `settings_for`."""
TIMEOUT_S = 60.0
"""How long a test waits for an expected event."""
SIGNALS = ("presence", "typing", "read", "unread")


def settings_for(url: str, **overrides: object) -> Settings:
    """Return settings for a test on the database `url`; `limits_replay=5` stands for EDUCA_CHAT_LIMITS_REPLAY."""
    environment = {
        "EDUCA_CHAT_DATABASE_URL": url,
        "EDUCA_CHAT_SESSION_KEY": DEMO_SESSION_KEY,
        "EDUCA_CHAT_SERVER_MODE": "development",
        # A test signs in far more often than a person does.
        "EDUCA_CHAT_LIMITS_SIGN_IN_FAILURES_PER_MINUTE": "1000",
    }
    environment |= {f"EDUCA_CHAT_{name.upper()}": str(value) for name, value in overrides.items()}
    return load_settings(None, environment)


class Server:
    """A running server: `url` is its address, `app` its application."""

    def __init__(self, app: web.Application, url: str) -> None:
        self.app = app
        self.url = url


@asynccontextmanager
async def open_server(
    settings: Settings,
    *,
    on_response: Callable[[web.Request, web.StreamResponse], Awaitable[None]] | None = None,
    tls: ssl.SSLContext | None = None,
    port: int = 0,
) -> AsyncIterator[Server]:
    """Serve in this process, on `port` or else a free port, with https if there is `tls`.

    `on_response` may change the headers of each answer.
    """
    app = build_app(settings)
    if on_response is not None:
        app.on_response_prepare.append(on_response)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    try:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield Server(app, f"{'https' if tls else 'http'}://{host}:{port}")
    finally:
        await runner.cleanup()


@contextmanager
def prompt_signals() -> Iterator[None]:
    """Let the servers of this process send presence, typing, read markers and unread counts after shorter pauses."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hub, "SWEEP_S", 0.1)
        patch.setattr(hub, "GOSSIP_TURN_S", 0.02)
        patch.setattr(presence, "GATHER_S", 0.02)
        patch.setattr(presence, "MIN_PUBLISH_INTERVAL_S", 0.05)
        patch.setattr(presence, "MIN_BROADCAST_INTERVAL_S", 0.1)
        patch.setattr(markers, "PUBLISH_EVERY_S", 0.05)
        patch.setattr(unread, "LOOK_EVERY_S", 0.05)
        yield


def codec_of(epoch: str, course: int = 1) -> PayloadCodec:
    """Return the codec with which test servers encode and decode a room's payloads."""
    return PayloadCodec(f"{epoch}:room:{course}", BUS_KEYS)


def quick_hash(password: str = PASSWORD) -> str:
    """Return a hash of `password` with one iteration, so that tests can sign in quickly."""
    digest = hashlib.pbkdf2_hmac("sha256", password.encode(), b"salt", 1)
    return f"pbkdf2_sha256$1$salt${b64encode(digest).decode()}"


async def add_demo_data(database: Database) -> None:
    """Add the demo data, with passwords that are quick to verify."""
    await add_demo(database)
    await database.execute("update auth_user set password = $1", quick_hash())


async def add_person(database: Database, course: int | None = None, *, is_superuser: bool = False) -> str:
    """Add a new user with the demo password, and to `course` if given. Return the username."""
    username = f"u{uuid.uuid4().hex[:10]}"
    await add_user(database, username, quick_hash(), is_superuser=is_superuser)
    if course is not None:
        await enrol(database, username, course)
    return username


class Classroom(NamedTuple):
    """A course for one test: its id and the usernames of its people."""

    course: int
    teacher: str
    ana: str
    luis: str


async def add_classroom(database: Database) -> Classroom:
    """Add a course with a new teacher and two new students."""
    teacher = await add_person(database)
    course, (ana, luis) = await add_room(database, 2, teacher)
    return Classroom(course, teacher, ana, luis)


async def add_room(database: Database, students: int = 2, teacher: str = "profe") -> tuple[int, list[str]]:
    """Add a course with this number of new students. Return its id and their usernames."""
    course = await add_course(database, f"Course {uuid.uuid4().hex[:10]}", teacher)
    return course, [await add_person(database, course) for _ in range(students)]


class Person:
    """A user with a browser's cookies, who enters `course` unless told otherwise."""

    def __init__(self, url: str, username: str = "", *, course: int = 1, trust: ssl.SSLContext | None = None) -> None:
        self.url = url
        self.username = username
        self.course = course
        self._stack = AsyncExitStack()
        self.http = aiohttp.ClientSession(
            cookie_jar=aiohttp.CookieJar(unsafe=True), connector=aiohttp.TCPConnector(limit=0, ssl=trust or True)
        )

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.http)
        if self.username and not any(self.http.cookie_jar):
            status, _ = await self.sign_in(self.username)
            assert status == 302
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def again(self, url: str | None = None) -> "Person":
        """Return another client with the same session, at the same server or at `url`."""
        other = Person(url or self.url, course=self.course)
        other.username = self.username
        other.http.cookie_jar.update_cookies({cookie.key: cookie.value for cookie in self.http.cookie_jar})
        return other

    async def token(self, path: str = "/accounts/login/") -> str:
        """Return the CSRF token of the form on a page."""
        async with self.http.get(self.url + path) as response:
            found = re.search(r'name="csrf_token" value="([^"]+)"', await response.text())
        assert found
        return found[1]

    async def sign_in(self, username: str, password: str = PASSWORD, next: str = "") -> tuple[int, str]:
        """Post the form. Return the status, and the address of the redirect or the page."""
        data = {"username": username, "password": password, "next": next, "csrf_token": await self.token()}
        async with self.http.post(f"{self.url}/accounts/login/", data=data, allow_redirects=False) as response:
            return response.status, response.headers.get("Location") or await response.text()

    async def sign_out(self) -> int:
        data = {"csrf_token": await self.token("/students/courses/")}
        async with self.http.post(f"{self.url}/accounts/logout/", data=data, allow_redirects=False) as response:
            return response.status

    async def get(self, path: str, **headers: str) -> tuple[int, str, Mapping[str, str]]:
        async with self.http.get(self.url + path, headers=headers, allow_redirects=False) as response:
            return response.status, await response.text(), response.headers

    async def messages(self, course: int | None = None, query: str = "") -> dict[str, Any]:
        async with self.http.get(f"{self.url}/api/rooms/{course or self.course}/messages{query}") as response:
            assert response.status == 200, await response.text()
            answer: dict[str, Any] = await response.json()
            return answer

    async def search(self, course: int, words: str) -> dict[str, Any]:
        async with self.http.get(f"{self.url}/api/rooms/{course}/search", params={"q": words}) as response:
            assert response.status == 200, await response.text()
            answer: dict[str, Any] = await response.json()
            return answer

    async def search_until_found(self, course: int, words: str) -> dict[str, Any]:
        """The answer of the first search that finds something, because the index is a second behind."""
        async with asyncio.timeout(TIMEOUT_S):
            while not (answer := await self.search(course, words))["messages"]:
                # Faster searches would soon be refused.
                await asyncio.sleep(1 / SEARCHES_PER_SECOND)
        return answer

    async def enter(
        self,
        course: int | None = None,
        *,
        basic: bool = False,
        query: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> "Chatter":
        """Open a socket. Raises aiohttp.WSServerHandshakeError if it is refused."""
        socket = await self.http.ws_connect(
            f"{self.url}/ws/chat/room/{course or self.course}/{query}",
            protocols=() if basic else ("educa-chat.v1",),
            headers=headers,
            autoping=True,
            max_msg_size=0,
        )
        self._stack.push_async_callback(socket.close)
        return Chatter(socket)


class Chatter:
    """An open socket of a user."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def receive(self) -> dict[str, Any]:
        """Return the next frame that isn't a signal. Signals may arrive at any time."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                frame = await self.receive_any()
                if frame["type"] not in SIGNALS:
                    return frame

    async def receive_any(self) -> dict[str, Any]:
        """Return the next frame of any kind."""
        frame = await self.socket.receive(timeout=TIMEOUT_S)
        assert frame.type is aiohttp.WSMsgType.TEXT, frame
        decoded: dict[str, Any] = json.loads(frame.data)
        return decoded

    async def receive_until(self, type: str, **fields: object) -> dict[str, Any]:
        """Return the next frame of `type` with these `fields`, skipping others."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                frame = await self.receive_any()
                if frame["type"] == type and all(frame.get(name) == value for name, value in fields.items()):
                    return frame

    async def events(self, count: int) -> list[dict[str, Any]]:
        """Return the next `count` frames that have a seq and aren't acks."""
        events: list[dict[str, Any]] = []
        while len(events) < count:
            frame = await self.receive()
            if "seq" in frame and frame["type"] != "ack":
                events.append(frame)
        return events

    async def close_code(self) -> int | None:
        """Read until the server closes, and return its code."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                frame = await self.socket.receive()
                if frame.type is aiohttp.WSMsgType.CLOSE:
                    return int(frame.data)
                if frame.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR):
                    return self.socket.close_code

    async def send(self, frame: object) -> None:
        await self.socket.send_str(frame if isinstance(frame, str) else json.dumps(frame))

    async def say(self, text: str, id: str | None = None) -> None:
        await self.send({"type": "message", "message": text} | ({"id": id} if id else {}))

"""A client that behaves like a good page: it resumes with `after`, and sends unacknowledged commands again."""

import asyncio
import itertools
import json
import random
import re
import socket as sockets
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import aiohttp

from educa_chat.demo import PASSWORD

CONNECT_TIMEOUT_S = 3.0
LONGEST_PAUSE_S = 1.0
SILENCE_S = 12.0
"""After this time without an answer to a command, a client treats the connection as dead."""
IN_FLIGHT = 4
TALK_PAUSE_S = 1.0
"""A dozen clients send about fifty messages a second."""


class Client:
    """A user in a room who keeps every ack and every frame, whatever happens to the connection.

    `urls` are the nodes. The client uses any of them, and another one if that doesn't answer.
    """

    def __init__(self, username: str, course: int, urls: Sequence[str], chance: random.Random) -> None:
        self.username = username
        self.course = course
        self.events: list[dict[str, Any]] = []
        """All that has come with a seq, in the order in which it came."""
        self.resets: list[tuple[int, int]] = []
        """(how many events had come, the `after` of the reset)"""
        self.acks: dict[str, tuple[int, str]] = {}
        self.contradictions: list[str] = []
        """What no server may say."""
        self.closes: list[int | None] = []
        self.head = 0
        """The seq after which the client continues."""
        self.is_talking = False
        self.talk_pause_s = TALK_PAUSE_S
        """The average pause before the client replaces acked messages by new ones."""
        self._epoch = ""
        self._at = ""
        self._urls = urls
        self._chance = chance
        # No other client uses the same ids, even for the same user.
        self._ids = (f"{uuid.uuid4().hex[:8]}:{number}" for number in itertools.count(1))
        self._unacked: dict[str, str] = {}
        self._jar = aiohttp.CookieJar(unsafe=True)
        self._http = aiohttp.ClientSession(cookie_jar=self._jar, timeout=aiohttp.ClientTimeout(total=CONNECT_TIMEOUT_S))
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._refused: list[str] = []
        self._answered = asyncio.Event()

    @property
    def is_level(self) -> bool:
        """Whether the client is connected and all of its messages were acked."""
        return self._socket is not None and not self._unacked

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Connect, and reconnect after each loss, until the context ends."""
        async with self._http:
            living = asyncio.create_task(self._live(), name=f"client {self.username}")
            try:
                yield
            finally:
                living.cancel()
                await asyncio.gather(living, return_exceptions=True)

    def cut(self) -> None:
        """Abort the connection."""
        # There is none if the other side has already closed.
        if self._socket is not None and (socket := self._socket.get_extra_info("socket")) is not None:
            with suppress(OSError):
                socket.shutdown(sockets.SHUT_RDWR)

    # The connection.

    async def _live(self) -> None:
        failures = 0
        while True:
            url = self._chance.choice(self._urls)
            try:
                if not len(self._jar):
                    await self._sign_in(url)
                await self._attend(url)
                failures = 0
            except aiohttp.WSServerHandshakeError as error:
                if error.status == 401:
                    self._jar.clear()
            except (aiohttp.ClientError, TimeoutError, ConnectionError):
                pass
            self._socket = None
            failures += 1
            await asyncio.sleep(self._chance.uniform(0.05, min(LONGEST_PAUSE_S, 0.1 * 2**failures)))

    async def _sign_in(self, url: str) -> None:
        async with self._http.get(f"{url}/accounts/login/") as response:
            found = re.search(r'name="csrf_token" value="([^"]+)"', await response.text())
        if found is None:
            return
        data = {"username": self.username, "password": PASSWORD, "next": "", "csrf_token": found[1]}
        async with self._http.post(f"{url}/accounts/login/", data=data, allow_redirects=False) as response:
            if response.status != 302:
                self._jar.clear()
                raise aiohttp.ClientError("not signed in")

    async def _attend(self, url: str) -> None:
        """Stay in the room until the connection ends."""
        query = {"after": str(self.head), "epoch": self._epoch, "at": self._at} if self._epoch else {}
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            socket = await self._http.ws_connect(
                f"{url.replace('http', 'ws', 1)}/ws/chat/room/{self.course}/",
                params=query,
                protocols=("educa-chat.v1",),
                max_msg_size=0,
                timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
            )
        try:
            welcome = json.loads((await socket.receive(timeout=CONNECT_TIMEOUT_S)).data)
            if welcome["type"] != "welcome":
                self.contradictions.append(f"{welcome['type']} before welcome")
            if not self._epoch:
                self.head = welcome["head"]
                self.resets.append((0, self.head))
            self._epoch = welcome["epoch"]
            self._socket = socket
            async with asyncio.TaskGroup() as group:
                talking = group.create_task(self._talk(socket))
                await self._listen(socket)
                talking.cancel()
        except* (ConnectionError, TypeError):
            # A frame that isn't text ends the connection.
            pass
        finally:
            self._socket = None
            self.closes.append(socket.close_code)
            await socket.close()

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for frame in socket:
            if frame.type is not aiohttp.WSMsgType.TEXT:
                return
            self._take(json.loads(frame.data))

    def _take(self, frame: dict[str, Any]) -> None:
        match frame["type"]:
            case "ack":
                answer = frame["seq"], frame["datetime"]
                if self.acks.setdefault(frame["id"], answer) != answer:
                    self.contradictions.append(f"two answers to {frame['id']}")
                self._unacked.pop(frame["id"], None)
                self._answered.set()
            case "error":
                if frame["code"] != "unavailable":
                    self.contradictions.append(f"refused: {frame['code']}")
                self._refused.append(frame["id"])
                self._answered.set()
            case "reset":
                self.resets.append((len(self.events), frame["after"]))
                self.head = frame["after"]
            case _ if "seq" in frame:
                self.events.append(frame)
                self.head, self._at = frame["seq"], frame["datetime"]

    async def _talk(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Send unacknowledged messages again, and then new ones, a few in flight at a time."""
        unsent = list(self._unacked)
        while True:
            while self.is_talking and len(self._unacked) < IN_FLIGHT:
                id = next(self._ids)
                self._unacked[id] = f"{self.username} in {self.course} says {id}"
                unsent.append(id)
            for id in unsent:
                await socket.send_str(json.dumps({"type": "message", "id": id, "message": self._unacked[id]}))
            self._refused.clear()
            self._answered.clear()
            if not self._unacked:
                await asyncio.sleep(self.talk_pause_s)
                unsent = []
                continue
            try:
                async with asyncio.timeout(SILENCE_S):
                    await self._answered.wait()
            except TimeoutError:
                await socket.close()
                return
            await asyncio.sleep(self._chance.uniform(0, 2 * self.talk_pause_s))
            unsent = [id for id in self._refused if id in self._unacked]


@asynccontextmanager
async def open_clients(
    courses: dict[int, list[str]], urls: Sequence[str], chance: random.Random
) -> AsyncIterator[list[Client]]:
    """Open a client for each user, each in a course of their own."""
    clients = [
        Client(username, course, urls, random.Random(chance.random()))
        for course, usernames in courses.items()
        for username in usernames
    ]
    async with AsyncExitStack() as stack:
        for client in clients:
            await stack.enter_async_context(client.open())
        yield clients


async def more_acks(clients: Sequence[Client], count: int, timeout_s: float = 60.0) -> None:
    """Wait until `count` more commands of `clients` were acked."""
    goal = sum(len(client.acks) for client in clients) + count
    async with asyncio.timeout(timeout_s):
        while sum(len(client.acks) for client in clients) < goal:
            await asyncio.sleep(0.02)

"""A bus over Redis pub/sub: one connection publishes, another listens, and both come back by themselves.

It works on redis-py's connections rather than on its client. The client's `PubSub` connects and subscribes
again in silence, so that a gap goes unnoticed, and its pipeline is sent again when the connection broke.
"""

import asyncio
import itertools
import logging
import random
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.exceptions import RedisError, ResponseError

from educa_chat.bus.inbox import Inbox
from educa_chat.bus.protocol import MAX_PAYLOAD_BYTES
from educa_chat.errors import BusUnavailable

PUBLISH_TIMEOUT_S = 1.0
SUBSCRIBE_TIMEOUT_S = 1.0
CONNECT_TIMEOUT_S = 1.0

WAITING_PUBLISHES = 10_000
"""How many publishes wait for the one under way at most."""

WAITING_BYTES = 1024 * 1024
"""How many bytes of payload wait for the publish under way at most."""

BEAT_INTERVAL_S = 0.5

DEAF_AFTER_BEATS = 4
"""After so many beat intervals without any sound the listener is taken for deaf."""

MESSAGES_PER_TURN = 100
"""After so many messages everybody else gets a turn of the event loop."""

BACK_OFF_MIN_S = 0.1
BACK_OFF_MAX_S = 2.0

logger = logging.getLogger(__name__)


@asynccontextmanager
async def open_redis_bus(
    url: str, prefix: str, *, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator["RedisBus"]:
    """Own a bus over the Redis at `url` while the context lasts; `prefix` stands before every topic.

    Redis need not be up: the bus is silent then, and connects when it can. Leaving ends every subscription.
    `clock` tells the seconds by which `silence_s` is measured. Raises ValueError for an impossible URL.
    """
    bus = RedisBus(url, prefix, clock)
    tasks = [asyncio.create_task(work) for work in (bus._listen(), bus._carry(), bus._beat())]
    try:
        yield bus
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@dataclass(eq=False)
class _Publish:
    """A payload on its way to Redis."""

    channel: bytes
    payload: bytes
    deadline: float
    """The time of the loop at which its publisher gives up."""
    outcome: asyncio.Future[str | None]
    """None when Redis has it, else why not."""

    def settle(self, outcome: str | None) -> None:
        # Done already when its publisher gave up or was cancelled, which is nobody else's concern.
        if not self.outcome.done():
            self.outcome.set_result(outcome)


@dataclass(eq=False)
class _Channel:
    """A topic that the listener hears, or is about to."""

    inboxes: set[Inbox] = field(default_factory=set)
    asked: bool = False
    """Whether SUBSCRIBE was sent."""
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when Redis has confirmed, or the listener was lost first."""


class RedisBus:
    """A MessageBus over one Redis; `open_redis_bus` makes it."""

    def __init__(self, url: str, prefix: str, clock: Callable[[], float]) -> None:
        # RESP 2, because redis-py formats each pub/sub message of RESP 3 for its debug log, whatever the level (400 µs
        # for 64 KiB). No socket_timeout: every wait here has a limit of its own, and with one redis-py writes under
        # asyncio.wait_for, which before Python 3.12 may swallow the cancellation that closes the bus.
        options: dict[str, Any] = {
            **parse_url(url),
            "protocol": 2,
            "decode_responses": False,
            "socket_timeout": None,
            "socket_connect_timeout": CONNECT_TIMEOUT_S,
        }
        self._connection_class: type[AbstractConnection] = options.pop("connection_class", Connection)
        self._connection_options = options
        try:
            self._publisher = self._make_connection()
        except TypeError as error:
            raise ValueError(f"the URL has an unknown option: {error}") from error
        self._prefix = prefix
        self._clock = clock

        # What waits for the publish under way.
        self._waiting: list[_Publish] = []
        self._waiting_bytes = 0
        self._waits = asyncio.Event()

        # What is subscribed to, by channel, on the present connection or the next.
        self._channels: dict[bytes, _Channel] = {}
        # The channels that somebody has come to or left since Redis was last asked.
        self._changed: set[bytes] = set()
        self._changes = asyncio.Event()
        # How often the listener has set out to connect since Redis last answered it.
        self._attempts = 0

        self._beat_topic = f"beat:{uuid.uuid4().hex}"
        self._beat_channel = self._channel_name(self._beat_topic)
        self._heard_at = clock()

    @property
    def silence_s(self) -> float:
        """Seconds since a beat of this process was last heard to come back; opening counts as one."""
        return self._clock() - self._heard_at

    async def publish(self, topic: str, payload: bytes) -> None:
        """Offer `payload` to every subscription to `topic` in every process, this one included.

        What is published while a publish is under way goes to Redis together, in order, when that is done.
        Raises BusUnavailable when Redis could not be told within a second of the call, or at once when too
        much waits already; ValueError when the payload is over MAX_PAYLOAD_BYTES.
        """
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise ValueError(f"a payload of {len(payload)} bytes, over {MAX_PAYLOAD_BYTES}")
        if len(self._waiting) == WAITING_PUBLISHES or self._waiting_bytes + len(payload) > WAITING_BYTES:
            raise BusUnavailable("too much waits to be published")
        loop = asyncio.get_running_loop()
        entry = _Publish(self._channel_name(topic), payload, loop.time() + PUBLISH_TIMEOUT_S, loop.create_future())
        self._waiting.append(entry)
        self._waiting_bytes += len(payload)
        self._waits.set()
        try:
            # Rather than asyncio.timeout, which would call failed what was settled in the same turn.
            await asyncio.wait([entry.outcome], timeout=PUBLISH_TIMEOUT_S)
        finally:
            # What was given up or cancelled is not sent any more, unless it is under way.
            entry.outcome.cancel()
        if entry.outcome.cancelled():
            raise BusUnavailable(f"Redis was not told within {PUBLISH_TIMEOUT_S} s")
        if (refusal := entry.outcome.result()) is not None:
            raise BusUnavailable(refusal)

    @asynccontextmanager
    async def subscribe(self, topic: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Receive what is published to `topic` while the context lasts; live once entered.

        Entering raises BusUnavailable when Redis does not confirm within a second, at once while it is known
        to be down. Iterating raises SubscriptionLost when the connection was lost, this reader fell too far
        behind, or the context was left.
        """
        if self._attempts > 1:
            raise BusUnavailable("Redis does not answer")
        name = self._channel_name(topic)
        # A channel that everybody has left is there until UNSUBSCRIBE is sent. Who comes before that joins
        # it; who comes after gets a new one, with a confirmation of its own.
        channel = self._channels.setdefault(name, _Channel())
        inbox = Inbox()
        channel.inboxes.add(inbox)
        self._change(name)
        try:
            try:
                async with asyncio.timeout(SUBSCRIBE_TIMEOUT_S):
                    await channel.settled.wait()
            except TimeoutError:
                raise BusUnavailable(f"Redis did not confirm within {SUBSCRIBE_TIMEOUT_S} s") from None
            if inbox.ended is not None:
                raise BusUnavailable(inbox.ended)
            yield inbox
        finally:
            channel.inboxes.remove(inbox)
            inbox.end("the subscription was left")
            self._change(name)

    def _channel_name(self, topic: str) -> bytes:
        return (self._prefix + topic).encode()

    def _make_connection(self) -> AbstractConnection:
        return self._connection_class(**self._connection_options)

    # Publishing

    async def _carry(self) -> None:
        """Send what waits, one pipeline at a time."""
        batch: list[_Publish] = []
        try:
            while True:
                await self._waits.wait()
                self._waits.clear()
                batch = [entry for entry in self._waiting if not entry.outcome.done()]
                self._waiting.clear()
                self._waiting_bytes = 0
                if batch:
                    await self._send(batch)
        finally:
            for entry in itertools.chain(batch, self._waiting):
                entry.settle("the bus is closed")
            await self._publisher.disconnect(nowait=True)

    async def _send(self, batch: list[_Publish]) -> None:
        connection = self._publisher
        try:
            # After the deadline of the last nobody waits any more: then the connection hangs, and is dropped.
            async with asyncio.timeout_at(batch[-1].deadline):
                await connection.connect()  # type: ignore[no-untyped-call]
                commands = [("PUBLISH", entry.channel, entry.payload) for entry in batch]
                await connection.send_packed_command(connection.pack_commands(commands))
                for entry in batch:
                    try:
                        await connection.read_response()
                    except ResponseError as error:
                        entry.settle(f"Redis refused: {error}")
                    else:
                        entry.settle(None)
        except (RedisError, OSError) as error:
            # A time-out is an OSError too.
            await connection.disconnect(nowait=True)
            for entry in batch:
                entry.settle(f"Redis could not be told: {_describe(error)}")

    async def _beat(self) -> None:
        while True:
            with suppress(BusUnavailable):
                await self.publish(self._beat_topic, b"")
            await asyncio.sleep(BEAT_INTERVAL_S)

    # Listening

    async def _listen(self) -> None:
        """Keep a connection that hears; when it is lost, end every subscription and make another."""
        try:
            while True:
                self._attempts += 1
                try:
                    await self._attend()
                except* (RedisError, OSError) as group:
                    if self._attempts <= 1:
                        logger.warning("The bus does not hear Redis: %s", _describe(group.exceptions[0]))
                except* Exception:
                    # The edge: whatever it was that ended a connection, the next one has to be tried.
                    logger.exception("The bus's listener has failed")
                self._end_subscriptions("there is no connection to Redis")
                await asyncio.sleep(_back_off_s(self._attempts))
        finally:
            self._end_subscriptions("the bus is closed")

    async def _attend(self) -> None:
        """Listen on a new connection, until it raises."""
        connection = self._make_connection()
        # The channels that Redis was asked for, in this order, in which it confirms them.
        unconfirmed: deque[_Channel] = deque()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await connection.connect()  # type: ignore[no-untyped-call]
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._ask(connection, unconfirmed))
                tasks.create_task(self._hear(connection, unconfirmed))
        finally:
            await connection.disconnect(nowait=True)

    async def _ask(self, connection: AbstractConnection, unconfirmed: deque[_Channel]) -> None:
        """Subscribe to what is wanted, unsubscribe from what no longer is.

        Nobody else writes to `connection`, so a subscriber that is cancelled can't break off a command.
        """
        unconfirmed.append(_Channel())
        await connection.send_command("SUBSCRIBE", self._beat_channel)
        while True:
            wanted, unwanted = [], []
            for name in self._changed & self._channels.keys():
                channel = self._channels[name]
                if channel.inboxes and not channel.asked:
                    channel.asked = True
                    unconfirmed.append(channel)
                    wanted.append(name)
                elif not channel.inboxes:
                    del self._channels[name]
                    if channel.asked:
                        unwanted.append(name)
            self._changed.clear()
            self._changes.clear()
            if wanted:
                await connection.send_command("SUBSCRIBE", *wanted)
            if unwanted:
                await connection.send_command("UNSUBSCRIBE", *unwanted)
            await self._changes.wait()

    async def _hear(self, connection: AbstractConnection, unconfirmed: deque[_Channel]) -> None:
        """Hand out what comes in; raises TimeoutError when nothing does though there are beats."""
        # Counted in intervals and not taken from a clock: a process that stood still for some seconds finds
        # what came meanwhile at its next look, and is not deaf.
        silent_intervals = 0
        messages = 0
        while silent_intervals < DEAF_AFTER_BEATS:
            reply = await connection.read_response(timeout=BEAT_INTERVAL_S)
            if reply is None:
                silent_intervals += 1
                continue
            silent_intervals = 0
            kind, name, content = reply
            if kind == b"subscribe":
                if self._attempts > 0:
                    logger.info("The bus hears Redis")
                    self._attempts = 0
                unconfirmed.popleft().settled.set()
            elif kind == b"message" and name == self._beat_channel:
                self._heard_at = self._clock()
            elif kind == b"message":
                channel = self._channels.get(name)
                # Before its confirmation comes what was meant for an earlier subscription to the topic.
                if channel is not None and channel.settled.is_set():
                    for inbox in channel.inboxes:
                        inbox.offer(content)
                messages += 1
                if messages % MESSAGES_PER_TURN == 0:
                    # What is buffered comes without a pause: its readers would overflow before they ever ran.
                    await asyncio.sleep(0)
        raise TimeoutError("the listener was deaf")

    def _change(self, name: bytes) -> None:
        self._changed.add(name)
        self._changes.set()

    def _end_subscriptions(self, reason: str) -> None:
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            channel.settled.set()
            for inbox in channel.inboxes:
                inbox.end(reason)


def _back_off_s(attempts: int) -> float:
    """How long to wait after so many vain attempts: longer each time, and not all processes alike."""
    longest_s = min(BACK_OFF_MAX_S, BACK_OFF_MIN_S * 2 ** min(attempts + 1, 10))
    return random.uniform(BACK_OFF_MIN_S, longest_s)  # noqa: S311


def _describe(error: BaseException) -> str:
    # The repr of redis-py's errors leaves out what they say, the str of a time-out is empty.
    return f"{type(error).__name__} {error}"

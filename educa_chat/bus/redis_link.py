"""A link to one Redis server: one connection that publishes and one that subscribes. Both reconnect by themselves.

A heartbeat is published on one connection and has to arrive on the other. This proves that both work, and that Redis
delivers.

The link uses redis-py's connections and not its client: the client's `PubSub` reconnects and subscribes again without
reporting it, so a gap would go unnoticed, and its pipeline is sent again after the connection broke.
"""

import asyncio
import itertools
import logging
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.exceptions import RedisError, ResponseError

from educa_chat.bus.inbox import Inbox
from educa_chat.bus.protocol import MAX_PAYLOAD_BYTES
from educa_chat.errors import BusUnavailable, SettingsInvalid
from educa_chat.tasks import supervised

PUBLISH_TIMEOUT_S = 1.0
SUBSCRIBE_TIMEOUT_S = 1.0
CONNECT_TIMEOUT_S = 1.0

WAITING_PUBLISHES = 10_000
"""The most publishes that may wait while others are being sent."""

WAITING_BYTES = 1024 * 1024
"""The most bytes of payload that may wait while others are being sent."""

BEAT_INTERVAL_S = 0.5

DEAF_AFTER_BEATS = 4
"""After this many intervals without any reply, the subscribing connection counts as broken."""

MUTE_AFTER_BEATS = 3
"""After this many heartbeats that arrive while a command is unanswered, Redis doesn't receive our commands."""

MESSAGES_PER_TURN = 100
"""After this many messages, other tasks get a turn of the event loop."""

BACK_OFF_MIN_S = 0.1
BACK_OFF_MAX_S = 2.0

logger = logging.getLogger(__name__)


class PubSub(NamedTuple):
    """The commands of one kind of pub/sub. Redis confirms each with its name in lower case."""

    publish: str
    subscribe: str
    unsubscribe: str
    message: bytes
    """The type of a delivered message."""


PLAIN = PubSub("PUBLISH", "SUBSCRIBE", "UNSUBSCRIBE", b"message")
SHARDED = PubSub("SPUBLISH", "SSUBSCRIBE", "SUNSUBSCRIBE", b"smessage")
"""For the shards of a Redis Cluster, Redis 7 and later."""


def connection_options(url: str) -> dict[str, Any]:
    """Return the options of `make_connection` for the server at `url`, `redis://…` or `rediss://…`.

    Raises SettingsInvalid for an invalid URL.
    """
    # Use RESP 2: redis-py formats each pub/sub message of RESP 3 for its debug log, whatever the level (400 µs for
    # 64 KiB). Set no socket_timeout: every wait here has its own limit, and with a socket_timeout redis-py writes under
    # asyncio.wait_for, which may swallow the cancellation that closes the bus before Python 3.12.
    try:
        options: dict[str, Any] = {
            "host": "localhost",
            "port": 6379,
            **parse_url(url),
            "protocol": 2,
            "decode_responses": False,
            "socket_timeout": None,
            "socket_connect_timeout": CONNECT_TIMEOUT_S,
        }
        make_connection(options)
    except (TypeError, ValueError) as error:
        # redis-py passes the options of the query to a constructor, which reports unknown ones as a TypeError.
        raise SettingsInvalid(f"bus.url: {error}") from error
    return options


def make_connection(options: Mapping[str, Any]) -> AbstractConnection:
    """Return a connection that isn't connected yet."""
    connection_class: type[AbstractConnection] = options.get("connection_class", Connection)
    return connection_class(**{name: value for name, value in options.items() if name != "connection_class"})


@asynccontextmanager
async def open_link(
    options: Mapping[str, Any],
    pubsub: PubSub,
    beat_channel: bytes,
    clock: Callable[[], float],
    on_failure: Callable[[], None] = lambda: None,
) -> AsyncIterator["Link"]:
    """Open a link to the server of `options`, and close it with all subscriptions when the context ends.

    Redis needn't be up: the link connects as soon as it can. `clock` returns the seconds by which `silence_s` is
    measured. `on_failure` is called whenever a connection was lost, or Redis has refused a command or ended a
    subscription.
    """
    link = Link(options, pubsub, beat_channel, clock, on_failure)
    # The listener ends first, so that no subscriber receives a payload while others have already ended.
    async with (
        supervised(link._publish_batches, "publisher of the bus"),
        supervised(link._beat, "heartbeat of the bus"),
        supervised(link._listen, "listener of the bus"),
    ):
        yield link


@dataclass(eq=False)
class _Publish:
    """A payload that is being published."""

    channel: bytes
    payload: bytes
    deadline: float
    """The time at which its publisher gives up, by the clock of the event loop."""
    outcome: asyncio.Future[str | None]
    """None if Redis has accepted it, otherwise the reason why not."""

    def complete(self, outcome: str | None) -> None:
        # It is done already if its publisher gave up or was cancelled.
        if not self.outcome.done():
            self.outcome.set_result(outcome)


@dataclass(eq=False)
class _Channel:
    """A channel to which the link is subscribed, or is about to be."""

    name: bytes

    inboxes: set[Inbox] = field(default_factory=set)
    requested: bool = False
    """Whether the command to subscribe has been sent."""
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when Redis has confirmed or refused the subscription, or the connection was lost."""

    def end(self, reason: str) -> None:
        self.answered.set()
        for inbox in self.inboxes:
            inbox.end(reason)


class Link:
    """Publishes to one Redis and subscribes there. Made by `open_link`."""

    def __init__(
        self,
        options: Mapping[str, Any],
        pubsub: PubSub,
        beat_channel: bytes,
        clock: Callable[[], float],
        on_failure: Callable[[], None],
    ) -> None:
        self.beat_channel = beat_channel
        self._options = options
        self._pubsub = pubsub
        self._clock = clock
        self._on_failure = on_failure
        self._address = "{host}:{port}".format_map(options)
        self._publisher = make_connection(options)

        # The publishes that wait while others are being sent.
        self._waiting: list[_Publish] = []
        self._waiting_bytes = 0
        self._waits = asyncio.Event()

        # The subscriptions on the current connection, or for the next one.
        self._channels: dict[bytes, _Channel] = {}
        # The channels that have gained or lost a subscriber since the last commands.
        self._changed: set[bytes] = set()
        self._changes = asyncio.Event()
        # Attempts to connect since Redis last confirmed a subscription.
        self._attempts = 0

        self._last_beat_at = clock()

    @property
    def silence_s(self) -> float:
        """Seconds since a heartbeat of this link last came back, or since the start."""
        return self._clock() - self._last_beat_at

    async def publish(self, channel: bytes, payload: bytes) -> None:
        """Deliver `payload` to every subscription to `channel` in every process, including this one.

        Payloads that are published while others are being sent are sent together afterwards, in order. Raises
        BusUnavailable if Redis doesn't accept the payload within a second, or at once if too many are waiting, and
        ValueError if the payload is over MAX_PAYLOAD_BYTES.
        """
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise ValueError(f"the payload has {len(payload)} bytes, but may have at most {MAX_PAYLOAD_BYTES}")
        if len(self._waiting) == WAITING_PUBLISHES or self._waiting_bytes + len(payload) > WAITING_BYTES:
            raise BusUnavailable("too many payloads are waiting to be published")
        loop = asyncio.get_running_loop()
        entry = _Publish(channel, payload, loop.time() + PUBLISH_TIMEOUT_S, loop.create_future())
        self._waiting.append(entry)
        self._waiting_bytes += len(payload)
        self._waits.set()
        try:
            # Not asyncio.timeout, which would report a publish as failed if it completes in the same iteration.
            await asyncio.wait([entry.outcome], timeout=PUBLISH_TIMEOUT_S)
        finally:
            # If the publisher gave up or was cancelled, the payload isn't sent, unless that has begun.
            entry.outcome.cancel()
        if entry.outcome.cancelled():
            raise BusUnavailable(f"Redis did not accept the payload within {PUBLISH_TIMEOUT_S} s")
        if (refusal := entry.outcome.result()) is not None:
            raise BusUnavailable(refusal)

    @asynccontextmanager
    async def subscribe(self, name: bytes) -> AsyncIterator[AsyncIterator[bytes]]:
        """Yield the payloads that are published to the channel `name` from when the context was entered until it ends.

        Entering raises BusUnavailable if Redis refuses or doesn't confirm within a second, and at once while Redis is
        known to be down. Iterating raises SubscriptionLost if the connection was lost, Redis ended the subscription,
        this reader was too slow, or the context has ended.
        """
        if self._attempts > 1:
            raise BusUnavailable("Redis does not answer")
        # A channel without subscribers stays until UNSUBSCRIBE is sent. A subscriber that arrives before then joins it.
        # A later one gets a new channel, which Redis has to confirm again.
        channel = self._channels.setdefault(name, _Channel(name))
        inbox = Inbox()
        channel.inboxes.add(inbox)
        self._change(name)
        try:
            try:
                async with asyncio.timeout(SUBSCRIBE_TIMEOUT_S):
                    await channel.answered.wait()
            except TimeoutError:
                raise BusUnavailable(f"Redis did not confirm within {SUBSCRIBE_TIMEOUT_S} s") from None
            if inbox.ended is not None:
                raise BusUnavailable(inbox.ended)
            yield inbox
        finally:
            channel.inboxes.remove(inbox)
            inbox.end("the subscription has ended")
            self._change(name)

    # Publishing

    async def _publish_batches(self) -> None:
        """Send the waiting payloads, one pipeline at a time."""
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
                entry.complete("the bus is closed")
            await self._publisher.disconnect(nowait=True)

    async def _send(self, batch: list[_Publish]) -> None:
        connection = self._publisher
        try:
            # After the last deadline no publisher is waiting any more: the connection hangs, so close it.
            async with asyncio.timeout_at(batch[-1].deadline):
                await connection.connect()  # type: ignore[no-untyped-call]
                commands = [(self._pubsub.publish, entry.channel, entry.payload) for entry in batch]
                await connection.send_packed_command(connection.pack_commands(commands))
                for entry in batch:
                    try:
                        await connection.read_response()
                    except ResponseError as error:
                        # For an unknown command, Redis repeats its arguments: keep messages of users out of the log.
                        refusal = describe(error).partition(", with args")[0]
                        entry.complete(f"Redis refused: {refusal}")
                        self._on_failure()
                    else:
                        entry.complete(None)
        except (RedisError, OSError) as error:
            # A timeout is an OSError too.
            await connection.disconnect(nowait=True)
            for entry in batch:
                entry.complete(f"can't publish to Redis: {describe(error)}")
            self._on_failure()

    async def _beat(self) -> None:
        while True:
            with suppress(BusUnavailable):
                await self.publish(self.beat_channel, b"")
            await asyncio.sleep(BEAT_INTERVAL_S)

    # Listening

    async def _listen(self) -> None:
        """Keep a connection that subscribes. When it is lost, end every subscription and connect again."""
        try:
            while True:
                self._attempts += 1
                try:
                    await self._listen_once()
                except* (RedisError, OSError) as group:
                    if self._attempts <= 1:
                        logger.warning(
                            "lost the connection to Redis at %s: %s", self._address, describe(group.exceptions[0])
                        )
                except* Exception:
                    # This is an edge: whatever ended this connection, try the next one.
                    logger.exception("the subscribing connection to Redis failed")
                self._end_subscriptions("the connection to Redis was lost")
                self._on_failure()
                await asyncio.sleep(back_off_s(self._attempts))
        finally:
            self._end_subscriptions("the bus is closed")

    async def _listen_once(self) -> None:
        """Receive on a new connection until that raises an exception."""
        connection = make_connection(self._options)
        # The channels that Redis has to confirm, in this order.
        unconfirmed: deque[_Channel] = deque()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await connection.connect()  # type: ignore[no-untyped-call]
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._send_requests(connection, unconfirmed))
                tasks.create_task(self._receive(connection, unconfirmed))
        finally:
            await connection.disconnect(nowait=True)

    async def _send_requests(self, connection: AbstractConnection, unconfirmed: deque[_Channel]) -> None:
        """Subscribe to channels with subscribers, and unsubscribe from those without.

        Only this task writes to `connection`, so cancelling a subscriber can't interrupt a command.
        """
        beat = _Channel(self.beat_channel)
        unconfirmed.append(beat)
        await connection.send_command(self._pubsub.subscribe, beat.name)
        while True:
            commands = []
            for name in self._changed & self._channels.keys():
                channel = self._channels[name]
                if channel.inboxes and not channel.requested:
                    channel.requested = True
                    unconfirmed.append(channel)
                    commands.append((self._pubsub.subscribe, name))
                elif not channel.inboxes:
                    del self._channels[name]
                    if channel.requested:
                        commands.append((self._pubsub.unsubscribe, name))
            self._changed.clear()
            self._changes.clear()
            if commands:
                # One command per channel: on a cluster, all channels of a command must have the same slot.
                await connection.send_packed_command(connection.pack_commands(commands))
            await self._changes.wait()

    async def _receive(self, connection: AbstractConnection, unconfirmed: deque[_Channel]) -> None:
        """Deliver what arrives. Raises OSError if nothing arrives any more, or Redis doesn't receive our commands."""
        confirmed = self._pubsub.subscribe.lower().encode()
        unsubscribed = self._pubsub.unsubscribe.lower().encode()
        # Count intervals and heartbeats instead of comparing times: after a process was suspended for some seconds, it
        # finds what has arrived meanwhile, and its connection is fine.
        silent_intervals = 0
        beats_without_answer = 0
        messages = 0
        while silent_intervals < DEAF_AFTER_BEATS:
            try:
                reply = await connection.read_response(timeout=BEAT_INTERVAL_S)
            except ResponseError as error:
                # If nothing is pending, this refuses an UNSUBSCRIBE for a channel that Redis has already dropped.
                if unconfirmed:
                    refused = unconfirmed.popleft()
                    if refused.name == self.beat_channel:
                        raise
                    self._drop_channel(refused, f"Redis refused: {describe(error)}")
                continue
            if reply is None:
                silent_intervals += 1
                continue
            silent_intervals = 0
            kind, name, content = reply
            if kind == confirmed:
                if self._attempts > 0:
                    logger.info("connected to Redis at %s", self._address)
                    self._attempts = 0
                beats_without_answer = 0
                channel = unconfirmed.popleft()
                if channel.name != name:
                    # An earlier refusal was attributed to the wrong command.
                    raise ConnectionError("Redis confirmed another channel than expected")
                channel.answered.set()
            elif kind == unsubscribed:
                withdrawn = self._channels.get(name)
                # Before the confirmation, this answers our own UNSUBSCRIBE for an earlier subscription. After it, Redis
                # has ended the subscription: the channel's slot has moved to another master.
                if withdrawn is not None and withdrawn.answered.is_set():
                    self._drop_channel(withdrawn, "Redis has ended the subscription")
            elif kind == self._pubsub.message and name == self.beat_channel:
                self._last_beat_at = self._clock()
                beats_without_answer = beats_without_answer + 1 if unconfirmed else 0
                if beats_without_answer == MUTE_AFTER_BEATS:
                    # The connection still delivers messages, but our commands don't reach Redis.
                    raise TimeoutError("Redis does not answer commands")
            elif kind == self._pubsub.message:
                subscribed = self._channels.get(name)
                # Messages before the confirmation are for an earlier subscription to the channel.
                if subscribed is not None and subscribed.answered.is_set():
                    for inbox in subscribed.inboxes:
                        # Our nodes never publish a longer payload. In full, it might fill the inbox.
                        inbox.offer(content[: MAX_PAYLOAD_BYTES + 1])
                messages += 1
                if messages % MESSAGES_PER_TURN == 0:
                    # Buffered messages arrive without a pause, and would overflow the inboxes before their readers run.
                    await asyncio.sleep(0)
        raise TimeoutError("nothing arrived, not even heartbeats")

    def _drop_channel(self, channel: _Channel, reason: str) -> None:
        """End the subscriptions to one channel, which Redis has refused or ended."""
        if self._channels.get(channel.name) is channel:
            del self._channels[channel.name]
        channel.end(reason)
        self._on_failure()

    def _change(self, name: bytes) -> None:
        self._changed.add(name)
        self._changes.set()

    def _end_subscriptions(self, reason: str) -> None:
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            channel.end(reason)


def back_off_s(attempts: int) -> float:
    """Return how long to wait after `attempts` failed ones: longer each time, with jitter."""
    longest_s = min(BACK_OFF_MAX_S, BACK_OFF_MIN_S * 2 ** min(attempts + 1, 10))
    return random.uniform(BACK_OFF_MIN_S, longest_s)  # noqa: S311


def describe(error: BaseException) -> str:
    """Return the type and message of `error`, for the log or another error."""
    # The repr of redis-py's errors has no message, and the str of a timeout is empty.
    return f"{type(error).__name__} {error}"

"""A link to one Redis server: one connection publishes, another listens, and both come back by themselves.

A beat goes out on the one and has to come in on the other, so it proves both, and that Redis delivers.

It works on redis-py's connections rather than on its client. The client's `PubSub` connects and subscribes
again in silence, so that a gap goes unnoticed, and its pipeline is sent again when the connection broke.
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
"""How many publishes wait for the one under way at most."""

WAITING_BYTES = 1024 * 1024
"""How many bytes of payload wait for the publish under way at most."""

BEAT_INTERVAL_S = 0.5

DEAF_AFTER_BEATS = 4
"""After so many beat intervals without any sound the listener is taken for deaf."""

MUTE_AFTER_BEATS = 3
"""After so many beats that came in before an answer the listener is taken for unheard by Redis."""

MESSAGES_PER_TURN = 100
"""After so many messages everybody else gets a turn of the event loop."""

BACK_OFF_MIN_S = 0.1
BACK_OFF_MAX_S = 2.0

logger = logging.getLogger(__name__)


class PubSub(NamedTuple):
    """The commands of one kind of pub/sub. Redis confirms them by their names in lower case."""

    publish: str
    subscribe: str
    unsubscribe: str
    message: bytes
    """How Redis names what it delivers."""


PLAIN = PubSub("PUBLISH", "SUBSCRIBE", "UNSUBSCRIBE", b"message")
SHARDED = PubSub("SPUBLISH", "SSUBSCRIBE", "SUNSUBSCRIBE", b"smessage")
"""Within one shard of a Redis Cluster; Redis 7 and later."""


def connection_options(url: str) -> dict[str, Any]:
    """What `make_connection` needs for the server at `url`, `redis://…` or `rediss://…`.

    Raises SettingsInvalid for an impossible URL.
    """
    # RESP 2, because redis-py formats each pub/sub message of RESP 3 for its debug log, whatever the level (400 µs
    # for 64 KiB). No socket_timeout: every wait here has a limit of its own, and with one redis-py writes under
    # asyncio.wait_for, which before Python 3.12 may swallow the cancellation that closes the bus.
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
    """A connection that is not connected yet."""
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
    """Own a link to the server of `options` while the context lasts.

    Redis need not be up: the link is silent then, and connects when it can. Leaving ends every subscription.
    `clock` returns the seconds by which `silence_s` is measured. `on_failure` is called whenever a connection was
    lost, a command refused, or a subscription taken back.
    """
    link = Link(options, pubsub, beat_channel, clock, on_failure)
    # The listener ends first, so that nobody still gets what others end in the middle of.
    async with (
        supervised(link._publish_batches, "publisher of the bus"),
        supervised(link._beat, "heartbeat of the bus"),
        supervised(link._listen, "listener of the bus"),
    ):
        yield link


@dataclass(eq=False)
class _Publish:
    """A payload on its way to Redis."""

    channel: bytes
    payload: bytes
    deadline: float
    """The time of the loop at which its publisher gives up."""
    outcome: asyncio.Future[str | None]
    """None when Redis has it, else why not."""

    def complete(self, outcome: str | None) -> None:
        # Done already when its publisher gave up or was cancelled, which is nobody else's concern.
        if not self.outcome.done():
            self.outcome.set_result(outcome)


@dataclass(eq=False)
class _Channel:
    """A channel that the listener is subscribed to, or is about to be."""

    name: bytes

    inboxes: set[Inbox] = field(default_factory=set)
    requested: bool = False
    """Whether Redis was asked for it."""
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when Redis has confirmed or refused, or the listener was lost first."""

    def end(self, reason: str) -> None:
        self.answered.set()
        for inbox in self.inboxes:
            inbox.end(reason)


class Link:
    """Publishes to one Redis and listens to it; `open_link` makes it."""

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

        self._last_beat_at = clock()

    @property
    def silence_s(self) -> float:
        """Seconds since a beat of this link last came back; opening counts as one."""
        return self._clock() - self._last_beat_at

    async def publish(self, channel: bytes, payload: bytes) -> None:
        """Offer `payload` to every subscription to `channel` in every process, this one included.

        What is published while a publish is under way goes to Redis together, in order, when that is done.
        Raises BusUnavailable if the payload can't be sent to Redis within a second of the call, or at once if too
        much is waiting already; ValueError when the payload is over MAX_PAYLOAD_BYTES.
        """
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise ValueError(f"a payload of {len(payload)} bytes, over {MAX_PAYLOAD_BYTES}")
        if len(self._waiting) == WAITING_PUBLISHES or self._waiting_bytes + len(payload) > WAITING_BYTES:
            raise BusUnavailable("too much waits to be published")
        loop = asyncio.get_running_loop()
        entry = _Publish(channel, payload, loop.time() + PUBLISH_TIMEOUT_S, loop.create_future())
        self._waiting.append(entry)
        self._waiting_bytes += len(payload)
        self._waits.set()
        try:
            # Rather than asyncio.timeout, which would report a publish that completes in the same iteration as failed.
            await asyncio.wait([entry.outcome], timeout=PUBLISH_TIMEOUT_S)
        finally:
            # What was given up or cancelled is not sent any more, unless it is under way.
            entry.outcome.cancel()
        if entry.outcome.cancelled():
            raise BusUnavailable(f"Redis was not told within {PUBLISH_TIMEOUT_S} s")
        if (refusal := entry.outcome.result()) is not None:
            raise BusUnavailable(refusal)

    @asynccontextmanager
    async def subscribe(self, name: bytes) -> AsyncIterator[AsyncIterator[bytes]]:
        """Receive what is published to the channel `name` while the context lasts; live once entered.

        Entering raises BusUnavailable when Redis refuses or does not confirm within a second, at once while it is
        known to be down. Iterating raises SubscriptionLost when the connection was lost, Redis took the
        subscription back, this reader fell too far behind, or the context was left.
        """
        if self._attempts > 1:
            raise BusUnavailable("Redis does not answer")
        # A channel that everybody has left is there until UNSUBSCRIBE is sent. Who comes before that joins
        # it; who comes after gets a new one, with a confirmation of its own.
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
            inbox.end("the subscription was left")
            self._change(name)

    # Publishing

    async def _publish_batches(self) -> None:
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
                entry.complete("the bus is closed")
            await self._publisher.disconnect(nowait=True)

    async def _send(self, batch: list[_Publish]) -> None:
        connection = self._publisher
        try:
            # After the deadline of the last nobody waits any more: then the connection hangs, and is dropped.
            async with asyncio.timeout_at(batch[-1].deadline):
                await connection.connect()  # type: ignore[no-untyped-call]
                commands = [(self._pubsub.publish, entry.channel, entry.payload) for entry in batch]
                await connection.send_packed_command(connection.pack_commands(commands))
                for entry in batch:
                    try:
                        await connection.read_response()
                    except ResponseError as error:
                        # What stands behind it for an unknown command is the payload, which is what somebody said.
                        refusal = describe(error).partition(", with args")[0]
                        entry.complete(f"Redis refused: {refusal}")
                        self._on_failure()
                    else:
                        entry.complete(None)
        except (RedisError, OSError) as error:
            # A time-out is an OSError too.
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
        """Keep a listening connection; when it is lost, end every subscription and make another."""
        try:
            while True:
                self._attempts += 1
                try:
                    await self._listen_once()
                except* (RedisError, OSError) as group:
                    if self._attempts <= 1:
                        logger.warning(
                            "The bus does not hear Redis at %s: %s", self._address, describe(group.exceptions[0])
                        )
                except* Exception:
                    # The edge: whatever it was that ended a connection, the next one has to be tried.
                    logger.exception("The bus's listener has failed")
                self._end_subscriptions("there is no connection to Redis")
                self._on_failure()
                await asyncio.sleep(back_off_s(self._attempts))
        finally:
            self._end_subscriptions("the bus is closed")

    async def _listen_once(self) -> None:
        """Listen on a new connection, until it raises."""
        connection = make_connection(self._options)
        # The channels that Redis was asked for, in this order, in which it confirms them.
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
        """Subscribe to what is wanted, unsubscribe from what no longer is.

        Nobody else writes to `connection`, so a subscriber that is cancelled can't break off a command.
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
                # A command for each channel, because one may only name channels of the same slot of a cluster.
                await connection.send_packed_command(connection.pack_commands(commands))
            await self._changes.wait()

    async def _receive(self, connection: AbstractConnection, unconfirmed: deque[_Channel]) -> None:
        """Hand out what comes in; raises OSError when the connection has gone deaf or mute."""
        confirmed = self._pubsub.subscribe.lower().encode()
        unsubscribed = self._pubsub.unsubscribe.lower().encode()
        # Counted in intervals and beats and not taken from a clock: a process that stood still for some seconds
        # finds what came meanwhile at its next look, and its connection is neither deaf nor mute.
        silent_intervals = 0
        beats_without_answer = 0
        messages = 0
        while silent_intervals < DEAF_AFTER_BEATS:
            try:
                reply = await connection.read_response(timeout=BEAT_INTERVAL_S)
            except ResponseError as error:
                # With none that waits it was a leaving that was refused, of what Redis has taken back already.
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
                    logger.info("The bus hears Redis at %s", self._address)
                    self._attempts = 0
                beats_without_answer = 0
                channel = unconfirmed.popleft()
                if channel.name != name:
                    # A refusal was taken for another command's.
                    raise ConnectionError("the answers are out of step")
                channel.answered.set()
            elif kind == unsubscribed:
                withdrawn = self._channels.get(name)
                # Before its confirmation comes the answer to our own leaving of an earlier subscription. After it
                # Redis speaks unasked: the channel's slot has gone to another master.
                if withdrawn is not None and withdrawn.answered.is_set():
                    self._drop_channel(withdrawn, "Redis has taken back the subscription")
            elif kind == self._pubsub.message and name == self.beat_channel:
                self._last_beat_at = self._clock()
                beats_without_answer = beats_without_answer + 1 if unconfirmed else 0
                if beats_without_answer == MUTE_AFTER_BEATS:
                    # It still brings us everything, and takes nothing of ours to Redis.
                    raise TimeoutError("Redis does not hear the listener")
            elif kind == self._pubsub.message:
                subscribed = self._channels.get(name)
                # Before its confirmation comes what was meant for an earlier subscription to the channel.
                if subscribed is not None and subscribed.answered.is_set():
                    for inbox in subscribed.inboxes:
                        # Nobody here publishes a longer one, and whole it might fill the inbox.
                        inbox.offer(content[: MAX_PAYLOAD_BYTES + 1])
                messages += 1
                if messages % MESSAGES_PER_TURN == 0:
                    # What is buffered comes without a pause: its readers would overflow before they ever ran.
                    await asyncio.sleep(0)
        raise TimeoutError("the listener was deaf")

    def _drop_channel(self, channel: _Channel, reason: str) -> None:
        """End the one channel that Redis does not serve to us, or no longer."""
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
    """How long to wait after so many vain attempts: longer each time, and not all processes alike."""
    longest_s = min(BACK_OFF_MAX_S, BACK_OFF_MIN_S * 2 ** min(attempts + 1, 10))
    return random.uniform(BACK_OFF_MIN_S, longest_s)  # noqa: S311


def describe(error: BaseException) -> str:
    """What went wrong, for a log or another error."""
    # The repr of redis-py's errors leaves out what they say, the str of a time-out is empty.
    return f"{type(error).__name__} {error}"

"""A bus over the sharded pub/sub of a Redis Cluster, Redis 7 or later: a link to each master.

A topic belongs to a slot, a slot to a master, and who publishes and who listens both go to that master. Which master
has which slots is read when the bus opens, and again whenever one of the links has failed: a subscription that
Redis took back, a MOVED, a lost connection. What was subscribed to there has ended by then, so nobody trusts what
has moved.
"""

import asyncio
import logging
import random
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from redis.crc import key_slot
from redis.exceptions import RedisError

from educa_chat.bus.redis_link import (
    CONNECT_TIMEOUT_S,
    SHARDED,
    Link,
    back_off_s,
    connection_options,
    describe,
    make_connection,
    open_link,
)
from educa_chat.errors import BusUnavailable, SettingsInvalid
from educa_chat.tasks import running

logger = logging.getLogger(__name__)


class Address(NamedTuple):
    """Where a node of the cluster listens."""

    host: str
    port: int


@asynccontextmanager
async def open_redis_cluster_bus(
    url: str, prefix: str, *, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator["RedisClusterBus"]:
    """Own a bus over the cluster at `url` while the context lasts; `prefix` stands before every topic.

    `url` is `redis+cluster://[[user]:password@]host:port[,host:port…]`, or `rediss+cluster://…` for TLS, and names one
    or more nodes; the others are asked for. The cluster need not be up: after a second without an answer the bus
    opens silent, and connects when it can. Leaving ends every subscription. `clock` returns the seconds by which
    `silence_s` is measured. Raises SettingsInvalid for an impossible URL or prefix.
    """
    if "{" in prefix:
        # Redis would take it for a hash tag.
        raise SettingsInvalid("bus.prefix: with { every topic would be on the same shard of the cluster")
    bus = RedisClusterBus(url, prefix, clock)
    async with running(bus._follow_topology(), "follower of the Redis Cluster"):
        with suppress(TimeoutError):
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await bus._opened.wait()
        yield bus


class RedisClusterBus:
    """A MessageBus of one link to each master; `open_redis_cluster_bus` makes it."""

    reaches_others = True

    def __init__(self, url: str, prefix: str, clock: Callable[[], float]) -> None:
        nodes = [connection_options(node_url) for node_url in _node_urls(url)]
        self._seeds = [Address(options["host"], options["port"]) for options in nodes]
        self._options: Mapping[str, Any] = nodes[0]
        if self._options.get("db"):
            raise SettingsInvalid("bus.url: a Redis Cluster has no numbered databases")
        self._prefix = prefix
        self._clock = clock
        self._opened_at = clock()
        # Set when a master could be asked for the first time, or in vain.
        self._opened = asyncio.Event()
        # Set while what is known of the cluster may be wrong.
        self._stale = asyncio.Event()
        self._stale.set()
        self._masters: dict[int, Address] = {}
        self._links: dict[Address, Link] = {}

    @property
    def silence_s(self) -> float:
        """Seconds since the most silent of all masters let a beat of this process come back; opening counts as one.

        All of them, whether or not somebody here listens there: what is published goes to any.
        """
        if not self._links:
            return self._clock() - self._opened_at
        return max(link.silence_s for link in self._links.values())

    async def publish(self, topic: str, payload: bytes) -> None:
        """Offer `payload` to every subscription to `topic` in every process.

        Raises what Link.publish raises, and BusUnavailable when the topic's slot has gone elsewhere, or nowhere.
        """
        channel = self._channel(topic)
        await self._link(channel).publish(channel, payload)

    @asynccontextmanager
    async def subscribe(self, topic: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Receive what is published to `topic` while the context lasts.

        Raises what Link.subscribe raises; a topic whose slot goes elsewhere is lost.
        """
        channel = self._channel(topic)
        async with self._link(channel).subscribe(channel) as payloads:
            yield payloads

    def _channel(self, topic: str) -> bytes:
        return (self._prefix + topic).encode()

    def _link(self, channel: bytes) -> Link:
        """The link to the master of `channel`; raises BusUnavailable when none is known."""
        master = self._masters.get(key_slot(channel))
        if master is None:
            self._stale.set()
            raise BusUnavailable("no master of the topic's slot is known")
        return self._links[master]

    # Following the cluster

    async def _follow_topology(self) -> None:
        """Own the links; read anew who has which slots whenever that is in doubt."""
        stacks: dict[Link, AsyncExitStack] = {}
        attempts = 0
        try:
            while True:
                await self._stale.wait()
                self._stale.clear()
                attempts += 1
                try:
                    await self._adopt(await self._read_topology(), stacks)
                except (RedisError, OSError) as error:
                    self._stale.set()
                    if attempts == 1:
                        logger.warning("No node of the Redis Cluster tells its masters: %s", describe(error))
                except Exception:
                    # An edge: an answer that makes no sense must not be the last that is asked for.
                    self._stale.set()
                    logger.exception("The masters of the Redis Cluster could not be read")
                else:
                    attempts = 0
                self._opened.set()
                await asyncio.sleep(back_off_s(attempts))
        finally:
            for stack in stacks.values():
                await stack.aclose()

    async def _read_topology(self) -> dict[int, Address]:
        """Return the master of each slot that has one. Raises the last node's error if no node answers."""
        # Any node may answer, so not all processes ask the same one.
        known = random.sample(list(self._links), len(self._links))
        outcome: Exception = OSError("no slot has a master")
        for node in dict.fromkeys([*known, *self._seeds]):
            try:
                if masters := await self._request_slots(node):
                    return masters
            except (RedisError, OSError) as error:
                outcome = error
        raise outcome

    async def _request_slots(self, node: Address) -> dict[int, Address]:
        connection = make_connection({**self._options, **node._asdict()})
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await connection.connect()  # type: ignore[no-untyped-call]
                await connection.send_command("CLUSTER SLOTS")
                ranges = await connection.read_response()
        finally:
            await connection.disconnect(nowait=True)
        masters = {}
        for first, last, (host, port, *_), *_replicas in ranges:
            # A node that does not know under which name it is reached leaves its host out.
            master = Address(host.decode() if host else node.host, port)
            masters.update(dict.fromkeys(range(first, last + 1), master))
        return masters

    async def _adopt(self, masters: dict[int, Address], stacks: dict[Link, AsyncExitStack]) -> None:
        """Have a link to each of `owners`, with a beat through a slot of its own."""
        slots: dict[Address, set[int]] = {}
        for slot, master in masters.items():
            slots.setdefault(master, set()).add(slot)
        links = {}
        for address, owned in slots.items():
            link = self._links.get(address)
            if link is None or key_slot(link.beat_channel) not in owned:
                stack = AsyncExitStack()
                link = await stack.enter_async_context(self._open_link(address, owned))
                stacks[link] = stack
            links[address] = link
        self._masters, self._links = masters, links
        for gone in stacks.keys() - links.values():
            await stacks.pop(gone).aclose()

    def _open_link(self, address: Address, slots: set[int]) -> AbstractAsyncContextManager[Link]:
        while key_slot(beat_channel := self._channel(f"beat:{uuid.uuid4().hex}")) not in slots:
            pass
        options = {**self._options, **address._asdict()}
        return open_link(options, SHARDED, beat_channel, self._clock, self._stale.set)


def _node_urls(url: str) -> list[str]:
    """The URL of each node that a cluster's URL names."""
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    scheme = parts.scheme.removesuffix("+cluster")
    return [urlunsplit(parts._replace(scheme=scheme, netloc=user + at + host)) for host in hosts.split(",")]

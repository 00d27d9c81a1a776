"""A bus over the sharded pub/sub of a Redis Cluster, Redis 7 or later: a link to each master.

A topic belongs to a slot and a slot to a master, to which both publishers and subscribers connect. The bus reads which
master has which slots when it opens, and again whenever a link has failed: Redis has ended a subscription, has
answered MOVED, or the connection was lost. The subscriptions on that link have ended by then, so no room relies on a
slot that has moved.
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
    """The address of a node of the cluster."""

    host: str
    port: int


@asynccontextmanager
async def open_redis_cluster_bus(
    url: str, prefix: str, *, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator["RedisClusterBus"]:
    """Open a bus over the cluster at `url`, and close it with all subscriptions when the context ends.

    `url` is `redis+cluster://[[user]:password@]host:port[,host:port…]`, or `rediss+cluster://…` for TLS. It names one
    or more nodes, which know the others. Every topic begins with `prefix`. The cluster needn't be up: opening takes at
    most a second, and the bus connects as soon as it can. `clock` returns the seconds by which `silence_s` is measured.
    Raises SettingsInvalid for an invalid URL or prefix.
    """
    if "{" in prefix:
        # Redis would read it as the beginning of a hash tag.
        raise SettingsInvalid("bus.prefix: must not contain {, or every topic would be on the same shard")
    bus = RedisClusterBus(url, prefix, clock)
    async with running(bus._follow_topology(), "follower of the Redis Cluster"):
        with suppress(TimeoutError):
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await bus._opened.wait()
        yield bus


class RedisClusterBus:
    """A MessageBus with one link to each master. Made by `open_redis_cluster_bus`."""

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
        # Set after the first attempt to reach a node, whether or not it succeeded.
        self._opened = asyncio.Event()
        # Set while the known topology may be out of date.
        self._stale = asyncio.Event()
        self._stale.set()
        self._masters: dict[int, Address] = {}
        self._links: dict[Address, Link] = {}

    @property
    def silence_s(self) -> float:
        """Seconds since the most silent master last returned a heartbeat of this process, or since the start.

        This includes masters without subscriptions of this process, because it may publish to any of them.
        """
        if not self._links:
            return self._clock() - self._opened_at
        return max(link.silence_s for link in self._links.values())

    async def publish(self, topic: str, payload: bytes) -> None:
        """Deliver `payload` to every subscription to `topic` in every process.

        Raises like Link.publish, and BusUnavailable if the topic's slot has moved or has no master.
        """
        channel = self._channel(topic)
        await self._link(channel).publish(channel, payload)

    @asynccontextmanager
    async def subscribe(self, topic: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Yield the payloads that are published to `topic` until the context ends.

        Raises like Link.subscribe. If the topic's slot moves, iterating raises SubscriptionLost.
        """
        channel = self._channel(topic)
        async with self._link(channel).subscribe(channel) as payloads:
            yield payloads

    def _channel(self, topic: str) -> bytes:
        return (self._prefix + topic).encode()

    def _link(self, channel: bytes) -> Link:
        """Return the link to the master of `channel`. Raises BusUnavailable if none is known."""
        master = self._masters.get(key_slot(channel))
        if master is None:
            self._stale.set()
            raise BusUnavailable("the topic's slot has no known master")
        return self._links[master]

    # Following the cluster

    async def _follow_topology(self) -> None:
        """Open and close the links, and read the topology again whenever it may be out of date."""
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
                        logger.warning("no node of the Redis Cluster can be reached: %s", describe(error))
                except Exception:
                    # This is an edge: if an answer makes no sense, ask the nodes again.
                    self._stale.set()
                    logger.exception("reading the topology of the Redis Cluster failed")
                else:
                    attempts = 0
                self._opened.set()
                await asyncio.sleep(back_off_s(attempts))
        finally:
            for stack in stacks.values():
                await stack.aclose()

    async def _read_topology(self) -> dict[int, Address]:
        """Return the master of each slot that has one. Raises the last node's error if no node answers."""
        # Ask in random order, so that not all processes ask the same node.
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
            # A node that doesn't know its own address leaves the host empty.
            master = Address(host.decode() if host else node.host, port)
            masters.update(dict.fromkeys(range(first, last + 1), master))
        return masters

    async def _adopt(self, masters: dict[int, Address], stacks: dict[Link, AsyncExitStack]) -> None:
        """Keep one link to each of `masters`, with a heartbeat through one of its slots."""
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
    """Return a URL for each node in the URL of a cluster."""
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    scheme = parts.scheme.removesuffix("+cluster")
    return [urlunsplit(parts._replace(scheme=scheme, netloc=user + at + host)) for host in hosts.split(",")]

"""Carries messages between the processes of one deployment: `MessageBus` and its implementations."""

from contextlib import AbstractAsyncContextManager, nullcontext

from educa_chat.bus.memory import MemoryBus
from educa_chat.bus.protocol import MessageBus
from educa_chat.errors import SettingsInvalid


def open_bus(url: str, prefix: str) -> AbstractAsyncContextManager[MessageBus]:
    """Open the bus at `url`, and close it when the context ends.

    `url` is `memory:`, `redis://…` for one Redis, or `redis+cluster://…` for a Redis Cluster; `rediss` instead of
    `redis` uses TLS. Every topic on the broker begins with `prefix`. The broker needn't be up: the bus connects as soon
    as it can. Raises SettingsInvalid for any other URL.
    """
    if url == "memory:":
        return nullcontext(MemoryBus())
    # Import the Redis client only if it is needed: it is a fifth of what a process loads.
    if url.startswith(("redis://", "rediss://")):
        from educa_chat.bus.redis import open_redis_bus

        return open_redis_bus(url, prefix)
    if url.startswith(("redis+cluster://", "rediss+cluster://")):
        from educa_chat.bus.redis_cluster import open_redis_cluster_bus

        return open_redis_cluster_bus(url, prefix)
    # Don't show the whole URL: it may contain a password.
    scheme = url.partition(":")[0]
    raise SettingsInvalid(f"bus.url: memory:, redis[s]://… or redis[s]+cluster://… is expected, not {scheme!r}")

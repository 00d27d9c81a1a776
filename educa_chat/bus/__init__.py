"""How the processes of one deployment reach each other: `MessageBus` and its implementations."""

from contextlib import AbstractAsyncContextManager, nullcontext

from educa_chat.bus.memory import MemoryBus
from educa_chat.bus.protocol import MessageBus
from educa_chat.errors import SettingsInvalid


def open_bus(url: str, prefix: str) -> AbstractAsyncContextManager[MessageBus]:
    """Own the bus that `url` names while the context lasts.

    `url` is `memory:`, `redis://…` for one Redis, `redis+cluster://…` for a Redis Cluster, or one of the last two
    with `rediss` for TLS. `prefix` stands before every topic on a broker, which need not be up: until it is, the bus
    is silent. Raises SettingsInvalid for any other URL.
    """
    if url == "memory:":
        return nullcontext(MemoryBus())
    # A Redis client is a fifth of what a process loads, and the memory bus needs none.
    if url.startswith(("redis://", "rediss://")):
        from educa_chat.bus.redis import open_redis_bus

        return open_redis_bus(url, prefix)
    if url.startswith(("redis+cluster://", "rediss+cluster://")):
        from educa_chat.bus.redis_cluster import open_redis_cluster_bus

        return open_redis_cluster_bus(url, prefix)
    # Not the whole URL, which may hold a password.
    scheme = url.partition(":")[0]
    raise SettingsInvalid(f"bus.url: memory:, redis[s]://… or redis[s]+cluster://… is expected, not {scheme!r}")

"""What this process tells of itself, for Prometheus. Counts and times, never what anybody said."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


class Metrics:
    """The metrics of one application, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._commands = Counter(
            "educa_chat_commands", "Commands by their outcome.", ["outcome"], registry=self._registry
        )

    def watch(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """Tell what `value` returns at each time of asking, as the gauge educa_chat_`name`."""
        Gauge(f"educa_chat_{name}", meaning, registry=self._registry).set_function(value)

    def count_command(self, outcome: str) -> None:
        """Count a command: `accepted`, or the code of the error that it was refused with."""
        self._commands.labels(outcome).inc()

    def expose(self) -> bytes:
        """All of it in Prometheus' text format, to be sent as CONTENT_TYPE."""
        return generate_latest(self._registry)

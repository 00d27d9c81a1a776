"""The metrics of this process for Prometheus: counts and times, never message texts.

This is the only module that names the metrics. `docs/watching.md` explains them.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from typing import Literal, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from educa_chat.frames import FailureCode
from educa_chat.protocol import CloseCode, ErrorCode

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
EVENT_LOOP_INTERVAL_S = 0.25

# The creation time of each series isn't used, and would double the size of a scrape.
disable_created_metrics()  # type: ignore[no-untyped-call]

CommitFailure = Literal["retried", "given_up", "locked", "halved", "refused"]
CatchUpReason = Literal["subscribed", "gap", "head", "sweep", "resume", "retry"]
ReadPurpose = Literal["catch_up", "replay"]
ResumeOutcome = Literal["level", "ring", "log", "reset"]
ResetReason = Literal["epoch", "ahead", "too_far", "at", "timeout"]
EvictionReason = Literal["empty", "epoch", "rewound", "failed"]
BusState = Literal["ok", "doubted", "lost"]
PayloadFault = Literal["version", "forged", "stale", "malformed"]

LEFT, LOST = 1000, 1006
_PEER_CODES = (LOST, *FailureCode)
"""Codes of sockets that we didn't close (RFC 6455 §7.4.1). Other codes are the client's own and count as LEFT."""


class Metrics:
    """The metrics of one application, in a registry of their own."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)

        self._closes = self._counters(
            "closes",
            "Sockets that closed, by the code that we gave; 1000: the client left, 1006: the connection was lost.",
            "code",
            map(str, sorted({LEFT, *_PEER_CODES, *CloseCode})),
        )
        self._resumes = self._counters(
            "resumes",
            "Sockets that came back with `after`, by how they were served: they had missed nothing (level), from "
            "memory (ring), from the database (log), or not (reset).",
            "outcome",
            get_args(ResumeOutcome),
        )
        self._resets = self._counters(
            "resets",
            "Why a resume was a reset: another history (epoch, at), beyond the head (ahead), more than limits.replay "
            "(too_far), or not served in time (timeout).",
            "reason",
            get_args(ResetReason),
        )
        self._evictions = self._counters(
            "evictions",
            "Rooms that were closed: nobody was in them (empty), the database has another history (epoch, rewound), or "
            "something went wrong in the room (failed).",
            "reason",
            get_args(EvictionReason),
        )
        self._commands = self._counters(
            "commands",
            "Commands by their outcome: accepted, or the code of the error.",
            "outcome",
            ("accepted", *ErrorCode),
        )
        self._batch_size = self._histogram(
            "commit_batch_size", "How many commands one commit stored.", (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
        )
        self._commit_seconds = self._histogram(
            "commit_seconds",
            "How long a commit took: the whole round trip to the database, its fsync included.",
            (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
        )
        self._commit_failures = self._counters(
            "commit_failures",
            "Commits that failed, by what came of it: the same batch went again (retried), was answered with "
            "`unavailable` (given_up), went without the rooms that somebody else has locked, was halved, or its only "
            "command was refused.",
            "outcome",
            get_args(CommitFailure),
        )
        self._deliveries = self._counter("deliveries", "Live events written to sockets: each event once a socket.")
        self._delivery_lag = self._histogram(
            "delivery_lag_seconds",
            "From the time that the database gave an event, just before its commit, to its write to the sockets here, "
            "whichever way it came. Of the newest event of each write; exact to the difference of the two clocks.",
            (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
        )
        self._catch_ups = self._counters(
            "catch_ups",
            "Times that a room read the log to catch up, by why: it had subscribed, an event was missing (gap), the "
            "bus told only how far the log reaches (head), the sweep found it behind, a client was ahead of it "
            "(resume), or the read before had failed (retry).",
            "reason",
            get_args(CatchUpReason),
        )
        self._log_reads = self._counters(
            "log_reads", "Reads of the log, by what for.", "purpose", get_args(ReadPurpose)
        )
        self._publishes = self._counters(
            "publishes", "Payloads published on the bus, by outcome.", "outcome", ("carried", "failed")
        )
        self._dropped_payloads = self._counters(
            "bus_payloads_dropped",
            "Payloads from the bus that were ignored: of another version of the program (version), signed with none of "
            "our keys (forged), signals from too long ago or from the future (stale), or not well-formed (malformed).",
            "reason",
            get_args(PayloadFault),
        )
        self._event_loop_lag = self._histogram(
            "event_loop_lag_seconds",
            f"How late the event loop wakes who asked to be woken, tried every {EVENT_LOOP_INTERVAL_S} s.",
            (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
        )

    def watch(
        self,
        *,
        sockets: Callable[[], int],
        rooms: Callable[[], int],
        is_draining: Callable[[], bool],
        waiting_entries: Callable[[], int],
        bus_state: Callable[[], BusState],
        bus_silence_s: Callable[[], float],
        sweep_age_s: Callable[[], float],
        busy_connections: Callable[[], int],
        idle_connections: Callable[[], int],
    ) -> None:
        """Report the values that these functions return at each scrape."""
        self._gauge("sockets", "Open sockets.", sockets)
        self._gauge("rooms", "Open rooms.", rooms)
        self._gauge("draining", "1 while this process sends its people away and takes nobody new.", is_draining)
        self._gauge("commit_waiting", "Commands that wait for the next commit.", waiting_entries)
        states = self._labelled_gauge("bus_state", "1 for the state that the bus is in, 0 for the others.", "state")
        for state in get_args(BusState):
            states.labels(state).set_function(partial(_is_state, bus_state, state))
        self._gauge("bus_silence_seconds", "How long ago the bus last proved that it carries.", bus_silence_s)
        self._gauge("bus_lost", "1 while the bus is reported lost.", lambda: bus_state() == "lost")
        self._gauge("sweep_age_seconds", "How long ago all rooms were last compared with the log.", sweep_age_s)
        connections = self._labelled_gauge("database_connections", "Connections in the pool, by state.", "state")
        connections.labels("busy").set_function(busy_connections)
        connections.labels("idle").set_function(idle_connections)

    def count_close(self, code: CloseCode) -> None:
        """Count a socket that this process closes."""
        self._closes[str(code)].inc()

    def count_departure(self, code: int | None) -> None:
        """Count a socket that closed in another way, with any code that the client sent."""
        self._closes[str(code if code in _PEER_CODES else LEFT)].inc()

    def count_resume(self, outcome: ResumeOutcome) -> None:
        self._resumes[outcome].inc()

    def count_reset(self, reason: ResetReason) -> None:
        """Count the reason for a reset. `count_resume` counts it too."""
        self._resets[reason].inc()

    def count_evictions(self, reason: EvictionReason, rooms: int) -> None:
        self._evictions[reason].inc(rooms)

    def count_command(self, outcome: str) -> None:
        """Count a command: `accepted`, or the code of the error that it was refused with."""
        self._commands[outcome].inc()

    def count_commit(self, entries: int, seconds: float) -> None:
        self._batch_size.observe(entries)
        self._commit_seconds.observe(seconds)

    def count_commit_failure(self, outcome: CommitFailure) -> None:
        self._commit_failures[outcome].inc()

    def count_deliveries(self, count: int, at: str) -> None:
        """Count the events of one write. `at` is the `datetime` of the newest one."""
        self._deliveries.inc(count)
        self._delivery_lag.observe(max(0.0, self._now() - datetime.fromisoformat(at).timestamp()))

    def count_catch_up(self, reason: CatchUpReason) -> None:
        self._catch_ups[reason].inc()

    def count_log_read(self, purpose: ReadPurpose) -> None:
        self._log_reads[purpose].inc()

    def count_publishes(self, *, carried: int, failed: int) -> None:
        self._publishes["carried"].inc(carried)
        self._publishes["failed"].inc(failed)

    def count_dropped_payload(self, reason: PayloadFault) -> None:
        self._dropped_payloads[reason].inc()

    async def measure_event_loop(self) -> None:
        """Measure repeatedly how late the event loop runs a timer, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + EVENT_LOOP_INTERVAL_S
            await asyncio.sleep(EVENT_LOOP_INTERVAL_S)
            self._event_loop_lag.observe(max(0.0, loop.time() - due))

    def expose(self) -> bytes:
        """Return all metrics in the text format of Prometheus. Its type is CONTENT_TYPE."""
        return generate_latest(self._registry)

    # Create every series at 0, because a rate needs an earlier value.

    def _counter(self, name: str, meaning: str) -> Counter:
        return Counter(f"educa_chat_{name}", meaning, registry=self._registry)

    def _counters(self, name: str, meaning: str, label: str, values: Iterable[str]) -> dict[str, Counter]:
        counter = Counter(f"educa_chat_{name}", meaning, [label], registry=self._registry)
        return {value: counter.labels(value) for value in values}

    def _histogram(self, name: str, meaning: str, buckets: Iterable[float]) -> Histogram:
        return Histogram(f"educa_chat_{name}", meaning, buckets=tuple(buckets), registry=self._registry)

    def _labelled_gauge(self, name: str, meaning: str, label: str) -> Gauge:
        return Gauge(f"educa_chat_{name}", meaning, [label], registry=self._registry)

    def _gauge(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        Gauge(f"educa_chat_{name}", meaning, registry=self._registry).set_function(value)


def _is_state(present: Callable[[], str], state: str) -> bool:
    return present() == state

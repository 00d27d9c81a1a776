"""The cost of a message in a server that stores it in Postgres: processor time, and bytes in tables and WAL."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import psycopg

from benchmarks.load import Load, Run
from benchmarks.machine import processor_s
from benchmarks.measures import Shape
from benchmarks.report import milliseconds, rate

TEXT_BYTES = 82
LOADS = (Shape(1, 500, 1), Shape(1, 500, 10), Shape(50, 20, 200), Shape(50, 1, 200))
OUR_TABLES = ("educa_chat.event", "educa_chat.message")


class Measured(NamedTuple):
    """A run and its cost, including the warm-up and everything that arrived after the run."""

    run: Run
    server_s: float
    """Processor time of the server and its descendants."""
    postgres_s: float
    wal_bytes: int
    table_bytes: int
    """The growth of the message tables, with their indexes."""

    @property
    def server_s_per_message(self) -> float:
        return self.server_s / self.run.all_messages

    @property
    def postgres_s_per_message(self) -> float:
        return self.postgres_s / self.run.all_messages

    @property
    def s_per_message(self) -> float:
        return self.server_s_per_message + self.postgres_s_per_message


@dataclass(frozen=True)
class Meter:
    """Measures the resources that a server and its Postgres spend on messages."""

    server: int
    postmaster: int
    """Process ids."""
    database_url: str
    tables: Sequence[str]
    """The tables in which messages are stored."""

    def measure(
        self, load: Load, in_flight: int, seconds: float, done: Literal["events", "acks"] = "events"
    ) -> Measured:
        # Query Postgres outside the measured time, because the query itself costs Postgres time.
        wal, tables = self._written()
        server, postgres = processor_s(self.server), processor_s(self.postmaster)
        run = load.closed(in_flight, seconds, done)
        server, postgres = processor_s(self.server) - server, processor_s(self.postmaster) - postgres
        wal_after, tables_after = self._written()
        return Measured(run, server, postgres, wal_after - wal, tables_after - tables)

    def _written(self) -> tuple[int, int]:
        """Return the number of bytes that Postgres has written to its WAL, and of bytes in the tables."""
        with psycopg.connect(self.database_url) as connection:
            row = connection.execute(
                "select (pg_current_wal_insert_lsn() - '0/0')::bigint,"
                " coalesce((select sum(pg_total_relation_size(name::regclass)) from unnest(%s::text[]) name), 0)::int8",
                [list(self.tables)],
            ).fetchone()
        assert row is not None
        return row[0], row[1]


FIGURES: Mapping[str, tuple[Callable[[Measured], float], Callable[[float], str]]] = {
    "messages/s": (lambda one: one.run.messages_per_s, rate),
    "deliveries/s": (lambda one: one.run.deliveries_per_s, rate),
    "p50, ms": (lambda one: one.run.p50_s, milliseconds),
    "p99, ms": (lambda one: one.run.p99_s, milliseconds),
    "server, µs a message": (lambda one: one.server_s_per_message * 1e6, rate),
    "Postgres, µs a message": (lambda one: one.postgres_s_per_message * 1e6, rate),
    "both, µs a message": (lambda one: one.s_per_message * 1e6, rate),
    "bytes a frame": (lambda one: one.run.bytes / max(1, one.run.deliveries), rate),
    "WAL, bytes a message": (lambda one: one.wal_bytes / one.run.all_messages, rate),
    "tables, bytes a message": (lambda one: one.table_bytes / one.run.all_messages, rate),
}

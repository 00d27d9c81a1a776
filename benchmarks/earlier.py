"""Compares this version with an earlier one: the same loads in turn, each version with a Postgres of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec
import psycopg

from benchmarks.deployment import SMALL_COURSES, Deployment, clients
from benchmarks.load import Run, open_load
from benchmarks.machine import processor_s, resident_kib
from benchmarks.measures import FIRST_SOCKETS, SETTLE_S, Effort, Section, Shape
from benchmarks.report import kib, milliseconds, rate, ratio, spread, table

EARLIER = "EARLIER"
"""The environment variable that names the checkout of the earlier version."""
TEXT_BYTES = 82
IDLE_SOCKETS = 5_000
SHAPES = (Shape(1, 500, 1), Shape(1, 500, 10), Shape(50, 20, 200), Shape(50, 1, 200))
ROOT = Path(__file__).parent.parent


class Hosted(msgspec.Struct, frozen=True):
    """A version that is being served by `host.py`."""

    port: int
    node: int
    postmaster: int
    database_url: str
    cookies: list[str]


class Measured(NamedTuple):
    run: Run
    node_s: float
    """Processor time of the node and its workers."""
    postgres_s: float
    wal_bytes: int
    table_bytes: int
    """What the tables of events and messages grew by, with their indexes."""


FIGURES: Mapping[str, tuple[Callable[[Measured], float], Callable[[float], str]]] = {
    "messages/s": (lambda one: one.run.messages_per_s, rate),
    "p50, ms": (lambda one: one.run.p50_s, milliseconds),
    "p99, ms": (lambda one: one.run.p99_s, milliseconds),
    "node, µs a message": (lambda one: one.node_s * 1e6 / one.run.messages, rate),
    "Postgres, µs a message": (lambda one: one.postgres_s * 1e6 / one.run.messages, rate),
    "both, µs a message": (lambda one: (one.node_s + one.postgres_s) * 1e6 / one.run.messages, rate),
    "bytes a frame": (lambda one: one.run.bytes / one.run.deliveries, rate),
    "WAL, bytes a message": (lambda one: one.wal_bytes / one.run.messages, rate),
    "tables, bytes a message": (lambda one: one.table_bytes / one.run.messages, rate),
}


async def compare_with_earlier(deployment: Deployment, effort: Effort) -> Section:
    """Messages per second, latency, and the processor time of the node and of Postgres for each message."""
    earlier = os.environ.get(EARLIER)
    if not earlier:
        return Section(f"Not measured: set `{EARLIER}` to a checkout of an earlier version.")
    with _serve(Path(earlier)) as before, _serve(ROOT) as after:
        rows = _loads(before, after, effort)
    with _serve(Path(earlier)) as before, _serve(ROOT) as after:
        rows += _idle_sockets(before, after, effort)
    return Section(table(["load", "figure", "earlier", "now", "now to earlier"], rows))


def _loads(before: Hosted, after: Hosted, effort: Effort) -> list[list[str]]:
    rows = []
    for shape in SHAPES:
        pairs = list(_in_turn((before, after), shape, effort))
        for name, (of, describe) in FIGURES.items():
            old, new = ([of(pair[number]) for pair in pairs] for number in range(2))
            ratios = [after_ / before_ for before_, after_ in zip(old, new, strict=True)]
            rows.append([str(shape), name, spread(old, describe), spread(new, describe), ratio(median(ratios))])
    return rows


def _idle_sockets(before: Hosted, after: Hosted, effort: Effort) -> list[list[str]]:
    """The resident memory of each node, which has served nobody before."""
    most = min(effort.most_sockets, IDLE_SOCKETS)
    first, further = [], []
    for version in (before, after):
        with open_load([]) as load:
            load.open(version.port, clients(version.cookies, SMALL_COURSES, FIRST_SOCKETS // SMALL_COURSES))
            time.sleep(SETTLE_S)
            first.append(resident_kib(version.node))
            load.open(version.port, clients(version.cookies, SMALL_COURSES, (most - FIRST_SOCKETS) // SMALL_COURSES))
            time.sleep(SETTLE_S)
            further.append((resident_kib(version.node) - first[-1]) / (most - FIRST_SOCKETS))
    return [
        [load_name, figure, *map(describe, of), ratio(of[1] / of[0])]
        for load_name, figure, describe, of in (
            (f"{FIRST_SOCKETS} idle sockets", "resident memory, MiB", lambda one: f"{one / 1024:.1f}", first),
            (f"{most:,} idle sockets", "each further one, KiB", kib, further),
        )
    ]


def _in_turn(versions: Sequence[Hosted], shape: Shape, effort: Effort) -> Iterator[list[Measured]]:
    alone = shape.sockets == 1
    with ExitStack() as stack:
        loads = []
        for version in versions:
            load = stack.enter_context(open_load([version.node], text_bytes=TEXT_BYTES))
            load.open(version.port, clients(version.cookies, shape.rooms, shape.sockets))
            loads.append(load)
        for _ in range(effort.runs):
            measured = []
            for version, load in zip(versions, loads, strict=True):
                node, postgres = processor_s(version.node), processor_s(version.postmaster)
                wal, tables = _written(version)
                run = load.closed(shape.in_flight, effort.seconds, "acks" if alone else "events").check()
                node, postgres = processor_s(version.node) - node, processor_s(version.postmaster) - postgres
                wal_after, tables_after = _written(version)
                measured.append(Measured(run, node, postgres, wal_after - wal, tables_after - tables))
            yield measured


def _written(version: Hosted) -> tuple[int, int]:
    """How many bytes Postgres has written to its WAL, and holds in the tables of events and messages."""
    with psycopg.connect(version.database_url) as connection:
        row = connection.execute(
            "select (pg_current_wal_insert_lsn() - '0/0')::bigint,"
            " pg_total_relation_size('educa_chat.event') + pg_total_relation_size('educa_chat.message')"
        ).fetchone()
    assert row is not None
    return row[0], row[1]


@contextmanager
def _serve(checkout: Path) -> Iterator[Hosted]:
    command = [sys.executable, "-P", str(Path(__file__).with_name("host.py"))]
    environment = dict(os.environ) | {"PYTHONPATH": str(checkout)}
    with subprocess.Popen(
        command, cwd=checkout, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            yield msgspec.json.decode(process.stdout.readline(), type=Hosted)
        finally:
            process.stdin.close()

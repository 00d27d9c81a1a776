"""Compares this version with an earlier one: the same loads in turn, each version with its own Postgres."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import msgspec

from benchmarks.cost import FIGURES, LOADS, OUR_TABLES, TEXT_BYTES, Measured, Meter
from benchmarks.deployment import SMALL_COURSES, Deployment, clients
from benchmarks.load import open_load
from benchmarks.machine import resident_kib
from benchmarks.measures import FIRST_SOCKETS, SETTLE_S, Effort, Section, Shape
from benchmarks.report import kib, ratio, spread, table

EARLIER = "EARLIER"
"""The environment variable that names the checkout of the earlier version."""
IDLE_SOCKETS = 5_000
ROOT = Path(__file__).parent.parent


class Hosted(msgspec.Struct, frozen=True):
    """A version that is being served by `host.py`."""

    port: int
    node: int
    postmaster: int
    database_url: str
    cookies: list[str]


async def compare_with_earlier(deployment: Deployment, effort: Effort) -> Section:
    """Measure messages per second, latency, and the processor time of the node and of Postgres per message."""
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
    for shape in LOADS:
        pairs = list(_in_turn((before, after), shape, effort))
        for name, (of, describe) in FIGURES.items():
            old, new = ([of(pair[number]) for pair in pairs] for number in range(2))
            ratios = [after_ / before_ for before_, after_ in zip(old, new, strict=True)]
            rows.append([str(shape), name, spread(old, describe), spread(new, describe), ratio(median(ratios))])
    return rows


def _idle_sockets(before: Hosted, after: Hosted, effort: Effort) -> list[list[str]]:
    """Return the resident memory of each node, which has not had any clients before."""
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
            measured: list[Measured] = []
            for version, load in zip(versions, loads, strict=True):
                meter = Meter(version.node, version.postmaster, version.database_url, OUR_TABLES)
                one = meter.measure(load, shape.in_flight, effort.seconds, "acks" if alone else "events")
                one.run.check()
                measured.append(one)
            yield measured


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

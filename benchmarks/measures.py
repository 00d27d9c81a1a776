"""The measurements. Each function returns a section of Markdown and its plots."""

import asyncio
import os
import re
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import NamedTuple
from urllib.request import urlopen

from benchmarks import plots
from benchmarks.deployment import SMALL_COURSES, Deployment, Server, serve
from benchmarks.load import BASIC_FLAVOUR, FRAME_TEXT_BYTES, FULL_FLAVOUR, Client, Dialect, Load, Run, open_load
from benchmarks.machine import resident_kib
from benchmarks.report import kib, milliseconds, rate, ratio, share, spread, table
from benchmarks.servers import COMMANDS, FULL, JOINED, ON_DISK, OURS, PLAIN, TUTORIAL, serve_beside
from tests.redis_server import RedisServer

OUR_TEXT_BYTES = 30
"""With this name, our frames of the basic flavour have 147 bytes, like those of the peers."""
SETTLE_S = 1.0
FIRST_SOCKETS = 100
"""The sockets that are opened before the first look at memory, so that one-time allocations aren't counted."""


@dataclass(frozen=True)
class Effort:
    """The number of runs, their duration, and their size."""

    runs: int
    seconds: float
    paced_s: float
    """The duration of runs at a slow, steady rate."""
    most_sockets: int
    most_events: int


@dataclass(frozen=True)
class Section:
    """The text about a measurement, and its plots by name."""

    text: str
    plots: Mapping[str, str] = field(default_factory=dict)
    summary: str = ""
    """A table for the top of the document, if there is one."""


class Shape(NamedTuple):
    """The total number of messages in flight, in `rooms` rooms with `sockets` sockets each."""

    rooms: int
    sockets: int
    in_flight: int

    def __str__(self) -> str:
        return f"{self.rooms} × {self.sockets}, {self.in_flight} in flight"


FAN_OUT = (Shape(1, 500, 1), Shape(1, 500, 10), Shape(1, 500, 40), Shape(50, 20, 200))
DURABLE = (Shape(1, 1, 200), Shape(50, 1, 50), Shape(50, 1, 200), Shape(50, 1, 500))
TWO_NODES = (Shape(50, 1, 200), Shape(50, 1, 500))
LATENCY = Shape(1, 2000, 0)
LATENCY_RATE = 5.0
STORM_SOCKETS_A_ROOM = 40
STORM_S = 20.0


@contextmanager
def open_redis() -> Iterator[str]:
    """Run a separate Redis on the core of the load, and yield its URL."""
    redis = RedisServer()
    redis.start()
    try:
        yield redis.url
    finally:
        redis.stop()


@contextmanager
def open_all(deployment: Deployment, names: Sequence[str]) -> Iterator[dict[str, Server]]:
    """Run the servers with these names. Our two flavours share one server."""
    with ExitStack() as stack:
        redis_url = stack.enter_context(open_redis())
        node = stack.enter_context(serve(deployment))
        yield {
            name: node
            if name in (OURS, FULL)
            else stack.enter_context(serve_beside(name, deployment.folder, redis_url))
            for name in names
        }


def in_turn(
    deployment: Deployment, servers: Mapping[str, Server], shape: Shape, runs: int, measure: Callable[[Load], Run]
) -> dict[str, list[Run]]:
    """Measure one server after the other, `runs` times, so that disturbances of the machine affect all of them."""
    results: dict[str, list[Run]] = {name: [] for name in servers}
    with ExitStack() as stack:
        loads: dict[str, Load] = {}
        for name, server in servers.items():
            text_bytes = OUR_TEXT_BYTES if name in (OURS, FULL) else FRAME_TEXT_BYTES
            load = open_load(server.process_ids, dialect=flavour(name), text_bytes=text_bytes)
            loads[name] = stack.enter_context(load)
            # Our other flavour uses other rooms. Otherwise, each would receive both.
            loads[name].open(server.port, deployment.clients(shape.rooms, shape.sockets, int(name == FULL)))
        for _ in range(runs):
            for name, load_ in loads.items():
                try:
                    run = measure(load_)
                    results[name].append(run.check() if name in (OURS, FULL) else run)
                except Exception as error:
                    error.add_note(f"{name}, {shape}")
                    raise
    return results


def flavour(name: str) -> Dialect:
    return FULL_FLAVOUR if name == FULL else BASIC_FLAVOUR


def ratios(ours: Sequence[Run], theirs: Sequence[Run], of: Callable[[Run], float]) -> Iterator[float]:
    """Return the ratio of each run to the one next to it."""
    return (of(our) / of(their) for our, their in zip(ours, theirs, strict=True) if of(their))


def deliveries_per_s(run: Run) -> float:
    return run.deliveries_per_s


def deliveries_per_server_s(run: Run) -> float:
    return run.deliveries_per_server_s


async def fan_out(deployment: Deployment, effort: Effort) -> Section:
    """Measure deliveries per second of our server, the limit and the peers, in turn."""
    results: dict[Shape, dict[str, list[Run]]] = {}
    with open_all(deployment, [OURS, FULL, *COMMANDS]) as servers:
        for shape in FAN_OUT:
            measure = partial(Load.closed, in_flight=shape.in_flight, seconds=effort.seconds)
            results[shape] = in_turn(deployment, servers, shape, effort.runs, measure)
    shapes = [str(shape) for shape in FAN_OUT]

    def by_server(describe: Callable[[str, dict[str, list[Run]]], str]) -> list[list[str]]:
        return [[name, *(describe(name, results[shape]) for shape in FAN_OUT)] for name in servers]

    def beside(other: str, of: Callable[[Run], float]) -> list[list[str]]:
        return by_server(lambda name, runs: spread(ratios(runs[name], runs[other], of), ratio))

    details = [
        [
            str(shape),
            name,
            spread((run.p50_s for run in runs), milliseconds),
            spread((run.p99_s for run in runs), milliseconds),
            share(median(run.server_s / run.seconds for run in runs)),
            share(median(run.generator_s / run.seconds for run in runs)),
            spread((run.deliveries / run.generator_s for run in runs), rate),
            f"{median(run.bytes / max(1, run.deliveries) for run in runs):.0f}",
            share(median(run.lost_share for run in runs)),
        ]
        for shape, by_name in results.items()
        for name, runs in by_name.items()
    ]
    text = "\n\n".join(
        [
            "Deliveries per second:",
            table(
                ["server", *shapes],
                by_server(lambda name, runs: spread(map(deliveries_per_s, runs[name]), rate)),
            ),
            f"The same as a fraction of the limit ({JOINED}), run by run:",
            table(["server", *shapes], beside(JOINED, deliveries_per_s)),
            f"The same as a fraction of the durable limit ({ON_DISK}):",
            table(["server", *shapes], beside(ON_DISK, deliveries_per_s)),
            f"The same as a fraction of {PLAIN}:",
            table(["server", *shapes], beside(PLAIN, deliveries_per_s)),
            f"As a multiple of {TUTORIAL}:",
            table(["server", *shapes], beside(TUTORIAL, deliveries_per_s)),
            "Deliveries per second of the server's own processor time:",
            table(
                ["server", *shapes],
                by_server(lambda name, runs: spread(map(deliveries_per_server_s, runs[name]), rate)),
            ),
            "The same as a fraction of the limit's:",
            table(["server", *shapes], beside(JOINED, deliveries_per_server_s)),
            "Latency, effort and loss under these loads:",
            table(
                [
                    "load",
                    "server",
                    "p50, ms",
                    "p99, ms",
                    "server busy",
                    "generator busy",
                    "deliveries per second of the generator's own time",
                    "bytes a frame",
                    "lost",
                ],
                details,
            ),
        ]
    )
    bars = {
        str(shape): {name: median(map(deliveries_per_s, runs)) for name, runs in by_name.items()}
        for shape, by_name in results.items()
    }
    own = {
        str(shape): {name: median(map(deliveries_per_server_s, runs)) for name, runs in by_name.items()}
        for shape, by_name in results.items()
    }
    summary = table(
        ["compared with", *shapes],
        [
            [
                name,
                *(
                    spread(ratios(results[shape][FULL], results[shape][name], deliveries_per_s), ratio)
                    for shape in FAN_OUT
                ),
            ]
            for name in COMMANDS
        ],
    )
    return Section(
        text,
        summary=summary,
        plots={
            "fan-out": plots.bars("Deliveries per second (logarithmic)", bars),
            "fan-out-effort": plots.bars("Deliveries per second of the server's own time (logarithmic)", own),
        },
    )


async def latency(deployment: Deployment, effort: Effort) -> Section:
    """Measure the latency from the time a message is due to its last receiver, in a large room with a slow, steady
    rate.
    """
    names = [OURS, FULL, "aiohttp, `send_str`", "Node `ws`", "Bun (uWebSockets)", PLAIN, JOINED]
    with open_all(deployment, names) as servers:
        results = in_turn(
            deployment, servers, LATENCY, effort.runs, lambda load: load.paced(LATENCY_RATE, effort.paced_s)
        )
    limit = results[JOINED]
    rows = [
        [
            name,
            spread((run.p50_s for run in runs), milliseconds),
            spread((run.p99_s for run in runs), milliseconds),
            spread(ratios(runs, limit, lambda run: run.p50_s), ratio),
            spread(ratios(runs, limit, lambda run: run.p99_s), ratio),
        ]
        for name, runs in results.items()
    ]
    headings = ["server", "p50, ms", "p99, ms", "p50 to the limit's", "p99 to the limit's"]
    return Section(
        f"1 room of {LATENCY.sockets:,} sockets, {LATENCY_RATE:g} messages a second, to the last receiver:\n\n"
        + table(headings, rows)
    )


async def durable(deployment: Deployment, effort: Effort) -> Section:
    """Measure acks per second, with one sender per room and nobody else."""
    rows = []
    with serve(deployment) as node:
        for shape in DURABLE:
            measure = partial(Load.closed, in_flight=shape.in_flight, seconds=effort.seconds, done="acks")
            runs = in_turn(deployment, {FULL: node}, shape, effort.runs, measure)[FULL]
            rows.append([str(shape), *_flow(runs), share(median(run.server_s / run.seconds for run in runs))])
    return Section(table(["rooms × sockets", "acked messages/s", "p50, ms", "p99, ms", "node busy"], rows))


def _flow(runs: Sequence[Run]) -> list[str]:
    """Return messages per second, p50 and p99."""
    return [
        spread((run.messages_per_s for run in runs), rate),
        spread((run.p50_s for run in runs), milliseconds),
        spread((run.p99_s for run in runs), milliseconds),
    ]


async def two_nodes(deployment: Deployment, effort: Effort) -> Section:
    """Measure messages that are sent on one node and received on the other."""
    rows = []
    with (
        open_redis() as redis_url,
        serve(deployment, bus_url=redis_url, core=None) as sender,
        serve(deployment, bus_url=redis_url, core=None) as receiver,
    ):
        for shape in TWO_NODES:
            with open_load([*sender.process_ids, *receiver.process_ids], text_bytes=OUR_TEXT_BYTES) as load:
                clients = deployment.clients(shape.rooms, shape.sockets)
                load.open(sender.port, clients)
                load.open(receiver.port, (Client(client.course, client.cookie, speaks=False) for client in clients))
                await asyncio.sleep(SETTLE_S)
                runs = [load.closed(shape.in_flight, effort.seconds).check() for _ in range(effort.runs)]
            rows.append([f"{shape.rooms} rooms, {shape.in_flight} in flight", *_flow(runs)])
    return Section(table(["load", "messages/s said on one and heard on both", "p50, ms", "p99, ms"], rows))


async def memory(deployment: Deployment, effort: Effort) -> Section:
    """Measure the resident memory of an idle socket."""
    counts = [count for count in (1_000, 10_000) if count <= effort.most_sockets]
    rows = []
    for name in [FULL, OURS, *(name for name in COMMANDS if name != TUTORIAL)]:
        with open_all(deployment, [name]) as servers, open_load([], dialect=flavour(name)) as load:
            [server] = servers.values()
            [process_id] = server.process_ids
            load.open(server.port, deployment.clients(SMALL_COURSES, FIRST_SOCKETS // SMALL_COURSES))
            await asyncio.sleep(SETTLE_S)
            first, opened = resident_kib(process_id), FIRST_SOCKETS
            cells = [f"{first / 1024:.1f}"]
            for count in counts:
                load.open(server.port, deployment.clients(SMALL_COURSES, (count - opened) // SMALL_COURSES))
                opened = count
                await asyncio.sleep(SETTLE_S)
                cells.append(kib((resident_kib(process_id) - first) / (count - FIRST_SOCKETS)))
        rows.append([name, *cells])
    headings = [
        "server",
        f"with {FIRST_SOCKETS} sockets, MiB",
        *(f"each further one up to {count:,}, KiB" for count in counts),
    ]
    return Section(table(headings, rows))


async def storm(deployment: Deployment, effort: Effort) -> Section:
    """Measure a reconnect storm: a node dies, its clients reconnect to another at once, and its users are delayed."""
    rows = []
    for _ in range(effort.runs):
        with ExitStack() as stack:
            redis_url = stack.enter_context(open_redis())
            surviving = stack.enter_context(serve(deployment, bus_url=redis_url))
            dying = stack.enter_context(serve(deployment, bus_url=redis_url))
            lost, same_rooms, other_rooms = (
                stack.enter_context(open_load([], text_bytes=OUR_TEXT_BYTES)) for _ in range(3)
            )
            lost.open(dying.port, deployment.clients(SMALL_COURSES, STORM_SOCKETS_A_ROOM))
            same_rooms.open(surviving.port, deployment.clients(SMALL_COURSES, 1))
            other_rooms.open(surviving.port, deployment.clients(SMALL_COURSES, 2, school=1))
            before = _log_reads(surviving)
            same_rooms.start_paced(100.0, effort.paced_s)
            other_rooms.start_paced(100.0, effort.paced_s)
            await asyncio.sleep(SETTLE_S)
            lost.start_storm(surviving.port, STORM_S)
            _kill(dying)
            storm = lost.finish_storm()
            assert storm.resets or not storm.holes, storm
            same, other = same_rooms.finish_paced().check(), other_rooms.finish_paced().check()
            rows.append((storm, same, other, _log_reads(surviving) - before))
    text = table(
        [
            "live again",
            "half, s",
            "99 %, s",
            "all, s",
            "connections that were refused",
            "resets",
            "reads of the log",
            "p99 of who was in their rooms, ms",
            "p99 in other rooms, ms",
        ],
        [
            [
                str(storm.live),
                f"{storm.p50_s:.2f}",
                f"{storm.p99_s:.2f}",
                f"{storm.max_s:.2f}",
                str(storm.retries),
                str(storm.resets),
                f"{reads:.0f}",
                milliseconds(same.p99_s),
                milliseconds(other.p99_s),
            ]
            for storm, same, other, reads in rows
        ],
    )
    sockets = SMALL_COURSES * STORM_SOCKETS_A_ROOM
    return Section(
        f"{sockets:,} sockets in {SMALL_COURSES} rooms lose their node while 100 messages a second are sent in"
        f" these rooms, and 100 in other rooms. Each line is one storm:\n\n{text}"
    )


def _kill(server: Server) -> None:
    for process_id in server.process_ids:
        os.kill(process_id, signal.SIGKILL)


def _log_reads(server: Server) -> float:
    """Return how often the node has read the log for reconnecting clients, or to catch up."""
    with urlopen(f"http://127.0.0.1:{server.port}/metrics") as answer:
        return sum(map(float, re.findall(r"(?m)^educa_chat_log_reads_total\{.*?\} (\S+)$", answer.read().decode())))

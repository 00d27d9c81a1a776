"""What is measured. Each function returns a section of Markdown; a new measure is one more of them in `MEASURES`."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import count, cycle
from statistics import median
from typing import NamedTuple

from benchmarks.deployment import (
    LARGE_COURSE,
    SMALL_COURSE_STUDENTS,
    SMALL_COURSES,
    STUDENTS,
    Deployment,
    Server,
    serve,
    serve_peer,
)
from benchmarks.generator import TEXT, Generator, Measured, Place
from benchmarks.machine import SERVER_CORE, on_core, resident_kib
from benchmarks.report import kib, milliseconds, rate, ratio, share, spread, table
from educa_chat.metrics import Metrics
from educa_chat.protocol import BasicMessage, ChatMessage, encode_body
from educa_chat.storage.log import Accepted, Appender, Entry, Kind, Log, Outcome
from educa_chat.tasks import running

OURS = "educa-chat"
SEND_LOOP = "a loop of `send_str`"
WRITE_ONLY = "only writing"
PEERS = {SEND_LOOP: "send_loop", WRITE_ONLY: "write_only"}

BATCH = 200
"""The entries of one append, where it is measured alone."""
FIRST_SOCKETS = 100
"""Opened before memory is looked at, so that what is made once is not counted."""
IDLE_SOCKETS = 1000
MEMORY_RUNS = 3
SETTLE_S = 1.0


class Effort(NamedTuple):
    """How often, and for how long each time."""

    runs: int
    seconds: float


class Load(NamedTuple):
    """So many messages under way at once, in all, in `rooms` rooms of `sockets` sockets."""

    rooms: int
    sockets: int
    in_flight: int

    def __str__(self) -> str:
        return f"{self.rooms} × {self.sockets}, {self.in_flight}"

    def places(self, deployment: Deployment) -> list[Place]:
        if self.rooms == 1:
            return deployment.large_room(self.sockets)
        return deployment.small_rooms(self.rooms, self.sockets)


FAN_OUT = (Load(1, 500, 1), Load(1, 500, 10), Load(1, 500, 40), Load(50, 20, 200))
DURABLE = (Load(1, 1, 200), Load(50, 1, 200))


async def fan_out(deployment: Deployment, effort: Effort) -> str:
    """Deliveries per second and their latency, of the server and of the peers in turn."""
    with ExitStack() as stack:
        servers = {OURS: stack.enter_context(serve(deployment))}
        servers |= {name: stack.enter_context(serve_peer(deployment, module)) for name, module in PEERS.items()}
        results = {
            load: _in_turn(servers, load.places(deployment), effort.runs, _measure_with(load, effort))
            for load in FAN_OUT
        }
    throughput = table(
        [
            "rooms × sockets, in flight",
            *(f"{name}, deliveries/s" for name in servers),
            *(f"ratio to {p}" for p in PEERS),
        ],
        [
            [
                str(load),
                *(spread((run.deliveries_per_s for run in by_server[name]), rate) for name in servers),
                *(spread(_ratios(by_server[OURS], by_server[peer]), ratio) for peer in PEERS),
            ]
            for load, by_server in results.items()
        ],
    )
    latency = table(
        ["rooms × sockets, in flight", "server", "p50, ms", "p99, ms", *_effort_headings("deliveries")],
        [
            [
                str(load),
                name,
                spread((run.p50_s for run in runs), milliseconds),
                spread((run.p99_s for run in runs), milliseconds),
                *_efforts(runs),
            ]
            for load, by_server in results.items()
            for name, runs in by_server.items()
        ],
    )
    return f"### Fan-out\n\n{throughput}\n\n### Latency and effort under these loads\n\n{latency}"


async def durable(deployment: Deployment, effort: Effort) -> str:
    """Messages acked per second: one sender a room, who is alone in it."""
    rows = []
    with serve(deployment) as server:
        for load in DURABLE:
            runs = _in_turn(
                {OURS: server}, load.places(deployment), effort.runs, _measure_with(load, effort, acks=True)
            )
            rows.append(
                [
                    f"{load.rooms}, {load.in_flight}",
                    spread((run.messages_per_s for run in runs[OURS]), rate),
                    spread((run.p50_s for run in runs[OURS]), milliseconds),
                    spread((run.p99_s for run in runs[OURS]), milliseconds),
                    *_efforts(runs[OURS]),
                ]
            )
    headings = ["rooms, in flight", "acked messages/s", "p50, ms", "p99, ms", *_effort_headings("acks")]
    return f"### Durable messages\n\n{table(headings, rows)}"


async def append(deployment: Deployment, effort: Effort) -> str:
    """The append alone, without sockets: batches of one size, one after the other."""
    rows = []
    for rooms in (1, len(SMALL_COURSES)):
        with on_core(SERVER_CORE):
            rates = [await _append_for(deployment, rooms, effort.seconds) for _ in range(effort.runs)]
        rows.append([str(rooms), spread(rates, rate), spread((BATCH / each for each in rates), milliseconds)])
    return f"### The append alone, {BATCH} messages a batch\n\n{table(['rooms', 'messages/s', 'ms a batch'], rows)}"


async def memory(deployment: Deployment, effort: Effort) -> str:
    """What an idle socket of somebody who is signed in adds to the server's resident memory."""
    befores, costs = [], []
    for _ in range(min(effort.runs, MEMORY_RUNS)):
        with serve(deployment) as server, closing(Generator(server.port, server.process_id)) as generator:
            generator.open(deployment.large_room(FIRST_SOCKETS))
            await asyncio.sleep(SETTLE_S)
            before = resident_kib(server.process_id)
            generator.open(deployment.small_rooms(len(SMALL_COURSES), IDLE_SOCKETS // len(SMALL_COURSES)))
            await asyncio.sleep(SETTLE_S)
            befores.append(before / 1024)
            costs.append((resident_kib(server.process_id) - before) / IDLE_SOCKETS)
    headings = [f"with {FIRST_SOCKETS} sockets, MiB", f"each of {IDLE_SOCKETS:,} more sockets, KiB"]
    return f"### Resident memory of the server\n\n{table(headings, [[spread(befores, kib), spread(costs, kib)]])}"


MEASURES: dict[str, Callable[[Deployment, Effort], Awaitable[str]]] = {
    "fan-out": fan_out,
    "durable": durable,
    "append": append,
    "memory": memory,
}


def _measure_with(load: Load, effort: Effort, *, acks: bool = False) -> Callable[[Generator], Measured]:
    return lambda generator: generator.measure(load.in_flight, effort.seconds, acks=acks)


def _in_turn(
    servers: dict[str, Server], places: Sequence[Place], runs: int, measure: Callable[[Generator], Measured]
) -> dict[str, list[Measured]]:
    """Measure one server after the other, `runs` times, so that what disturbs the machine disturbs all of them."""
    results: dict[str, list[Measured]] = {name: [] for name in servers}
    with ExitStack() as stack:
        generators = {
            name: stack.enter_context(closing(Generator(server.port, server.process_id)))
            for name, server in servers.items()
        }
        for generator in generators.values():
            generator.open(places)
        for _ in range(runs):
            for name, generator in generators.items():
                results[name].append(measure(generator))
    return results


def _effort_headings(what: str) -> list[str]:
    return [
        f"{what} per second of the server's own time",
        f"{what} per second of the generator's own time",
        "server busy",
        "generator busy",
    ]


def _efforts(runs: Sequence[Measured]) -> list[str]:
    """What `_effort_headings` name."""
    return [
        spread((run.deliveries_per_s / run.server_busy for run in runs), rate),
        spread((run.deliveries_per_s / run.generator_busy for run in runs), rate),
        share(median(run.server_busy for run in runs)),
        share(median(run.generator_busy for run in runs)),
    ]


def _ratios(ours: Sequence[Measured], theirs: Sequence[Measured]) -> Iterator[float]:
    """Of each run beside the one that stood next to it."""
    return (our.deliveries_per_s / their.deliveries_per_s for our, their in zip(ours, theirs, strict=True))


_ids = count(1)


async def _append_for(deployment: Deployment, rooms: int, seconds: float) -> float:
    """Messages a second, in batches of BATCH spread over `rooms` rooms."""
    places = [(LARGE_COURSE, student) for student in range(1, STUDENTS + 1)]
    if rooms > 1:
        places = [
            (course, number * SMALL_COURSE_STUDENTS + place + 1)
            for place in range(SMALL_COURSE_STUDENTS)
            for number, course in enumerate(SMALL_COURSES[:rooms])
        ]
    speakers = cycle(places)
    accepted, spent_s = 0, 0.0

    def settle(outcome: Outcome) -> None:
        nonlocal accepted
        assert isinstance(outcome, Accepted), outcome
        accepted += 1

    log = Log(deployment.database)
    for course in {course for course, _ in places}:
        await log.open_room(course)
    appender = Appender(deployment.database, lambda events: None, Metrics())
    async with running(appender.run(), "appender"):
        while spent_s < seconds:
            entries = [_entry(*next(speakers)) for _ in range(BATCH)]
            started = time.perf_counter()
            for entry in entries:
                appender.append(entry, settle)
            await appender.drained()
            spent_s += time.perf_counter() - started
    return accepted / spent_s


def _entry(course: int, student: int) -> Entry:
    """What the server makes of a message."""
    id, username, name = f"append-{next(_ids)}", f"student{student}", f"Student Number {student}"
    text = TEXT.decode()
    message = ChatMessage(id=id, user=username, name=name, role="student", message=text, html=text)
    return Entry(
        course=course,
        kind=Kind.CHAT_MESSAGE,
        actor=student,
        by_instructor=False,
        client_id=id,
        student=encode_body(message),
        instructor=None,
        basic=encode_body(BasicMessage(user=username, message=text)),
        username=username,
        name=name,
        body=text,
        html=text,
        reply_to=None,
    )

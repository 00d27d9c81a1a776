"""Compares educa-chat with peers that also store each message, most of them in the same Postgres."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median

import psycopg
from psycopg import sql

from benchmarks import cost, plots, xmpp
from benchmarks.cost import FIGURES, OUR_TABLES, TEXT_BYTES, Measured, Meter
from benchmarks.deployment import Deployment, Server, serve
from benchmarks.load import BASIC_FLAVOUR, FULL_FLAVOUR, Dialect, Load, open_load
from benchmarks.measures import Effort, Section, Shape
from benchmarks.report import ratio, share, spread, table
from benchmarks.servers import FULL, ON_DISK, serve_beside

LOADS = (*cost.LOADS, Shape(10, 2, 20))
"""The last one is small: the servers wait for the disk most of the time."""
LONGER = 2
"""The factor by which runs are longer than elsewhere, because some peers deliver few messages a second."""
UNSTORED_S = 0.5


@dataclass(frozen=True)
class Peer:
    """A running server, and the tables in which it stores messages."""

    server: Server
    dialect: Dialect
    meter: Meter

    def open_load(self) -> AbstractContextManager[Load]:
        return open_load(self.server.process_ids, dialect=self.dialect, text_bytes=TEXT_BYTES)


async def peers_that_store(deployment: Deployment, effort: Effort) -> Section:
    """Measure messages per second, latency and the cost of a message for our server and the peers, in turn."""
    versions = {name: xmpp.version(name) for name in xmpp.PACKAGES}
    missing = [name for name, version in versions.items() if not version]
    for name in missing:
        print(f"SKIPPED: {name}. To measure it: apt-get install {' '.join(xmpp.PACKAGES[name])}", file=sys.stderr)
    with _serve_all(deployment, [name for name in versions if name not in missing]) as peers:
        results = {shape: _in_turn(deployment, peers, shape, effort) for shape in LOADS}
        unstored = {name: _say_unstored(deployment, peer) for name, peer in peers.items() if peer.meter.tables}
    assert unstored[FULL] == ["0", "0"], unstored

    def compare(of: Callable[[Measured], float]) -> Mapping[str, Mapping[Shape, float]]:
        """Return the median ratio of our server to each peer, run by run, without runs in which the peer delivered
        nothing.
        """
        return {
            name: {
                shape: median(
                    of(our) / of(their) for our, their in zip(runs[FULL], runs[name], strict=True) if their.run.messages
                )
                for shape, runs in results.items()
            }
            for name in peers
            if name != FULL
        }

    def table_of(ratios: Mapping[str, Mapping[Shape, float]]) -> str:
        rows = [[name, *(ratio(by_shape[shape]) for shape in LOADS)] for name, by_shape in ratios.items()]
        return table(["compared with", *map(str, LOADS)], rows)

    rates = compare(lambda one: one.run.messages_per_s)
    rows = [
        [
            str(shape),
            name,
            *(spread(map(of, runs), describe) for of, describe in FIGURES.values()),
            share(median(one.run.lost_share for one in runs)),
        ]
        for shape, by_name in results.items()
        for name, runs in by_name.items()
    ]
    described = [f"{name} {version or 'was not installed and is missing'}" for name, version in versions.items()]
    text = "\n\n".join(
        [
            f"{'; '.join(described)}.",
            table(["load", "server", *FIGURES, "lost"], rows),
            "Processor time of the server and of Postgres per message, as a fraction of the peer's:",
            table_of(compare(lambda one: one.s_per_message)),
            "Processor time of Postgres only:",
            table_of(
                {name: of for name, of in compare(lambda one: one.postgres_s_per_message).items() if name != ON_DISK}
            ),
            "While the table with the messages was renamed, so no message could be stored:",
            table(
                ["server", "messages delivered", "of these stored"], [[name, *row] for name, row in unstored.items()]
            ),
        ]
    )
    chart = {str(shape): {name: by_shape[shape] for name, by_shape in rates.items()} for shape in LOADS}
    return Section(
        text,
        {"peers-that-store": plots.bars("How many times as many messages per second educa-chat delivers as", chart)},
        "Messages per second of educa-chat as a multiple of each peer's (medians of runs).\n\n" + table_of(rates),
    )


@contextmanager
def _serve_all(deployment: Deployment, names: Sequence[str]) -> Iterator[dict[str, Peer]]:
    """Run our server, the XMPP servers with these names, and the durable limit."""
    postmaster, own_url = deployment.postgres.postmaster, deployment.database.url
    with ExitStack() as stack:
        node = stack.enter_context(serve(deployment))
        peers = {FULL: Peer(node, FULL_FLAVOUR, Meter(node.process_ids[0], postmaster, own_url, OUR_TABLES))}
        for name in names:
            server = stack.enter_context(xmpp.serve_xmpp(deployment, name))
            url = xmpp.database_url(deployment, name)
            meter = Meter(server.process_ids[0], postmaster, url, xmpp.ARCHIVES[name])
            peers[name] = Peer(server, xmpp.DIALECT, meter)
        limit = stack.enter_context(serve_beside(ON_DISK, deployment.folder, redis_url=""))
        peers[ON_DISK] = Peer(limit, BASIC_FLAVOUR, Meter(limit.process_ids[0], postmaster, own_url, ()))
        yield peers


def _in_turn(
    deployment: Deployment, peers: Mapping[str, Peer], shape: Shape, effort: Effort
) -> dict[str, list[Measured]]:
    """Measure one server after the other, so that disturbances of the machine affect all of them."""
    results: dict[str, list[Measured]] = {name: [] for name in peers}
    with ExitStack() as stack:
        loads = {name: stack.enter_context(peer.open_load()) for name, peer in peers.items()}
        for name, load in loads.items():
            load.open(peers[name].server.port, deployment.clients(shape.rooms, shape.sockets))
        for _ in range(effort.runs):
            for name, load in loads.items():
                measured = peers[name].meter.measure(load, shape.in_flight, LONGER * effort.seconds)
                if name == FULL:
                    measured.run.check()
                results[name].append(measured)
    return results


def _say_unstored(deployment: Deployment, peer: Peer) -> list[str]:
    """Send messages while their table is renamed. Return how many arrived, and how many were stored."""
    schema, _, name = peer.meter.tables[0].rpartition(".")
    own, away = sql.Identifier(schema or "public", name), sql.Identifier(schema or "public", "away")
    with peer.open_load() as load, psycopg.connect(peer.meter.database_url, autocommit=True) as connection:
        load.open(peer.server.port, deployment.clients(1, 1))
        count = sql.SQL("select count(*) from {}").format(own)
        [[before]] = connection.execute(count).fetchall()
        connection.execute(sql.SQL("alter table {} rename to away").format(own))
        arrived = load.closed(1, UNSTORED_S).all_messages
        connection.execute(sql.SQL("alter table {} rename to {}").format(away, sql.Identifier(name)))
        [[after]] = connection.execute(count).fetchall()
    return [str(arrived), str(after - before)]

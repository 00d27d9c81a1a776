"""Runs the benchmarks and writes their tables into `docs/performance.md`, and their plots next to it."""

import argparse
import asyncio
import sys
import time
from datetime import date
from pathlib import Path

from benchmarks import machine, report
from benchmarks.deployment import open_deployment
from benchmarks.earlier import compare_with_earlier
from benchmarks.growth import growth_of_log, growth_of_rooms
from benchmarks.hostile import hostile
from benchmarks.launches import launches
from benchmarks.measures import Effort, Section, durable, fan_out, latency, memory, storm, two_nodes
from benchmarks.rendering import rendering
from benchmarks.search import search_in_a_long_room
from benchmarks.storing import peers_that_store

DOCUMENT = Path(__file__).parent.parent / "docs" / "performance.md"
MEASURES = {
    "fan-out": fan_out,
    "latency": latency,
    "durable": durable,
    "two-nodes": two_nodes,
    "memory": memory,
    "storm": storm,
    "hostile": hostile,
    "rendering": rendering,
    "launches": launches,
    "peers-that-store": peers_that_store,
    "earlier": compare_with_earlier,
    "search": search_in_a_long_room,
    "rooms": growth_of_rooms,
    "log": growth_of_log,
}
THOROUGH = Effort(runs=5, seconds=1.0, paced_s=6.0, most_sockets=10_000, most_events=10_000_000)
QUICK = Effort(runs=1, seconds=0.5, paced_s=2.0, most_sockets=1_000, most_events=100_000)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help=f"{', '.join(MEASURES)}; none named: all")
    parser.add_argument("--quick", action="store_true", help="once and briefly, to try it; nothing is written")
    arguments = parser.parse_args()
    if unknown := set(arguments.measures) - set(MEASURES):
        parser.error(f"there is no measure {', '.join(sorted(unknown))}")
    machine.prepare()
    asyncio.run(_measure(arguments.measures or list(MEASURES), QUICK if arguments.quick else THOROUGH))


async def _measure(names: list[str], effort: Effort) -> None:
    async with open_deployment() as deployment:
        for name in names:
            started = time.monotonic()
            section: Section = await MEASURES[name](deployment, effort)
            when = f"Measured on {date.today().isoformat()}: {machine.describe(deployment.postgres_version)}. "
            text = when + f"Medians of {effort.runs}, with the least and the greatest.\n\n" + section.text
            print(f"\n{text}\n", flush=True)
            print(f"{name} took {time.monotonic() - started:.0f} s; {machine.load()}", file=sys.stderr, flush=True)
            if effort is THOROUGH:
                report.write_between_marks(DOCUMENT, name, text)
                if section.summary:
                    report.write_between_marks(DOCUMENT, f"{name} in short", when + "\n\n" + section.summary)
                for plot, svg in section.plots.items():
                    (DOCUMENT.parent / "performance" / f"{plot}.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()

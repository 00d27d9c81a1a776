"""Runs the benchmarks and writes their tables into `docs/performance.md`."""

import argparse
import asyncio
import sys
import time
from datetime import date
from pathlib import Path

from benchmarks import machine, report
from benchmarks.deployment import open_deployment
from benchmarks.measures import MEASURES, Effort

DOCUMENT = Path(__file__).parent.parent / "docs" / "performance.md"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help=f"{', '.join(MEASURES)}; none named: all")
    parser.add_argument("--runs", type=int, default=5, help="how often each is measured (5)")
    parser.add_argument("--seconds", type=float, default=1.5, help="how long each time (1.5)")
    parser.add_argument("--print-only", action="store_true", help="leave docs/performance.md as it is")
    arguments = parser.parse_args()
    if unknown := set(arguments.measures) - set(MEASURES):
        parser.error(f"there is no measure {', '.join(sorted(unknown))}")
    machine.prepare()
    names = arguments.measures or list(MEASURES)
    text = asyncio.run(_measure(names, Effort(arguments.runs, arguments.seconds)))
    if not arguments.print_only and len(names) == len(MEASURES):
        report.write_between_marks(DOCUMENT, text)


async def _measure(names: list[str], effort: Effort) -> str:
    async with open_deployment() as deployment:
        sections = [
            f"Measured on {date.today().isoformat()}: {machine.describe(deployment.postgres_version)}. "
            f"Medians of {effort.runs} runs of {effort.seconds:g} s each, with the least and the greatest."
        ]
        print(sections[0], flush=True)
        for name in names:
            started = time.monotonic()
            sections.append(await MEASURES[name](deployment, effort))
            print(f"\n{sections[-1]}", flush=True)
            print(f"{name} took {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return "\n\n".join(sections)


if __name__ == "__main__":
    main()

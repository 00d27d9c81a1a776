"""The machine: the use of its cores, and the time and memory of processes."""

import os
import platform
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp

BUILD = Path(__file__).parent.parent / "build" / "bench"
"""Where `make bench` puts the programs in C and the peers."""
SERVER_CORE = 0
"""Only the server under test runs on this core."""
LOAD_CORE = 1
"""The load generator and Postgres run on this core."""


def prepare() -> None:
    """Move this process to the core of the load, with its children, and raise the limit of open files.

    Exits if the benchmarks can't run.
    """
    if sys.platform != "linux" or (os.cpu_count() or 1) < 2:
        sys.exit("the benchmarks pin processes to cores and read /proc: they need Linux and two cores")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    os.sched_setaffinity(0, {LOAD_CORE})


@contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """Run only on `core`, or on any core, while the context lasts. This also applies to processes started within it."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {SERVER_CORE, LOAD_CORE} if core is None else {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def resident_kib(process_id: int) -> int:
    """Return the resident memory of a process (`VmRSS`) in KiB."""
    for line in Path(f"/proc/{process_id}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise ProcessLookupError(process_id)


def processor_s(process_id: int) -> float:
    """Return the processor time of a process and all its descendants, in seconds."""
    children: dict[int, list[int]] = {}
    seconds: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            # The name, in parentheses, may contain anything; the parent's id is the second field after it (proc(5)).
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            # `stat` counts in ticks of 10 ms, which is too coarse for its own time. This is how clock_getcpuclockid(3)
            # makes the number of a clock from a process id.
            own = time.clock_gettime(~int(entry.name) << 3 | 2)
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(entry.name))
        seconds[int(entry.name)] = own + sum(map(int, fields[13:15])) / os.sysconf("SC_CLK_TCK")
    tree = [process_id]
    for one in tree:
        tree.extend(children.get(one, ()))
    return sum(seconds[one] for one in tree)


def describe(postgres_version: str) -> str:
    """Return one line about the hardware and software of the measurement."""
    models = {
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    }
    return (
        f"{', '.join(sorted(models)) or platform.machine()}, {os.cpu_count()} cores; "
        f"Linux {platform.release()}; Python {platform.python_version()}; aiohttp {aiohttp.__version__}; "
        f"PostgreSQL {postgres_version}"
    )


def load() -> str:
    """Return the load average: above two, something else was running too."""
    return f"load average {os.getloadavg()[0]:.1f}"

"""Measures how long something takes without being misled by a busy machine."""

import os
import time
from contextlib import suppress
from pathlib import Path

started: set[int] = set()
"""The ids of processes that this one has started, although they aren't its children; some may have ended."""


class Stopwatch:
    """Measures the time since its creation.

    Tests that limit how long their servers take compare `own_s`, because servers wait for a processor on a busy
    machine.
    """

    def __init__(self) -> None:
        self._waited_before_ns = _waited_ns()
        self._began_at = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began_at

    @property
    def own_s(self) -> float:
        """The elapsed time, minus the time that this process and those it started have waited for a processor."""
        elapsed_s = self.elapsed_s
        # Thread by thread, because the past of a thread that has ended since then must not count.
        waited_ns = sum(waited - self._waited_before_ns.get(thread, 0) for thread, waited in _waited_ns().items())
        return max(0.0, elapsed_s - waited_ns / 1e9)


def _waited_ns() -> dict[str, int]:
    """The time that each thread of this process, and of all that it started, has waited so far."""
    waited: dict[str, int] = {}
    processes = [os.getpid(), *started]
    for process in processes:
        tasks = f"/proc/{process}/task"
        with suppress(OSError):  # The process has ended.
            processes += map(int, Path(tasks, str(process), "children").read_text().split())
            for thread in os.listdir(tasks):
                with suppress(OSError):  # The thread has ended.
                    waited[thread] = int(Path(tasks, thread, "schedstat").read_text().split()[1])
    return waited

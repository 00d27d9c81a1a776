"""Measures how long something takes without being misled by a busy machine."""

import os
import time
from contextlib import suppress
from pathlib import Path

from tests import forks


class Stopwatch:
    """Measures the time since its creation.

    Tests that limit how long their servers take compare `own_s`, because servers wait for a processor on a busy
    machine.
    """

    def __init__(self) -> None:
        self._waited_before_s = self._waited_s()
        self._began_at = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began_at

    @property
    def own_s(self) -> float:
        """The elapsed time, minus the time that this process and those it started have waited for a processor."""
        elapsed_s = self.elapsed_s
        return max(0.0, elapsed_s - self._waited_s() + self._waited_before_s)

    def _waited_s(self) -> float:
        """The time that the threads of this process and of all that it started have waited so far."""
        waited_ns = 0
        processes = [os.getpid(), *forks.running]
        for process in processes:
            tasks = Path(f"/proc/{process}/task")
            with suppress(OSError):  # The process has ended.
                processes += map(int, (tasks / str(process) / "children").read_text().split())
            for path in tasks.glob("*/schedstat"):
                with suppress(OSError):  # The thread has ended.
                    waited_ns += int(path.read_text().split()[1])
        return waited_ns / 1e9

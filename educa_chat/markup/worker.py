"""The process that renders markup for a `RenderPool`: a text on standard input, its HTML on standard output, in turn.

Each is preceded by its length in bytes, as a 4-byte big-endian integer.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import BinaryIO

from educa_chat.markup import languages_in, prepare, render, render_plain

CPU_S = 0.1
"""How much processor time a text may take. After that, it is shown as it was typed. Real messages take milliseconds."""
NICENESS = 10
"""Lower priority than the server's: on a single core, everyone's messages go before one user's formulas."""


class RenderTimeout(BaseException):
    """A text has used up its processor time.

    Not an Exception, because the libraries that it interrupts catch those.
    """


def render_within_limit(text: str) -> str:
    """Call `render`, or `render_plain` if that takes more than CPU_S. Only for the main thread.

    The lexers that it needs are loaded before, so that the first text in a language isn't shown as it was typed.
    """
    prepare(languages_in(text))
    try:
        with cpu_limit(CPU_S):
            return render(text)
    except (RenderTimeout, RecursionError, MemoryError):
        return render_plain(text)


@contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    """Raise RenderTimeout if the context takes more than `seconds` of this process's time. Only for the main thread."""

    # A signal interrupts a regular expression too: `re` looks for signals every few thousand steps.
    def raise_timeout(_: int, __: FrameType | None) -> None:
        raise RenderTimeout

    previous = signal.signal(signal.SIGVTALRM, raise_timeout)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, previous)


def read_text(stream: BinaryIO) -> str | None:
    """Return the next text, or None at the end of the stream."""
    head = stream.read(4)
    return stream.read(int.from_bytes(head, "big")).decode() if len(head) == 4 else None


def packed(text: str) -> bytes:
    """Return `text` in the format that is sent between the processes."""
    encoded = text.encode()
    return len(encoded).to_bytes(4, "big") + encoded


def main() -> None:
    # Ctrl-C and systemd reach the server's whole group of processes. This process ends when the server closes its
    # standard input. Until then, messages are still rendered.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Not sooner, because on a busy machine everyone's first messages would wait long for the libraries.
    os.nice(NICENESS)
    with suppress(BrokenPipeError):
        while (text := read_text(sys.stdin.buffer)) is not None:
            sys.stdout.buffer.write(packed(render_within_limit(text)))
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()

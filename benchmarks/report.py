"""Tables of medians with their range, and the file that they are written to."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median


def spread(values: Iterable[float], describe: Callable[[float], str]) -> str:
    """Return the median with the minimum and maximum, or a dash without values."""
    ordered = sorted(values)
    if not ordered:
        return "–"
    return f"{describe(median(ordered))} ({describe(ordered[0])}–{describe(ordered[-1])})"


def rate(value: float) -> str:
    """Format with three significant digits and separators: the measurements aren't more precise."""
    digits = max(0, len(str(int(value))) - 3)
    return f"{round(value, -digits):,.0f}"


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.3g}"


def share(value: float) -> str:
    return f"{value:.0%}"


def ratio(value: float) -> str:
    return f"{value:.2f}"


def kib(value: float) -> str:
    return f"{value:.1f}"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table with text in the first column and figures in the others."""
    alignment = ["---", *("---:" for _ in headings[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in (headings, alignment, *rows))


def write_between_marks(file: Path, name: str, text: str) -> None:
    """Replace the text between the marks of `name` in `file`."""
    start, end = f"<!-- measured: {name} -->", f"<!-- end of {name} -->"
    before, found_start, rest = file.read_text(encoding="utf-8").partition(start)
    _, found_end, after = rest.partition(end)
    if not found_start or not found_end:
        raise ValueError(f"{file} has no {start} with an {end} behind it")
    file.write_text(f"{before}{start}\n\n{text}\n\n{end}{after}", encoding="utf-8")

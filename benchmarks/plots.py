"""SVG plots: grouped bars, and lines. Numeric axes are logarithmic."""

import math
from collections.abc import Iterable, Mapping, Sequence
from xml.sax.saxutils import escape

_COLOURS = ("#0b5fa5", "#d1495b", "#3a7d44", "#8e5ea2", "#b8860b")
_WIDTH, _LABELS, _RIGHT, _ROW = 820, 210, 90, 18


def bars(title: str, groups: Mapping[str, Mapping[str, float]]) -> str:
    """Return a plot with a bar for each figure, on one scale."""
    figures = [figure for group in groups.values() for figure in group.values() if figure > 0]
    low = 10 ** math.floor(math.log10(min(figures)))
    scale = (_WIDTH - _LABELS - _RIGHT) / math.log10(max(figures) / low)
    parts, y = [_text(0, 16, title, "bold")], 26
    for heading, group in groups.items():
        y += 22
        parts.append(_text(0, y, heading, "bold"))
        for index, (name, figure) in enumerate(group.items()):
            y += _ROW
            width = scale * math.log10(figure / low) if figure > low else 0
            colour = _COLOURS[0] if index < 2 else "#9aa5b1"
            parts.append(_text(_LABELS - 6, y, name.replace("`", ""), anchor="end"))
            parts.append(f'<rect x="{_LABELS}" y="{y - 11}" width="{width:.0f}" height="13" fill="{colour}"/>')
            parts.append(_text(_LABELS + width + 5, y, f"{figure:,.0f}" if figure >= 100 else f"{figure:.2g}"))
    if low < 1:
        # Figures on both sides of 1 are ratios.
        one = _LABELS - scale * math.log10(low)
        parts.append(_rule(one, 30, one, y + 4))
    return _svg(_WIDTH, y + 12, title, parts)


def lines(title: str, x_label: str, y_label: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Return a plot with a line and points for each series."""
    left, top, width, height = 70, 40, 560, 260
    points = [point for line in series.values() for point in line]
    x_low, x_high = _decades(x for x, _ in points)
    y_low, y_high = _decades(y for _, y in points)

    def index(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - x_low) / (x_high - x_low)
        up = (math.log10(y) - y_low) / (y_high - y_low)
        return left + width * across, top + height * (1 - up)

    parts = [_text(0, 16, title, "bold"), _text(left + width / 2, top + height + 36, x_label, anchor="middle")]
    parts.append(_text(left - 60, top - 8, y_label))
    for decade in range(x_low, x_high + 1):
        x, _ = index(10**decade, 10**y_low)
        parts.append(_rule(x, top, x, top + height))
        parts.append(_text(x, top + height + 16, f"{10**decade:,}", anchor="middle"))
    for decade in range(y_low, y_high + 1):
        _, y = index(10**x_low, 10**decade)
        parts.append(_rule(left, y, left + width, y))
        parts.append(_text(left - 6, y + 4, f"{10.0**decade:,.10g}", anchor="end"))
    for number, (name, line) in enumerate(series.items()):
        colour = _COLOURS[number]
        spots = [index(x, y) for x, y in line]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in spots]
        parts.append(f'<rect x="{left + width + 14}" y="{top + 20 * number}" width="12" height="12" fill="{colour}"/>')
        parts.append(_text(left + width + 31, top + 20 * number + 11, name.replace("`", "")))
    return _svg(_WIDTH, top + height + 46, title, parts)


def _decades(values: Iterable[float]) -> tuple[int, int]:
    figures = list(values)
    low, high = math.floor(math.log10(min(figures))), math.ceil(math.log10(max(figures)))
    return low, max(high, low + 1)


def _text(x: float, y: float, text: str, weight: str = "normal", anchor: str = "start") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" font-weight="{weight}" text-anchor="{anchor}">{escape(text)}</text>'


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#d5dae0"/>'


def _svg(width: float, height: float, title: str, parts: Iterable[str]) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-10 0 {width + 20:.0f} {height:.0f}" '
            f'width="{width + 20:.0f}" height="{height:.0f}" role="img" font-family="sans-serif" font-size="12">',
            f"<title>{escape(title)}</title>",
            '<rect x="-10" width="100%" height="100%" fill="#ffffff"/>',
            *parts,
            "</svg>",
            "",
        ]
    )

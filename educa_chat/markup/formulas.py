"""Converts formulas from LaTeX to MathML, which browsers display without a library."""

import re
from xml.etree.ElementTree import tostring

from latex2mathml import exceptions
from latex2mathml.converter import convert_to_element

# The most levels at which the converter calls itself.
_DEPTH = 100
_DEEPER = re.compile(r"[\\{^_]")

# Commands whose result would be invisible or in the wrong place, characters given by number, spaces without a plain
# width, and definitions and `\sideset`, whose cost is unlimited when they are nested.
_REFUSED = re.compile(
    r"""(?<!\\)% | &\# | \\(?: href | style | class | [a-z]*color(?:box)? | [hv]?phantom | leftroot | uproot
        | mathchoice | (?:re)?newcommand | def | unicode | rule | raise | lower | move(?:left|right) | skew | sideset
        | smash | [a-z]*[lrc]lap | shove(?:left|right)
        | (?:[hm]space | [hm]skip | m?kern)\s* (?!\{?\s*\d(?:\.\d+)?\s*(?:em|ex|mu|pt|mm|cm)\b) )(?![a-zA-Z])""",
    re.VERBOSE,
)
_ESCAPED = re.compile(r"\\.", re.DOTALL)
_REFERENCE = re.compile(r"&#x([0-9A-Fa-f]{1,6});")
_MISTAKES: tuple[type[Exception], ...] = (
    *(mistake for mistake in vars(exceptions).values() if isinstance(mistake, type)),
    *(ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, StopIteration, TypeError, ValueError),
)
"""The converter's own exceptions, and those that it raises by mistake for invalid LaTeX."""


def to_mathml(latex: str, *, display: bool) -> str | None:
    """Return `latex` as a `math` element, as a block if `display`. Return None if it can't be converted."""
    if len(_DEEPER.findall(latex)) > _DEPTH or _REFUSED.search(latex):
        return None
    groups = _ESCAPED.sub("", latex)
    if groups.count("{") != groups.count("}"):
        return None
    try:
        math = convert_to_element(latex, display="block" if display else "inline")
        for element in math.iter():
            if element.text:
                # References stand for the converter's own characters. Everything else is text, whatever it looks like.
                # The converter's own serialisation wouldn't escape it.
                element.text = _REFERENCE.sub(lambda found: chr(int(found[1], 16)), element.text)
        # For screen readers, for copying, and for excerpts.
        math.set("alttext", latex)
        return tostring(math, encoding="unicode")
    except _MISTAKES:
        return None

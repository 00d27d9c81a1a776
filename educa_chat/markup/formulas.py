"""Formulas: LaTeX as MathML, which browsers show by themselves."""

import re
from xml.etree.ElementTree import tostring

from latex2mathml import exceptions
from latex2mathml.converter import convert_to_element

# The converter calls itself, at most so often.
_DEPTH = 100
_DEEPER = re.compile(r"[\\{^_]")

# What would not be seen, or not where it belongs; characters by their number;
# spaces of no plain width; definitions and `\sideset`, whose cost grows without end when they are nested.
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
"""The converter's own, and those that it stumbles over where it does not expect one."""


def to_mathml(latex: str, *, display: bool) -> str | None:
    """`latex` as a `math` element, a block of its own for `display`; None where it can't be one."""
    if len(_DEEPER.findall(latex)) > _DEPTH or _REFUSED.search(latex):
        return None
    groups = _ESCAPED.sub("", latex)
    if groups.count("{") != groups.count("}"):
        return None
    try:
        math = convert_to_element(latex, display="block" if display else "inline")
        for element in math.iter():
            if element.text:
                # References stand for the converter's characters here. All else is text, whatever it looks like, which
                # the converter's own serialisation would let out unescaped.
                element.text = _REFERENCE.sub(lambda found: chr(int(found[1], 16)), element.text)
        # For those who listen, who copy, and for excerpts.
        math.set("alttext", latex)
        return tostring(math, encoding="unicode")
    except _MISTAKES:
        return None

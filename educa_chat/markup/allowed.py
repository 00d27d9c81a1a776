"""The elements, attributes and classes that a message's HTML may contain. The page's scripts have the same list."""

import nh3

from educa_chat.markup import code
from educa_chat.markup.links import REL, SCHEMES, TARGET

HTML: dict[str, set[str]] = {
    "a": {"href"},
    "blockquote": set(),
    "br": set(),
    "code": set(),
    "em": set(),
    "hr": set(),
    "li": {"value"},
    "ol": set(),
    "p": set(),
    "pre": set(),
    "s": set(),
    "span": {"class"},
    "strong": set(),
    "table": set(),
    "tbody": set(),
    "td": {"class"},
    "th": {"class"},
    "thead": set(),
    "tr": set(),
    "ul": set(),
}

MATHML: dict[str, set[str]] = {
    "math": {"alttext", "display"},
    "menclose": {"notation"},
    "mfrac": {"linethickness"},
    "mi": {"mathvariant"},
    "mn": {"mathvariant"},
    "mo": {
        *("accent", "fence", "form", "largeop", "lspace", "mathvariant", "maxsize", "minsize", "movablelimits"),
        *("rspace", "separator", "stretchy"),
    },
    "mover": {"accent"},
    "mpadded": {"depth", "height", "lspace", "voffset", "width"},
    "mphantom": set(),
    "mroot": set(),
    "mrow": set(),
    "mspace": {"depth", "linebreak", "width"},
    "msqrt": set(),
    "mstyle": {"displaystyle", "scriptlevel"},
    "msub": set(),
    "msubsup": set(),
    "msup": set(),
    "mtable": {"columnlines", "columnspacing", "displaystyle", "rowlines", "rowspacing"},
    "mtd": {"columnalign"},
    "mtext": {"mathvariant"},
    "mtr": set(),
    "munder": set(),
    "munderover": set(),
}

CLASSES = {*code.CLASSES.values(), "center", "left", "right"}

_ATTRIBUTES = {**HTML, **MATHML}

_cleaner = nh3.Cleaner(
    tags=set(_ATTRIBUTES),
    attributes={name: attributes - {"class"} for name, attributes in _ATTRIBUTES.items()},
    allowed_classes={name: CLASSES for name, attributes in _ATTRIBUTES.items() if "class" in attributes},
    link_rel=REL,
    set_tag_attribute_values={"a": {"target": TARGET}},
    url_schemes=SCHEMES,
    url_relative="deny",
)


def sanitise(html: str) -> str:
    """Return `html` without everything that isn't allowed, and well-formed."""
    return _cleaner.clean(html)

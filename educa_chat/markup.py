"""How a message's text is shown: escaped, with its line breaks and its links."""

import re
from html import escape

_LINK = re.compile(r"https?://[^\s<>\"'`\\^{}|]+")
_NOT_AT_THE_END = ".,;:!?)]*_~"


def render(text: str) -> str:
    """`text` as HTML of `a` and `br` alone."""
    parts: list[str] = []
    position = 0
    for found in _LINK.finditer(text):
        url = found[0].rstrip(_NOT_AT_THE_END)
        if url.endswith("//"):
            continue
        parts.append(_escape(text[position : found.start()]))
        parts.append(
            f'<a href="{escape(url)}" rel="noopener noreferrer nofollow ugc" target="_blank">{escape(url)}</a>'
        )
        position = found.start() + len(url)
    parts.append(_escape(text[position:]))
    return "".join(parts)


def _escape(text: str) -> str:
    return re.sub(r"\r\n?|\n", "<br>", escape(text))

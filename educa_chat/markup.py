"""How a message's text is shown: escaped, with its line breaks and its links."""

import re
from html import escape
from urllib.parse import urlsplit

_LINK = re.compile(r"https?://[^\s<>\"'`\\^{}|]+")
_NOT_AT_THE_END = ".,;:!?)]*_~"


def render(text: str) -> str:
    """`text` as HTML of `a` and `br` alone."""
    parts: list[str] = []
    position = 0
    for found in _LINK.finditer(text):
        url = found[0].rstrip(_NOT_AT_THE_END)
        if not _has_host(url):
            continue
        parts.append(_escape(text[position : found.start()]))
        href = escape(url)
        parts.append(f'<a href="{href}" rel="noopener noreferrer nofollow ugc" target="_blank">{href}</a>')
        position = found.start() + len(url)
    parts.append(_escape(text[position:]))
    return "".join(parts)


def _has_host(url: str) -> bool:
    try:
        return bool(urlsplit(url).hostname)
    except ValueError:
        return False


def _escape(text: str) -> str:
    return re.sub(r"\r\n?|\n", "<br>", escape(text))

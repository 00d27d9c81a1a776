"""Links: which URLs are good, and a text as it was typed, in which they are links."""

import re
from html import escape
from urllib.parse import urlsplit

SCHEMES = {"http", "https", "mailto"}
REL = "noopener noreferrer nofollow ugc"
TARGET = "_blank"

# What ends a URL, beside white space, is never in one as it is written; what turns the direction of writing would only
# be there to deceive.
_BARE = re.compile(r"(?<![a-zA-Z0-9+.-])https?://[^\s<>\"'`\\^{}|\u200e\u200f\u202a-\u202e\u2066-\u2069]+")
_NOT_AT_THE_END = ".,;:!?)]*_~$"
_HOST = re.compile(r"[\w.-]+|[0-9a-f:.]+")


def is_good(url: str) -> bool:
    """Whether `url` may be led to: http and https with a host and nobody's name in front of it, and mailto."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    if parts.scheme == "mailto":
        return bool(parts.path)
    # https://bank.example@evil.example leads to the other one than it seems.
    return parts.scheme in SCHEMES and bool(_HOST.fullmatch(host)) and "@" not in parts.netloc


def bare_url(text: str, position: int) -> str | None:
    """The good URL that begins at `position`, without the punctuation that follows it."""
    found = _BARE.match(text, position)
    return _good(found) if found else None


def plain(text: str) -> str:
    """`text` as it was typed, as HTML of `a` and `br` alone."""
    if "://" not in text:
        return without_links(text)
    parts: list[str] = []
    position = 0
    for found in _BARE.finditer(text):
        if url := _good(found):
            href = escape(url)
            parts.append(without_links(text[position : found.start()]))
            parts.append(f'<a href="{href}" rel="{REL}" target="{TARGET}">{href}</a>')
            position = found.start() + len(url)
    parts.append(without_links(text[position:]))
    return "".join(parts)


def without_links(text: str) -> str:
    """`text` as it was typed, as HTML of `br` alone."""
    return escape(text).replace("\r\n", "<br>").replace("\r", "<br>").replace("\n", "<br>")


def _good(found: re.Match[str]) -> str | None:
    url = found[0].rstrip(_NOT_AT_THE_END)
    return url if is_good(url) else None

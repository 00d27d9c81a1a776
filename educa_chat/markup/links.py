"""Links: which URLs become links, their destinations, misleading link texts, and plain text with links."""

import re
import unicodedata
from functools import lru_cache
from html import escape
from urllib.parse import parse_qs, quote, unquote, urlsplit

import idna

SCHEMES = {"http", "https", "mailto"}
REL = "noopener noreferrer nofollow ugc"
TARGET = "_blank"

HOST_LENGTH = 253
"""The most characters that a host can have (RFC 1035 §2.3.4)."""
LABEL_LENGTH = 63
"""The most characters that a host can have between two dots (RFC 1035 §2.3.4)."""
FOREIGN_LENGTH = 100
"""The most characters that all non-ASCII hosts of a text may have. Converting them takes up to 20 µs each."""

# A URL ends at white space, at a character that no URL contains, at a quotation mark, an em dash or an ellipsis, at the
# punctuation of other scripts, and at a character that changes the direction of the text, which would only be there to
# deceive. Another URL after a comma or a semicolon is a second link.
_BARE = re.compile(
    r"[hH](?<![a-zA-Z0-9+.-].)[tT][tT][pP][sS]?://(?:(?![,;|]https?://)[^\s<>\"`\\\u200b\ufeff"
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
    r"\u00ab\u00bb\u2014\u2015\u201c-\u201f\u2026\u2039\u203a\u0589\u05c3\u060c\u061b\u061f\u06d4\u0964\u0965\u104a\u104b"
    r"\u1362\u17d4\u17d5\u3000-\u3004\u3008-\u3020\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65])+"
)
# Characters at the end that belong to the sentence. A closing bracket does if the URL doesn't open it (GFM).
_AT_THE_END = frozenset("()[]{}.,;:!?*_~$|^'\u00b7\u2013\u2019\u2018")
# The end of a quotation that contains only the URL, but not an apostrophe, as in `'https://example.org/Newton's_method'`.
_END_OF_QUOTATION = {"'": re.compile(r"'(?!\w)"), "\u2018": re.compile(r"\u2019(?!\w)")}
_BRACKETS = {")": "(", "]": "[", "}": "{"}
# Text that follows a host without a space, as in `example.org谢谢`. No top-level domain mixes both kinds of letters.
_AFTER_HOST = re.compile(
    r"([^:]+://(?:[a-zA-Z0-9-]+\.)+[a-zA-Z]{2,}+)"
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u9fff\uac00-\ud7af]"
)
# Something after a host that can't belong to it, as in `example.org's`. But an `@` hides where a URL leads.
_BEFORE_NO_HOST = re.compile(r"([^:]+://(?:[\w-]+\.)+[\w-]+(?::\d+)?)(?![\w.:@/?#-])(?![^/?#]*@)")
_HOST = re.compile(r"[\w.-]+|[0-9a-f:.]+")
# Browsers take a host whose last label is a number for an IPv4 address (WHATWG URL §3.5).
_NUMERIC_HOST = re.compile(r"(?:.*\.)?(?:\d+|0x[0-9a-f]*)\.?")
_IPV4 = re.compile(r"(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}", re.ASCII)
_AFTER_IPV6 = re.compile(r"[^\]]*(?:\](?::\d*)?)?")
_FOREIGN_HOST = re.compile(r"://(?=[\w.-]*(?:[^\W\x00-\x7f]|xn--))[\w.-]+")
_PUNYCODE = "xn--"
_DEFAULT_PORTS = {"http": 80, "https": 443}

_DIRECTION = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
# Invisible characters: controls, tags and Unicode's Default_Ignorable_Code_Point.
_UNSEEN = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"
)
# Combining marks, and characters that look like a full stop (Unicode's confusables.txt).
_MARK = re.compile("[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]")
_LIKE_A_DOT = re.compile("[\u0660\u06d4\u06f0\u0701\u0702\u3002\ua4f8\ua60e\U00010a50\U0001d16d]")

_BETWEEN_WORDS = re.compile("[\\s<>\"'`(){}|,;\u00ab\u00bb\u2018-\u201f]+")
_AROUND_A_HOST = ".:!?*_~"
_ADDRESS = re.compile(
    r"(?:^|:)[/\\]{2}\w"  # //host
    r"|[^\W_]-*\.-*[^\W\d_]{2}"  # host.example
    r"|\d\.\d+\.\d+\.\d"  # 192.0.2.1
    r"|xn--|\blocalhost\b"
)
# File extensions that are not top-level domains, as zip, md and py are.
_FILE = re.compile(
    r"\.(?:pdf|docx?|xlsx?|pptx?|od[tsp]|epub|txt|rtf|csv|tsv|json|xml|html?|css|[jt]sx?|ipynb|tex|bib|sql|cpp|hpp|"
    r"ya?ml|toml|ini|log|png|jpe?g|gif|svg|webp|mp[34]|wav|avi|tar|gz|rar|exe)$"
)
_SCHEME = re.compile(r"^[a-z][a-z0-9+-]*:(?!\d)")
_END_OF_AUTHORITY = re.compile(r"[/\\?#]")
_DEFAULT_PORT = re.compile(r":(?:80|443)$")
# ASCII and the accented letters of Latin-1. Other letters may look just like one of these.
_UNMISTAKABLE = re.compile("[!-~\u00df-\u00f6\u00f8-\u00ff]*")


def is_good(url: str) -> bool:
    """Return whether `url` may become a link: http and https with a host and without a username, or mailto."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    if parts.scheme == "mailto":
        return bool(parts.path)
    # https://bank.example@evil.example leads to evil.example.
    is_web = parts.scheme in SCHEMES and "@" not in parts.netloc
    is_host = _HOST.fullmatch(host) and _AFTER_IPV6.fullmatch(parts.netloc)
    if _NUMERIC_HOST.fullmatch(host) and not _IPV4.fullmatch(host):
        # Not an address, or one in a notation that only hides where it leads.
        return False
    return is_web and bool(is_host) and _ascii(host) is not None


def with_ascii_host(url: str) -> str:
    """Return `url` with its host in the ASCII form that browsers look up (UTS #46), or '' if the host has none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    if parts.netloc.isascii():
        return url
    host = parts.hostname or ""
    ascii_host = _ascii(host)
    return url.replace(parts.netloc, parts.netloc.lower().replace(host, ascii_host), 1) if ascii_host else ""


def destination(url: str) -> str:
    """Return where the good `url` leads: its host, with a port if it isn't the scheme's default.

    For mailto it is all addresses. The result is ASCII, so that it can't look like another host.
    """
    parts = urlsplit(url)
    if parts.scheme == "mailto":
        query = parse_qs(parts.query)
        addresses = [unquote(parts.path), *(address for name in ("to", "cc", "bcc") for address in query.get(name, ()))]
        return quote(", ".join(map(_ascii_address, addresses)), safe="@.,+ ").lower()
    host = (_ascii(parts.hostname or "") or "").removesuffix(".")
    if ":" in host:
        host = f"[{host}]"
    is_default = parts.port in (None, _DEFAULT_PORTS.get(parts.scheme))
    return host if is_default else f"{host}:{parts.port}"


def is_misleading(text: str, url: str) -> bool:
    """Return whether `text`, as a reader sees it, looks like a different address from the good `url`.

    When in doubt, return true: the reader then sees an address that they did not need.
    """
    true = destination(url)
    seen = unicodedata.normalize("NFKC", text)
    if len(seen) > 4 * len(text):
        # Only rare ligatures do this. Reading all that they stand for would take long.
        return True
    # A reader overlooks the backslash in `campus\.example`, which is not an escape here.
    seen = _UNSEEN.sub("", seen).lower().replace("\\.", ".")
    # The path of a URL may contain what separates words elsewhere.
    words = [seen] if text == url else _BETWEEN_WORDS.split(seen)
    claims = (_claim(unquote(word)) for word in words)
    return any(claim not in (None, true, true.removeprefix("www.")) for claim in claims)


def without_direction(text: str) -> str:
    """Return `text` without the characters that change its direction, so that it is shown in the order it was typed."""
    return _DIRECTION.sub("", text)


def has_many_foreign_hosts(text: str) -> bool:
    """Return whether linking all bare URLs in `text` would take too long."""
    return sum(map(len, _FOREIGN_HOST.findall(text))) > FOREIGN_LENGTH


def bare_url(text: str, position: int) -> str | None:
    """Return the good URL that begins at `position`, without the punctuation after it, or None."""
    found = _BARE.match(text, position)
    return _good(found) if found else None


def plain(text: str) -> str:
    """Return `text` as it was typed, as HTML with only `a` and `br`."""
    if "://" not in text:
        return without_links(text)
    parts: list[str] = []
    position = 0
    has_many = has_many_foreign_hosts(text)
    for found in _BARE.finditer(text):
        if has_many and _FOREIGN_HOST.search(found[0]):
            continue
        if url := _good(found):
            parts.append(without_links(text[position : found.start()]))
            parts.append(_bare_link(url))
            position = found.start() + len(url)
    parts.append(without_links(text[position:]))
    return "".join(parts)


def without_links(text: str) -> str:
    """Return `text` as it was typed, as HTML with only `br`."""
    return escape(text).replace("\r\n", "<br>").replace("\r", "<br>").replace("\n", "<br>")


def _good(found: re.Match[str]) -> str | None:
    url = found[0]
    if end_of_quotation := _END_OF_QUOTATION.get(found.string[found.start() - 1 : found.start()]):
        url = end_of_quotation.split(url, maxsplit=1)[0]
    if (not url.isascii() and (host := _AFTER_HOST.match(url))) or (host := _BEFORE_NO_HOST.match(url)):
        url = host[1]
    url = _without_punctuation(url)
    return url if is_good(url) else None


def _without_punctuation(url: str) -> str:
    """Return `url` without the punctuation at its end that belongs to the sentence."""
    # Count once: counting again for each bracket at the end would take quadratic time.
    brackets = {bracket: url.count(bracket) for pair in _BRACKETS.items() for bracket in pair}
    end = len(url)
    while end and (last := url[end - 1]) in _AT_THE_END:
        if last in _BRACKETS and brackets[_BRACKETS[last]] >= brackets[last]:
            break
        if last in brackets:
            brackets[last] -= 1
        end -= 1
    return url[:end]


def _bare_link(url: str) -> str:
    opening = f'<a href="{escape(with_ascii_host(url))}" rel="{REL}" target="{TARGET}">'
    if not url.isascii() and is_misleading(url, url):
        return f"{escape(url)} ({opening}{destination(url)}</a>)"
    return f"{opening}{escape(url)}</a>"


def _claim(word: str) -> str | None:
    """Return the destination that `word` looks like: None if it looks like none, '' if it can't be a real one."""
    word = word.rstrip(_AROUND_A_HOST)
    if not _ADDRESS.search(_FILE.sub("", _LIKE_A_DOT.sub(".", _MARK.sub("", word)))):
        return None
    authority = _END_OF_AUTHORITY.split(_SCHEME.sub("", word).lstrip("/\\"), maxsplit=1)[0]
    authority = _DEFAULT_PORT.sub("", authority.strip(_AROUND_A_HOST)).removesuffix(".").removeprefix("www.")
    if not _UNMISTAKABLE.fullmatch(authority):
        return ""
    host, colon, port = authority.partition(":")
    return authority if authority.isascii() else f"{_ascii(host)}{colon}{port}"


def _ascii(host: str) -> str | None:
    """Return `host` in ASCII, or None if it has no such form."""
    host = host.lower()
    if host.isascii() and _PUNYCODE not in host:
        return host
    is_short = len(host) <= HOST_LENGTH and max(map(len, host.split("."))) <= LABEL_LENGTH
    return _converted(host) if is_short else None


@lru_cache(1024)
def _converted(host: str) -> str | None:
    try:
        return idna.encode(host, uts46=True).decode()
    except UnicodeError:
        return None


def _ascii_address(address: str) -> str:
    local, at, domain = address.rpartition("@")
    return f"{local}{at}{_ascii(domain) or domain}"

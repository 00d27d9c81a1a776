"""Whom a message mentions: `@` and a username, and `@all`. Who of them is a member, the append decides."""

import re
import unicodedata

MOST = 50
"""More than so many names in one message are not looked for."""
EVERYBODY = "*"
"""Stands for everybody among names; no username has this sign."""
_EVERYBODY_WRITTEN = "all"

# As Django's `UnicodeUsernameValidator` has it.
_NAME = re.compile(r"[\w.@+-]{1,150}")
_WRITTEN = re.compile(r"(?<![\w@])@([\w.@+-]+)")
_UNREAD = re.compile(r"<(a|code|math|pre)\b.*?</\1>", re.DOTALL)
_QUOTE = re.compile(r"<blockquote>(?:(?!<blockquote>).)*?</blockquote>", re.DOTALL)
_TAG = re.compile(r"<[^>]*>")
PUNCTUATION = ".@+-"
"""What may end a username, and in a text rather ends the sentence."""


def mentioned_in(html: str, *, by_instructor: bool) -> str | None:
    """The names behind an `@` in a rendered message, in order and each once, with a space between; None: no names.

    What stands in code, in a formula, in a link or in a quote mentions nobody. Of an instructor, `@all` is EVERYBODY,
    in front; it is nobody's name.
    """
    if "@" not in html:
        return None
    text = _UNREAD.sub("\n", html)
    while _QUOTE.search(text):
        # The innermost quotes first.
        text = _QUOTE.sub("\n", text)
    text = _TAG.sub("\n", text)
    names = dict.fromkeys(map(_normalised, _WRITTEN.findall(text)))
    everybody = [name for name in names if name.rstrip(PUNCTUATION).lower() == _EVERYBODY_WRITTEN]
    found = [name for name in names if name not in everybody and _NAME.fullmatch(name)][:MOST]
    if everybody and by_instructor:
        found.insert(0, EVERYBODY)
    return " ".join(found) or None


def _normalised(name: str) -> str:
    """`name` as Django keeps usernames: NFKC."""
    return name if name.isascii() else unicodedata.normalize("NFKC", name)

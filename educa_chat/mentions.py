"""Finds mentions in a message: `@` and a username, or `@all`. The append decides which of them are members."""

import re
import unicodedata

MOST = 50
"""How many names in one message count."""
EVERYBODY = "*"
"""Stands for `@all` among names. No username contains this character."""
_EVERYBODY_WRITTEN = "all"

# The characters that Django's `UnicodeUsernameValidator` allows.
_NAME = re.compile(r"[\w.@+-]{1,150}")
_WRITTEN = re.compile(r"(?<![\w@])@([\w.@+-]+)")
_UNREAD = re.compile(r"<(a|code|math|pre)\b.*?</\1>", re.DOTALL)
_QUOTE = re.compile(r"<blockquote>(?:(?!<blockquote>).)*?</blockquote>", re.DOTALL)
_TAG = re.compile(r"<[^>]*>")
PUNCTUATION = ".@+-"
"""Characters that may end a username, but usually end the sentence."""


def mentioned_in(html: str, *, by_instructor: bool) -> str | None:
    """Return the names after an `@` in a rendered message, in order, each once, separated by spaces. None: no names.

    Names in code, formulas, links and quotes don't count. An instructor's `@all` becomes EVERYBODY, at the front. No
    user can have the name `all`.
    """
    if "@" not in html:
        return None
    text = _UNREAD.sub("\n", html)
    while _QUOTE.search(text):
        # Remove the innermost quotes first.
        text = _QUOTE.sub("\n", text)
    text = _TAG.sub("\n", text)
    names = dict.fromkeys(map(_normalised, _WRITTEN.findall(text)))
    everybody = [name for name in names if name.rstrip(PUNCTUATION).lower() == _EVERYBODY_WRITTEN]
    found = [name for name in names if name not in everybody and _NAME.fullmatch(name)][:MOST]
    if everybody and by_instructor:
        found.insert(0, EVERYBODY)
    return " ".join(found) or None


def _normalised(name: str) -> str:
    """Return `name` in NFKC, as Django stores usernames."""
    return name if name.isascii() else unicodedata.normalize("NFKC", name)

"""Finds mentions in a message: `@` and a username, or `@all`. The append decides which of them are members."""

import re
import unicodedata

MOST = 50
"""The maximum number of names in a message."""
EVERYBODY = "*"
"""Stands for `@all` among names, and marks a name that means `@all` unless it, or a longer part of it, is a member's.

No username contains this character.
"""
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u2e80-\ua4cf\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff"
    "\uff66-\uffdc\U00020000-\U0003ffff"
)
"""The characters of scripts without spaces: a mention may follow them, so an `@` after them is in no name."""
_LATIN = "A-Za-z\u00aa-\u024f\u1e00-\u1eff"
# The SQL function `shorter_name` has the same rule.
_LAST_PART = re.compile(rf"(?:[.@+_-]+|[{_UNSPACED}][0-9]*|[{_LATIN}0-9]+|[^.@+_{_LATIN}{_UNSPACED}-]+)\Z")
_BEGINS_WITH_ALL = re.compile(rf"all(?![{_LATIN}0-9])", re.IGNORECASE)
_LONGEST = 150
"""How many characters Django allows in a username."""

# The characters that Django's `UnicodeUsernameValidator` allows.
_NAME = re.compile(r"[\w.@+-]+")
_WRITTEN = re.compile(rf"(?:(?<![\w@])|(?<=[{_UNSPACED}]))@((?:[\w.+-]|(?<![{_UNSPACED}])@)+)")
_UNREAD = re.compile(r"<(a|code|math|pre)\b.*?</\1>", re.DOTALL)
_QUOTE = re.compile(r"<blockquote>(?:(?!<blockquote>).)*?</blockquote>", re.DOTALL)
_TAG = re.compile(r"<[^>]*>")
PUNCTUATION = ".@+-"
"""Characters that may end a username, but usually end the sentence."""


def mentioned_in(html: str, *, by_instructor: bool) -> str | None:
    """Return the names after an `@` in a rendered message, in order, each once, separated by spaces. Return None if
    there are none.

    Names in code, formulas, links and quotes don't count. An instructor's `@all` becomes EVERYBODY, at the front, and
    `@all.Thanks` becomes `*all.Thanks`. No user can have the name `all`.
    """
    if "@" not in html:
        return None
    text = _UNREAD.sub("\n", html)
    while _QUOTE.search(text):
        # Remove the innermost quotes first.
        text = _QUOTE.sub("\n", text)
    text = _TAG.sub("\n", text)
    names = dict.fromkeys(map(_longest_possible, _WRITTEN.findall(text)))
    everybody = [name for name in names if name.rstrip(PUNCTUATION).lower() == "all"]
    found = [
        EVERYBODY + name if by_instructor and _BEGINS_WITH_ALL.match(name) else name
        for name in names
        if name and name not in everybody
    ][:MOST]
    if everybody and by_instructor:
        found.insert(0, EVERYBODY)
    return " ".join(found) or None


def _longest_possible(written: str) -> str:
    """Return the longest part of what follows an `@` that may be a username, in NFKC, as Django stores usernames."""
    name = written if written.isascii() else unicodedata.normalize("NFKC", written)
    if len(name) > _LONGEST:
        name = _LAST_PART.sub("", name[: _LONGEST + 1])
    return name if _NAME.fullmatch(name) else ""

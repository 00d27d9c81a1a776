"""The rules for new passwords: a minimum length and a blocklist, but no required characters (NIST SP 800-63B)."""

import unicodedata
from collections.abc import Iterable
from functools import cache
from importlib import resources
from itertools import pairwise

from educa_chat.errors import PasswordRefused

PASSWORD_CHARACTERS = 8
"""The minimum length, in code points."""

_DISTINCT_CHARACTERS = 4
_SERVICE_WORDS = ("educa", "chat")


def require_strong(password: str, *words: str) -> None:
    """Raise PasswordRefused if `password` is too short, or one of the first that an attacker would try.

    `words` are what an attacker knows of the user: the username, and the words of the name.

    The length is that of the password as typed or of its compatibility composition (NFKC), whichever is shorter, so
    neither a decomposed accent nor a ligature counts more than once. Each run of spaces counts once, and those at the
    ends not at all.
    """
    length = min(len(" ".join(form.split())) for form in (password, unicodedata.normalize("NFKC", password)))
    if length < PASSWORD_CHARACTERS:
        raise PasswordRefused(f"the password is too short: it needs at least {PASSWORD_CHARACTERS} characters", "short")
    folded = _folded(password)
    if len(set(folded)) < _DISTINCT_CHARACTERS or len({ord(b) - ord(a) for a, b in pairwise(folded)}) == 1:
        raise PasswordRefused("the password is too simple: it is a repetition or a sequence of characters", "simple")
    # A common password with a year or an exclamation mark is just as common.
    core = folded.strip("".join(char for char in folded if not char.isalpha()))
    if not _common_passwords().isdisjoint((folded, core)):
        raise PasswordRefused("the password is one of the most common ones", "common")
    if _consists_of(folded, (*words, *_SERVICE_WORDS)):
        raise PasswordRefused(
            "the password consists of the user name, the name, or the name of this chat", "contextual"
        )


def _folded(text: str) -> str:
    """Return the visible characters in lower case and without accents."""
    decomposed = unicodedata.normalize("NFKD", text).casefold()
    return "".join(char for char in decomposed if unicodedata.category(char)[0] not in "CMZ")


def _consists_of(folded: str, words: Iterable[str]) -> bool:
    """Return whether `folded` consists only of `words`, digits and punctuation."""
    rest = _letters_and_digits(folded)
    for word in sorted((_letters_and_digits(_folded(word)) for word in words), key=len, reverse=True):
        if word:
            rest = rest.replace(word, "")
    return rest != _letters_and_digits(folded) and not any(map(str.isalpha, rest))


def _letters_and_digits(text: str) -> str:
    return "".join(filter(str.isalnum, text))


@cache
def _common_passwords() -> frozenset[str]:
    lines = (resources.files("educa_chat.people") / "common_passwords.txt").read_text(encoding="utf-8").splitlines()
    return frozenset(_folded(line) for line in lines if not line.startswith("# "))

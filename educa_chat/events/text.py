"""Which texts are valid, and how they are normalised."""

import re
import unicodedata

from educa_chat.errors import CommandRefused
from educa_chat.protocol import ErrorCode

_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | {chr(c) for c in range(0xFE00, 0xFE10)}
MAX_COMBINING_RUN = 512
_LINE_BREAK = re.compile("\r\n?|[\v\f\x85\u2028\u2029]")
"""The line breaks of Unicode besides `\\n` (UAX #14: BK, CR and NL). Libraries disagree on which of them end a line."""
_INVISIBLE_CATEGORIES = frozenset(("Cc", "Cf", "Cn", "Co", "Zl", "Zp", "Zs"))


def normalise_text(text: str, length: int) -> str:
    """Return `text` in NFC, trimmed, and with `\\n` for every kind of line break: 1 to `length` code points (0: no
    limit), of which at least one can be seen. A text of several lines keeps the indentation of its first line.

    Raises CommandRefused with too_long, empty, or bad_request for NUL, which Postgres can't store, and
    for more combining marks on one letter than any language has.
    """
    if not text.isprintable():
        text = _LINE_BREAK.sub("\n", text)
    text = _trimmed(text)
    # NFC makes a text at most four times shorter, by combining a letter and three marks. A longer text can't fit.
    if length and len(text) > 4 * length:
        raise CommandRefused(ErrorCode.TOO_LONG)
    if "\0" in text:
        raise CommandRefused(ErrorCode.BAD_REQUEST)
    if not text.isascii():
        # Normalising sorts each run of combining marks in quadratic time: 16,000 of them would take half a second.
        if len(text) > MAX_COMBINING_RUN:
            runs = [len(run) for run in bytes(map(unicodedata.combining, text)).split(b"\0")]
            if max(runs) > MAX_COMBINING_RUN:
                raise CommandRefused(ErrorCode.BAD_REQUEST)
            # NFC combines a letter with at most three marks, as above.
            if length and sum(run - 3 for run in runs if run > 3) > length:
                raise CommandRefused(ErrorCode.TOO_LONG)
        text = _trimmed(unicodedata.normalize("NFC", text))
    if length and len(text) > length:
        raise CommandRefused(ErrorCode.TOO_LONG)
    if not any(map(_is_visible, text)):
        raise CommandRefused(ErrorCode.EMPTY)
    return text


def _trimmed(text: str) -> str:
    trimmed = text.strip()
    if "\n" not in trimmed:
        return trimmed
    # In pasted code, the first line is indented like the others.
    first = len(text) - len(text.lstrip())
    return text[text.rfind("\n", 0, first) + 1 :].rstrip()


def _is_visible(character: str) -> bool:
    return character not in _INVISIBLE and unicodedata.category(character) not in _INVISIBLE_CATEGORIES

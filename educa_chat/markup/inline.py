"""The inline rules of a chat: emphasis, code, formulas, links and escapes within a text.

A rule treats a character as markup only where nothing else is likely to be meant: multiplications, powers, names with
underscores, paths, prices and smileys stay as they were typed.
"""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline, link
from markdown_it.rules_inline.state_inline import Delimiter

from educa_chat.markup.links import bare_url

AUTOLINK = "autolink"
"""The markup of a token for a link that was typed as a bare address."""

_T = TypeVar("_T")

_DELIMITERS = "*_~"
_NEAR = 8
"""How many characters beside a delimiter decide what it does."""
_RUN = re.compile(r"\*+|_+|~+")
_LONGEST_RUN = {"*": 3, "_": 1, "~": 2}

# Scripts that put no spaces between words, and Hangul, which puts endings directly after a word.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3130-\u318f\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
    "\uf900-\ufaff\U00020000-\U0003ffff]"
)
# Characters that don't occur next to emphasis, but in formulas, paths, patterns and code.
_NOT_BEFORE = frozenset(r"/\=+^%$#&@<>.")
_NOT_AFTER = frozenset(r"/\=+^%$#&@")
_ENDS_A_SENTENCE = frozenset(".,:;!?…\"'»”’。，：；！？、")
_NOT_FIRST = frozenset(".,:;!?)]}/=>%&|^…·")
_BEFORE_A_WORD = frozenset("-+@#")
_QUOTATION_MARKS = "\"'"
_BEFORE_A_QUOTE = " \t\n=([{,:*"
_EXTENSION = re.compile(r"\.[a-z0-9]")
_STRONG = 0x110000
"""Added to the marker of `**`, so that the library doesn't pair it with a single `*`, as in `**int *p**`."""
_SMILEY = re.compile(r"(?:^|\s)[:;=8]-?$")

_CODE_RUN = re.compile(r"`+")

# LaTeX between dollars: no line break and no space at the ends of what one dollar encloses.
_FORMULA = re.compile(
    r"\$\$(?P<display>(?:[^$\\]|\\.)+)\$\$(?!\$)|\$(?!\s)(?P<text>(?:[^$\\\n]|\\.)+)(?<!\s)\$(?![$({]|_\w)", re.DOTALL
)
_LATEX_TEXT = re.compile(r"\\[a-zA-Z]+\*?(?:\{[^{}]*\})*")
_PROSE = re.compile(r"(?<![^\W\d_])[^\W\d_]{2,}+[\s,;:.]++[^\W\d_]{2,}")
_AMOUNT = re.compile(r"\d[\d.,]*+[kKM]?+(?!\w)")
_AFTER_AN_AMOUNT = re.compile(r"[\s\u3000-\u3020\uff01-\uff65]")
_OPERATOR = re.compile(r"[\\^_=+*/<>|{}-]")
# After an amount, a word, a conjunction before another number (y, o, a, e) and a currency are prose.
_IN_PROSE = re.compile(r"[^\W\d_]{2}|\s[yoaeYOAE]\s+\d|[€£¥₹₽¢]")
_PER_UNIT = re.compile(r"/[^\W\d_]")
_ONLY_A_NUMBER = re.compile(r"[\d\s.,:–-]+")
# A formula doesn't directly follow a bracket or an escape, nor `*` or `+`, which precede a `$` in patterns. But it may
# follow the beginning of emphasis, and a sign after another formula.
_BEFORE_A_FORMULA = re.compile(r"(?:^|[^)\]}$\\+*]|\$[+*]|(?:^|[\s(¿¡\"'«“])\*{1,3})\Z")

_URL_SCHEME = re.compile(r"[hH][tT][tT][pP][sS]?$")

_NO_ADDRESS = re.compile(r"\(\s*(?:<\s*>\s*)?\)")

# After a drive letter, a backslash begins a path.
_ESCAPE = re.compile(r"(?<!\b[A-Za-z]:)\\([*_~`$\[\]()<>#.-])")
_LINK = re.compile(r"\[[^\[\]]*(\])(\()(?=\s*<?(?:https?|mailto):)", re.IGNORECASE)
_AUTOLINK = re.compile(r"<(?=https?:|mailto:|[\w.+-]+@)", re.IGNORECASE)
_LINE_SIGN = re.compile(
    r"^(?:>(?=[ \t])|[-*](?=[ \t])|#(?=#{0,5}[ \t])|\d{1,9}\.(?=[ \t])|-(?=--+$)|[`~](?=``|~~))", re.MULTILINE
)


def add_inline_rules(parser: MarkdownIt) -> None:
    """Make the rules of a chat the inline rules of `parser`."""
    rules = parser.inline.ruler
    rules.enableOnly(["text", "autolink"])
    rules.after("text", "chat_newline", _newline)
    rules.after("chat_newline", "chat_formula", _formula)
    rules.after("chat_formula", "chat_bare_link", _bare_link)
    rules.after("chat_bare_link", "chat_escape", _escape)
    rules.after("chat_escape", "chat_code", _code)
    rules.after("chat_code", "chat_emphasis", _emphasis)
    rules.after("chat_emphasis", "chat_link", _link)
    pairs = parser.inline.ruler2
    pairs.enableOnly(["balance_pairs", "strikethrough", "emphasis", "fragments_join"])
    pairs.after("balance_pairs", "chat_strong", _strong)


def _newline(state: StateInline, silent: bool) -> bool:
    """A line break, with all spaces around it."""
    if state.src[state.pos] != "\n":
        return False
    if not silent:
        state.push("softbreak", "br", 0)
    state.pos += 1
    return True


class _Flanks(NamedTuple):
    """Whether a run of delimiters can open or close emphasis."""

    opens: bool
    closes: bool


def _flanks(text: str, start: int, end: int) -> _Flanks:
    """Return whether the run of delimiters `text[start:end]` can open emphasis before a word or close it after one."""
    marker, length = text[start], end - start
    if length > _LONGEST_RUN[marker] or (marker == "~" and length == 1):
        return _Flanks(False, False)
    before = text[max(start - _NEAR, 0) : start].rstrip(_DELIMITERS)
    after = text[end : end + _NEAR].lstrip(_DELIMITERS)
    opens, closes = _may_be_first(after), _may_be_last(before)
    if marker == "~":
        # Nothing else is written like this within a word.
        return _Flanks(opens, closes)
    is_strong = length > 1
    opens = opens and _may_stand_before(before, is_strong)
    closes = closes and _may_stand_after(before[-1:], after[:1], is_strong)
    if marker == "_":
        # snake_case, __init__ and _private_name are names.
        opens = opens and "_" not in _word_after(text, end).rstrip("_")
        closes = closes and "_" not in _word_before(text, start).lstrip("_") and not _EXTENSION.match(after)
    if not is_strong and _SMILEY.search(before):
        closes = False
    return _Flanks(opens, closes)


def _may_stand_before(before: str, is_strong: bool) -> bool:
    """Return whether emphasis can begin after the text `before`."""
    last = before[-1:]
    if not last or last.isspace():
        return True
    if _is_word(last):
        return is_strong and bool(_UNSPACED.match(last))
    if last in _QUOTATION_MARKS and _is_word(before[-2:-1]):
        # In f'*g and "ab"*n, the quotation mark ends something.
        return False
    if is_strong:
        return last not in ")]}\\"
    return last not in _NOT_BEFORE and unicodedata.category(last) not in ("Pe", "Sm")


def _may_be_first(after: str) -> bool:
    """Return whether emphasised text can begin with `after`."""
    first = after[:1]
    if not first or first in _BEFORE_A_WORD:
        return _is_word(after[1:2])
    return not first.isspace() and first not in _NOT_FIRST and unicodedata.category(first) not in ("Pe", "Pf")


def _may_be_last(before: str) -> bool:
    """Return whether emphasised text can end with `before`."""
    last = before[-1:]
    if last in _QUOTATION_MARKS and before[-2:-1] in _BEFORE_A_QUOTE:
        # In sep="*", the quotation mark begins something.
        return False
    return bool(last) and not last.isspace() and last not in "¿¡" and unicodedata.category(last) not in ("Ps", "Pi")


def _may_stand_after(last: str, after: str, is_strong: bool) -> bool:
    """Return whether emphasis that ends with the character `last` can end before `after`."""
    if not after or after.isspace():
        return True
    if _is_word(after) or unicodedata.category(after) == "Ps":
        # **Ojo:**mañana, 使用**Python**编程. But x**2 and f(**a, b**(2)) are powers.
        is_unspaced = _is_word(after) and bool(_UNSPACED.match(last) or _UNSPACED.match(after))
        return is_strong and (last in _ENDS_A_SENTENCE or is_unspaced)
    return is_strong or after not in _NOT_AFTER


def _is_word(character: str) -> bool:
    return character.isalnum() or (character != "" and unicodedata.category(character)[0] == "M")


def _of_text(state: StateInline, find: Callable[[str], _T]) -> _T:
    """Return `find(text)` for the text that is being parsed, computed once."""
    known: dict[str, _T] = state.env.setdefault(find.__name__, {})
    if state.src not in known:
        known[state.src] = find(state.src)
    return known[state.src]


def _word_after(text: str, position: int) -> str:
    end = position
    while end < len(text) and (_is_word(text[end]) or text[end] == "_"):
        end += 1
    return text[position:end]


def _word_before(text: str, position: int) -> str:
    start = position
    while start and (_is_word(text[start - 1]) or text[start - 1] == "_"):
        start -= 1
    return text[start:position]


def _emphasis(state: StateInline, silent: bool) -> bool:
    """`*`, `**`, `_` and `~~`. The library pairs those that open with those that close."""
    found = _RUN.match(state.src, state.pos, state.posMax)
    if not found:
        return False
    state.pos = found.end()
    if silent:
        return True
    run = found[0]
    opens, closes = _flanks(state.src, *found.span())
    if not opens and not closes:
        state.pending += run
        return True
    step = 2 if run[0] == "~" else 1
    for _ in range(0, len(run), step):
        state.push("text", "", 0).content = run[0] * step
        # The library's rule for strikethrough has no lengths.
        length = len(run) if step == 1 else 0
        delimiter = Delimiter(
            marker=ord(run[0]) + (_STRONG if run == "**" and "***" not in state.src else 0),
            length=length,
            token=len(state.tokens) - 1,
            end=-1,
            open=opens,
            close=closes,
        )
        state.delimiters.append(delimiter)
    return True


def _strong(state: StateInline) -> None:
    """Give `**`, which is now paired, the marker that the library's rule for emphasis knows."""
    inner = (meta["delimiters"] for meta in state.tokens_meta if meta and "delimiters" in meta)
    for delimiters in (state.delimiters, *inner):
        for delimiter in delimiters:
            delimiter.marker %= _STRONG


def _code(state: StateInline, silent: bool) -> bool:
    """Code between backticks, with all its spaces and line breaks. After a letter, a backtick is an apostrophe."""
    found = _CODE_RUN.match(state.src, state.pos, state.posMax)
    if not found:
        return False
    start, end = found.span()
    closing = _closing_run(state, start, end)
    if closing is None:
        if not silent:
            state.pending += found[0]
        state.pos = end
        return True
    if not silent:
        content = state.src[end:closing]
        if content[0] == content[-1] == " " and "`" in (content.strip(" ")[0], content.strip(" ")[-1]):
            # In `` ` ``, the spaces only separate the backticks.
            content = content[1:-1]
        token = state.push("code_inline", "code", 0)
        token.content, token.markup = content, found[0]
    state.pos = closing + end - start
    return True


def _closing_run(state: StateInline, start: int, end: int) -> int | None:
    """Find the end of the code that opens with the backticks from `start` to `end`."""
    if start and _is_word(state.src[start - 1]) and not _UNSPACED.match(state.src[start - 1]):
        return None
    ends = _of_text(state, _code_ends).get(end - start, [])
    index = bisect_left(ends, end)
    closing = ends[index] if index < len(ends) else None
    if closing is None or closing + end - start > state.posMax or not state.src[end:closing].strip():
        return None
    return closing


def _code_ends(text: str) -> dict[int, list[int]]:
    """Return the positions where code can close in `text`, by the number of backticks."""
    ends: dict[int, list[int]] = {}
    for found in _CODE_RUN.finditer(text):
        after = text[found.end() : found.end() + 1]
        if not (text[found.start() - 1 : found.start()].isspace() and after and _is_word(after)):
            ends.setdefault(len(found[0]), []).append(found.start())
    return ends


def _formula(state: StateInline, silent: bool) -> bool:
    """A formula between dollars."""
    found = _formula_at(state.src, state.pos, state.posMax)
    if not found:
        return False
    if not silent:
        token = state.push("formula", "math", 0)
        token.content, token.markup = (found["display"], "$$") if found["display"] else (found["text"], "$")
    state.pos = found.end()
    return True


def _formula_at(text: str, start: int, end: int) -> re.Match[str] | None:
    """Find the formula that begins at `start`. Prices, shell variables and `5$` aren't formulas."""
    if text[start] != "$":
        return None
    before, last = text[max(start - _NEAR, 0) : start], text[start - 1 : start]
    found = _FORMULA.match(text, start, end) if _BEFORE_A_FORMULA.search(before) else None
    if not found:
        return None
    latex = found["display"] or found["text"]
    after = text[found.end() : found.end() + _NEAR]
    letters = [letter for letter in (last, after[:1] if found["text"] else "") if _is_word(letter)]
    if letters and (_ONLY_A_NUMBER.fullmatch(latex) or not all(map(_UNSPACED.match, letters))):
        return None
    is_price = bool(_RUN.match(last) or _PER_UNIT.match(after))
    return None if _is_prose(latex, begins_with_price=is_price) else found


def _is_prose(latex: str, *, begins_with_price: bool) -> bool:
    """Return whether `latex` looks like the text between two prices. An amount in it may be certain to be the first."""
    bare = _LATEX_TEXT.sub(" \\\\ ", latex)
    if _PROSE.search(bare) or _UNSPACED.search(bare):
        return True
    if not _AMOUNT.match(bare) or not _AFTER_AN_AMOUNT.search(bare):
        return False
    return begins_with_price or not _OPERATOR.search(bare) or bool(_IN_PROSE.search(bare))


def _bare_link(state: StateInline, silent: bool) -> bool:
    """A bare URL."""
    if state.linkLevel > 0 or not state.src.startswith("://", state.pos):
        return False
    scheme = _URL_SCHEME.search(state.pending)
    url = bare_url(state.src[: state.posMax], state.pos - len(scheme[0])) if scheme else None
    if not scheme or not url:
        return False
    if not silent:
        state.pending = state.pending[: scheme.start()]
        opening = state.push("link_open", "a", 1)
        opening.attrs, opening.markup = {"href": state.md.normalizeLink(url)}, AUTOLINK
        state.push("text", "", 0).content = url
        state.push("link_close", "a", -1)
    state.pos += len(url) - len(scheme[0])
    return True


def _link(state: StateInline, silent: bool) -> bool:
    """The library's link, unless it would have no text or no address: `a[i]()` is a call."""
    if state.src[state.pos] != "[":
        return False
    end = state.md.helpers.parseLinkLabel(state, state.pos, True)
    if not state.src[state.pos + 1 : end].strip() or _NO_ADDRESS.match(state.src, end + 1):
        return False
    return link(state, silent)


def _escape(state: StateInline, silent: bool) -> bool:
    """A backslash before a character that would be markup without it. Any other backslash is shown."""
    found = _ESCAPE.match(state.src, state.pos, state.posMax)
    if not found:
        return False
    if not silent:
        is_escape = state.pos in _of_text(state, _escapes)
        state.pending += found[1] if is_escape else found[0]
    state.pos = found.end()
    return True


def _escapes(text: str) -> frozenset[int]:
    """Find the backslashes in `text` that escape a character: one that is markup in the text without backslashes."""
    found = list(_ESCAPE.finditer(text))
    bare = _ESCAPE.sub(r"\1", text)
    signs = frozenset(_signs(bare))
    return frozenset(m.start() for number, m in enumerate(found) if m.start() - number in signs)


def _signs(text: str) -> Iterator[int]:
    """Find the characters in `text` that are markup, as far as that is possible without parsing it."""
    for found in _LINE_SIGN.finditer(text):
        yield found.end() - 1
    for found in _LINK.finditer(text):
        yield from (found.start(), found.start(1), found.start(2))
    for found in _AUTOLINK.finditer(text):
        yield found.start()
    yield from _code_signs(text)
    yield from _formula_signs(text)
    yield from _emphasis_signs(text)


def _code_signs(text: str) -> Iterator[int]:
    waiting: dict[int, int] = {}
    for found in _CODE_RUN.finditer(text):
        length = len(found[0])
        opening = waiting.pop(length, None)
        if opening is None:
            waiting[length] = found.start()
        else:
            yield from range(opening, opening + length)
            yield from range(*found.span())


def _formula_signs(text: str) -> Iterator[int]:
    position = text.find("$")
    while position >= 0:
        found = _formula_at(text, position, len(text))
        if found:
            length = 2 if found["display"] else 1
            yield from range(position, position + length)
            yield from range(found.end() - length, found.end())
        position = text.find("$", found.end() if found else position + 1)


def _emphasis_signs(text: str) -> Iterator[int]:
    waiting: dict[str, list[range]] = {}
    for found in _RUN.finditer(text):
        opens, closes = _flanks(text, *found.span())
        openings = waiting.setdefault(found[0], [])
        if closes and openings:
            yield from openings.pop()
            yield from range(*found.span())
        elif opens:
            openings.append(range(*found.span()))

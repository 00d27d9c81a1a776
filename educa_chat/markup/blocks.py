"""The block rules of a chat: which lines are quotes, lists, headings, tables, code and formulas. All others are text.

In CommonMark, a line without a sign can belong to the quote or list before it. CommonMark also drops indentation and
empty lines, and renumbers lists. In a chat, each line says what it is.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.ruler import RuleOptionsType
from markdown_it.rules_block import StateBlock, table
from markdown_it.rules_block.table import escapedSplit
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

from educa_chat.markup import code

_QUOTE = re.compile(r">[ \t]|>$")
_HEADING = re.compile(r"#{1,6}[ \t]++")
_DIVIDER = re.compile(r"-{3,}[ \t]*$")
_MARKER = re.compile(r"(?:(?P<bullet>[-*])|(?P<number>0|[1-9]\d{0,8})\.)[ \t]+(?=[^ \t])", re.ASCII)
# A number, or a term like `x²` or `2x + 1`. After a `-` on a single line, it is negative.
_TERM = re.compile(r"[-+±(√]*[$€£¥]?[.,]?(?:[\d¼-¾⅐-⅞∞]|[^\W\d_]?[²³]|[^\W\d_][ \t]?[-+*/=^·×<>≤≥])")

WORTH_READING = re.compile(r"[^\s!-/:-@\[-`{-~]")
"""A letter, a digit, an emoji: anything but white space and ASCII's punctuation."""

_PLUS = re.compile(r"\+[ \t]")

_FENCE = re.compile(r"(?P<fence>`{3,}+|~{3,}+)(?P<info>[^`]*)$")
_FENCE_AFTER_TEXT = re.compile(r"(?P<fence>`{3,}+)(?P<info>[ \t]*[\w#+.-]*[ \t]*)$")
_CLOSING_FENCE = re.compile(r"[ \t]*(`{3,}+|~{3,}+)(?!\w)")
_MOST_INDENTED_FENCE = 3

_ANYWHERE: RuleOptionsType = {"alt": ["paragraph", "blockquote", "after an empty line"]}
"""For blocks that may directly follow a line of text."""
_APART: RuleOptionsType = {"alt": ["after an empty line"]}


def add_block_rules(parser: MarkdownIt) -> None:
    """Make the rules of a chat the block rules of `parser`."""
    rules = parser.block.ruler
    rules.push("chat_table", _table, _ANYWHERE)
    rules.push("chat_fence", _fence, _ANYWHERE)
    rules.push("chat_formula", _formula, _ANYWHERE)
    rules.push("chat_quote", _quote, _ANYWHERE)
    rules.push("chat_divider", _divider, _APART)
    rules.push("chat_list", _list, _ANYWHERE)
    rules.push("chat_heading", _heading, _APART)
    rules.push("chat_paragraph", _paragraph)
    rules.enableOnly([name for name in rules.get_all_rules() if name.startswith("chat_")])
    parser.core.ruler.after("block", "gaps", _keep_gaps)


def _text_of(state: StateBlock, line: int) -> str:
    """Return `line` without its indentation."""
    return state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]]


def _is_at_margin(state: StateBlock, line: int) -> bool:
    """Return whether `line` isn't indented. An indented sign is usually part of some code."""
    return state.sCount[line] == state.blkIndent


def _is_inside(state: StateBlock, line: int) -> bool:
    """Return whether `line` isn't empty and isn't indented less than the block that is being parsed."""
    return not state.isEmpty(line) and state.sCount[line] >= state.blkIndent


def _stands_apart(state: StateBlock, line: int, end_line: int) -> bool:
    """Return whether the next line isn't text. In code, a comment is followed by text."""
    return line + 1 >= end_line or not _is_inside(state, line + 1)


def _begin_line_at(state: StateBlock, line: int, position: int, column: int) -> None:
    """Make `line` begin at `position`, in `column`, as if nothing preceded it."""
    text = state.src[position : state.eMarks[line]]
    indentation = text[: len(text) - len(text.lstrip(" \t"))]
    state.bMarks[line] = position
    state.tShift[line] = len(indentation)
    state.sCount[line] = column + len(indentation.expandtabs(4))
    state.bsCount[line] = 0


@contextmanager
def _nested(state: StateBlock, parent: str, lines: range, indent: int) -> Iterator[None]:
    """Enter a block of the type `parent`, for which the caller may change where `lines` begin."""
    marks = (state.bMarks, state.tShift, state.sCount, state.bsCount)
    before = [mark[lines.start : lines.stop] for mark in marks]
    parent_before, indent_before = state.parentType, state.blkIndent
    state.parentType, state.blkIndent = parent, indent
    yield
    state.parentType, state.blkIndent = parent_before, indent_before
    for mark, values in zip(marks, before, strict=True):
        mark[lines.start : lines.stop] = values


def _begins_block(state: StateBlock, line: int, end_line: int, where: str) -> bool:
    return any(rule(state, line, end_line, True) for rule in state.md.block.ruler.getRules(where))


def _paragraph(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    """Lines of text, and the empty lines between them. Inline markup ends at an empty line."""
    state.push("paragraph_open", "p", 1).map = lines = [start_line, start_line]
    line = start_line
    while True:
        first = line
        block = _code_after_text(state, line, end_line)
        while not block:
            line += 1
            if line >= end_line or not _is_inside(state, line) or _begins_block(state, line, end_line, "paragraph"):
                break
            block = _code_after_text(state, line, end_line)
        if block:
            line += 1
            state.eMarks[line - 1] = block.start
        inline = state.push("inline", "", 0)
        inline.content, inline.children = state.getLines(first, line, state.blkIndent, False), []
        next_line = line
        while next_line < end_line and state.isEmpty(next_line):
            next_line += 1
        if block or next_line == line or next_line >= end_line or not _is_inside(state, next_line):
            break
        if _begins_block(state, next_line, end_line, "after an empty line"):
            break
        state.push("gap", "", 0).content = "\n" + state.getLines(line, next_line, state.blkIndent, True)
        line = next_line
    state.push("paragraph_close", "p", -1)
    state.line = lines[1] = line
    if block:
        _push_code(state, block)
    return True


def _keep_gaps(state: StateCore) -> None:
    """Keep empty lines between blocks. The first one is the space that is around a block anyway."""
    tokens: list[Token] = []
    end = None
    for token in state.tokens:
        if token.level == 0 and token.map:
            if end is not None and token.map[0] - end > 1:
                tokens.append(Token("paragraph_open", "p", 1))
                tokens.append(Token("gap", "", 0, content="\n" * (token.map[0] - end - 1)))
                tokens.append(Token("paragraph_close", "p", -1))
            end = token.map[1]
        tokens.append(token)
    state.tokens = tokens


def _quote(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    """Lines that begin with `> `. `>:(`, `>>> x` and `>_<` are text, and so is the line after a quote."""

    def is_quoted(line: int) -> bool:
        return _is_at_margin(state, line) and bool(_QUOTE.match(_text_of(state, line)))

    end = start_line
    while end < end_line and is_quoted(end):
        end += 1
    if not any(_text_of(state, line)[1:].strip() for line in range(start_line, end)):
        return False
    if silent:
        return True
    state.push("blockquote_open", "blockquote", 1).map = [start_line, end]
    with _nested(state, "blockquote", range(start_line, end), 0):
        for line in range(start_line, end):
            sign = state.bMarks[line] + state.tShift[line]
            _begin_line_at(state, line, min(sign + 2, state.eMarks[line]), 0)
        state.md.block.tokenize(state, start_line, end)
    state.push("blockquote_close", "blockquote", -1)
    state.line = end
    return True


class _Item(NamedTuple):
    line: int
    end: int
    marker: re.Match[str]


def _list(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    """Items that begin with `- `, `* ` or a number and a full stop, such as `1. `, with the indented lines after them.

    A single item isn't a list if it could also be a negative number, a term, a date or the end of a sentence. Lines
    with `-` among lines with `+` aren't a list either.
    """
    if not _is_at_margin(state, start_line) and state.parentType != "list":
        return False
    first = _marker(state, start_line)
    if not first:
        return False
    number = first["number"]
    items = _items(state, start_line, end_line, first)
    text = state.src[first.end() : state.eMarks[start_line]]
    if len(items) == 1 and (number not in (None, "1") or (not number and _TERM.match(text))):
        return False
    if len(items) == 1 and not WORTH_READING.search(text):
        return False
    if first["bullet"] == "-" and _is_among_plus_signs(state, start_line, items[-1].end):
        return False
    if silent:
        return True
    kind, tag = ("ordered_list", "ol") if number else ("bullet_list", "ul")
    state.push(f"{kind}_open", tag, 1).map = [start_line, items[-1].end]
    is_loose = any(state.isEmpty(item.line - 1) for item in items[1:])
    for item in items:
        _push_item(state, item, is_loose)
    state.push(f"{kind}_close", tag, -1)
    state.line = items[-1].end
    return True


def _is_among_plus_signs(state: StateBlock, start_line: int, end: int) -> bool:
    """Whether lines with `+` are beside those with `-` from `start_line` to `end`: in a diff, or for good and bad."""
    before = start_line - 1
    while before >= 0 and _marker(state, before):
        before -= 1
    return any(0 <= line < state.lineMax and _PLUS.match(_text_of(state, line)) for line in (before, end))


def _marker(state: StateBlock, line: int) -> re.Match[str] | None:
    return _MARKER.match(state.src, state.bMarks[line] + state.tShift[line], state.eMarks[line])


def _items(state: StateBlock, start_line: int, end_line: int, first: re.Match[str]) -> list[_Item]:
    """The items of the list that begins with `first`, each without the empty lines after it."""
    items: list[_Item] = []
    margin, line = state.sCount[start_line], start_line
    marker: re.Match[str] | None = first
    while marker and marker["bullet"] == first["bullet"]:
        item_line, end = line, line + 1
        line += 1
        while line < end_line and (state.isEmpty(line) or state.sCount[line] > margin):
            line += 1
            if not state.isEmpty(line - 1):
                end = line
        items.append(_Item(item_line, end, marker))
        # Two empty lines end a list.
        is_next = line < end_line and line - end < 2 and state.sCount[line] >= state.blkIndent
        marker = _marker(state, line) if is_next else None
    return items


def _push_item(state: StateBlock, item: _Item, is_loose: bool) -> None:
    opening = state.push("list_item_open", "li", 1)
    opening.info, opening.map = item.marker["number"] or "", [item.line, item.end]
    index, level = len(state.tokens), state.level
    text_column = state.sCount[item.line] + item.marker.end() - item.marker.start()
    more = [state.sCount[line] for line in range(item.line + 1, item.end) if not state.isEmpty(line)]
    indent = min(text_column, *more) if more else text_column
    with _nested(state, "list", range(item.line, item.end), indent):
        _begin_line_at(state, item.line, item.marker.end(), indent)
        state.md.block.tokenize(state, item.line, item.end)
    for token in state.tokens[index:] if not is_loose else ():
        token.hidden |= token.level == level and token.tag == "p"
    state.push("list_item_close", "li", -1)


def _heading(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    """A line by itself that begins with `# `. In code it would be a comment, with code in the next line."""
    found = _HEADING.match(_text_of(state, start_line)) if _is_at_margin(state, start_line) else None
    if not found or not _stands_apart(state, start_line, end_line):
        return False
    if not WORTH_READING.search(found.string, found.end()):
        return False
    if silent:
        return True
    state.push("heading_open", "h1", 1).map = [start_line, start_line + 1]
    inline = state.push("inline", "", 0)
    inline.content, inline.children = found.string[found.end() :], []
    state.push("heading_close", "h1", -1)
    state.line = start_line + 1
    return True


def _divider(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    """A line of `---` between two empty lines."""
    is_divider = _is_at_margin(state, start_line) and _DIVIDER.match(_text_of(state, start_line))
    if not is_divider or not 0 < start_line < end_line - 1 or not _stands_apart(state, start_line, end_line):
        return False
    if not silent:
        state.push("hr", "hr", 0).map = [start_line, start_line + 1]
        state.line = start_line + 1
    return True


def _table(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    """The library's table, up to the first line without a bar.

    It isn't a table if a row has more cells than the head, because the library would drop them.
    """
    end = start_line
    while end < end_line and _is_at_margin(state, end) and "|" in _text_of(state, end):
        end += 1
    if not table(state, start_line, end, True):
        return False
    columns = len(_cells_of(state, start_line))
    if any(any(_cells_of(state, line)[columns:]) for line in range(start_line + 2, end)):
        return False
    return silent or table(state, start_line, end, False)


def _cells_of(state: StateBlock, line: int) -> Sequence[str]:
    """Return the cells of a row of a table."""
    cells = [cell.strip() for cell in escapedSplit(_text_of(state, line).strip())]
    # A bar before the first cell or after the last one separates nothing.
    return cells[not cells[0] : len(cells) - (len(cells) > 1 and not cells[-1])]


class _Code(NamedTuple):
    start: int
    """The end of the text before it."""
    info: str
    lines: Sequence[str]
    line: int
    end: int
    """The line in which the next block begins."""
    rest: int | None
    """The position in that line, if the closing fence precedes it."""


def _fence(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    """Code between two lines of backticks or tildes. Without a closing line, everything that follows is code."""
    if state.sCount[start_line] - state.blkIndent > _MOST_INDENTED_FENCE:
        return False
    found = _FENCE.match(_text_of(state, start_line))
    block = found and _read_code(state, start_line, end_line, found, 0)
    if not block:
        return False
    if not silent:
        _push_code(state, block)
    return True


def _code_after_text(state: StateBlock, line: int, end_line: int) -> _Code | None:
    """Code whose opening fence is at the end of `line`, after some text."""
    text = _text_of(state, line)
    before, fence, _ = text.partition("```")
    if not fence or "`" in before or not before.strip() or before.endswith("\\"):
        return None
    found = _FENCE_AFTER_TEXT.match(text, len(before))
    return _read_code(state, line, end_line, found, len(before.rstrip())) if found else None


def _read_code(state: StateBlock, line: int, end_line: int, found: re.Match[str], text_length: int) -> _Code | None:
    fence, info = found["fence"], found["info"]
    lines: list[str] = []
    rest, is_closed = None, False
    indent = state.blkIndent if text_length else state.sCount[line]
    end = line + 1
    while end < end_line and not is_closed and (state.isEmpty(end) or state.sCount[end] >= state.blkIndent):
        text = state.getLines(end, end + 1, indent, False)
        closing = _CLOSING_FENCE.match(text)
        code_before = text.rstrip(" \t").rstrip("`")
        if closing and closing[1].startswith(fence):
            is_closed = True
            if text[closing.end() :].strip():
                rest = state.eMarks[end] - len(text) + closing.end()
                end -= 1
        elif text.rstrip(" \t").endswith(fence) and fence[0] == "`":
            is_closed = True
            lines.append(code_before)
        else:
            lines.append(text)
        end += 1
    is_language = code.is_known(info.strip()) or not info.strip()
    has_content = any(text.strip() for text in lines) or (is_closed and not is_language)
    if not has_content or not (is_closed or (fence[0] == "`" and not text_length)):
        return None
    return _Code(state.bMarks[line] + state.tShift[line] + text_length, info, lines, line, end, rest)


def _push_code(state: StateBlock, block: _Code) -> None:
    token = state.push("fence", "code", 0)
    token.info, token.content, token.map = (
        block.info,
        "".join(f"{line}\n" for line in block.lines),
        [block.line, block.end],
    )
    if block.rest is not None:
        _begin_line_at(state, block.end, block.rest, state.blkIndent)
    state.line = block.end


def _formula(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    """A formula on lines of its own, from `$$` to `$$`."""
    lines: list[str] = []
    for line in range(start_line, end_line):
        if not _is_inside(state, line):
            return False
        text = _text_of(state, line)
        if line == start_line:
            if not text.startswith("$$"):
                return False
            text = text[2:]
        text, ends, rest = text.partition("$$")
        lines.append(text)
        if ends:
            content = "\n".join(lines).strip()
            if rest.strip() or not content or "$" in content.replace("\\$", ""):
                return False
            if not silent:
                state.line = line + 1
                token = state.push("formula_block", "math", 0)
                token.content, token.markup, token.map = content, "$$", [start_line, state.line]
            return True
    return False

"""Highlights blocks of code with Pygments, with one class for each kind of token that readers distinguish."""

import re
import time
from collections.abc import Iterable
from functools import cache
from html import escape
from itertools import groupby

from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Generic, Keyword, Name, Number, Operator, String, _TokenType

LENGTH = 2000
"""The most characters of code that are highlighted in one message."""

CPU_S = 0.02
"""How much processor time highlighting may take, checked between tokens. After that, the code isn't highlighted.

Ordinary code of the greatest length takes a tenth of this. Text that doesn't fit the language can take far longer,
because Pygments then tries all its expressions at each character.
"""

CLASSES = {
    Comment: "c",
    Keyword: "k",
    Keyword.Type: "kt",
    Name.Builtin: "nb",
    Name.Class: "nc",
    Name.Decorator: "nd",
    Name.Function: "nf",
    Name.Tag: "nt",
    Name.Attribute: "na",
    Number: "m",
    Operator: "o",
    String: "s",
    Generic.Deleted: "gd",
    Generic.Inserted: "gi",
    Generic.Prompt: "gp",
}
"""Pygments' own short names."""

# The languages that courses use. For each, we looked for input that makes its lexer slow.
LANGUAGES = frozenset(
    [
        "bash",
        "c",
        "c#",
        "c++",
        "cpp",
        "cs",
        "csharp",
        "css",
        "diff",
        "go",
        "haskell",
        "hs",
        "html",
        "java",
        "javascript",
        "js",
        "json",
        "kotlin",
        "latex",
        "matlab",
        "php",
        "py",
        "pycon",
        "python",
        "python3",
        "r",
        "rs",
        "rust",
        "sh",
        "shell",
        "sql",
        "tex",
        "toml",
        "ts",
        "typescript",
        "xml",
        "yaml",
        "yml",
    ]
)
_PLAIN = frozenset({"text", "txt", "plain"})
_OPENING_FENCE = re.compile(r"(?:`{3,}+|~{3,}+)[ \t]*+([\w#+-]++)")


def is_known(language: str) -> bool:
    """Return whether `language` is the name of a language. Otherwise, it is most likely part of the code."""
    return language.lower() in LANGUAGES or language.lower() in _PLAIN


def languages_in(text: str) -> frozenset[str]:
    """Return the languages of all blocks of code in `text`."""
    return LANGUAGES.intersection(map(str.lower, _OPENING_FENCE.findall(text)))


def to_html(text: str, language: str, until_s: float) -> str:
    """Return `text` as escaped HTML, with a `span` of one of CLASSES around each meaningful token of `language`.

    If this thread's processor time passes `until_s`, return it without spans.
    """
    if language.lower() not in LANGUAGES:
        return escape(text, quote=False)
    tokens: list[tuple[str, str]] = []
    for kind, value in _lexer(language.lower()).get_tokens(text):
        if time.thread_time() > until_s:
            return escape(text, quote=False)
        tokens.append((_class_of(kind), value))
    alike = groupby(tokens, key=lambda token: token[0])
    return "".join(_span(name, "".join(value for _, value in group)) for name, group in alike)


def prepare(languages: Iterable[str] = LANGUAGES) -> None:
    """Load the lexers of `languages`. Otherwise, the first use of each would take up to a tenth of a second."""
    for language in languages:
        _lexer(language)


def _span(name: str, value: str) -> str:
    return f'<span class="{name}">{escape(value, quote=False)}</span>' if name else escape(value, quote=False)


@cache
def _lexer(language: str) -> Lexer:
    return get_lexer_by_name(language, stripnl=False, ensurenl=False)


@cache
def _class_of(kind: _TokenType) -> str:
    while kind.parent is not None:
        if kind in CLASSES:
            return CLASSES[kind]
        kind = kind.parent
    return ""

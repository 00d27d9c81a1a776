"""Renders the text of a message, with Markdown, code and formulas, as safe HTML of limited size.

links       which URLs may become links, and bare URLs in a text
markdown    the parser, and the HTML of each element
blocks      the rules for lines: quotes, lists, headings, tables, code and formulas
inline      the rules within a text: emphasis, code, formulas, links and escapes
code        a block of code, coloured by Pygments
formulas    LaTeX as MathML
allowed     the elements, attributes and classes that may leave the server
pool        renders texts with markup outside the event loop, in the processes of `worker`
"""

import re

from educa_chat.markup.allowed import sanitise
from educa_chat.markup.code import languages_in, prepare
from educa_chat.markup.links import plain, without_links
from educa_chat.markup.markdown import TooMuch, to_html

__all__ = ["HTML_BYTES", "is_plain", "languages_in", "prepare", "render", "render_plain"]

HTML_BYTES = 24 * 1024

# Every kind of markup contains a character of the first expression, or begins a line with a sign of the second. A
# table has a line of dashes. Each looks at a line once: with `\s` instead of `[ \t]`, a match could run on into the
# next lines and take quadratic time.
_INLINE = re.compile(r"[*_`~$\[\\<\r]")
_BLOCK = re.compile(r"\n(?:>[ \t]|#{1,6}[ \t]|-[-| :\t]|[|:][|: \t]*-|\d{1,9}\.[ \t])")


def is_plain(text: str) -> bool:
    """Return whether `text` contains nothing that could be markup, so that `render_plain` is enough."""
    return not (_INLINE.search(text) or _BLOCK.search("\n" + text))


def render_plain(text: str) -> str:
    """Return `text` as it was typed, as HTML with links. Takes at most a millisecond for the longest message."""
    html = plain(text)
    return html if _fits(html) else without_links(text)


def render(text: str) -> str:
    """Return `text` as HTML. A text that is too complex, or whose HTML would be too large, is shown as it was typed.

    Usually takes a few milliseconds, but there is no hard limit here: `RenderPool` sets one.
    """
    if not is_plain(text):
        try:
            html = to_html(text)
        except TooMuch:
            pass
        else:
            if _fits(html) and _fits(html := sanitise(html)):
                return html
    return render_plain(text)


def _fits(html: str) -> bool:
    return 4 * len(html) <= HTML_BYTES or len(html.encode()) <= HTML_BYTES

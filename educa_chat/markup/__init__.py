"""How a message's text is shown: Markdown, code and formulas, as HTML that is safe and never large.

links       which URLs are good, and those that stand in a text by themselves
markdown    the parser: which rules of CommonMark a chat has, and how each is shown
code        a block of code, coloured by Pygments
formulas    LaTeX as MathML
allowed     the elements, attributes and classes that may leave the server
"""

import re

from educa_chat.markup.allowed import sanitise
from educa_chat.markup.code import prepare
from educa_chat.markup.links import plain, without_links
from educa_chat.markup.markdown import TooMuch, to_html

__all__ = ["HTML_BYTES", "prepare", "render"]

HTML_BYTES = 24 * 1024

# Whatever is markup holds one of these, or begins a line with one of those; a table has a line of dashes.
_INLINE = re.compile(r"[*_`~$\[\\<\r]")
_BLOCK = re.compile(r"\n[ \t]*(?:>|#{1,6}(?:\s|$)|[-+](?:[-\s|:]|$)|[|:][|:\s]*-|\d{1,9}[.)](?:\s|$))")


def render(text: str) -> str:
    """`text` as HTML, in a time that is bounded whatever it holds.

    What can't be shown as markup, or would take too long or too much room, is shown as it was typed.
    """
    if _INLINE.search(text) or _BLOCK.search("\n" + text):
        try:
            html = to_html(text)
        except TooMuch:
            pass
        else:
            if _fits(html) and _fits(html := sanitise(html)):
                return html
    html = plain(text)
    return html if _fits(html) else without_links(text)


def _fits(html: str) -> bool:
    return 4 * len(html) <= HTML_BYTES or len(html.encode()) <= HTML_BYTES

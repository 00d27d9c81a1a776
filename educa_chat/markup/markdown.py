"""Markdown for a chat: CommonMark with tables, strikethrough, formulas and bare links, without HTML and images."""

import re
import time
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

from educa_chat.markup import code, formulas
from educa_chat.markup.blocks import WORTH_READING, add_block_rules
from educa_chat.markup.inline import AUTOLINK, add_inline_rules
from educa_chat.markup.links import (
    destination,
    has_many_foreign_hosts,
    is_good,
    is_misleading,
    with_ascii_host,
    without_direction,
)

# A text that exceeds one of these limits is shown as it was typed. The slowest text that we found within them takes
# 20 ms. Messages of real users take a tenth of that.
LINES = 200
PARTS = 600
BRACKETS = 60
FORMULA_LENGTH = 400
NEIGHBOURHOOD = 100

_MARK = re.compile(r"[!#$%&*+:<=>@\[\\\]^_`{}~-]")
_EMPTY = re.compile(r"<(p|li|blockquote|a|em|strong|s)\b[^>]*>\s*</\1>|<a href=\"\"")


class TooMuch(Exception):
    """The text can't be rendered: it would take too long, or not all of it would be shown."""


def to_html(text: str) -> str:
    """Return `text` as HTML, which the caller must sanitise. Raises TooMuch."""
    if text.count("\n") + text.count("\r") > LINES or has_many_foreign_hosts(text):
        raise TooMuch
    html: str = _parser.render(text, {"code": 0, "formulas": 0})
    if _EMPTY.search(html):
        raise TooMuch
    return html


class _Parser(MarkdownIt):
    def validateLink(self, url: str) -> bool:  # noqa: N802 the library's name
        return is_good(url)

    def normalizeLink(self, url: str) -> str:  # noqa: N802
        return super().normalizeLink(with_ascii_host(url))

    def normalizeLinkText(self, link: str) -> str:  # noqa: N802
        return link


class _Renderer(RendererHTML):
    """Makes the HTML of each token, without extra white space, which would be visible in a message."""

    def renderToken(  # noqa: N802
        self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType
    ) -> str:
        return super().renderToken(tokens, idx, options, env).strip("\n")

    def softbreak(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return "<br>"

    def gap(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return escape(tokens[idx].content).replace("\n", "<br>")

    def code_inline(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return f"<code>{escape(tokens[idx].content, quote=False)}</code>".replace("\n", "<br>")

    def heading_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        # A heading in a message is not a heading of the page.
        return "<p><strong>"

    def heading_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return "</strong></p>"

    def list_item_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        # Keep the numbers: CommonMark would renumber the answers to questions 1, 3 and 4.
        number = tokens[idx].info
        return f'<li value="{int(number)}">' if number else "<li>"

    def th_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        token = tokens[idx]
        alignment = str(token.attrGet("style") or "").removeprefix("text-align:")
        return f'<{token.tag} class="{alignment}">' if alignment else f"<{token.tag}>"

    td_open = th_open

    def fence(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        token = tokens[idx]
        language, text = token.info.strip(), token.content
        if language and not code.is_known(language):
            # This is most likely the first line of the code.
            language, text = "", f"{token.info}\n{text}"
        env["code"] += len(text)
        if env["code"] > code.LENGTH:
            language = ""
        until_s = env.setdefault("code_until_s", time.thread_time() + code.CPU_S)
        html = code.to_html(text.removesuffix("\n"), language, until_s)
        return f"<pre><code>{html}</code></pre>"

    def formula(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        token = tokens[idx]
        env["formulas"] += len(token.content)
        if env["formulas"] > FORMULA_LENGTH:
            raise TooMuch
        html = formulas.to_mathml(token.content, display=token.markup == "$$")
        return html or escape(f"{token.markup}{token.content}{token.markup}").replace("\n", "<br>")

    def formula_block(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return f"<p>{self.formula(tokens, idx, options, env)}</p>"


def _check(state: StateCore) -> None:
    """Raise TooMuch for a text that would make the inline rules slow, and if the block rules have dropped something,
    for example because it is nested too deep.
    """
    inline = [token.content for token in state.tokens if token.type == "inline"]
    if len(state.tokens) + sum(len(_MARK.findall(text)) for text in inline) > PARTS:
        raise TooMuch
    if sum(text.count("[") for text in inline) > BRACKETS:
        raise TooMuch
    kept = (f"{token.info}{token.content}" for token in state.tokens)
    if sum(len(WORTH_READING.findall(text)) for text in kept) != len(WORTH_READING.findall(state.src)):
        raise TooMuch


def _show_destinations(state: StateCore) -> None:
    """Show where a link leads next to a link text that looks like another address."""
    for token in state.tokens:
        if token.children and any(child.type == "link_open" for child in token.children):
            token.children = list(_with_destinations(token.children))


def _with_destinations(children: Sequence[Token]) -> Iterator[Token]:
    texts = ["\n" if child.type == "softbreak" else child.content for child in children]
    link: list[Token] = []
    for index, child in enumerate(children):
        if not link and child.type != "link_open":
            yield child
            continue
        link.append(child)
        if child.type == "link_close":
            yield from _shown_link(link, _with_neighbours(texts, index + 1 - len(link), index + 1))
            link = []


def _with_neighbours(texts: Sequence[str], start: int, stop: int) -> str:
    """Return `texts[start:stop]` with the words they touch: a reader sees `campus.[example](…)` as one word."""
    before = re.split(r"\s", "".join(texts[:start])[-NEIGHBOURHOOD:])[-1]
    after = re.split(r"\s", "".join(texts[stop:])[:NEIGHBOURHOOD], maxsplit=1)[0]
    return f"{before}{''.join(texts[start:stop])}{after}"


def _shown_link(link: Sequence[Token], seen: str) -> Sequence[Token]:
    """Return `link` without its title and without characters that change the direction of its text.

    If the text is misleading, only the destination, which follows it, is the link. `seen` is the text as the reader
    sees it.
    """
    opening, *content, closing = link
    url = str(opening.attrs["href"])
    opening.attrs = {"href": url}
    for token in content:
        token.content = without_direction(token.content)
    if opening.markup == AUTOLINK:
        seen = content[0].content
        # A URL with the host as it was typed may mislead all by itself. An e-mail address is ASCII.
        url = seen if is_good(seen) else url
    # Nobody can tell what a rendered formula looks like.
    if any(token.type == "formula" for token in content) or is_misleading(seen, url):
        return [*content, _text(" ("), opening, _text(destination(url)), closing, _text(")")]
    return link


def _text(content: str) -> Token:
    return Token("text", "", 0, content=content)


def _make_parser() -> MarkdownIt:
    # The preset "zero" has no rules for what is usually an accident in a chat: HTML, entities, images, indented code,
    # underlined headings, and references, whose definitions would disappear.
    parser = _Parser("zero", {"maxNesting": 12}, renderer_cls=_Renderer)
    add_block_rules(parser)
    add_inline_rules(parser)
    parser.core.ruler.before("inline", "check", _check)
    parser.core.ruler.after("text_join", "destinations", _show_destinations)
    return parser


_parser: Any = _make_parser()

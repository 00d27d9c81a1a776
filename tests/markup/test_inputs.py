"""Text is shown as it was typed, with every space and line break, unless it is clearly meant as markup."""

import re
from collections import Counter
from html import escape, unescape

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser, LexborNode

from educa_chat.markup import formulas, is_plain, render
from educa_chat.markup.allowed import sanitise
from tests.markup.inputs import AS_TYPED, RENDERED

TYPED = [text for texts in AS_TYPED.values() for text in texts]
SIGNS = "*_~`$[]()<>#|\\.-+:"
"""The characters that markup consists of."""


def body(html: str) -> LexborNode:
    node = LexborHTMLParser(f"<!doctype html><body>{html}").body
    assert node is not None
    return node


def shown(html: str) -> str:
    """Return the text of `html`, with a line break for each `br`."""
    return body(html.replace("<br>", "\n")).text()


def tags(html: str) -> set[str]:
    return set(re.findall(r"<(\w+)", html))


def test_text_that_is_not_markup_is_shown_as_typed() -> None:
    for text in TYPED:
        html = render(text)
        assert shown(html) == text
        assert tags(html) <= {"p", "br"}, text


def test_text_next_to_markup_is_shown_as_typed() -> None:
    for text in TYPED:
        if text == "```":
            continue
        html = render(f"{text}\n**x**")
        assert shown(html) == f"{text}\nx"
        assert tags(html) <= {"p", "br", "strong"}, text
        html = render(f"**x**\n{text}\nz")
        assert shown(html) == f"x\n{text}\nz"
        assert tags(html) <= {"p", "br", "strong"}, text


def expected(html: str) -> str:
    html = re.sub(r"<math>(.*?)</math>", lambda found: formulas.to_mathml(found[1], display=False) or "", html)
    return re.sub(r"<a [^>]*>", "<a>", sanitise(html))


def test_markup_is_rendered() -> None:
    for cases in RENDERED.values():
        for text, html in cases:
            rendered = re.sub(r"<a [^>]*>", "<a>", render(text))
            assert rendered in (expected(html), f"<p>{expected(html)}</p>") or unescape(rendered) == html, text


def test_the_table_of_inputs_is_large_enough() -> None:
    assert len(TYPED) + sum(map(len, RENDERED.values())) >= 400


def test_markup_never_takes_the_fast_path_for_plain_messages() -> None:
    for cases in RENDERED.values():
        for text, _ in cases:
            assert not is_plain(text) or not tags(render(text)) - {"p", "br", "a"}, text


CONSTRUCTS = re.compile(r"[*_`~$\[\\<]|://|^(?:[>#|:-]|\d)", re.MULTILINE)
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\t\n"), max_size=200).map(
    str.strip
)


@given(ANY_TEXT)
@settings(max_examples=200, deadline=None)
def test_text_without_any_construct_is_unchanged(text: str) -> None:
    assume(text and not CONSTRUCTS.search(text))
    html = render(text)
    assert shown(html) == text
    assert tags(html) <= {"br"}
    # A lone asterisk isn't markup, but sends the message through the parser.
    html = render(f"{text} *")
    assert shown(html) == f"{text} *"
    assert tags(html) <= {"p", "br"}


PIECES = st.sampled_from(
    TYPED
    + [text for kind, table in RENDERED.items() if kind != "formulas" for text, _ in table if "$" not in text]
    + [
        *SIGNS.replace("$", ""),
        *"aZñ9中م़👍 \t",
        "**",
        "~~",
        "```",
        "\n",
        "\n\n",
        "\n\n\n",
        "    ",
        "\n> ",
        "\n- ",
        "\n1. ",
        "\n# ",
    ]
)
MIXTURE = st.lists(PIECES, max_size=12).map("".join).map(str.strip).filter(bool)


def without_escapes(text: str) -> str:
    return re.sub(rf"\\(?=[{re.escape(SIGNS)}])", "", text)


@given(MIXTURE)
@settings(max_examples=200, deadline=None)
def test_text_without_elements_changes_only_in_its_backslash_escapes(text: str) -> None:
    html = render(text)
    assume(not tags(html) - {"p", "br"})
    assert without_escapes(shown(html)) == without_escapes(text)


@given(MIXTURE)
@settings(max_examples=200, deadline=None)
def test_only_markup_characters_disappear(text: str) -> None:
    text = text.replace("$", "")
    html = render(text)
    attributes = "".join(
        f"{element.attributes.get('href', '')}{element.attributes.get('value', '')}"
        for element in body(html).traverse(include_text=False)
    )
    visible = Counter(shown(html) + attributes)
    typed = Counter(character for character in text if not character.isspace() and character not in SIGNS)
    assert typed <= visible


@given(st.text(st.sampled_from("ab1é中*_~ \n().,:'\"-=/\\"), max_size=60).map(str.strip))
@settings(max_examples=200, deadline=None)
def test_no_character_outside_an_element_disappears(text: str) -> None:
    """Each element accounts for the characters that are not shown."""
    html = render(text)
    pairs = {"em": 2, "strong": 4, "s": 4}
    hidden = sum(pairs.get(tag, 0) for tag in re.findall(r"<(\w+)", html))
    signs = "*_~"
    lost = sum(map(text.count, signs)) - sum(map(shown(html).count, signs))
    bullets = html.count("<li>")
    assert hidden <= lost <= hidden + bullets


@given(ANY_TEXT)
@settings(max_examples=200, deadline=None)
def test_code_is_shown_verbatim(text: str) -> None:
    assume("`" not in text and text)
    assert shown(render(f"```\n{text}\n```")) == text
    if "\n" not in text:
        assert shown(render(f"`{text}`")) == text


def test_a_message_over_its_limit_is_shown_as_typed() -> None:
    text = "*a* \\* > b\n\n\n   c" * 300
    assert render(text) == escape(text).replace("\n", "<br>")

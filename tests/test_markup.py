"""Rendering messages: correct markup, and harmless output for any input."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser, LexborNode

import educa_chat
from educa_chat.markup import HTML_BYTES, code, languages_in, prepare, render
from educa_chat.markup.allowed import CLASSES, HTML, MATHML
from educa_chat.markup.links import REL, SCHEMES
from tests.markup import costly, hostile

STATIC = Path(educa_chat.__file__).parent / "static"
ADDED = {"rel", "target"}


@pytest.fixture(scope="module", autouse=True)
def lexers() -> None:
    prepare()


def body(html: str) -> LexborNode:
    """Return `html` as parsed by a browser's parser (HTML Standard §13.2)."""
    node = LexborHTMLParser(f"<!doctype html><body>{html}").body
    assert node is not None
    return node


def elements(html: str) -> Iterator[LexborNode]:
    return (node for node in body(html).traverse(include_text=False) if node.tag != "body")


def text_of(html: str) -> str:
    return body(html.replace("<br>", "\n")).text()


def assert_harmless(html: str) -> None:
    assert len(html.encode()) <= HTML_BYTES
    assert "<!--" not in html
    for element in elements(html):
        assert element.tag in HTML.keys() | MATHML.keys(), element.html
        allowed = HTML.get(element.tag or "") or MATHML.get(element.tag or "") or set()
        for name, value in element.attributes.items():
            assert name in allowed | (ADDED if element.tag == "a" else set()), element.html
            if name == "class":
                assert value in CLASSES
        if element.tag == "a":
            url = element.attributes["href"] or ""
            assert urlsplit(url).scheme in SCHEMES
            assert "@" not in urlsplit(url).netloc
            assert element.attributes["rel"] == REL
            assert element.attributes["target"] == "_blank"


MARKDOWN: list[tuple[str, str]] = [
    ("**bold** and *it* and _it_", "<p><strong>bold</strong> and <em>it</em> and <em>it</em></p>"),
    ("~~gone~~", "<p><s>gone</s></p>"),
    ("`<b> **x**`", "<p><code>&lt;b&gt; **x**</code></p>"),
    ("*a*\nb", "<p><em>a</em><br>b</p>"),
    ("*a*\n\nb", "<p><em>a</em><br><br>b</p>"),
    ("# a *b*", "<p><strong>a <em>b</em></strong></p>"),
    ("- a\n- b\n  - c", "<ul><li>a</li><li>b<ul><li>c</li></ul></li></ul>"),
    ("1. a\n3. c", '<ol><li value="1">a</li><li value="3">c</li></ol>'),
    ("> a\n> b", "<blockquote><p>a<br>b</p></blockquote>"),
    (
        "|a|b|\n|-|-:|\n|1||",
        '<table><thead><tr><th>a</th><th class="right">b</th></tr></thead>'
        '<tbody><tr><td>1</td><td class="right"></td></tr></tbody></table>',
    ),
    ("```\n a\n\n  b\n```", "<pre><code> a\n\n  b</code></pre>"),
    ("```py\nx = 1  # y\n```",
    '<pre><code>x <span class="o">=</span> <span class="m">1</span>  <span class="c"># y</span></code></pre>'),
    ("```hello there\nx\n```", "<pre><code>hello there\nx</code></pre>"),
    ("$a^2$", '<p><math display="inline" alttext="a^2"><mrow><msup><mi>a</mi><mn>2</mn></msup></mrow></math></p>'),
    ("$$\na\n+ b\n$$",
    '<p><math display="block" alttext="a\n+ b"><mrow><mi>a</mi><mo>+</mo><mi>b</mi></mrow></math></p>'),
    ("is $$x$$ so?", '<p>is <math display="block" alttext="x"><mrow><mi>x</mi></mrow></math> so?</p>'),
]  # fmt: skip


def test_markdown_is_rendered() -> None:
    for text, html in MARKDOWN:
        assert render(text) == html, text


def test_text_that_is_not_markdown_is_shown_as_typed() -> None:
    for text in (
        "2 * 3 * 4", "3*4*5 = 60, f(3)*4, x**2 + y**2", "snake_case_name and __init__x", "$5 and $10", "$5-$10",
        "it costs 5$, not 6$", "$HOME/$USER",
        "#1", "#", "##",
        "1.", "1. ", "-", "+", "*", ">", "+1", "-5", "2024.", "a\nb", "  a  b", "a\n    b", "&lt; &amp; &copy;",
        "<b>x</b>", "<3",
        "text\n---x", "text\n===", "[1]: https", "[note]: remember", "a | b", "`", "``", "**", "* *", "$", "$$",
        "$ x $", "$$ $$",
        "[x](javascript:alert(1))", "[x]()", "![x](data:image/png;base64,AAAA)", "[]", "[ ]", "~", "~x~", "\\",
        "C:\\new",
        "$\\frac{$", "$a_b_c$", "$50% off$", "$\\href{x}{y}$", "$\\phantom{x}$", "$\\newcommand{\\x}{y}$",
        "$\\text{a$", "$$\nx",
        "|a|\n|-|\n|1|2|", ">" * 30 + " x", "- " * 30 + "x", "[]" * 40, "[" * 4000, "*a" * 2000,
        "\n".join("> x" for _ in range(1000)),
        "a" + "\n" * 3900 + "*b*", "$" + "\\frac{" * 500 + "$", "<!-- x -->", "<https:x>",
    ):  # fmt: skip
        assert text_of(render(text)).split() == text.split(), text


def test_a_url_becomes_a_link_with_or_without_other_markup() -> None:
    for markup in ("", "*x* "):
        for text, url in (
            ("see https://example.org.", "https://example.org"),
            ("(http://example.org/a_b_c?d=1&e=2#f)", "http://example.org/a_b_c?d=1&e=2#f"),
            ("xhttps://example.org", None),
            ("https://good.example@evil.example", None),
            ("https://", None),
            ("ftp://example.org javascript://example.org", None),
        ):
            html = render(markup + text)
            links = [element for element in elements(html) if element.tag == "a"]
            assert [(link.attributes["href"], link.text()) for link in links] == ([(url, url)] if url else []), (
                markup + text
            )
            assert text in text_of(html), markup + text
            assert_harmless(html)


def test_hostile_text_is_rendered_harmless() -> None:
    for text in hostile.MESSAGES:
        assert_harmless(render(text))


@given(st.text(max_size=400))
@settings(max_examples=200, deadline=None)
def test_any_text_is_rendered_harmless(text: str) -> None:
    assert_harmless(render(text))


PIECES = st.sampled_from(
    [unit for unit in {*costly.UNITS, *costly.HEADS} if unit]
    + [f"${formula}$" for formula in costly.FORMULAS]
    + hostile.MESSAGES
)


@given(st.lists(PIECES, max_size=30).map("".join))
@settings(max_examples=200, deadline=None)
def test_any_combination_of_constructs_is_rendered_harmless(text: str) -> None:
    assert_harmless(render(text[:4000]))


LATEX = st.sampled_from([*costly.FORMULAS, "{", "}", " ", "_", "^", "x", "1"])


@given(st.lists(LATEX, max_size=25).map("".join))
@settings(max_examples=200, deadline=None)
def test_any_formula_is_rendered_harmless(latex: str) -> None:
    assert_harmless(render(f"${latex}$"))


@given(st.text(st.characters(exclude_characters="*_`~$[\\|<\r", exclude_categories=["Cs", "Cc"]), max_size=200))
def test_a_plain_message_is_shown_unchanged(text: str) -> None:
    if not re.match(r"[ \t]*(?:[>#+-]|\d)", text):
        assert text_of(render(text)) == text


@given(st.lists(st.sampled_from([*costly.UNITS, "word", "x1", " ", "\n", "\n\n"]), max_size=20).map("".join))
@settings(max_examples=200, deadline=None)
def test_no_word_disappears(text: str) -> None:
    html = render(text)
    hidden = " ".join(
        f"{e.attributes.get('href', '')} {e.attributes.get('title', '')} {e.attributes.get('value', '')}"
        for e in elements(html)
    )
    shown = text_of(html) + hidden
    assert sum(map(str.isalnum, shown)) >= sum(map(str.isalnum, re.sub(r"\$[^$]*\$|`py(thon)?", "", text)))


def test_a_message_whose_html_exceeds_the_limit_is_shown_as_typed() -> None:
    assert render("**x** " + "<" * 3990 + ">").count("&lt;") == 3990
    text = "https://a.b " * 333
    assert render(text) == text
    assert_harmless(render("*a*" * 1333))
    assert_harmless(render('"' * 4000))


def test_the_language_of_each_block_of_code_is_known_before_it_is_rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []

    def note(text: str, language: str, until_s: float) -> str:
        loaded.append(language.lower())
        return text

    monkeypatch.setattr(code, "to_html", note)
    for code_block in (
        "```{}\nx",
        "~~~{}\nx\n~~~",
        "````  {}\nx\n````",
        "Look: ```{}\nx\n```",
        "> ```{}\n> x",
        "- a\n  ```{} \n  x\n  ```",
    ):
        for language in [*code.LANGUAGES, "Python", "SQL"]:
            loaded.clear()
            text = code_block.format(language)
            render(text)
            assert loaded == list(languages_in(text)) == [language.lower()], text


def test_code_beyond_the_limit_is_not_highlighted() -> None:
    text = "x = 1  # one\n" * 180
    assert render(f"```python\n{text}```") == f"<pre><code>{text.rstrip()}</code></pre>"


def test_the_page_and_the_server_allow_the_same_elements() -> None:
    script = (STATIC / "js" / "content.js").read_text(encoding="utf-8")
    listed = script.partition("const ELEMENTS = ")[2].partition(";\n")[0]
    quoted = re.sub(r"(\w+): \[", r'"\1": [', listed.replace("'", '"'))
    parsed = json.loads(re.sub(r",(\s*[\]}])", r"\1", quoted))
    assert {name: set(attributes) for name, attributes in parsed["http://www.w3.org/1999/xhtml"].items()} == HTML
    assert {
        name: set(attributes) for name, attributes in parsed["http://www.w3.org/1998/Math/MathML"].items()
    } == MATHML
    assert set(re.findall(r"'([^']+)'", script.partition("const CLASSES = ")[2].partition(";\n")[0])) == CLASSES
    schemes = set(re.findall(r"'([^']+)'", script.partition("const SCHEMES = ")[2].partition(";\n")[0]))
    assert schemes == {f"{scheme}:" for scheme in SCHEMES}


def luminance(colour: str) -> float:
    """Return the relative luminance (WCAG 2.2) of `#rrggbb`."""
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_highlighted_code_has_enough_contrast(scheme: str) -> None:
    style = (STATIC / "css" / "markup.css").read_text(encoding="utf-8")
    light, _, dark = style.partition("@media (prefers-color-scheme: dark)")
    colours = dict(re.findall(r"--code-([a-z]+): (#[0-9a-f]{6});", light if scheme == "light" else dark))
    background = luminance(colours.pop("background"))
    assert len(colours) >= 9
    for name, colour in colours.items():
        darker, lighter = sorted([background, luminance(colour)])
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, name


def test_every_highlighting_class_has_a_style() -> None:
    style = (STATIC / "css" / "markup.css").read_text(encoding="utf-8")
    assert {name for name in CLASSES if not re.search(rf"\.{name}\b", style)} == {"left"}

"""Links in messages show their real destination, whatever their text suggests."""

from html import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser, LexborNode

from educa_chat.markup import render
from educa_chat.markup.allowed import sanitise
from educa_chat.markup.links import is_good, is_misleading, with_ascii_host

EVIL = "https://evil.example"
CYRILLIC = "https://c\u0430mpus.example"
PUNYCODE = "xn--cmpus-4ve.example"


def links(html: str) -> list[LexborNode]:
    body = LexborHTMLParser(f"<!doctype html><body>{html}").body
    assert body is not None
    return body.css("a")


def only_link(text: str) -> tuple[str, str]:
    """Return the address and the text of the only link in the rendered `text`."""
    (link,) = links(render(text))
    return link.attributes["href"] or "", link.text()


LOOKS_LIKE_CAMPUS = [
    "https://campus.example/exam",
    "HTTPS://Campus.Example",
    "campus.example/exam",
    "campus.example",
    "www.campus.example",
    "campus.example.",
    "campus.example:8443/exam",
    "//campus.example",
    "\\\\\\\\campus.example",
    "ftp://campus.example",
    "http://campus/exam",
    "https:campus.example",
    "localhost:8000",
    "http://192.0.2.1/exam",
    "192.0.2.1",
    "See campus.example/exam, today",
    "«campus.example»",
    "(campus.example)",
    "evil.example campus.example",
    "https://campus.example@evil.example",
    "https://campus.example%40evil.example",
    "campus.example:@evil.example",
    "campus%2Eexample",
    "ana@campus.example",
    "mailto:ana@campus.example",
    "campus\uff0eexample",
    "campus\u3002example",
    "campus\u2024example",
    "campus.example\uff0fexam",
    "campus.example\u2044exam",
    "\uff43ampus.example",
    "c\u0430mpus.example",
    "xn--cmpus-4ve.example",
    "c\u00e1mpus.example",
    "ca\u0338mpus.exa\u0338mple",
    "cam\u200bpus\u200b.\u200bexample",
    "campus\u00ad.\u2060example",
    "campus\ufe0f.\U000e0061example",
    "c\u3164ampus.ex\u115fample",
    "\u2066campus.example\u2069",
    "elpmaxe.supmac//:sptth\u202e",
    "**campus**.example",
    "*campus.example*",
    "~~campus.example~~",
    "`campus.example`",
    "cam`pus.exam`ple",
    "$campus.example$",
    "campus\\.example",
    "evil.example.campus.example",
    "campus.example#evil.example",
    "notes.pdf.campus.example",
    "main.py",
]


@pytest.mark.parametrize("title", ["", " 'https://campus.example/exam'"])
def test_link_text_that_looks_like_another_address_is_followed_by_the_real_one(title: str) -> None:
    for text in LOOKS_LIKE_CAMPUS:
        assert only_link(f"[{text}]({EVIL}/exam{title})") == (f"{EVIL}/exam", "evil.example"), text


def test_the_real_address_is_shown_wherever_the_link_is() -> None:
    for text in (
        f"- [campus.example]({EVIL})",
        f"> [campus.example]({EVIL})",
        f"# [campus.example]({EVIL})",
        f"|a|\n|-|\n|[campus.example]({EVIL})|",
        f"**[campus.example]({EVIL})**",
        f"campus.[example/exam]({EVIL})",
        f"[campus]({EVIL}).example",
        f"![campus.example]({EVIL})",
    ):
        assert only_link(text) == (EVIL, "evil.example"), text


def test_adjacent_links_that_read_like_one_address_both_show_the_real_one() -> None:
    html = render(f"[campus]({EVIL})[.example]({EVIL})")
    assert [link.text() for link in links(html)] == ["evil.example", "evil.example"]


HARMLESS_LINKS: list[tuple[str, str]] = [
    ("the notes", "https://example.org"),
    ("https://example.org/notes", "https://example.org/other"),
    ("example.org", "https://www.example.org/"),
    ("www.example.org", "https://example.org/"),
    ("Example.ORG.", "https://example.org"),
    ("example.org:443/a", "https://example.org:443/a"),
    ("example.org:8443", "https://example.org:8443"),
    ("ex\u200bample.org", "https://example.org"),
    ("see example.org/a_(b.c)", "https://example.org"),
    ("https://example.org/?u=https://other.example", "https://example.org/?u=https://other.example"),
    ("*example*.org", "https://example.org"),
    ("español.es", "https://español.es"),
    ("español.es", "https://xn--espaol-zwa.es"),
    ("ana@example.org", "mailto:Ana@example.org?subject=Hello"),
    ("mailto:ana@example.org", "mailto:ana@example.org"),
    ("version 1.2.3, e.g. 3.14, at 5 p.m.", "https://example.org"),
    ("Tema 1: notes.pdf", "https://example.org"),
    ("What?Really...yes", "https://example.org"),
    ("and/or", "https://example.org"),
]


def test_other_link_text_is_left_unchanged() -> None:
    for text, url in HARMLESS_LINKS:
        html = render(f"[{text}]({url})")
        (link,) = links(html)
        assert link.text() == text.replace("*", ""), text
        assert "(" not in html.replace(link.html or "", ""), text


def test_the_real_address_cannot_look_like_another_one() -> None:
    for text, url, shown in (
        ("example.org", "https://example.org:8443", "example.org:8443"),
        ("example.org", "https://sub.example.org", "sub.example.org"),
        ("campus.example", CYRILLIC, PUNYCODE),
        ("c\u0430mpus.example", CYRILLIC, PUNYCODE),
        ("campus.example", f"https://{PUNYCODE}", PUNYCODE),
        ("campus.example", "https://FA\u00df.example.", "xn--fa-hia.example"),
        ("campus.example", "https://[::1]:8000/", "[::1]:8000"),
        ("ana@campus.example", "mailto:eva@evil.example", "eva@evil.example"),
        ("ana@campus.example", "mailto:ana@campus.example?cc=eva@evil.example", "ana@campus.example, eva@evil.example"),
        ("ana@campus.example", "mailto:ana@c\u0430mpus.example", f"ana@{PUNYCODE}"),
        ("ana@campus.example", "mailto:%D0%B0na@campus.example", "%d0%b0na@campus.example"),
    ):
        assert only_link(f"[{text}]({url})")[1] == shown, text


@pytest.mark.parametrize("markup", ["", "*x* "])
def test_a_bare_url_with_lookalike_letters_is_followed_by_its_ascii_host(
    markup: str,
) -> None:
    assert only_link(f"{markup}{CYRILLIC}/exam") == (f"https://{PUNYCODE}/exam", PUNYCODE)
    url = "https://español.es/examen"
    assert only_link(f"{markup}{url}") == ("https://xn--espaol-zwa.es/examen", url)
    assert only_link(f"*x* <{CYRILLIC}>") == (f"https://{PUNYCODE}", PUNYCODE)
    assert only_link("*x* <ana@example.org>") == ("mailto:ana@example.org", "ana@example.org")


def test_an_invalid_host_is_not_a_link() -> None:
    for url in ("https://ж..example", "https://xn--zzzz.example", f"https://{'ж' * 64}.example"):
        assert links(render(url)) == links(render(f"*x* [x]({url})")) == [], url


def test_links_have_no_title() -> None:
    for text in ("x", "campus.example", "`x`", "*x*"):
        html = render(f"[{text}]({EVIL} 'a title')")
        assert all(link.attributes.keys() == {"href", "rel", "target"} for link in links(html)), text
        assert "a title" not in html, text


def test_direction_overrides_are_removed_from_links() -> None:
    for character in "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069":
        for text in ("a{}b", "*a{}b*", "`a{}b`", "a\n{}b", "campus.{}example", "${}a$"):
            assert character not in render(f"[{text.format(character)}]({EVIL})"), (character, text)
        assert character in render(f"{character} [x]({EVIL})"), character
        assert character not in links(render(f"*x* {EVIL}/{character}a {EVIL}/b"))[0].text(), character
        assert character not in links(render(f"*x* <{EVIL}/{character}a>"))[0].text(), character


PARTS = st.sampled_from(
    ["campus", ".", "example", "/", "@", ":", "%2e", "\u200b", "\u202e", "\uff0e", "\u0430", "*", "`", " ", "https://"]
)


@given(st.lists(PARTS, min_size=1, max_size=12).map("".join))
@settings(max_examples=200, deadline=None)
def test_no_link_text_can_imitate_another_host(text: str) -> None:
    for link in links(render(f"[{text}]({EVIL})")):
        read = link.text().translate({ord("\u200b"): None, ord("\uff0e"): ".", ord("\u0430"): "a"})
        assert "campus.example" not in read or link.attributes["href"] != EVIL


def test_hosts_beyond_the_conversion_limit_are_not_links() -> None:
    for host in ("жз{}", "\u4e00\u5e00\u6e00\u7e00\u8e00{}" * 10, "xn--a{}"):
        for markup in ("", "*x* "):
            urls = [f"https://{host.replace('{}', str(number))}.example" for number in range(300)]
            text = (markup + f"{EVIL} " + " ".join(urls))[:4000].rpartition(" ")[0]
            assert [link.text() for link in links(render(text))] == [EVIL], markup + host


def test_an_ascii_address_is_unchanged() -> None:
    for url in ("https://EXAMPLE.org/Ñ", "mailto:ana@example.org", "https://example.org:99999", "https://["):
        assert with_ascii_host(url) in (url, "")
    assert not is_misleading("https://example.org/ñ", "https://example.org/ñ")


HOSTS = st.one_of(
    st.from_regex(r"\A([a-zA-Z0-9_-]{0,4}\.){0,4}[a-zA-Z0-9_-]{1,4}\.?\Z"),
    st.from_regex(r"\A[0-9x.]{1,10}\Z"),
    st.from_regex(r"\A\[[0-9a-f:.]{1,20}\]\Z"),
    st.from_regex(r"\Axn--[a-z0-9-]{1,6}\.[a-z]{2}\Z"),
    st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=6),
)


@given(HOSTS, st.from_regex(r"\A(:[0-9]{0,6})?([/?#][a-z.]{0,3})?\Z"))
@settings(max_examples=200)
def test_every_link_keeps_its_url_through_the_sanitiser(host: str, rest: str) -> None:
    url = f"http://{host}{rest}"
    if is_good(url):
        assert "href=" in sanitise(f'<a href="{escape(with_ascii_host(url))}">{escape(url)}</a>')


def test_a_url_whose_host_is_a_number_but_not_an_ipv4_address_is_text() -> None:
    for host in ("a.1", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", "0x7f.1", "2130706433", "1.2.3.4."):
        text = f"$a$ http://{host}/x"
        assert not links(render(text)), host
        assert text.partition(" ")[2] in render(text), host

"""The pure functions that process hostile text, tested with Hypothesis."""

import asyncio
import json
import re
import unicodedata
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from aiohttp import WSMsgType
from aiohttp._websocket.reader import WebSocketDataQueue
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import WebSocketReader
from aiohttp.streams import EofStream
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from educa_chat.commands import Command, decode_command
from educa_chat.errors import CommandRefused
from educa_chat.events.message import SendMessage
from educa_chat.events.text import normalise_text
from educa_chat.handlers.access import is_site_path
from educa_chat.markup import render
from educa_chat.protocol import ErrorCode, text_frame
from educa_chat.translations import LANGUAGES, negotiate_language

SITE = "https://school.example/accounts/login/"

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["id", "message", "type"]), inner),
    max_leaves=10,
)
COMMANDS = st.fixed_dictionaries({}, optional=dict.fromkeys(("type", "id", "message", "reply_to", "user"), JSON))
LOOSE_TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\u0301\u0316\u200b\u2800 \n\0e"))
PATHS = st.lists(
    st.sampled_from(["/", "\\", "\t", "\n", "\r", " ", "\0", "evil.example", "https:", ":", "@", "?", "#", "%2f", "."])
    | st.text(max_size=4),
    max_size=8,
).map("".join)
LANGUAGE_TAGS = st.lists(
    st.sampled_from(["es", "en", "ES", "EN-us", "es-MX", "*", ";q=", "0.5", "nan", "inf", "1e999", ",", " ", "-", "_"])
    | st.text(max_size=3),
    max_size=12,
).map("".join)


# Commands.


def decoded_or_refused(frame: str) -> Command | CommandRefused:
    try:
        return decode_command(frame, id_required=True)
    except CommandRefused as refusal:
        return refusal


@given(st.text())
def test_any_text_is_a_command_or_refused(frame: str) -> None:
    decoded_or_refused(frame)


@given(JSON | COMMANDS)
def test_any_json_is_a_command_or_refused(value: Any) -> None:
    decoded_or_refused(json.dumps(value))


@given(COMMANDS)
def test_a_command_that_is_accepted_has_an_id_and_a_message_that_can_be_stored(value: dict[str, Any]) -> None:
    decoded = decoded_or_refused(json.dumps(value))
    if isinstance(decoded, SendMessage):
        assert decoded.id is not None
        assert 1 <= len(decoded.id) <= 64
        assert "\0" not in decoded.id
        decoded.message.encode()


def test_nesting_of_any_depth_is_refused_without_an_error() -> None:
    for opening in ("[", '{"a":', '{"id":"a","message":['):
        for depth in (1, 100, 1_000, 10_000, 100_000):
            assert isinstance(decoded_or_refused(opening * depth), CommandRefused), opening


def test_a_duplicate_field_is_refused(subtests: pytest.Subtests) -> None:
    for twice in ("id", "message", "type", "reply_to", "other"):
        with subtests.test(twice=twice):
            first = {"type": '"message"', "id": '"a"', "message": '"hello"', "reply_to": "1", "other": "1"}
            fields = ",".join(f'"{name}":{value}' for name, value in [*first.items(), (twice, first[twice])])
            with pytest.raises(CommandRefused) as refused:
                decode_command(f"{{{fields}}}", id_required=True)
            assert refused.value.code == ErrorCode.BAD_REQUEST


def test_unknown_fields_that_are_slow_to_decode_are_refused(subtests: pytest.Subtests) -> None:
    for unknown in (
        "[" + "{}," * 40 + "{}]",
        "[" + "[]," * 5_000 + "[]]",
        "[" + "1e300," * 5_000 + "1e300]",
        "9" * 10_000,
        "[" + ("[" * 900 + "]" * 900 + ",") * 30 + "[]]",
        "[" + '"\\"",' * 5_000 + '""]',
        "1" + "".join(f',"{number}":1' for number in range(5_000)),
        " " * 10_000 + "1",
    ):
        for type in ("message", "edit", "typing", "pin"):
            with subtests.test(unknown=unknown[:20], type=type):
                with pytest.raises(CommandRefused) as refused:
                    decode_command(
                        f'{{"type":"{type}","id":"a","message":"m","target":1,"x":{unknown}}}', id_required=True
                    )
                assert (refused.value.code, refused.value.id) == (ErrorCode.BAD_REQUEST, "a")


def test_a_long_text_is_accepted_whatever_it_contains() -> None:
    for text in ("{", "\\", '"', '{"', "\n", "\u0001", "😀", "[1,", "\\{"):
        for frame in (
            json.dumps({"id": "a", "message": text * 4_000}),
            json.dumps({"message": text * 4_000, "id": "a"}),
        ):
            assert decode_command(frame, id_required=True) == SendMessage(id="a", message=text * 4_000), text


@given(st.text(min_size=1, max_size=80))
def test_an_error_repeats_only_a_valid_id(id: str) -> None:
    with pytest.raises(CommandRefused) as refused:
        decode_command(json.dumps({"id": id, "message": 7}), id_required=True)
    assert refused.value.id == (id if len(id) <= 64 and "\0" not in id else None)


# The text of a message.


def trimmed(text: str) -> str:
    """Return `text` without empty lines and spaces around it, but keep the indentation before several lines."""
    lines = text.rstrip().split("\n")
    while not lines[0].strip() and len(lines) > 1:
        del lines[0]
    return "\n".join(lines) if len(lines) > 1 else lines[0].strip()


@given(LOOSE_TEXT, st.integers(1, 12))
def test_an_accepted_text_is_trimmed_normalised_and_within_the_limit(text: str, length: int) -> None:
    try:
        normalised = normalise_text(text, length)
    except CommandRefused:
        return
    assert 1 <= len(normalised) <= length
    assert normalised == trimmed(normalised)
    assert unicodedata.is_normalized("NFC", normalised)
    assert "\0" not in normalised
    assert not set(normalised) & set("\r\v\f\x85\u2028\u2029")
    with_newlines = re.sub("\r\n?|[\v\f\x85\u2028\u2029]", "\n", text)
    assert trimmed(unicodedata.normalize("NFC", trimmed(with_newlines))) == normalised


@given(LOOSE_TEXT)
def test_validating_a_text_is_idempotent(text: str) -> None:
    try:
        normalised = normalise_text(text, 12)
    except CommandRefused:
        return
    assert normalise_text(normalised, 12) == normalised


@given(LOOSE_TEXT, st.integers(1, 12))
def test_only_a_text_too_long_after_normalising_is_too_long(text: str, length: int) -> None:
    try:
        normalise_text(text, length)
    except CommandRefused as refusal:
        if refusal.code == ErrorCode.TOO_LONG:
            with_newlines = re.sub("\r\n?|[\v\f\x85\u2028\u2029]", "\n", text)
            assert len(trimmed(unicodedata.normalize("NFC", trimmed(with_newlines)))) > length


@given(st.lists(st.tuples(st.sampled_from("eñ \u03b1"), st.integers(0, 520), st.sampled_from("\u0301\u0316\u0345"))))
def test_long_runs_of_combining_marks_are_refused_only_if_too_long_after_normalising(
    letters: list[tuple[str, int, str]],
) -> None:
    text = "".join(letter + marks * number for letter, number, marks in letters)
    longest = max((number for _, number, _ in letters), default=0)
    composed = unicodedata.normalize("NFC", text.strip()).strip()
    try:
        outcome = normalise_text(text, 1_000)
    except CommandRefused as refusal:
        outcome = refusal.code
    if outcome == ErrorCode.TOO_LONG:
        assert len(composed) > 1_000
    else:
        assert outcome == composed or longest > 512 or outcome == ErrorCode.EMPTY


def test_the_length_is_measured_after_normalising(subtests: pytest.Subtests) -> None:
    for letter in ("a", "ñ", "漢", "😀", "\u1100\u1161\u11a8", "\u03b1\u0313\u0300\u0345"):
        for length in (40, 4_000):
            with subtests.test(letter=letter, length=length):
                assert len(normalise_text(letter * length, length)) == length
                with pytest.raises(CommandRefused) as refused:
                    normalise_text(letter * (length + 1), length)
                assert refused.value.code == ErrorCode.TOO_LONG


@given(st.text(st.sampled_from("\u200b\u200c\u200d\u2060\ufeff\u2800\u3164\u00ad\u202e\u2066\u00a0\u2028\ufe0f \t\n")))
def test_invisible_text_is_empty(text: str) -> None:
    with pytest.raises(CommandRefused) as refused:
        normalise_text(text, 4000)
    assert refused.value.code == ErrorCode.EMPTY


def test_the_indentation_of_the_first_line_is_kept_only_before_further_lines() -> None:
    for typed, stored in (
        ("    if x:\n        y()\n", "    if x:\n        y()"),
        ("\n \n\tif x:\n\t\ty()", "\tif x:\n\t\ty()"),
        ("\u3000一\n\u3000二", "\u3000一\n\u3000二"),
        ("  x  ", "x"),
        ("\n  x\n", "x"),
    ):
        assert normalise_text(typed, 4000) == stored, typed


# Frames.


def read_frames(data: bytes) -> list[tuple[WSMsgType, str]]:
    """Read `data` with another implementation."""
    loop = asyncio.new_event_loop()
    try:
        queue = WebSocketDataQueue(BaseProtocol(loop), 2**30, loop=loop)
        reader = WebSocketReader(queue, 0, compress=False, decode_text=True)
        assert reader.feed_data(data) == (False, b"")
        reader.feed_eof()
        messages: list[tuple[WSMsgType, str]] = []
        while True:
            try:
                message = loop.run_until_complete(queue.read())
            except EofStream:
                return messages
            messages.append((message.type, message.data))
    finally:
        loop.close()


@given(st.lists(st.text(), max_size=5))
def test_encoded_frames_are_read_back(texts: list[str]) -> None:
    frames = b"".join(text_frame(text.encode()) for text in texts)
    assert read_frames(frames) == [(WSMsgType.TEXT, text) for text in texts]


def test_frames_with_every_length_encoding_are_read() -> None:
    for length in (0, 1, 125, 126, 127, 65535, 65536, 70000):
        # The length uses as few bytes as possible (RFC 6455 §5.2).
        assert len(text_frame(b"x" * length)) == length + (2 if length < 126 else 4 if length < 65536 else 10), length
        assert read_frames(text_frame(b"x" * length) + text_frame(b"y")) == [
            (WSMsgType.TEXT, "x" * length),
            (WSMsgType.TEXT, "y"),
        ], length


# Redirects to `next`.


def where_a_browser_goes(path: str) -> str:
    """Return `path` as a browser resolves it on the site: without control characters, and with backslashes as slashes
    (URL Standard).
    """
    cleaned = re.sub(r"[\t\n\r]", "", path.strip("".join(map(chr, range(0x21)))))
    return urljoin(SITE, cleaned.replace("\\", "/"))


@given(PATHS)
def test_an_accepted_path_never_leaves_the_site(path: str) -> None:
    if is_site_path(path):
        assert urlsplit(where_a_browser_goes(path))[:2] == ("https", "school.example")
        assert URL(SITE).join(URL(path)).host == "school.example"
        assert not re.search(r"[\x00-\x1f]", path)


@given(PATHS.map(lambda path: "/" + path))
def test_an_accepted_path_can_be_sent_in_a_header(path: str) -> None:
    if is_site_path(path):
        path.encode()


def test_a_path_of_the_site_is_accepted() -> None:
    for path in (
        "/",
        "/chat/room/1/",
        "/chat/room/1/?a=b#c",
        "/%2f%2fevil",
        "/a//b",
        "/cursos/álgebra",
        "/a:b",
        "/@evil",
    ):
        assert is_site_path(path), path


# The reader's language.


@given(LANGUAGE_TAGS | st.text())
def test_any_accept_language_gets_a_supported_language(header: str) -> None:
    assert negotiate_language(header) in LANGUAGES


def test_the_preferred_language_wins() -> None:
    for header, language in (
        ("", "en"),
        ("es", "es"),
        ("ES", "es"),
        ("es-MX,es;q=0.9", "es"),
        ("ES-mx", "es"),
        ("de,es;q=0.5,en;q=0.4", "es"),
        ("en;q=0.4, es;q=0.5", "es"),
        ("en,es", "en"),
        ("es;q=0,en", "en"),
        ("es; q=0", "en"),
        ("de", "en"),
        ("*", "en"),
    ):
        assert negotiate_language(header) == language, header


# Messages as HTML.


class Shown(HTMLParser):
    """The links that a browser finds in HTML."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.links: list[str | None] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.links.append(dict(attrs)["href"])


def test_only_web_addresses_become_links() -> None:
    for text in (
        "javascript:alert(1)",
        "JAVASCRIPT:alert(1)",
        "java\tscript:alert(1)",
        "vbscript:x",
        "data:text/html,<script>",
        "feed:javascript:x",
        "blob:https",
        "//evil.example",
        "\\\\evil.example",
        "[a](javascript:alert(1))",
        "https://",
        "[" * 10_000,
    ):
        assert Shown(render(text)).links == [], text

"""Bodies that aren't valid forms: each gets 400 and one log line, on every route that reads a body."""

import asyncio
import gzip
import logging
import zlib
from collections.abc import AsyncIterator, Mapping
from urllib.parse import urlsplit

import brotli
import pytest
import pytest_asyncio

from educa_chat.app import FORM_BYTES
from educa_chat.handlers import csrf
from educa_chat.handlers.csrf import MAX_FIELDS
from tests.serving import TIMEOUT_S, Person, Server

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROUTES = ["/accounts/login/", "/accounts/logout/", "/chat/room/1/reports/"]
FORM = "application/x-www-form-urlencoded"
BOMB_BYTES = 2**26
PLAIN: Mapping[str, str] = {"Content-Type": FORM}


def compressed(encoding: str) -> Mapping[str, str]:
    return {**PLAIN, "Content-Encoding": encoding}


def multipart(boundary: str) -> Mapping[str, str]:
    return {"Content-Type": f"multipart/form-data{boundary}"}


MALFORMED: Mapping[str, tuple[Mapping[str, str], bytes]] = {
    "corrupt gzip": (compressed("gzip"), b"no gzip at all"),
    "corrupt deflate": (compressed("deflate"), b"\xff\xff no deflate at all"),
    "corrupt br": (compressed("br"), b"\xff\xff no brotli at all"),
    "corrupt zstd": (compressed("zstd"), b"\xff\xff no zstd at all"),
    "truncated gzip": (compressed("gzip"), gzip.compress(b"username=ana" * 100)[:-12]),
    "truncated deflate": (compressed("deflate"), zlib.compress(b"username=ana" * 100)[:-6]),
    "gzip twice": (compressed("gzip, gzip"), gzip.compress(gzip.compress(b"username=ana"))),
    "an encoding that there isn't": (compressed("no-such"), b"username=ana"),
    "an encoding that isn't text": (compressed("\udcff"), b"username=ana"),
    "a gzip bomb": (compressed("gzip"), gzip.compress(bytes(BOMB_BYTES))),
    "a br bomb": (compressed("br"), brotli.compress(bytes(BOMB_BYTES), quality=4)),
    "a charset that there isn't": ({"Content-Type": f"{FORM}; charset=no-such"}, b"username=ana"),
    "a charset of bytes": ({"Content-Type": f"{FORM}; charset=hex"}, b"zz"),
    "a charset of two bytes": ({"Content-Type": f"{FORM}; charset=utf-16"}, b"username=ana"),
    "a charset in several parts": ({"Content-Type": f"{FORM}; charset*0=ut; charset*1=f-9"}, b"username=ana"),
    "a charset with a NUL": ({"Content-Type": f"{FORM}; charset*=utf-8''%00"}, b"username=ana"),
    "bytes that are no UTF-8": (PLAIN, b"username=\xff\xfe"),
    "percent signs that are no UTF-8": (PLAIN, b"username=%ff%fe"),
    "an encoded surrogate": (PLAIN, b"username=%ED%A0%80"),
    "a percent sign without digits": (PLAIN, b"username=ana&password=100%&next="),
    "a percent sign with wrong digits": (PLAIN, b"username=%zz"),
    "a cut percent sign": (PLAIN, b"username=%e"),
    "too many fields": (PLAIN, b"&".join(b"a%d=b" % n for n in range(MAX_FIELDS + 1))),
    "many empty fields": (PLAIN, b"a&" * 30_000),
    "multipart without a boundary": (multipart(""), b"x"),
    "multipart with an empty boundary": (multipart("; boundary="), b"x"),
    "multipart with another boundary": (multipart("; boundary=b"), b"x" * 1000),
    "multipart without an end": (
        multipart("; boundary=b"),
        b'--b\r\nContent-Disposition: form-data; name="username"\r\n\r\nana',
    ),
    "multipart with a corrupt part": (
        multipart("; boundary=b"),
        b'--b\r\nContent-Disposition: form-data; name="username"\r\nContent-Encoding: gzip\r\n\r\nx\r\n--b--\r\n',
    ),
    "JSON": ({"Content-Type": "application/json"}, b"[" * 10_000),
    "no content type": ({"Content-Type": ""}, b"username=ana"),
    "a content type that isn't one": ({"Content-Type": ";;;=\xff"}, b"username=ana"),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def teacher(server: Server) -> AsyncIterator[Person]:
    """A teacher of course 1, who can post to all routes."""
    async with Person(server.url, "profe") as person:
        yield person


async def send(person: Person, path: str, headers: Mapping[str, str], *parts: bytes, end: bool = False) -> bytes:
    """Send a request with a body in `parts`, one after the other, and return the head of the server's response."""
    cookies = "; ".join(f"{cookie.key}={cookie.value}" for cookie in person.http.cookie_jar)
    lines = [f"POST {path} HTTP/1.1", "Host: chat.example", f"Cookie: {cookies}", "Connection: close"]
    head = "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items()), "", ""])
    address = urlsplit(person.url)
    async with asyncio.timeout(TIMEOUT_S):
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        try:
            writer.write(head.encode("utf-8", "surrogateescape") + parts[0])
            for part in parts[1:]:
                await writer.drain()
                await asyncio.sleep(0.05)  # So that the server receives the parts one by one.
                writer.write(part)
            if end:
                writer.write_eof()
            try:
                return await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError as error:
                return error.partial
        finally:
            writer.close()


def lines_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the log lines for operators, and the warnings of libraries."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("educa_chat.handlers") or record.levelno >= logging.WARNING
    ]


async def test_a_malformed_body_gets_400_and_one_log_line(
    teacher: Person, caplog: pytest.LogCaptureFixture, subtests: pytest.Subtests
) -> None:
    caplog.set_level(logging.INFO)
    for route in ROUTES:
        for name, (headers, body) in MALFORMED.items():
            with subtests.test(name, route=route):
                caplog.clear()
                answer = await send(teacher, route, {**headers, "Content-Length": str(len(body))}, body)
                assert answer.startswith(b"HTTP/1.1 400 ")
                (line,) = lines_of(caplog)
                assert f"POST {route} 400 " in line


@pytest.mark.parametrize("route", ROUTES)
async def test_a_body_with_invalid_chunks_gets_400_and_one_log_line(
    teacher: Person, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, route: str
) -> None:
    monkeypatch.setattr(csrf, "BODY_TIMEOUT_S", 0.2)
    caplog.set_level(logging.INFO)
    headers = {**PLAIN, "Transfer-Encoding": "chunked"}
    answer = await send(teacher, route, headers, b"8\r\nusername\r\n", b"zz\r\n=ana\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    (line,) = lines_of(caplog)
    assert f"POST {route} 400 " in line


async def test_a_truncated_body_gets_one_log_line(
    teacher: Person, caplog: pytest.LogCaptureFixture, subtests: pytest.Subtests
) -> None:
    caplog.set_level(logging.INFO)
    for route in ROUTES:
        for headers, body in (
            ({"Content-Length": "100"}, b"username=ana"),
            ({"Transfer-Encoding": "chunked"}, b"64\r\nusername=ana"),
        ):
            with subtests.test(route=route, headers=headers):
                caplog.clear()
                assert await send(teacher, route, {**PLAIN, **headers}, body, end=True) == b""
                async with asyncio.timeout(TIMEOUT_S):
                    while not lines_of(caplog):
                        await asyncio.sleep(0.01)
                (line,) = lines_of(caplog)
                assert f"POST {route} 400 " in line


@pytest.mark.parametrize("route", ROUTES)
async def test_a_slow_body_gets_400_and_one_log_line(
    teacher: Person, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, route: str
) -> None:
    monkeypatch.setattr(csrf, "BODY_TIMEOUT_S", 0.2)
    caplog.set_level(logging.INFO)
    answer = await send(teacher, route, {**PLAIN, "Content-Length": "1000"}, *[b"a"] * 20)
    assert answer.startswith(b"HTTP/1.1 400 ")
    (line,) = lines_of(caplog)
    assert f"POST {route} 400 " in line


async def test_a_body_that_is_too_long_gets_413(teacher: Person, subtests: pytest.Subtests) -> None:
    for route in ROUTES:
        with subtests.test(route=route):
            body = b"a" * (FORM_BYTES + 1)
            answer = await send(teacher, route, {**PLAIN, "Content-Length": str(len(body))}, body)
            assert answer.startswith(b"HTTP/1.1 413 ")


async def test_an_unread_compressed_body_is_not_decompressed(
    server: Server, teacher: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unpack(*_: object) -> None:
        raise AssertionError("unpacked")

    monkeypatch.setattr("aiohttp.http_parser.DeflateBuffer.feed_data", unpack)
    for path in ("/", "/accounts/login/", "/health/live", "/no-such-page/"):
        for encoding in ("gzip", "deflate", "br"):
            headers = {**compressed(encoding), "Content-Length": "8"}
            assert b" 500 " not in (await send(teacher, path, headers, b"no bytes"))[:20]

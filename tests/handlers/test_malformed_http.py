"""Malformed and unusual HTTP requests: each gets a short response and one log line."""

import asyncio
import logging
import re

import pytest
from aiohttp import web_server

from educa_chat.handlers.connections import READ_BYTES, Connection
from tests.raw_socket import RawSocket, open_connection
from tests.serving import TIMEOUT_S, Server

pytestmark = pytest.mark.asyncio(loop_scope="module")

MARK = b"Zq7"
"""Part of each request. It must not be in any log line."""
GET = b"GET /Zq7 HTTP/1.1\r\nHost: here\r\n"
POST = b"POST /accounts/login/ HTTP/1.1\r\nHost: here\r\nContent-Type: application/x-www-form-urlencoded\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

MALFORMED: dict[str, bytes] = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03Zq7\r\n\r\n",
    "words": b"Zq7 Zq7\r\n\r\n",
    "bytes": b"\xff\xfe\x00Zq7\r\n\r\n",
    "a method that there is not": b"ZQ7 / HTTP/1.1\r\nHost: here\r\n\r\n",
    "a method with a wrong character": b"G@T /Zq7 HTTP/1.1\r\nHost: here\r\n\r\n",
    "a version that there is not": b"GET /Zq7 HTTP/9.9\r\nHost: here\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /Zq7\r\n\r\n",
    "lines that end in LF": b"GET /Zq7 HTTP/1.1\nHost: here\n\n",
    "no host": b"GET /Zq7 HTTP/1.1\r\n\r\n",
    "two hosts": GET + b"Host: there\r\n\r\n",
    "a header line without a colon": GET + b"Zq7\r\n\r\n",
    "a header name with a space": GET + b"X Zq7: 1\r\n\r\n",
    "a folded header line": GET + b"X: 1\r\n Zq7\r\n\r\n",
    "NUL in a header": GET + b"X: Zq7\0\r\n\r\n",
    "a bare CR in a header": GET + b"X: Zq7\rY\r\n\r\n",
    "a header line that is too long": GET + b"X: " + b"Zq7" * 5000 + b"\r\n\r\n",
    "a header name that is too long": GET + b"Zq7" * 5000 + b": 1\r\n\r\n",
    "too many header lines": GET + b"X: Zq7\r\n" * 1000 + b"\r\n",
    "a header of an old draft of WebSocket": GET + b"Sec-WebSocket-Key1: Zq7\r\n\r\n",
    "a target that is too long": b"GET /" + b"Zq7" * 5000 + b" HTTP/1.1\r\nHost: here\r\n\r\n",
    "no target": b"GET  HTTP/1.1\r\nHost: here\r\n\r\n",
    "a target without a slash": b"GET Zq7 HTTP/1.1\r\nHost: here\r\n\r\n",
    "a target that is not ASCII": b"GET /Zq7\xff HTTP/1.1\r\nHost: here\r\n\r\n",
    "a query that is not ASCII": b"GET /health/live?Zq7\xff HTTP/1.1\r\nHost: here\r\n\r\n",
    "an asterisk as target": b"GET * HTTP/1.1\r\nHost: here\r\n\r\n",
    "an absolute target without a host": b"GET http:///Zq7 HTTP/1.1\r\nHost: here\r\n\r\n",
    "an absolute target with a wrong host": b"GET http://[::Zq7/ HTTP/1.1\r\nHost: here\r\n\r\n",
    "an absolute target with a wrong port": b"GET http://Zq7:99999999/ HTTP/1.1\r\nHost: here\r\n\r\n",
    "an absolute target that is not ASCII": b"GET http://Zq7\xff/ HTTP/1.1\r\nHost: here\r\n\r\n",
    "an expectation that is not UTF-8": GET + b"Expect: Zq7\xff\r\n\r\n",
    "CONNECT": b"CONNECT Zq7:443 HTTP/1.1\r\nHost: here\r\n\r\n",
    "CONNECT to a path": b"CONNECT /Zq7 HTTP/1.1\r\nHost: here\r\n\r\n",
    "two lengths": POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nZq7",
    "a length that is no number": POST + b"Content-Length: Zq7\r\n\r\n",
    "a negative length": POST + b"Content-Length: -3\r\n\r\nZq7",
    "a length beyond 64 bits": POST + b"Content-Length: 99999999999999999999999\r\n\r\nZq7",
    "a length and chunks": POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an unknown transfer coding": POST + b"Transfer-Encoding: Zq7\r\n\r\n0\r\n\r\n",
    "a chunk size that is no number": CHUNKED + b"Zq7\r\n",
    "a chunk that is longer than it says": CHUNKED + b"3\r\nZq7Zq7\r\n0\r\n\r\n",
    "a body of a GET with a wrong chunk": GET + b"Transfer-Encoding: chunked\r\n\r\nZq7\r\n",
}


async def exchange(raw: RawSocket, *pieces: bytes) -> bytes:
    """Send `pieces` one by one, and return everything that the server sends until it closes the connection."""
    loop, answer = asyncio.get_running_loop(), b""
    for n, piece in enumerate(pieces):
        if n:
            await asyncio.sleep(0.05)
        await raw.send(piece)
    async with asyncio.timeout(TIMEOUT_S):
        while received := await loop.sock_recv(raw._connection, 65536):
            answer += received
    return answer


def check_answer(answer: bytes) -> None:
    assert re.match(rb"HTTP/[\d.]+ 400 Bad Request\r\n", answer)
    assert answer.count(b"HTTP/") == 1
    assert re.search(rb"aiohttp|python|bytearray|b'|\d\.\d+\.\d", answer, re.IGNORECASE) is None


def check_log(caplog: pytest.LogCaptureFixture) -> None:
    """Check that one line was logged, without a traceback and without the request's content."""
    [record] = caplog.records
    assert (record.levelno, record.exc_info, record.stack_info) == (logging.INFO, None, None)
    assert record.name.startswith("educa_chat.")
    assert record.getMessage().startswith("127.0.0.1 ")
    assert "\n" not in record.getMessage()


async def test_invalid_http_gets_400_and_one_log_line(
    server: Server, caplog: pytest.LogCaptureFixture, subtests: pytest.Subtests
) -> None:
    caplog.set_level(logging.INFO)
    for case, data in MALFORMED.items():
        with subtests.test(case):
            caplog.clear()
            async with open_connection(server.url) as raw:
                check_answer(await exchange(raw, data))
            check_log(caplog)
            assert MARK.decode() not in caplog.text


async def test_an_invalid_chunk_in_an_awaited_body_gets_400_at_once(
    server: Server, caplog: pytest.LogCaptureFixture, subtests: pytest.Subtests
) -> None:
    caplog.set_level(logging.INFO)
    for rest in (b"Zq7\r\n", b"3\r\nZq7Zq7\r\n", b"-1\r\n", b"3\r\nZq7\r\n0\r\nZq7\r\n\r\n"):
        with subtests.test(rest=rest):
            caplog.clear()
            async with open_connection(server.url) as raw:
                check_answer(await exchange(raw, CHUNKED, rest))
            check_log(caplog)


async def test_garbage_after_a_request_is_refused_after_the_response(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with open_connection(server.url) as raw:
        live = b"GET /health/live HTTP/1.1\r\nHost: here\r\n\r\n"
        answer = await exchange(raw, live, b"Zq7\r\n\r\n")
        first, _, rest = answer.partition(b'{"status": "live"}')
        assert first.startswith(b"HTTP/1.1 200 ")
        check_answer(rest)
    assert [(record.levelname, record.exc_info) for record in caplog.records] == [("INFO", None)] * 2


ODD: dict[str, tuple[bytes, set[int]]] = {
    "an absolute target": (b"GET http://elsewhere/health/live HTTP/1.1\r\nHost: here\r\n", {200}),
    "an absolute target of another scheme": (b"GET ftp://elsewhere/Zq7 HTTP/1.1\r\nHost: here\r\n", {404}),
    "an absolute target without a path": (b"GET http://elsewhere HTTP/1.1\r\nHost: here\r\n", {302, 404}),
    "two slashes": (b"GET //elsewhere/health/live HTTP/1.1\r\nHost: here\r\n", {404}),
    "OPTIONS *": (b"OPTIONS * HTTP/1.1\r\nHost: here\r\n", {404, 405}),
    "TRACE": (b"TRACE / HTTP/1.1\r\nHost: here\r\n", {405}),
    "a path that is not UTF-8": (b"GET /%ff%fe%00 HTTP/1.1\r\nHost: here\r\n", {404}),
    "a file that is not UTF-8": (b"GET /static/%ff%fe%00 HTTP/1.1\r\nHost: here\r\n", {404}),
    "a wrong escape": (b"GET /%zz HTTP/1.1\r\nHost: here\r\n", {404}),
    "a query that is not UTF-8": (b"GET /health/live?a=%ff&%fe HTTP/1.1\r\nHost: here\r\n", {200}),
    "a room that is not UTF-8": (b"GET /api/rooms/%ff/messages?before=%ff HTTP/1.1\r\nHost: here\r\n", {401, 403, 404}),
    "an empty host": (b"GET /students/courses/ HTTP/1.1\r\nHost: \r\n", {302}),
    "a host that is not UTF-8": (b"GET /students/courses/ HTTP/1.1\r\nHost: \xff\xfe\r\n", {302}),
    "a wrong host": (
        b"POST /accounts/login/ HTTP/1.1\r\nHost: [::1\r\nOrigin: http://[\xff\r\nContent-Length: 0\r\n",
        {400, 403},
    ),
    "cookies that are not UTF-8": (
        b"GET /students/courses/ HTTP/1.1\r\nHost: here\r\n"
        b"Cookie: \xff=\xfe; educa_chat_session=\xff; educa_chat_csrf=\xff\r\n",
        {302},
    ),
    "garbled cookies": (b'GET /students/courses/ HTTP/1.1\r\nHost: here\r\nCookie: ===;;;"\r\n', {302}),
    "garbled preferences": (
        b"GET /accounts/login/ HTTP/1.1\r\nHost: here\r\n"
        b"Accept-Language: \xff;q=\xfe,,;\r\nAccept-Encoding: \xff;;q=x\r\n",
        {200},
    ),
    "garbled conditions": (
        b"GET /health/live HTTP/1.1\r\nHost: here\r\nIf-Modified-Since: x\r\nRange: x\r\nIf-None-Match: \xff\r\n",
        {200},
    ),
    "a garbled content type": (
        b"POST /accounts/login/ HTTP/1.1\r\nHost: here\r\n"
        b"Content-Type: \xff/\xfe; charset=\xfd\r\nContent-Length: 0\r\n",
        {400, 403},
    ),
    "what only a proxy says": (
        b"GET /health/live HTTP/1.1\r\nHost: here\r\nX-Forwarded-For: \xff\r\nX-Forwarded-Proto: \xff\r\n"
        b"X-Forwarded-Host: [\xff\r\nX-Request-ID: \xff\r\n",
        {200},
    ),
    "an unknown expectation": (b"GET /health/live HTTP/1.1\r\nHost: here\r\nExpect: Zq7\r\n", {417}),
    "an upgrade that nobody offers": (
        b"GET /health/live HTTP/1.1\r\nHost: here\r\nUpgrade: Zq7\r\nConnection: Upgrade\r\n",
        {200},
    ),
}


async def test_an_unusual_request_gets_an_ordinary_response(
    server: Server, caplog: pytest.LogCaptureFixture, subtests: pytest.Subtests
) -> None:
    caplog.set_level(logging.INFO)
    for case, (data, statuses) in ODD.items():
        with subtests.test(case):
            caplog.clear()
            async with open_connection(server.url) as raw:
                await raw.send(data + b"\r\n")
                head = await raw.head()
            assert int(head.split(b" ")[1]) in statuses
            assert re.search(rb"aiohttp|python", head, re.IGNORECASE) is None
            assert [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR] == []


async def test_a_body_in_one_byte_chunks_is_parsed_in_small_parts(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    class Watched(Connection):
        def data_received(self, data: bytes) -> None:
            read.append(len(data))
            super().data_received(data)

    monkeypatch.setattr(web_server, "RequestHandler", Watched)
    async with open_connection(server.url) as raw:
        await raw.send(CHUNKED + b"1\r\na\r\n" * 20_000 + b"0\r\n\r\n")
        assert (await raw.head()).startswith(b"HTTP/1.1 4")
    assert max(read) <= READ_BYTES

"""The opening handshake of a WebSocket (RFC 6455 §4.2): valid requests, and refusals of all others."""

import re
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
import pytest_asyncio

from tests.echo_server import KEY, EchoServer, open_echo_server, request
from tests.raw_socket import FIN, TEXT, RawSocket, frame, handshake, open_connection
from tests.serving import Person, Server

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]


async def answer_to(raw: RawSocket, data: bytes) -> Answer:
    await raw.send(data)
    status_line, *lines = (await raw.head()).decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return Answer(int(status_line.split(" ")[1]), headers)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def echoing() -> AsyncIterator[EchoServer]:
    async with open_echo_server() as server:
        yield server


ACCEPTED = {
    "the plain one": request(),
    "another case": request(Upgrade=["WebSocket"], Connection=["uPGRADE"]),
    "a list of protocols": request(Upgrade=["h2c, websocket"]),
    "protocols on two lines": request(Upgrade=["h2c", "websocket"]),
    "a list of connection options": request(Connection=["keep-alive , Upgrade"]),
    "connection options on two lines": request(Connection=["keep-alive", "Upgrade"]),
    "empty list elements": request(Upgrade=[", websocket,,"], Connection=[",Upgrade ,"]),
    "white space": request(Upgrade=["\t websocket \t"], Sec_WebSocket_Key=[f"  {KEY}  "]),
    "an unknown extension": request(Sec_WebSocket_Extensions=["permessage-deflate; client_max_window_bits, \xff"]),
    "unknown headers that are not UTF-8": request(X_Name=["\xff"], Cookie=["a=\xe9"]),
}


async def test_a_valid_handshake_is_accepted(echoing: EchoServer, subtests: pytest.Subtests) -> None:
    for case, data in ACCEPTED.items():
        with subtests.test(case):
            async with open_connection(echoing.url) as raw:
                answer = await answer_to(raw, data)
                assert answer.status == 101
                assert answer.headers["sec-websocket-accept"] == "s3pplmbitxaq9kygzzhzrbk+xoo="
                assert "sec-websocket-extensions" not in answer.headers
                await raw.send(frame(FIN | TEXT, b"hello"))
                assert await raw.receive() == (TEXT, b"hello")


async def test_the_subprotocol_may_be_in_any_header_line(echoing: EchoServer, subtests: pytest.Subtests) -> None:
    for offered, accepted in (
        ([], None),
        (["echo"], "echo"),
        (["other, echo"], "echo"),
        (["other", "echo"], "echo"),
        (["a,b", "c,\techo ,d"], "echo"),
        (["other"], None),
        (["ECHO"], None),
        (["", ","], None),
        (["\xff, echo"], "echo"),
    ):
        with subtests.test(offered=offered):
            async with open_connection(echoing.url) as raw:
                answer = await answer_to(raw, request(Sec_WebSocket_Protocol=offered))
                assert (answer.status, answer.headers.get("sec-websocket-protocol")) == (101, accepted)


REFUSED = {
    "no upgrade": request(Upgrade=[]),
    "another protocol": request(Upgrade=["h2c"]),
    "a longer protocol": request(Upgrade=["websocket2"]),
    "a version of the protocol": request(Upgrade=["websocket/13"]),
    "a protocol with a letter beyond ASCII": request(Upgrade=["websoc\u212aet".encode().decode("latin-1")]),
    "no connection options": request(Connection=[]),
    "another connection option": request(Connection=["keep-alive"]),
    "a longer connection option": request(Connection=["upgrades"]),
    "no key": request(Sec_WebSocket_Key=[]),
    "an empty key": request(Sec_WebSocket_Key=[""]),
    "two keys": request(Sec_WebSocket_Key=[KEY, KEY]),
    "two different keys": request(Sec_WebSocket_Key=[KEY, "AAAAAAAAAAAAAAAAAAAAAA=="]),
    "two keys on one line": request(Sec_WebSocket_Key=[f"{KEY}, {KEY}"]),
    "a key of 15 bytes": request(Sec_WebSocket_Key=["dGhlIHNhbXBsZSBub25j"]),
    "a key of 17 bytes": request(Sec_WebSocket_Key=["dGhlIHNhbXBsZSBub25jZWU="]),
    "a key of 18 bytes": request(Sec_WebSocket_Key=["dGhlIHNhbXBsZSBub25jZWVl"]),
    "a key without padding": request(Sec_WebSocket_Key=["dGhlIHNhbXBsZSBub25jZQ"]),
    "a key in the alphabet for URLs": request(Sec_WebSocket_Key=["-_hlIHNhbXBsZSBub25jZQ=="]),
    "a key with other characters between": request(Sec_WebSocket_Key=["dGhlIHNhb*XBsZSBub25jZQ=="]),
    "a key with white space between": request(Sec_WebSocket_Key=["dGhlIHNhb XBsZSBub25jZQ=="]),
    "a key that is not ASCII": request(Sec_WebSocket_Key=["dGhlIHNhbXBsZSBub25j\xe9Q=="]),
    "a key that is UTF-8": request(Sec_WebSocket_Key=["\xc3\xa9GhlIHNhbXBsZSBub25jZQ=="]),
    "HTTP/1.0": request("GET /socket HTTP/1.0"),
    "a POST": request("POST /socket HTTP/1.1"),
    "a PUT": request("PUT /socket HTTP/1.1"),
    "a HEAD": request("HEAD /socket HTTP/1.1"),
    "a body": request(Content_Length=["6"], body=frame(FIN | TEXT)),
    "a body in chunks": request(Transfer_Encoding=["chunked"], body=b"0\r\n\r\n"),
    "no host": request(Host=[]),
    "two hosts": request(Host=["here", "there"]),
    "a handshake of an old draft": request(Sec_WebSocket_Key1=["4 @1  46546xW%0l 1 5"], Sec_WebSocket_Version=[]),
}


async def test_an_invalid_handshake_is_refused(echoing: EchoServer, subtests: pytest.Subtests) -> None:
    for case, data in REFUSED.items():
        with subtests.test(case):
            async with open_connection(echoing.url) as raw:
                answer = await answer_to(raw, data)
                assert answer.status == 400


VERSIONS: list[list[str]] = [
    [],
    ["8"],
    ["7"],
    ["0"],
    ["12"],
    ["14"],
    [""],
    ["13, 8"],
    ["8, 13"],
    ["13", "13"],
    ["8", "13"],
]


async def test_an_unsupported_version_is_refused_with_the_supported_one(
    echoing: EchoServer, subtests: pytest.Subtests
) -> None:
    for versions in (*VERSIONS, ["013"], ["+13"], ["13.0"], ["\xff"], ["\xb9\xb3"]):
        with subtests.test(versions=versions):
            async with open_connection(echoing.url) as raw:
                answer = await answer_to(raw, request(Sec_WebSocket_Version=versions))
                assert (answer.status, answer.headers["sec-websocket-version"]) == (400, "13")


# The socket of a room.


def changed(data: bytes, name: str, lines: bytes) -> bytes:
    """Return the request `data` with `lines` in place of the header `name`."""
    made, count = re.subn(rb"\r\n%b: [^\r]*" % name.encode(), lambda _: lines and b"\r\n" + lines, data)
    assert count == 1
    return made


async def test_a_room_refuses_an_unsupported_version(server: Server, subtests: pytest.Subtests) -> None:
    for lines in (b"", b"Sec-WebSocket-Version: 8", b"Sec-WebSocket-Version: 13\r\nsec-websocket-version: 13"):
        with subtests.test(lines=lines):
            async with Person(server.url, "ana") as ana, open_connection(server.url) as raw:
                answer = await answer_to(raw, changed(handshake(ana, 1), "Sec-WebSocket-Version", lines))
                assert (answer.status, answer.headers["sec-websocket-version"]) == (400, "13")


async def test_a_room_refuses_non_ascii_headers_without_an_error(
    server: Server, caplog: pytest.LogCaptureFixture, subtests: pytest.Subtests
) -> None:
    for name, lines in (
        ("Sec-WebSocket-Key", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j\xe9Q=="),
        ("Sec-WebSocket-Key", b"Sec-WebSocket-Key: \xf0\x9f\x98\x80"),
        ("Sec-WebSocket-Key", b"Sec-WebSocket-Key: " + 2 * f"{KEY}\r\nSec-WebSocket-Key: ".encode()),
        ("Upgrade", b"Upgrade: \xff"),
        ("Host", b"Host: \xff"),
        ("Cookie", b"Cookie: educa_chat_session=\xff"),
        ("Sec-WebSocket-Protocol", b"Sec-WebSocket-Protocol: \xff\r\nOrigin: \xff"),
    ):
        with subtests.test(name=name):
            caplog.clear()
            async with Person(server.url, "ana") as ana, open_connection(server.url) as raw:
                answer = await answer_to(raw, changed(handshake(ana, 1), name, lines))
                assert answer.status in {"Host": {101}, "Cookie": {401}}.get(name, {400, 403})
            assert [record for record in caplog.records if record.exc_info or record.levelname == "ERROR"] == []


async def test_a_room_finds_the_subprotocol_in_a_second_header_line(server: Server) -> None:
    lines = b"Sec-WebSocket-Protocol: other\r\nSec-WebSocket-Protocol: more, educa-chat.v1"
    async with Person(server.url, "ana") as ana, open_connection(server.url) as raw:
        answer = await answer_to(raw, changed(handshake(ana, 1), "Sec-WebSocket-Protocol", lines))
        assert (answer.status, answer.headers["sec-websocket-protocol"]) == (101, "educa-chat.v1")
        assert (await raw.json())["type"] == "welcome"


async def test_a_room_accepts_upgrade_headers_with_other_protocols(server: Server) -> None:
    async with Person(server.url, "ana") as ana, open_connection(server.url) as raw:
        data = changed(handshake(ana, 1), "Upgrade", b"Upgrade: h2c, websocket")
        assert (await answer_to(raw, changed(data, "Connection", b"Connection: keep-alive, Upgrade"))).status == 101
        assert (await raw.json())["type"] == "welcome"

"""Requests to addresses from outside: they reach nothing private, and no response exhausts the server."""

import asyncio
import ipaddress
import socket

import msgspec
import pytest
from aiohttp import web

from educa_chat.errors import OutboundFailed
from educa_chat.people import outbound
from educa_chat.people.outbound import Outbound, is_public
from tests.outside import LOOPBACK, open_elsewhere


class Answer(msgspec.Struct):
    name: str = ""


async def answer(request: web.Request) -> web.StreamResponse:
    match request.path:
        case "/html":
            return web.Response(text='{"name": "Moodle", "other": 1}', content_type="text/html")
        case "/redirect":
            raise web.HTTPFound("/html")
        case "/refusal":
            raise web.HTTPForbidden
        case "/deep":
            return web.Response(text='{"other": ' + "[" * 100_000 + "]" * 100_000 + "}")
        case "/list":
            return web.Response(text="[" * 100_000)
        case "/text":
            return web.Response(text="<html>")
        case "/binary":
            return web.Response(body=b'{"name": "\xff"}')
        case "/compressed":
            response = web.Response(text='{"name": "' + "x" * 10_000_000 + '"}')
            response.enable_compression(web.ContentCoding.gzip)
            return response
        case "/cookie":
            response = web.json_response({"name": request.headers.get("Cookie", "none")})
            response.set_cookie("spy", "1")
            return response
    stream = web.StreamResponse()
    await stream.prepare(request)
    while True:  # "/endless", "/slow"
        await stream.write(b" " * (65536 if request.path == "/endless" else 1))
        await asyncio.sleep(0.0 if request.path == "/endless" else 0.02)


async def test_json_is_read_whatever_its_content_type() -> None:
    async with open_elsewhere(answer) as url, Outbound(LOOPBACK).open() as client:
        assert (await client.get(f"{url}/html", Answer))[0] == Answer("Moodle")
        assert await client.post(f"{url}/html", Answer, form={"a": "b"}) == Answer("Moodle")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/redirect", "redirects are refused"),
        ("/refusal", "the answer is 403"),
        ("/deep", "can't be used"),
        ("/list", "can't be used"),
        ("/text", "can't be used"),
        ("/binary", "can't be used"),
        ("/compressed", "compressed"),
        ("/endless", "more than"),
        ("/slow?token=secret", "no complete answer within"),
    ],
)
async def test_a_hostile_answer_is_refused(path: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "TIMEOUT_S", 0.5 if path.startswith("/slow") else 20)
    async with open_elsewhere(answer) as url, Outbound(LOOPBACK).open() as client:
        with pytest.raises(OutboundFailed, match=reason) as failure:
            await client.get(url + path, Answer)
    assert "secret" not in str(failure.value)


async def test_no_cookie_is_sent_back() -> None:
    async with open_elsewhere(answer) as url, Outbound(LOOPBACK).open() as client:
        for _ in range(2):
            assert (await client.get(f"{url}/cookie", Answer))[0].name == "none"


async def test_only_https_is_requested(subtests: pytest.Subtests) -> None:
    async with Outbound(LOOPBACK).open() as client:
        for url in (
            "http://moodle.example/",
            "ftp://moodle.example/",
            "file:///etc/passwd",
            "https://user:secret@moodle.example/",
            "https:///nowhere",
            "https://moodle.example:99999/",
            "https://moodle.example/ space",
            "https://moodle.example/\r\nX: y",
            "https://[::1",
            "//moodle.example/",
            "",
        ):
            with subtests.test(url=url):
                with pytest.raises(OutboundFailed) as failure:
                    await client.get(url, Answer)
                assert "secret" not in str(failure.value)


async def test_a_private_address_is_refused_by_default(subtests: pytest.Subtests) -> None:
    async with Outbound([]).open() as client:
        for host in (
            "127.0.0.1", "localhost", "10.0.0.1", "169.254.169.254", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0",
            "[fd00::1]", "100.64.0.1", "2130706433", "0x7f000001", "127.1", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
            "224.0.0.1",
        ):  # fmt: skip
            with subtests.test(host=host):
                with pytest.raises(
                    OutboundFailed, match=r"private addresses are refused|canonical|Name or service|getaddrinfo"
                ):
                    await client.get(f"https://{host}:1/", Answer)


async def test_the_checked_address_is_the_one_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that resolves to a private address only at connection time is refused."""
    reached = []

    async def note(_: web.Request) -> web.Response:
        reached.append(True)
        return web.json_response({})

    async with open_elsewhere(note) as url, Outbound([]).open() as client:
        port = int(url.rpartition(":")[2])
        resolve = socket.getaddrinfo

        def rebound(_: object, *rest: object, **options: object) -> object:
            return resolve("127.0.0.1", *rest, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(socket, "getaddrinfo", rebound)
        with pytest.raises(OutboundFailed, match="private addresses are refused"):
            await client.get(f"https://public.example:{port}/", Answer)
    assert not reached


async def test_http_is_allowed_only_to_an_allowed_loopback_address() -> None:
    async with open_elsewhere(answer) as url, Outbound([]).open() as client:
        with pytest.raises(OutboundFailed, match="only https"):
            await client.get(f"{url}/html", Answer)
    async with Outbound(["10.0.0.0/8"]).open() as client:
        with pytest.raises(OutboundFailed, match="only https"):
            await client.get("http://10.0.0.1/", Answer)


async def test_an_unexpected_host_is_refused() -> None:
    async with open_elsewhere(answer) as url, Outbound(LOOPBACK).open() as client:
        with pytest.raises(OutboundFailed, match=r"not one of moodle\.example"):
            await client.get(f"{url}/html", Answer, hosts=["moodle.example"])
        assert (await client.get(f"{url}/html", Answer, hosts=["127.0.0.1"]))[0].name == "Moodle"


def test_public_addresses_are_recognised() -> None:
    for address in ("1.1.1.1", "2606:4700::1111", "64:ff9b::101:101"):
        assert is_public(ipaddress.ip_address(address)), address

"""Refused sockets: decided before the upgrade, with the status as the reason."""

import asyncio
import json
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

import aiohttp
import asyncpg
import pytest

from educa_chat.handlers.keys import DATABASE, SOCKETS
from educa_chat.storage import log
from educa_chat.storage.courses import unenrol
from tests.conftest import Postgres
from tests.serving import TIMEOUT_S, Person, Server, add_person, add_room, open_server, settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def refusal(
    person: Person, course: int | str = 1, *, query: str = "", headers: Mapping[str, str] | None = None
) -> int:
    """Return the status with which a socket is refused, in both flavours; 101 if it isn't."""
    statuses = set()
    for basic in (False, True):
        try:
            chatter = await person.enter(course, basic=basic, query=query, headers=headers)  # type: ignore[arg-type]
        except aiohttp.WSServerHandshakeError as error:
            statuses.add(error.status)
        else:
            statuses.add(101)
            await chatter.socket.close()
    assert len(statuses) == 1
    return statuses.pop()


async def test_an_anonymous_visitor_cannot_connect(server: Server) -> None:
    async with Person(server.url) as anonymous:
        assert await refusal(anonymous) == 401
        assert await refusal(anonymous, 2**63 - 1) == 401


@pytest.mark.parametrize("username", ["ana", "profe"])
async def test_members_of_a_course_can_connect(server: Server, username: str) -> None:
    async with Person(server.url, username) as member:
        assert await refusal(member) == 101


async def test_a_stranger_cannot_connect_or_tell_whether_a_course_exists(server: Server) -> None:
    async with Person(server.url, "marta") as stranger:
        assert await refusal(stranger, 1) == await refusal(stranger, 2**63 - 1) == 403
        assert (await stranger.get("/ws/chat/room/1/"))[1] == (await stranger.get("/ws/chat/room/99999/"))[1]


async def test_a_user_who_left_the_course_cannot_connect(server: Server) -> None:
    course, (username, _) = await add_room(server.app[DATABASE])
    async with Person(server.url, username) as student:
        assert await refusal(student, course) == 101
        await unenrol(server.app[DATABASE], username, course)
        assert await refusal(student, course) == 403


async def test_a_malformed_id_is_refused(server: Server, subtests: pytest.Subtests) -> None:
    async with Person(server.url) as anonymous, Person(server.url, "ana") as ana:
        for id in ("01", "١", "0", "-1", "1e1", "x", "9" * 30, str(2**63)):
            with subtests.test(id=id):
                assert await refusal(anonymous, quote(id)) == await refusal(ana, quote(id)) == 403


async def test_a_page_of_another_origin_cannot_connect(server: Server) -> None:
    host, port = str(urlsplit(server.url).hostname), int(urlsplit(server.url).port or 0)
    async with Person(server.url, "ana") as ana:
        for origin in (
            "https://evil.example",
            "null",
            "",
            f"http://{host}:{port + 1}",
            f"http://{host}",
            f"https://{host}:{port}",
            f"http://sub.{host}:{port}",
            f"http://{host}.evil.example:{port}",
            f"http://{host}:{port}.evil.example",
            f"ws://{host}:{port}",
        ):
            assert await refusal(ana, headers={"Origin": origin}) == 403, origin
        assert await refusal(ana, headers={"Origin": server.url}) == 101


async def test_only_configured_origins_can_connect(url: str) -> None:
    settings = settings_for(url, server_origins="https://school.example")
    async with open_server(settings) as server, Person(server.url, "ana") as ana:
        assert await refusal(ana, headers={"Origin": "https://school.example"}) == 101
        for origin in (server.url, "http://school.example", "https://school.example:8443", "https://a.school.example"):
            assert await refusal(ana, headers={"Origin": origin}) == 403, origin


async def test_an_invalid_after_is_refused(server: Server, subtests: pytest.Subtests) -> None:
    async with Person(server.url, "ana") as ana:
        for after in (
            "-1",
            "x",
            "",
            "1.0",
            "1e3",
            "+1",
            " 1",
            "0x1",
            "١",
            "１",
            "²",
            "9" * 40,
            str(2**53 + 1),
            "1\n",
            "\0",
            "1_0",
        ):
            with subtests.test(after=after):
                assert await refusal(ana, query=f"?after={quote(after)}") == 400


async def test_any_valid_after_is_accepted(server: Server, subtests: pytest.Subtests) -> None:
    for after in ("0", "1", "007", str(2**53)):
        with subtests.test(after=after):
            async with Person(server.url, "ana") as ana:
                assert await refusal(ana, query=f"?after={after}&epoch=none&at=never") == 101


async def test_an_invalid_handshake_is_refused(server: Server, subtests: pytest.Subtests) -> None:
    handshake = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "A" * 22 + "==",
        "Sec-WebSocket-Version": "13",
    }
    async with Person(server.url, "ana") as ana:
        for change in (
            {"Upgrade": None},
            {"Upgrade": "h2c"},
            {"Connection": None},
            {"Sec-WebSocket-Key": None},
            {"Sec-WebSocket-Key": "x"},
            {"Sec-WebSocket-Version": None},
            {"Sec-WebSocket-Version": "9"},
        ):
            with subtests.test(change=change):
                headers = {name: value for name, value in {**handshake, **change}.items() if value is not None}
                status, body, _ = await ana.get("/ws/chat/room/1/", **headers)
                assert (status, json.loads(body)["error"]["code"]) == (400, "bad_request")


async def test_a_refusal_gives_the_reason_as_json(server: Server) -> None:
    async with Person(server.url) as anonymous, Person(server.url, "ana") as ana:
        for person, path, status, code in (
            (anonymous, "1/", 401, "unauthorized"),
            (ana, "2/", 403, "forbidden"),
            (ana, "1/?after=x", 400, "bad_request"),
        ):
            answer = await person.get(f"/ws/chat/room/{path}")
            assert (answer[0], json.loads(answer[1])["error"]["code"]) == (status, code)
            assert answer[2]["Content-Type"] == "application/json; charset=utf-8"


async def test_a_draining_node_refuses_connections(url: str) -> None:
    async with open_server(settings_for(url)) as server, Person(server.url, "ana") as ana:
        assert (await ana.get("/health/ready"))[0] == 200
        server.app[SOCKETS].draining = True
        assert await refusal(ana) == 503
        assert "Retry-After" in (await ana.get("/ws/chat/room/1/"))[2]
        status, body, _ = await ana.get("/health/ready")
        assert (status, json.loads(body)["status"]) == (503, "draining")
        assert (await ana.get("/health/live"))[0] == 200


async def test_a_stopping_node_closes_its_sockets_with_1001(url: str) -> None:
    async with open_server(settings_for(url)) as server, Person(server.url, "ana") as ana:
        full, basic = await ana.enter(), await ana.enter(basic=True)
        assert (await full.receive())["type"] == "welcome"
        drain = asyncio.create_task(server.app[SOCKETS].drain())
        assert await full.close_code() == await basic.close_code() == 1001
        await asyncio.wait_for(drain, TIMEOUT_S)


async def test_connections_are_refused_while_the_database_is_down_and_accepted_afterwards(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "PATIENCE_S", 0.5)
    url = await postgres.create_chat_database(demo=True)
    name = url.partition("@/")[2].partition("?")[0]
    control = await asyncpg.connect(postgres.url("postgres"))
    try:
        async with open_server(settings_for(url)) as server, Person(server.url, "ana") as ana:
            inside = await ana.enter()
            assert (await inside.receive())["type"] == "welcome"

            await control.execute(f'alter database "{name}" allow_connections false')
            await control.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", name)
            assert await refusal(ana) == 503
            for path, type in (("/chat/room/1/", "text/html"), ("/api/rooms/1/messages", "application/json")):
                status, body, headers = await ana.get(path)
                assert (status, headers["Content-Type"]) == (503, f"{type}; charset=utf-8")
                assert "Retry-After" in headers
                assert "asyncpg" not in body
            assert (await ana.get("/health/ready"))[0] == 503
            assert (await ana.get("/health/live"))[0] == 200
            await inside.say("can anybody hear me?", "a")
            assert (await inside.receive())["code"] == "unavailable"

            await control.execute(f'alter database "{name}" allow_connections true')
            assert await refusal(ana) == 101
            assert (await ana.get("/chat/room/1/"))[0] == 200
            await inside.say("can anybody hear me?", "a")
            assert (await inside.receive())["type"] == "ack"
            assert (await inside.receive())["seq"] == 1
    finally:
        await control.close()


async def test_a_user_without_courses_can_enter_no_room(server: Server) -> None:
    async with Person(server.url, await add_person(server.app[DATABASE])) as stranger:
        assert await refusal(stranger, 1) == await refusal(stranger, 2) == 403

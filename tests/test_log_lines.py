"""Log lines: one JSON object per line in production, with ids, and never with message texts."""

import asyncio
import io
import json
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.fernet import Fernet

from educa_chat.chat import Chat
from educa_chat.errors import DatabaseUnavailable
from educa_chat.log_lines import JsonLines, ReadableLines, log_also, log_loop_failure, logging_request
from educa_chat.storage.pool import open_database
from tests.conftest import Postgres
from tests.processes import Process, free_port, open_node, open_process
from tests.redis_server import RedisServer
from tests.serving import Person, open_server, settings_for

SECRET = "xyzzy-the-secret-of-ana"
PRODUCTION = {
    "server_mode": "production",
    "session_key": Fernet.generate_key().decode(),
    "server_trusted_proxies": "127.0.0.1/32",
    "server_allow_insecure_cookies": "true",
}


def lines_of(node: Process) -> list[dict[str, Any]]:
    """Return the lines of the log so far, without the command's output for people before it."""
    return [
        json.loads(line) for line in node.output.splitlines() if line and not line.startswith("  educa-chat is running")
    ]


async def test_production_logs_json_with_request_connection_user_and_room_ids(
    postgres: Postgres,
) -> None:
    async with open_node(await postgres.create_chat_database(demo=True), **PRODUCTION) as node:
        async with Person(node.url, "ana") as ana:
            for headers in ({"X-Request-ID": "from.the-proxy:1"}, {"X-Request-ID": 'not "sane"'}, {}):
                status, _, answered = await ana.get("/chat/room/1/?password=in-the-query", **headers)
                assert status == 200
                id = answered["X-Request-ID"]
                assert (id == headers.get("X-Request-ID")) == ("from" in str(headers)), id
                await node.printed(f'"request": "{id}"')
            sockets = [await ana.enter(headers={"X-Request-ID": f"socket-{number}"}) for number in range(2)]
            assert sockets[0].socket._response.headers["X-Request-ID"] == "socket-0"
            await ana.get("/no%0dsuch%0apage%1b[31m")
        assert await node.stop() == 0, node.output
    lines = lines_of(node)
    for line in lines:
        assert {"time", "level", "logger", "message"} <= line.keys() <= {
            "time", "level", "logger", "message", "request", "connection", "user", "room", "exception",
        }  # fmt: skip
        assert line["time"].endswith("+00:00")
    page = next(line for line in lines if line.get("request") == "from.the-proxy:1")
    assert (page["user"], page["room"], page["level"]) == (2, 1, "INFO")
    assert page["message"].startswith("127.0.0.1 GET /chat/room/1/ 200 ")
    opened = [line for line in lines if line["message"].startswith("the socket is open")]
    assert [(line["request"], line["user"], line["room"]) for line in opened] == [
        ("socket-0", 2, 1),
        ("socket-1", 2, 1),
    ]
    assert len({line["connection"] for line in opened}) == 2
    closed = [line for line in lines if line["message"].startswith("the socket is closed")]
    assert {line["connection"] for line in closed} == {line["connection"] for line in opened}
    assert "in-the-query" not in node.output
    assert "\x1b" not in node.output


async def test_production_workers_also_log_json_and_drain_when_their_parent_is_killed(
    postgres: Postgres, redis_server: RedisServer
) -> None:
    url = await postgres.create_chat_database(demo=True)
    async with open_node(url, redis_server.url, "--workers", "2", **PRODUCTION) as node:
        async with Person(node.url, "ana") as ana:
            sockets = [await ana.enter() for _ in range(4)]
            node.signal(signal.SIGKILL)
            assert [await socket.close_code() for socket in sockets] == [1001] * 4
        # It has ended when no process holds its output open any more.
        assert await node.ended() == -signal.SIGKILL
    assert "Traceback" not in node.output
    messages = [line["message"] for line in lines_of(node)]
    assert sum("the parent process has ended" in message for message in messages) == 2
    opened = [line for line in lines_of(node) if line["message"].startswith("the socket is open")]
    assert len({line["connection"] for line in opened}) == len(sockets)


async def test_a_worker_that_cannot_serve_logs_the_reason_and_stops_the_server(
    postgres: Postgres, redis_server: RedisServer
) -> None:
    settings = {
        "database_url": await postgres.create_database(),
        "bus_url": redis_server.url,
        **PRODUCTION,
    }
    environment = {f"EDUCA_CHAT_{name.upper()}": value for name, value in settings.items()}
    arguments = ("serve", "--workers", "2", "--port", str(free_port()))
    async with open_process(*arguments, environment=environment) as node:
        assert await node.ended() == 1
    # Python itself reports a signal that arrives while a loop closes (set_wakeup_fd), and not as JSON.
    failed = [json.loads(line) for line in node.output.splitlines() if "the worker can't serve" in line]
    assert "run `educa-chat migrate`" in failed[0]["message"]
    assert "running at" not in node.output


async def test_a_request_id_is_accepted_only_from_a_trusted_proxy(postgres: Postgres) -> None:
    async with open_server(settings_for(await postgres.create_chat_database())) as server:
        async with Person(server.url) as person:
            _, _, headers = await person.get("/health/live", **{"X-Request-ID": "mine"})
            assert headers["X-Request-ID"] != "mine"
            _, _, others = await person.get("/health/live")
            assert others["X-Request-ID"] != headers["X-Request-ID"]


@pytest.mark.parametrize("mode", ["production", "development"])
async def test_message_text_is_never_logged_even_if_a_database_error_quotes_it(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """The database refuses a message with an error whose DETAIL contains the whole row."""
    url = await postgres.create_chat_database(demo=True)
    settings = {**PRODUCTION, "server_mode": mode}
    async with open_database(url, 1) as database:
        await database.execute(f"alter table educa_chat.message add check (body not like '%{SECRET}%')")
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")
    async with open_node(url, **settings) as node:
        async with Person(node.url, "ana") as ana, Person(node.url, "luis") as luis:
            here, there = await ana.enter(), await luis.enter()
            await here.say(SECRET, id="1")
            assert (await here.receive_until("error"))["code"] == "unavailable"
            async with open_database(url, 1) as database:
                await database.execute("alter table educa_chat.message drop constraint message_body_check")
            await here.say(SECRET, id="2")
            assert (await there.events(1))[0]["message"] == SECRET
            await here.send(json.dumps({"type": SECRET, "id": "3"}))
            await here.send(f'{{"type":"message","message":"{SECRET}')
            await here.send({"type": "message", "id": SECRET * 9, "message": SECRET})
            for _ in range(3):
                await here.receive_until("error")
            async with ana.http.get(f"{node.url}/api/rooms/1/messages?before={SECRET}") as response:
                assert response.status == 400
            cookies = [cookie.value for cookie in ana.http.cookie_jar]
        assert await node.stop() == 0
    assert "the database refuses an entry: CheckViolationError" in node.output
    assert SECRET not in node.output
    assert cookies
    assert not any(cookie in node.output for cookie in cookies)


@pytest.fixture
def logged() -> Iterator[Callable[[logging.Formatter], Callable[[], str]]]:
    """A function that logs at every level with a formatter. It returns a function for the lines so far."""
    root, written = logging.getLogger(), io.StringIO()
    handler, level = logging.StreamHandler(written), root.level

    def begin(formatter: logging.Formatter) -> Callable[[], str]:
        handler.setFormatter(formatter)
        # Before pytest's own handler, whose traceback the record would keep.
        root.handlers.insert(0, handler)
        root.setLevel(logging.DEBUG)
        return written.getvalue

    yield begin
    root.removeHandler(handler)
    root.setLevel(level)


@pytest.mark.parametrize("formatter", [JsonLines(), ReadableLines()], ids=["production", "development"])
async def test_an_exception_is_logged_with_its_location_but_not_its_message(
    postgres: Postgres,
    monkeypatch: pytest.MonkeyPatch,
    logged: Callable[[logging.Formatter], Callable[[], str]],
    formatter: logging.Formatter,
) -> None:
    def fail(*_: object) -> None:
        try:
            raise ExceptionGroup(SECRET, [ValueError(SECRET)])
        except ExceptionGroup:
            raise KeyError(SECRET) from DatabaseUnavailable("the database is away")

    monkeypatch.setattr(Chat, "handle", fail)
    lines = logged(formatter)
    async with open_server(settings_for(await postgres.create_chat_database(demo=True))) as server:
        async with Person(server.url, "ana") as ana:
            socket = await ana.enter()
            await socket.say(SECRET, id="1")
            assert await socket.close_code() == 1011
    assert SECRET not in lines()
    for told in ("the socket failed", "in fail", "builtins.KeyError", "DatabaseUnavailable: the database is away"):
        assert told in lines()
    if isinstance(formatter, JsonLines):
        failed = [json.loads(line) for line in lines().splitlines() if "the socket failed" in line]
        assert [line["user"] for line in failed] == [2]
        assert failed[0]["exception"].startswith("Traceback")


async def test_unhandled_event_loop_errors_are_logged_without_their_data(
    logged: Callable[[logging.Formatter], Callable[[], str]],
) -> None:
    lines = logged(JsonLines())
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log_loop_failure)

    async def fail() -> None:
        raise ValueError(SECRET)

    task = asyncio.create_task(fail())
    await asyncio.wait([task])
    del task
    assert "never retrieved" in lines()
    assert "in fail" in lines()
    assert SECRET not in lines()


def record(message: str) -> logging.LogRecord:
    return logging.LogRecord("a.logger", logging.INFO, "", 0, message, (), None)


@pytest.mark.parametrize("formatter", [JsonLines(), ReadableLines()], ids=["production", "development"])
def test_log_lines_contain_no_line_breaks_or_terminal_escapes(formatter: logging.Formatter) -> None:
    hostile = "a\r\nb\x1b[31mc\u202ed\u2028e\x85f\ud800\x00"
    with logging_request(hostile):
        line = formatter.format(record(hostile))
    assert len(line.splitlines()) == 1
    assert line.isprintable()


def test_ids_belong_to_their_own_request() -> None:
    with logging_request("1"):
        log_also(user=2)
        assert json.loads(JsonLines().format(record("x")))["user"] == 2
        assert ReadableLines().format(record("x")).endswith("a.logger: x (request=1 user=2)")
    assert json.loads(JsonLines().format(record("x"))).keys() == {"time", "level", "logger", "message"}


async def test_an_unexpected_error_in_a_command_is_logged_as_json(postgres: Postgres) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import warnings; from educa_chat.log_lines import configure_logging; configure_logging(20, 'production');"
        f"warnings.warn('careful'); raise ValueError('{SECRET}')",
        stderr=asyncio.subprocess.PIPE,
    )
    _, output = await process.communicate()
    lines = [json.loads(line) for line in output.decode().splitlines()]
    assert [line["level"] for line in lines] == ["WARNING", "CRITICAL"]
    assert "builtins.ValueError" in lines[1]["exception"]
    assert SECRET not in lines[1]["message"]

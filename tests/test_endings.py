"""A server stops cleanly if a component ends; its exit code reports the failure, and it is started again."""

import asyncio
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from educa_chat.frames import Message
from educa_chat.tasks import running, supervised
from educa_chat.websocket_protocol import Heartbeat, ReadingTime, WebSocket
from tests.conftest import Postgres
from tests.processes import open_scripted_node
from tests.redis_server import RedisServer
from tests.serving import Person
from tests.test_room import until

BROKEN = """
import pathlib, sys
from educa_chat import app, chat_socket
from educa_chat.cli import main
from educa_chat.storage.log import Appender

def is_broken():
    if "{breaks}" == __name__ == "__main__":
        return True
    try:
        # The first worker is, and the one that takes its place is not.
        return __name__ == "__mp_main__" and not pathlib.Path(__file__ + ".once").touch(exist_ok=False)
    except FileExistsError:
        return False

if is_broken():
    # Nothing is stored any more, so waiting for it is pointless.
    chat_socket.DRAIN_TIMEOUT_S = app.COMMIT_TIMEOUT_S = 0.1

    async def run(self):
        await self._arrival.wait()
        {end}
    Appender.run = run

if __name__ == "__main__":
    sys.exit(main())
"""
"""The program, with an appender that ends at the first entry."""


def write_broken(folder: Path, end: str, breaks: str) -> Path:
    """Write the program. Its appender ends with the statement `end` in processes whose main module is `breaks`."""
    script = folder / "broken.py"
    script.write_text(BROKEN.replace("{end}", end).replace("{breaks}", breaks))
    return script


@pytest.mark.parametrize("end", ["raise RuntimeError", "return", "raise asyncio.CancelledError"])
async def test_a_component_that_ends_stops_the_process_cleanly_with_exit_code_1(
    tmp_path: Path, postgres: Postgres, end: str
) -> None:
    url = await postgres.create_chat_database(demo=True)
    broken = write_broken(tmp_path, end.replace("asyncio", '__import__("asyncio")'), "__main__")
    async with open_scripted_node(broken, url, "memory:") as node:
        async with Person(node.url, "ana") as ana:
            socket = await ana.enter()
            await socket.say("the last word", id="1")
            # Users are sent to another node, as when the process is asked to stop.
            assert await socket.close_code() == 1001
        assert await node.ended() == 1, node.output
    assert "appender ended unexpectedly; stopping the process" in node.output
    assert node.output.splitlines()[-1] == "educa-chat: appender ended unexpectedly"


async def test_a_worker_whose_component_ends_is_restarted(
    tmp_path: Path, postgres: Postgres, redis_server: RedisServer
) -> None:
    url = await postgres.create_chat_database(demo=True)
    broken = write_broken(tmp_path, "raise RuntimeError", "__mp_main__")
    async with open_scripted_node(broken, url, redis_server.url, "--workers", "2") as node:
        await node.printed("running at")
        async with Person(node.url, "ana") as ana:
            for number, socket in enumerate([await ana.enter() for _ in range(12)]):
                # The kernel decides which worker each is connected to.
                await socket.say("hello", id=str(number))
                # Otherwise the worker would wait for the client to answer its close frame.
                await socket.socket.close()
            await node.printed("ended with exit code 1; restarting it")
            async with asyncio.timeout(60):
                while node.output.count("the socket is open") < 13:
                    # While the worker stops or starts, connections are refused.
                    with suppress(aiohttp.ClientError):
                        await ana.enter()
        assert await node.stop() == 0, node.output
    assert "appender ended unexpectedly" in node.output


async def test_supervised_work_is_restarted_on_failure_and_ends_with_its_context(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("educa_chat.tasks.RESTART_PAUSE_S", 0.0)
    beginnings, has_begun_thrice = 0, asyncio.Event()

    async def work() -> None:
        nonlocal beginnings
        beginnings += 1
        if beginnings < 3:
            raise RuntimeError
        has_begun_thrice.set()
        await asyncio.Event().wait()

    async with asyncio.timeout(30), supervised(work, "some work"):
        await has_begun_thrice.wait()
    assert caplog.text.count("some work failed and is restarted") == 2
    assert beginnings == 3


async def test_a_failing_heartbeat_ends_only_its_own_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    class Socket(WebSocket):
        """A socket without a transport, whose first heartbeat fails."""

        __slots__ = ("beats", "is_broken", "was_aborted")

        def __init__(self, *, is_broken: bool) -> None:
            super().__init__(1000, ReadingTime())
            self.beats = 0
            self.is_broken = is_broken
            self.was_aborted = False

        def beat(self) -> None:
            self.beats += 1
            if self.is_broken:
                raise RuntimeError

        def abort(self) -> None:
            self.was_aborted = True

        def receive(self, message: Message) -> None:
            raise NotImplementedError

        def leave(self) -> None:
            raise NotImplementedError

    monkeypatch.setattr("educa_chat.websocket_protocol.HEARTBEAT_S", 0.02)
    heartbeat, sockets = Heartbeat(), [Socket(is_broken=number == 1) for number in range(3)]
    for socket in sockets:
        heartbeat.add(socket)
    async with running(heartbeat.run(), "heartbeat"):
        await until(lambda: sockets[0].beats > 3 and sockets[2].beats > 3)
    assert [socket.was_aborted for socket in sockets] == [False, True, False]
    assert sockets[1].beats == 1

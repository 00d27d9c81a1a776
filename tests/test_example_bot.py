"""The bot in examples/ against a real server: it signs in, answers, and resumes after a lost connection."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from educa_chat.demo import PASSWORD
from educa_chat.storage.pool import open_database
from tests.conftest import Postgres
from tests.proxy import Proxy
from tests.serving import Chatter, Person, add_classroom, open_server, settings_for

BOT = Path(__file__).parent.parent / "examples" / "bot.py"


@asynccontextmanager
async def open_bot(*arguments: object) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, BOT, *map(str, arguments), stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def ping(student: Chatter, id: str) -> int:
    """Send `!ping` and return its seq."""
    await student.say("!ping", id=id)
    seq: int = (await student.receive_until("ack", id=id))["seq"]
    return seq


async def test_the_bot_answers_each_message_once_even_after_losing_its_connection(postgres: Postgres) -> None:
    url = await postgres.create_chat_database(demo=True)
    async with open_database(url, 1) as database:
        room = await add_classroom(database)
    async with (
        open_server(settings_for(url)) as server,
        Proxy(urlsplit(server.url).port or 0).open() as proxy,
        Person(server.url, room.luis) as luis,
        open_bot(f"http://{proxy.address}", room.ana, PASSWORD, room.course),
    ):
        student = await luis.enter(room.course)
        await student.receive_until("presence", count=2)
        pings = [await ping(student, "1")]
        await student.receive_until("chat_message", user=room.ana)

        proxy.flows.clear()  # The bot can't reconnect before it has missed a message.
        proxy.cut()
        pings.append(await ping(student, "2"))
        proxy.flows.set()
        await student.receive_until("chat_message", user=room.ana, reply_to=pings[1])

        pings.append(await ping(student, "3"))
        await student.receive_until("chat_message", user=room.ana, reply_to=pings[2])
        history = (await luis.messages(room.course))["messages"]
    assert [(message["user"], message["message"], message.get("reply_to")) for message in history] == [
        said for seq in pings for said in ((room.luis, "!ping", None), (room.ana, "pong", seq))
    ]


async def test_the_bot_exits_when_it_is_refused(postgres: Postgres) -> None:
    url = await postgres.create_chat_database(demo=True)
    async with open_database(url, 1) as database:
        room = await add_classroom(database)
    async with open_server(settings_for(url)) as server:
        for password, course, reason in (
            ("wrong password", room.course, b"password is wrong"),
            (PASSWORD, 1, b"with 403"),
        ):
            async with open_bot(server.url, room.ana, password, course) as bot:
                _, errors = await asyncio.wait_for(bot.communicate(), 30)
            assert bot.returncode == 1
            assert reason in errors

"""The commands for backup, restore drill and restore, as written in docs/deployment.md."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from educa_chat.demo import PASSWORD
from educa_chat.storage.pool import open_database
from tests.postgres_server import TOOLS, PostgresServer
from tests.serving import Person, add_demo_data, open_server, settings_for
from tests.test_command_line import run

GUIDE = (Path(__file__).parent.parent / "docs" / "deployment.md").read_text(encoding="utf-8")


def commands_after(marker: str) -> list[str]:
    """Return the lines of the first block of commands after `marker`, without those that need Docker itself."""
    (block,) = re.findall(r"\A(?s:.*?)\n\n((?:    .*\n)+)", GUIDE[GUIDE.index(marker) :])
    return [
        line.strip().removeprefix("docker compose exec -T postgres ")
        for line in block.splitlines()
        if not re.match(r" *docker compose (stop|start|run)", line)
    ]


class Shell:
    """Runs commands in `folder` as the superuser of `server`."""

    def __init__(self, server: PostgresServer, folder: Path) -> None:
        self._folder = folder
        self._environment = {
            **os.environ,
            "PATH": f"{TOOLS}:{os.environ['PATH']}",
            "PGHOST": "127.0.0.1",
            "PGPORT": str(server.port),
            "PGUSER": "postgres",
        }

    def run(self, commands: list[str]) -> str:
        """Run `commands` one after the other and return their output. An error fails the test."""
        assert commands
        script = "\n".join(["set -e", *commands])
        result = subprocess.run(
            ["bash", "-c", script], cwd=self._folder, env=self._environment, capture_output=True, text=True, timeout=120
        )
        assert result.returncode == 0, result.stderr
        return result.stdout


@pytest.fixture(scope="module")
def server(prepared: Path) -> Iterator[PostgresServer]:
    with PostgresServer(prepared, is_durable=False) as server:
        yield server


@pytest.mark.parametrize(
    ("role", "dump", "restore"),
    [
        ("login", "Run this command as the user `postgres`", "Then, as the user `postgres`:"),
        ("login superuser", "run in the service `postgres`. The backup:", "The restore:"),
    ],
    ids=["machine", "docker"],
)
async def test_a_backup_can_be_tested_and_restored_as_documented(
    server: PostgresServer, tmp_path: Path, role: str, dump: str, restore: str
) -> None:
    shell = Shell(server, tmp_path)
    shell.run([f'psql --command="create role educa_chat {role}"', "createdb --owner=educa_chat educa_chat"])
    try:
        url = f"postgresql://educa_chat@127.0.0.1:{server.port}/educa_chat"
        assert (await run(url, "migrate"))[0] == 0
        async with open_database(url, 1) as database:
            await add_demo_data(database)
        async with open_server(settings_for(url)) as chat, Person(chat.url, "ana") as ana:
            socket = await ana.enter()
            await socket.say("before the backup", id="1")
            await socket.receive_until("ack", id="1")
            shell.run(commands_after(dump))
            await socket.say("after the backup", id="2")
            await socket.receive_until("ack", id="2")

        drill = commands_after("**Restore drill.**")
        assert shell.run(drill).splitlines()[2].split("|")[0].strip() == "1"

        shell.run(commands_after(restore))
        assert (await run(url, "migrate"))[1] == "the schema is up to date\n"
        code, output = await run(url, "check")
        assert code == 0, output
        async with open_server(settings_for(url)) as chat, Person(chat.url) as ana:
            assert (await ana.sign_in("ana", PASSWORD))[0] == 302
            assert [said["message"] for said in (await ana.messages())["messages"]] == ["before the backup"]
    finally:
        for name in ("educa_chat", "educa_chat_broken", "educa_chat_drill"):
            shell.run([f"dropdb --if-exists --force {name}"])
        shell.run(["dropuser educa_chat"])

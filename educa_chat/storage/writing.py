"""Checks that the database can store a message, without leaving anything behind."""

from educa_chat.storage.pool import Database


async def require_writable(database: Database) -> None:
    """Raise DatabaseUnavailable unless the database commits a change to disk and has room for more.

    The schema must be there.
    """
    async with database.connection() as connection:
        await connection.execute(_TRIAL)


# One round trip and one transaction: statements without arguments can be sent together.
#
# The commit waits for the disk (and for a synchronous standby) as an append does, and it fails where the database is
# read-only. The row's content stays the same, and its old versions are pruned with the next change. But on a full disk
# this change would still succeed: its page is there already, and so is the segment of the WAL.
#
# Therefore a megabyte is written to a temporary file first, which lies in the tablespace of the log and is gone at the
# end of the statement. It costs no WAL and, as a rule, never leaves the kernel's cache.
_TRIAL = """
    set local synchronous_commit = on;
    set local work_mem = '64kB';
    select set_config('temp_tablespaces', coalesce(
        (select quote_ident(spcname) from pg_class c join pg_tablespace s on s.oid = c.reltablespace
            where c.oid = 'educa_chat.event'::regclass),
        ''), true);
    with filler as materialized (select repeat('x', 8000) from generate_series(1, 128)) select count(*) from filler;
    update educa_chat.schema_version set name = name where number = 1;
"""

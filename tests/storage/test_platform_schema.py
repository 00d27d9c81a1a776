"""The platform's tables as the chat creates them, compared with those that Django creates."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio

from educa_chat.storage.migrate import migrations
from tests.conftest import Postgres
from tests.django_site import DjangoSite

TABLES = ["auth_user", "courses_course", "courses_course_students", "courses_module", "courses_subject"]

FORM = {
    "columns": """
        select attrelid::regclass::text, attname, format_type(atttypid, atttypmod), attnotnull, attidentity,
            attcollation::regcollation::text, pg_get_expr(adbin, adrelid),
            pg_get_serial_sequence(attrelid::regclass::text, attname)
        from pg_attribute left join pg_attrdef on adrelid = attrelid and adnum = attnum
        where attrelid = any ($1::text[]::regclass[]) and attnum > 0 and not attisdropped
        order by attrelid::regclass::text, attnum
    """,
    "constraints": """
        select conrelid::regclass::text, conname, contype, pg_get_constraintdef(oid)
        from pg_constraint
        where conrelid = any ($1::text[]::regclass[])
            and (contype <> 'f' or confrelid = any ($1::text[]::regclass[]))
        order by 1, 2
    """,
    "indexes": """
        select pg_get_indexdef(indexrelid)
        from pg_index
        where indrelid = any ($1::text[]::regclass[])
        order by 1
    """,
}


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def apply(connection: asyncpg.Connection) -> None:
    """Run the first migration like the migration runner."""
    sql = migrations()[0].sql
    async with connection.transaction():
        await connection.execute(sql)


async def form(connection: asyncpg.Connection) -> dict[str, list[tuple[object, ...]]]:
    """Return the complete definition of the platform's tables."""
    return {aspect: [tuple(row) for row in await connection.fetch(query, TABLES)] for aspect, query in FORM.items()}


async def relations(connection: asyncpg.Connection) -> list[tuple[str, str, int]]:
    """Return each relation in the site's schema by kind and name, with its file, which a change would replace."""
    return [
        tuple(row)
        for row in await connection.fetch(
            "select relkind::text, relname::text, relfilenode::integer from pg_class"
            " where relnamespace = 'public'::regnamespace order by 1, 2"
        )
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def migrated_by_django(postgres: Postgres) -> str:
    """The name of a database with a site's tables, to be copied."""
    url = await postgres.create_database()
    await DjangoSite(url).migrate()
    return urlsplit(url).path.removeprefix("/")


async def test_an_empty_database_gets_the_same_tables_as_django_creates(
    postgres: Postgres, migrated_by_django: str
) -> None:
    async with (
        connected(await postgres.create_database()) as empty,
        connected(await postgres.create_database(migrated_by_django)) as site,
    ):
        await apply(empty)
        ours, djangos = await form(empty), await form(site)
    assert len(djangos["columns"]) == 11 + 7 + 3 + 5 + 3
    assert ours == djangos


async def test_an_empty_database_gets_no_other_tables(postgres: Postgres) -> None:
    async with connected(await postgres.create_database()) as empty:
        await apply(empty)
        assert [name for kind, name, _ in await relations(empty) if kind == "r"] == TABLES


async def test_a_django_sites_tables_are_left_unchanged(postgres: Postgres, migrated_by_django: str) -> None:
    async with connected(await postgres.create_database(migrated_by_django)) as site:
        before = await form(site), await relations(site)
        await apply(site)
        assert (await form(site), await relations(site)) == before


@pytest.mark.parametrize("missing", [*([table] for table in TABLES), TABLES[1:]], ids=", ".join)
async def test_missing_tables_are_named_and_none_is_created_if_some_exist(
    postgres: Postgres, missing: list[str]
) -> None:
    async with connected(await postgres.create_database()) as partial:
        await apply(partial)
        await partial.execute(f"drop table {', '.join(missing)} cascade")
        before = await relations(partial)
        with pytest.raises(asyncpg.RaiseError, match=r"the site's own migrations first") as refusal:
            await apply(partial)
        assert {table for table in TABLES if table in words(str(refusal.value))} == set(missing)
        assert await relations(partial) == before


def words(message: str) -> list[str]:
    return message.replace(",", " ").split()

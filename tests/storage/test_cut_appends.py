"""The appender with a connection that breaks anywhere: before the append is sent, during it, or after its commit."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from educa_chat.events.kind import Entry
from educa_chat.storage import log as log_module
from educa_chat.storage.log import Accepted
from educa_chat.storage.pool import open_database
from tests.conftest import Postgres
from tests.storage.platform import add_class, clear, entry
from tests.storage.test_log import check_log, open_node


class Wire:
    """Forwards the bytes between asyncpg and Postgres, and breaks.

    The nth connection is cut before the `cuts[n]`th piece, in either direction. A piece from the server that is not
    passed on is about something that is already stored.
    """

    def __init__(self, url: str, cuts: list[int]) -> None:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        self._socket = f"{query['host'][0]}/.s.PGSQL.{query['port'][0]}"
        self._database = parts.path
        self._cuts = iter(cuts)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        try:
            yield f"postgresql://postgres@127.0.0.1:{server.sockets[0].getsockname()[1]}{self._database}?sslmode=disable"
        finally:
            server.close()

    async def _carry(self, client_reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        server_reader, server = await asyncio.open_unix_connection(self._socket)
        pieces_left = next(self._cuts, None)

        async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal pieces_left
            with suppress(ConnectionError):
                while piece := await reader.read(65536):
                    if pieces_left is not None:
                        if pieces_left == 0:
                            break
                        pieces_left -= 1
                    writer.write(piece)
            client.close()
            server.close()

        await asyncio.gather(pass_on(client_reader, server), pass_on(server_reader, client))


_KEY = st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(0, 5), st.sampled_from(["fine"] * 9 + ["nul\0"]))


@pytest.fixture
def url(postgres: Postgres) -> str:
    return asyncio.run(postgres.create_chat_database())


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(st.lists(_KEY, min_size=1, max_size=12), min_size=1, max_size=6),
    cuts=st.lists(st.integers(0, 12), max_size=10),
)
def test_appends_cut_off_by_a_broken_connection_are_resolved_from_the_log(
    url: str, batches: list[list[tuple[int, int, int, str]]], cuts: list[int]
) -> None:
    """Nothing is lost, duplicated or out of order, and only the entries that Postgres refuses are refused."""

    async def play() -> None:
        async with open_database(url, 2) as database:
            await clear(database)
            await add_class(database, courses=2)
            async with Wire(url, cuts).open() as broken, open_database(broken, 1) as behind, open_node(behind) as node:
                first: dict[tuple[int, int, str], Accepted] = {}
                expected: dict[int, list[tuple[int, str]]] = {1: [], 2: []}
                for batch in batches:
                    entries: list[Entry] = [
                        entry(str(id), body, course=course, actor=actor) for course, actor, id, body in batch
                    ]
                    for one, outcome in zip(entries, await node.append(*entries), strict=True):
                        key = (one.course, one.actor, one.client_id)
                        assert isinstance(outcome, Accepted) == (one.body == "fine"), outcome
                        if isinstance(outcome, Accepted) and first.setdefault(key, outcome) == outcome:
                            if (one.actor, one.client_id) not in expected[one.course]:
                                expected[one.course].append((one.actor, one.client_id))
                            assert outcome.seq == expected[one.course].index((one.actor, one.client_id)) + 1
                for course in (1, 2):
                    stored = await check_log(database, course)
                    said = [(int(str(event["user"]).removeprefix("user")), event["id"]) for event in stored]
                    assert said == expected[course]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(log_module, "RETRY_PAUSE_S", 0.01)
        asyncio.run(play())

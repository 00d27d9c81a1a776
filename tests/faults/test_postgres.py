"""Postgres outages while users post: acknowledged messages are stored once and seen by all."""

import asyncio
from collections.abc import Sequence

import pytest

from tests.faults.load import Fault, Talker, check_fault, refused
from tests.postgres_server import PostgresServer
from tests.processes import Process

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def restart(postgres: PostgresServer, _: Sequence[Talker]) -> None:
    await asyncio.to_thread(postgres.restart)


async def stay_away(postgres: PostgresServer, people: Sequence[Talker]) -> None:
    await asyncio.to_thread(postgres.stop)
    await refused(people)
    await asyncio.to_thread(postgres.start)


async def restart_at_once(postgres: PostgresServer, _: Sequence[Talker]) -> None:
    await asyncio.to_thread(postgres.stop, "immediate")
    await asyncio.to_thread(postgres.start)


async def crash(postgres: PostgresServer, _: Sequence[Talker]) -> None:
    await asyncio.to_thread(postgres.kill)
    await asyncio.to_thread(postgres.start)


async def crash_again_and_again(postgres: PostgresServer, people: Sequence[Talker]) -> None:
    for _ in range(3):
        await crash(postgres, people)
        await asyncio.sleep(0.3)


async def cut_again_and_again(postgres: PostgresServer, people: Sequence[Talker]) -> None:
    for _ in range(20):
        await postgres.terminate_connections()
        await asyncio.sleep(0.05)


async def pause(postgres: PostgresServer, people: Sequence[Talker]) -> None:
    postgres.freeze()
    await refused(people)
    postgres.thaw()


@pytest.mark.parametrize(
    "fault",
    [
        restart,
        stay_away,
        restart_at_once,
        crash,
        crash_again_and_again,
        cut_again_and_again,
        pause,
    ],
    ids=lambda fault: fault.__name__,
)
async def test_acknowledged_messages_are_stored_once_in_order_and_seen_by_all(
    fault: Fault, module_postgres: PostgresServer, module_nodes: tuple[Process, Process]
) -> None:
    await check_fault(fault, module_postgres, module_nodes)

"""Postgres outages while users post: acknowledged messages are stored once and seen by all."""

import asyncio

import pytest

from tests.faults.load import OUTAGE_S, Fault, check_fault
from tests.postgres_server import PostgresServer
from tests.processes import Process

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def restart(postgres: PostgresServer) -> None:
    await asyncio.to_thread(postgres.restart)


async def stay_away(postgres: PostgresServer) -> None:
    await asyncio.to_thread(postgres.stop)
    await asyncio.sleep(OUTAGE_S)
    await asyncio.to_thread(postgres.start)


async def restart_at_once(postgres: PostgresServer) -> None:
    await asyncio.to_thread(postgres.stop, "immediate")
    await asyncio.to_thread(postgres.start)


async def crash(postgres: PostgresServer) -> None:
    await asyncio.to_thread(postgres.kill)
    await asyncio.to_thread(postgres.start)


async def crash_again_and_again(postgres: PostgresServer) -> None:
    for _ in range(4):
        await crash(postgres)
        await asyncio.sleep(0.3)


async def cut_again_and_again(postgres: PostgresServer) -> None:
    for _ in range(20):
        await postgres.terminate_connections()
        await asyncio.sleep(0.05)


async def pause(postgres: PostgresServer) -> None:
    postgres.freeze()
    await asyncio.sleep(OUTAGE_S)
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

"""How long a class needs to enter its room from a learning platform, and how long others wait meanwhile."""

import asyncio
import os
import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack
from itertools import count
from multiprocessing import get_context
from time import perf_counter
from typing import NamedTuple

from benchmarks.deployment import SMALL_COURSES, Deployment, serve
from benchmarks.load import Run, open_load
from benchmarks.measures import Effort, Section
from benchmarks.report import milliseconds, spread, table
from educa_chat.storage.pool import open_database
from tests.lti_platform import LTI, MEMBERSHIP, FakePlatform, LtiUser, open_platform
from tests.outside import LOOPBACK

USERS = 300
"""One of them is the teacher, whose launch makes the server fetch the roster."""
ROOMS, PER_SECOND = 8, 32.0
"""How many messages the other users send, in how many rooms."""
TIMEOUT_S = 60.0
NICENESS = 10
"""The class and its platform share a core with the load, and must not delay the measurement itself."""
CASES = {"the browsers know the files of the page": False, "they fetch all of them": True}


class Entered(NamedTuple):
    """When the users were in, in seconds after the first click."""

    half_s: float
    all_s: float


async def launches(deployment: Deployment, effort: Effort) -> Section:
    """A class clicks at once. The first class of each node is not counted: it shows how long the others are watched."""
    limits = {"OUTBOUND_PRIVATE_NETWORKS": ",".join(LOOPBACK)}
    rooms = deployment.clients(SMALL_COURSES, 1)[:ROOMS]
    loop = asyncio.get_running_loop()
    results: dict[str, list[tuple[Entered, Run]]] = {case: [] for case in CASES}
    calm: dict[str, Run] = {}
    numbers = count(1)
    with ProcessPoolExecutor(1, get_context("spawn"), os.nice, (NICENESS,)) as executor:
        for case, fetches_files in CASES.items():
            with serve(deployment, limits=limits) as node, open_load(node.process_ids) as others:
                others.open(node.port, rooms)
                url = f"http://127.0.0.1:{node.port}"

                def enter(fetches_files: bool = fetches_files, url: str = url) -> asyncio.Future[Entered]:
                    number = next(numbers)
                    return loop.run_in_executor(executor, _enter, deployment.database.url, url, number, fetches_files)

                seconds = (await enter()).all_s
                calm[case] = others.paced(PER_SECOND, seconds, done="acks").check()
                for _ in range(effort.runs):
                    others.start_paced(PER_SECOND, seconds, done="acks")
                    entered, run = await asyncio.gather(enter(), asyncio.to_thread(others.finish_paced))
                    results[case].append((entered, run.check()))

    def cells(case: str) -> Iterator[str]:
        yield spread((entered.half_s for entered, _ in results[case]), _seconds)
        yield spread((entered.all_s for entered, _ in results[case]), _seconds)
        yield spread((run.p99_s for _, run in results[case]), milliseconds)
        yield milliseconds(calm[case].p99_s)

    headings = ["", "half are in, s", "all are in, s", "p99 of others, ms", "without launches"]
    others_text = f"others send {PER_SECOND:g} messages a second in {ROOMS} rooms"
    rows = table(headings, ([case, *cells(case)] for case in CASES))
    return Section(f"{USERS} launches at once into one course, while {others_text}:\n\n{rows}")


def _seconds(value: float) -> str:
    return f"{value:.2f}"


# The class and its platform, in a process of their own.


def _enter(database_url: str, url: str, number: int, fetches_files: bool) -> Entered:
    return asyncio.run(_launch_all(database_url, url, f"class-{number}", fetches_files))


async def _launch_all(database_url: str, url: str, course: str, fetches_files: bool) -> Entered:
    """Let users who are new here enter the room of a course that is new here, and stay until all are in."""
    async with open_platform() as platform, AsyncExitStack() as users, asyncio.timeout(TIMEOUT_S):
        async with open_database(database_url, 1) as database:
            await platform.register(database)
        platform.pages = [[{"user_id": str(id), "roles": ["Learner" if id else "Instructor"]} for id in range(USERS)]]
        tasks = []
        started = perf_counter()
        for id in range(USERS):
            user = await users.enter_async_context(LtiUser(url))
            tasks.append(asyncio.create_task(_launch(user, platform, id, course, fetches_files)))
        ended = sorted(await asyncio.gather(*tasks))
        return Entered(ended[USERS // 2] - started, ended[-1] - started)


async def _launch(user: LtiUser, platform: FakePlatform, id: int, course: str, fetches_files: bool) -> float:
    """Launch as a browser does, and return when the room was there, on the clock of `perf_counter`."""
    status, path = await user.launch(
        platform,
        await user.begin_embedded(platform),
        sub=str(id),
        given_name="Student",
        family_name=f"Number {id} of {course}",
        **{
            LTI + "context": {"id": course, "title": course},
            LTI + "roles": [MEMBERSHIP + ("Learner" if id else "Instructor")],
        },
    )
    assert status == 303, path
    status, page, _ = await user.get(path)
    assert status == 200
    if fetches_files:
        await _fetch(user.url, sorted(set(re.findall(r'(?:href|src)="(/chat/static/[^"]+)"', page))))
    room = int(path.split("/")[3])
    assert (await user.get(f"/chat/api/rooms/{room}/messages"))[0] == 200
    await (await user.enter(room)).receive_until("welcome")
    return perf_counter()


async def _fetch(url: str, paths: list[str]) -> None:
    """Fetch all `paths` over one connection, without work for this process that would hold the others up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    for path in paths:
        end = "Connection: close\r\n" if path is paths[-1] else ""
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Encoding: br\r\n{end}\r\n".encode())
    answers = await reader.read()
    writer.close()
    assert answers.count(b"HTTP/1.1 200 ") == len(paths)

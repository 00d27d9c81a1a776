"""Two nodes behind a real nginx with deploy/nginx.conf: users don't notice when a node crashes or stops."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from typing import NamedTuple

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from educa_chat.handlers.static import StaticFiles
from educa_chat.storage.pool import open_database
from tests.conftest import Postgres
from tests.nginx import Nginx, open_nginx
from tests.processes import Process, free_port, open_node
from tests.redis_server import RedisServer
from tests.serving import TIMEOUT_S, Chatter, Classroom, Person, add_classroom

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPENING = "the socket is open"
MODULE = StaticFiles(resources.files("educa_chat") / "static").address("js/room.js")


class Site(NamedTuple):
    nginx: Nginx
    nodes: tuple[Process, Process]

    def person(self, username: str = "") -> Person:
        return Person(self.nginx.url, username, trust=self.nginx.trust)

    async def enter(self, person: Person, course: int, query: str = "") -> tuple[Chatter, Process]:
        """Open a socket like the page. Return it with the node that it is connected to."""
        before = [node.output.count(OPENING) for node in self.nodes]
        socket = await person.enter(course, query=query, headers={"Origin": self.nginx.url})
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                for node, count in zip(self.nodes, before, strict=True):
                    if node.output.count(OPENING) > count:
                        return socket, node
                await asyncio.sleep(0.01)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def database_url(postgres: Postgres) -> str:
    return await postgres.create_chat_database(demo=True)


@pytest_asyncio.fixture(loop_scope="module")
async def room(database_url: str) -> Classroom:
    """A room without messages."""
    async with open_database(database_url, 1) as database:
        return await add_classroom(database)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(database_url: str, redis_server: RedisServer) -> AsyncIterator[Site]:
    """A site whose nodes keep running in all tests."""
    async with open_site(database_url, redis_server) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def own_site(database_url: str, redis_server: RedisServer) -> AsyncIterator[Site]:
    """A site for one test, whose nodes can be killed."""
    async with open_site(database_url, redis_server) as opened:
        yield opened


@asynccontextmanager
async def open_site(database_url: str, redis_server: RedisServer) -> AsyncIterator[Site]:
    proxied = {"server_trusted_proxies": "127.0.0.1/32", "session_secure": "true"}
    async with (
        open_node(database_url, redis_server.url, **proxied) as one,
        open_node(database_url, redis_server.url, **proxied) as two,
        open_nginx((one.url, two.url)) as nginx,
    ):
        yield Site(nginx, (one, two))


async def test_users_on_both_nodes_chat_through_nginx(site: Site, room: Classroom) -> None:
    async with site.person(room.ana) as ana, site.person(room.luis) as luis:
        sockets: list[Chatter] = []
        landed: set[int] = set()
        for person in (ana, luis, ana, luis):
            socket, node = await site.enter(person, room.course)
            landed.add(node.pid)
            sockets.append(socket)
        assert len(landed) == 2
        for number, socket in enumerate(sockets):
            await socket.say(str(number), id=str(number))
        for socket in sockets:
            assert [event["seq"] for event in await socket.events(4)] == [1, 2, 3, 4]
        assert (await ana.get(MODULE))[0] == 200
        assert len((await ana.messages(room.course))["messages"]) == 4


async def test_a_page_of_another_site_cannot_connect(site: Site, room: Classroom) -> None:
    async with site.person(room.ana) as ana:
        for origin in ("https://elsewhere.example", site.nginx.url.replace("https", "http")):
            with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
                await ana.enter(room.course, headers={"Origin": origin, "X-Forwarded-Host": "elsewhere.example"})


async def test_nodes_see_the_clients_address_and_ignore_forged_headers(site: Site) -> None:
    connector = aiohttp.TCPConnector(ssl=site.nginx.trust, local_addr=("127.0.0.2", 0))
    async with aiohttp.ClientSession(connector=connector) as http:
        headers = {"X-Forwarded-For": "203.0.113.7"}
        async with http.get(f"{site.nginx.url}/students/courses/", headers=headers, allow_redirects=False) as response:
            assert response.status == 302
    async with asyncio.timeout(TIMEOUT_S):
        while not any("127.0.0.2 GET /students/courses/" in node.output for node in site.nodes):
            await asyncio.sleep(0.01)
    assert "203.0.113.7" not in "".join(node.output for node in site.nodes)


async def test_metrics_and_large_forms_are_refused(site: Site) -> None:
    async with site.person() as person:
        assert (await person.get("/metrics"))[0] == 404
        async with person.http.post(f"{site.nginx.url}/accounts/login/", data={"username": "x" * 70_000}) as response:
            assert response.status == 413


async def test_http_is_redirected_to_https(site: Site) -> None:
    async with Person(site.nginx.plain_url) as person:
        status, _, headers = await person.get("/chat/room/1/?after=1")
        assert (status, headers["Location"]) == (301, "https://127.0.0.1/chat/room/1/?after=1")


async def test_the_error_log_names_failed_requests_except_those_with_secrets() -> None:
    async with (
        open_nginx([f"http://127.0.0.1:{free_port()}"] * 2) as nginx,
        Person(nginx.url, trust=nginx.trust) as ana,
    ):
        for path in (
            "/chat/courses/?secret-1",
            "/chat/sign-in/link/?token=secret-2",
            "/chat/sign-in/from/portal/?token=secret-2",
            "/chat/sign-in/with/school/callback/?code=secret-2",
        ):
            assert (await ana.get(path))[0] == 502
        log = nginx.error_log.read_text()
    assert "secret-1" in log
    assert "secret-2" not in log


async def test_clients_of_a_killed_node_reconnect_to_the_other_and_miss_nothing(
    own_site: Site, room: Classroom
) -> None:
    async with own_site.person(room.ana) as ana, own_site.person(room.luis) as luis:
        here, doomed = await own_site.enter(ana, room.course)
        epoch = (await here.receive())["epoch"]
        there, survivor = await own_site.enter(luis, room.course)
        if survivor is doomed:
            there, survivor = await own_site.enter(luis, room.course)
        assert survivor is not doomed
        await here.say("before", id="1")
        assert [event["message"] for event in await here.events(1)] == ["before"]
        doomed.signal(signal.SIGKILL)
        await doomed.ended()
        await here.close_code()
        await there.say("meanwhile", id="2")
        await there.receive_until("ack", id="2")
        for _ in range(4):  # A node that is gone doesn't take another one's turn.
            back, node = await own_site.enter(ana, room.course, f"?after=1&epoch={epoch}")
            assert node is survivor
            assert [event["message"] for event in await back.events(1)] == ["meanwhile"]


async def test_stopping_a_node_causes_no_visible_error(own_site: Site, room: Classroom) -> None:
    async with own_site.person(room.ana) as ana, own_site.person(room.luis) as luis:
        here, stopping = await own_site.enter(ana, room.course)
        epoch = (await here.receive())["epoch"]
        statuses: list[int] = []
        stopped = asyncio.Event()

        async def ask_again_and_again() -> None:
            while not stopped.is_set():
                statuses.append((await luis.get(f"/chat/room/{room.course}/"))[0])
                socket, _ = await own_site.enter(luis, room.course)  # Raises if it is refused.
                statuses.append(101)
                await socket.socket.close()

        asking = asyncio.create_task(ask_again_and_again())
        try:
            ending = asyncio.create_task(stopping.stop())
            assert await here.close_code() == 1001
            back, node = await own_site.enter(ana, room.course, f"?after=0&epoch={epoch}")
            assert node is not stopping
            assert await ending == 0, stopping.output
            await back.say("on", id="1")
            assert [event["message"] for event in await back.events(1)] == ["on"]
            gone = len(statuses)
            async with asyncio.timeout(TIMEOUT_S):
                while len(statuses) < gone + 4 and not asking.done():
                    await asyncio.sleep(0.01)
        finally:
            stopped.set()
            await asking
        assert set(statuses) == {200, 101}


async def test_nginx_retries_nodes_after_all_were_unready(site: Site, database_url: str) -> None:
    async with site.person() as person, open_database(database_url, 1) as database:
        await database.execute("insert into educa_chat.schema_version (number, name) values (9999, 'future')")
        async with asyncio.timeout(TIMEOUT_S):  # A node's answer may be a second old.
            while not {(await person.get("/health/ready"))[0] for _ in range(4)} <= {502, 503}:
                await asyncio.sleep(0.1)
        await database.execute("delete from educa_chat.schema_version where number = 9999")
        async with asyncio.timeout(TIMEOUT_S):
            while (await person.get("/health/ready"))[0] != 200:
                await asyncio.sleep(0.1)


async def test_during_an_upgrade_each_static_file_comes_from_the_node_that_has_it(
    database_url: str, redis_server: RedisServer
) -> None:
    async with (
        TestServer(web.Application()) as other,
        open_node(database_url, redis_server.url) as node,
        open_nginx((str(other.make_url("")).rstrip("/"), node.url)) as nginx,
        Person(nginx.url, trust=nginx.trust) as person,
    ):
        assert [(await person.get(MODULE))[0] for _ in range(6)] == [200] * 6

"""Metrics: each changes when its event happens, and those used in `deploy/` exist."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from educa_chat import hub as hub_module
from educa_chat import room as room_module
from educa_chat.bus.memory import MemoryBus
from educa_chat.errors import BusUnavailable, DatabaseUnavailable
from educa_chat.events.kind import Entry
from educa_chat.events.message import MESSAGE
from educa_chat.handlers.keys import DATABASE, HUB, METRICS, SOCKETS
from educa_chat.metrics import EVENT_LOOP_INTERVAL_S, Metrics
from educa_chat.presence import Presence
from educa_chat.protocol import Audience, Event
from educa_chat.room import Room
from educa_chat.storage import log as log_module
from educa_chat.storage.log import Appender, Outcome
from educa_chat.storage.pool import open_database
from educa_chat.tasks import running
from tests.conftest import Postgres
from tests.processes import free_port
from tests.serving import TIMEOUT_S, Person, Server, open_server, settings_for
from tests.test_room import AT, ListMember, Log, a_turn, event, until

Values = Mapping[str, float]


def values(exposition: str) -> Values:
    """Return the samples of an exposition by `name{label="value"}`."""
    found = {}
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
            found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


class Watch:
    """Changes of the metrics: `moved` returns the differences since its last call.

    It leaves out process metrics and publishes, because presence may be published at any time.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._before = values(metrics.expose().decode())

    def moved(self) -> Values:
        before, self._before = self._before, values(self._metrics.expose().decode())
        quiet = (
            "process_",
            "educa_chat_event_loop_lag",
            "educa_chat_database_connections",
            "educa_chat_sweep_age",
            'educa_chat_publishes_total{outcome="carried"}',
        )
        return {
            name.removeprefix("educa_chat_"): value - before[name]
            for name, value in self._before.items()
            if value != before[name] and not name.startswith(quiet) and "_bucket" not in name
        }

    async def until_moved(self, name: str) -> Values:
        """Wait until `name` has changed, and return all changes."""
        gathered: dict[str, float] = {}
        async with asyncio.timeout(TIMEOUT_S):
            while name not in gathered:
                await asyncio.sleep(0.01)
                for moved, by in self.moved().items():
                    gathered[moved] = gathered.get(moved, 0) + by
        return gathered


@pytest.fixture
async def server(postgres: Postgres) -> AsyncIterator[Server]:
    settings = settings_for(await postgres.create_chat_database(demo=True), limits_replay=5, limits_sockets_per_user=3)
    async with open_server(settings) as opened:
        yield opened


@pytest.fixture
def watch(server: Server) -> Watch:
    return Watch(server.app[METRICS])


async def test_a_message_updates_the_command_commit_delivery_and_lag_metrics(server: Server, watch: Watch) -> None:
    async with Person(server.url, "ana") as ana, Person(server.url, "luis") as luis:
        here, there = await ana.enter(), await luis.enter()
        basic = await luis.enter(basic=True)
        entered = await watch.until_moved('catch_ups_total{reason="subscribed"}')
        assert (entered["sockets"], entered["rooms"]) == (3, 1)
        await here.say("something", id="1")
        for socket in (here, there, basic):
            await socket.receive_until("chat_message")
        moved = await watch.until_moved("deliveries_total")
        assert moved['commands_total{outcome="accepted"}'] == 1
        assert (moved["commit_batch_size_count"], moved["commit_batch_size_sum"]) == (1, 1)
        assert (moved["commit_seconds_count"], moved["commit_seconds_sum"] < TIMEOUT_S) == (1, True)
        assert moved["deliveries_total"] == 3
        assert (moved["delivery_lag_seconds_count"], 0 < moved["delivery_lag_seconds_sum"] < TIMEOUT_S) == (1, True)
        await here.send({"type": "typing"})
        published = 'educa_chat_publishes_total{outcome="carried"}'
        await until(lambda: values(server.app[METRICS].expose().decode()).get(published))
        await here.say("", id="2")
        await here.receive_until("error")
        assert watch.moved() == {'commands_total{outcome="empty"}': 1}


async def test_a_scrape_is_in_prometheus_format_and_includes_process_metrics(server: Server) -> None:
    async with Person(server.url) as scraper:
        status, text, headers = await scraper.get("/metrics")
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    told = values(text)
    assert told["process_resident_memory_bytes"] > 0
    assert told["process_open_fds"] > 0
    assert told["educa_chat_draining"] == 0
    server.app[SOCKETS].draining = True
    assert values(server.app[METRICS].expose().decode())["educa_chat_draining"] == 1


async def test_resumes_are_counted_by_outcome(server: Server, watch: Watch) -> None:
    async with Person(server.url, "ana") as ana:
        socket = await ana.enter()
        for number in range(7):
            await socket.say(str(number), id=str(number))
            await socket.receive_until("ack", id=str(number))
        await socket.socket.close()
        at = (await ana.messages())["messages"][0]["datetime"].replace("+", "%2B")
        await watch.until_moved('closes_total{code="1000"}')
        for query, expected in (
            ("after=7", {'resumes_total{outcome="level"}': 1}),
            ("after=3", {'resumes_total{outcome="ring"}': 1}),
            ("after=0", {'resumes_total{outcome="reset"}': 1, 'resets_total{reason="too_far"}': 1}),
            ("after=6&epoch=00", {'resumes_total{outcome="reset"}': 1, 'resets_total{reason="epoch"}': 1}),
            (f"after=6&at={at}", {'resumes_total{outcome="reset"}': 1, 'resets_total{reason="at"}': 1}),
            (
                "after=8",
                {
                    'resumes_total{outcome="reset"}': 1,
                    'resets_total{reason="ahead"}': 1,
                    'catch_ups_total{reason="resume"}': 1,
                    'log_reads_total{purpose="catch_up"}': 1,
                },
            ),
            ("", {}),
        ):
            socket = await ana.enter(query=f"?{query}")
            await socket.receive()
            await socket.socket.close()
            assert await watch.until_moved('closes_total{code="1000"}') == expected | {'closes_total{code="1000"}': 1}


async def test_resumes_from_the_log_and_late_ones_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics, log = Metrics(), Log(3)
    watch = Watch(metrics)
    assert await Room(1, 3, AT, log.read, Presence(b"here"), metrics).join(ListMember(), 0) == "log"
    assert watch.moved() == {'log_reads_total{purpose="replay"}': 1}
    monkeypatch.setattr(room_module, "REPLAY_TIMEOUT_S", 0.0)
    assert await Room(1, 3, AT, log.read, Presence(b"here"), metrics).join(ListMember(), 0) == "reset"
    assert watch.moved()['resets_total{reason="timeout"}'] == 1


async def test_the_lag_is_measured_from_the_newest_events_time_to_its_write() -> None:
    metrics = Metrics(now=lambda: 1767225600.25)  # A quarter of a second after AT.
    watch = Watch(metrics)
    room, member = Room(1, 0, AT, Log().read, Presence(b"here"), metrics), ListMember()
    room.offer([event(1)])
    await a_turn()
    assert watch.moved() == {}, "nobody was there"
    await room.join(member, 1)
    room.offer([event(2), event(3)])
    await a_turn()
    assert watch.moved() == {
        "deliveries_total": 2,
        "delivery_lag_seconds_count": 1,
        "delivery_lag_seconds_sum": 0.25,
    }
    await room.join(ListMember(Audience.BASIC), 3)
    room.offer([event(4, basic=False), event(5)])
    await a_turn()
    assert watch.moved()["deliveries_total"] == 3, "basic clients get nothing for one of them"


async def test_catch_ups_are_counted_by_reason() -> None:
    metrics, log = Metrics(), Log(9)
    watch = Watch(metrics)
    room = Room(1, 0, AT, log.read, Presence(b"here"), metrics)
    room.gap_patience_s = 0.0
    room.offer([event(2)])
    await until(lambda: room.head == 9 and room._catching_up is None)
    assert watch.moved()['catch_ups_total{reason="gap"}'] == 1
    log.events += [event(10)]
    room.expect(10, "head")
    await until(lambda: room.head == 10 and room._catching_up is None)
    assert watch.moved()['catch_ups_total{reason="head"}'] == 1
    log.events += [event(11)]
    log.is_away = True
    with pytest.raises(DatabaseUnavailable):
        await room.catch_up("resume")
    assert watch.moved()['catch_ups_total{reason="resume"}'] == 1
    room.expect(11, "sweep")
    await watch.until_moved('catch_ups_total{reason="sweep"}')
    log.is_away = False
    assert 'catch_ups_total{reason="retry"}' in await watch.until_moved('catch_ups_total{reason="retry"}')
    await until(lambda: room.head == 11)


async def test_closes_are_counted_by_code(server: Server, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    async def closed(code: int) -> None:
        assert (await watch.until_moved(f'closes_total{{code="{code}"}}'))[f'closes_total{{code="{code}"}}'] == 1

    async with Person(server.url, "ana") as ana, Person(server.url, "luis") as luis:
        socket = await ana.enter()
        await socket.socket.close(code=4008)
        await closed(1000)
        socket = await ana.enter()
        assert socket.socket._response.connection is not None
        assert socket.socket._response.connection.transport is not None
        socket.socket._response.connection.transport.abort()
        await closed(1006)
        await (await ana.enter()).socket.send_bytes(b"x")
        await closed(1003)
        await (await ana.enter()).socket.send_str("x" * 70_000)
        await closed(1009)
        for _ in range(4):
            await luis.enter()
        await closed(4029)
        monkeypatch.setattr(room_module, "BUFFER_LIMIT_BYTES", -1)
        await (await ana.enter()).say("to one who is taken for slow", id="1")
        assert (await watch.until_moved('closes_total{code="4008"}'))['closes_total{code="4008"}'] == 4
        socket = await ana.enter()
        await ana.sign_out()
        await closed(4001)
        await luis.enter()
        await server.app[DATABASE].execute("delete from courses_course_students")
        server.app[SOCKETS].schedule_full_recheck()
        await closed(4003)


async def test_closed_rooms_are_counted_by_reason(
    server: Server, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, database = server.app[HUB], server.app[DATABASE]
    monkeypatch.setattr(hub_module, "EMPTY_ROOM_S", -1.0)
    await hub.enter(1)
    await hub.sweep()
    assert (await watch.until_moved('evictions_total{reason="empty"}'))['evictions_total{reason="empty"}'] == 1
    monkeypatch.setattr(hub_module, "EMPTY_ROOM_S", 60.0)
    await database.execute("update educa_chat.room set head = 5, last_at = now()")
    await hub.enter(1)
    await database.execute("update educa_chat.room set head = 4")
    await hub.sweep()
    assert (await watch.until_moved('evictions_total{reason="rewound"}'))['evictions_total{reason="rewound"}'] == 1
    await hub.enter(1)
    hub.epoch = "0" * 16
    await hub.sweep()
    assert (await watch.until_moved('evictions_total{reason="epoch"}'))['evictions_total{reason="epoch"}'] == 1


async def test_bus_state_silence_and_failed_publishes_are_exposed(
    server: Server, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told() -> tuple[float, ...]:
        now = values(server.app[METRICS].expose().decode())
        states = [now[f'educa_chat_bus_state{{state="{state}"}}'] for state in ("ok", "doubted", "lost")]
        return (*states, now["educa_chat_bus_silence_seconds"], now["educa_chat_bus_lost"])

    assert told() == (1, 0, 0, 0, 0)
    monkeypatch.setattr(MemoryBus, "silence_s", 1.5)
    assert told() == (0, 1, 0, 1.5, 0)
    monkeypatch.setattr(MemoryBus, "silence_s", 10.5)
    assert told() == (0, 0, 1, 10.5, 1)

    async def fail(*_: object) -> None:
        raise BusUnavailable("away")

    monkeypatch.setattr(MemoryBus, "publish", fail)
    monkeypatch.setattr(MemoryBus, "reaches_others", True)
    server.app[HUB].announce({1: [Event(1, b'{"seq":1,"datetime":""}', None, None)]})
    await watch.until_moved('publishes_total{outcome="failed"}')


def entry(text: str, client_id: str) -> Entry:
    return Entry(1, MESSAGE, 1, True, client_id, b'"x":1}', None, None, "u", "n", text, text, None, None, None)


async def test_failed_commits_are_counted_by_outcome(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    database, metrics = server.app[DATABASE], Metrics()
    watch = Watch(metrics)
    outcomes: list[Outcome] = []
    await server.app[HUB].enter(1)
    await database.execute("alter table educa_chat.message add check (body <> 'bad')")
    appender = Appender(database, lambda _: None, metrics)
    appender.append(entry("good", "1"), outcomes.append)
    appender.append(entry("bad", "2"), outcomes.append)
    assert len(appender) == 2
    async with running(appender.run(), "appender"):
        await appender.drained()
    assert watch.moved()['commit_failures_total{outcome="halved"}'] == 1
    monkeypatch.setattr(log_module, "PATIENCE_S", 0.05)
    async with open_database(f"postgresql://x@127.0.0.1:{free_port()}/x", 1) as away:
        appender = Appender(away, lambda _: None, metrics)
        appender.append(entry("x", "1"), outcomes.append)
        async with running(appender.run(), "appender"):
            await appender.drained()
    moved = watch.moved()
    assert moved['commit_failures_total{outcome="retried"}'] >= 1
    assert moved['commit_failures_total{outcome="given_up"}'] == 1


async def test_event_loop_lag_is_measured(server: Server) -> None:
    def lag_s() -> float:
        return values(server.app[METRICS].expose().decode())["educa_chat_event_loop_lag_seconds_sum"]

    before = lag_s()
    time.sleep(EVENT_LOOP_INTERVAL_S + 0.3)  # noqa: ASYNC251
    async with asyncio.timeout(TIMEOUT_S):
        while lag_s() < before + 0.25:
            await asyncio.sleep(0.01)


DEPLOY = Path(__file__).parent.parent / "deploy"
_METRIC = re.compile(r"\b((?:educa_chat|process)_[a-z_]+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'([a-z_]+)=~?"([^"]*)"')


def dashboard_queries() -> list[str]:
    dashboard = json.loads((DEPLOY / "grafana-dashboard.json").read_text(encoding="utf-8"))
    variables = {variable["name"]: variable["query"] for variable in dashboard["templating"]["list"]}
    assert variables["datasource"] == "prometheus"
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    for panel in panels:
        assert panel["datasource"]["uid"] == "${datasource}", panel["title"]
    return [target["expr"] for panel in panels for target in panel["targets"]] + [variables["instance"]["query"]]


def alert_queries() -> list[str]:
    rules = yaml.safe_load((DEPLOY / "alerts.yml").read_text(encoding="utf-8"))["groups"][0]["rules"]
    for rule in rules:
        assert rule.keys() - {"for"} == {"alert", "expr", "labels", "annotations"}, rule["alert"]
        assert rule["annotations"].keys() == {"summary", "description"}, rule["alert"]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    return [rule["expr"] for rule in rules]


@pytest.mark.parametrize("queries", [dashboard_queries, alert_queries])
async def test_every_metric_in_the_dashboard_and_alerts_exists(
    server: Server, queries: Callable[[], list[str]]
) -> None:
    exposed: dict[str, list[Mapping[str, str]]] = {}
    for family in text_string_to_metric_families(server.app[METRICS].expose().decode()):
        for sample in family.samples:
            exposed.setdefault(sample.name, []).append(sample.labels)
    for query in queries():
        asked = _METRIC.findall(query)
        assert asked or query.startswith(("absent(up{", "up{")), query
        for name, matchers in asked:
            assert name in exposed, query
            for label, alternatives in _MATCHER.findall(matchers):
                if label not in ("job", "instance"):  # These belong to Prometheus.
                    known = {labels.get(label) for labels in exposed[name]}
                    assert set(alternatives.split("|")) <= known, query


async def test_every_metric_is_documented(server: Server) -> None:
    explained = (DEPLOY.parent / "docs" / "watching.md").read_text(encoding="utf-8")
    for family in text_string_to_metric_families(server.app[METRICS].expose().decode()):
        name = family.name + ("_total" if family.type == "counter" else "")
        assert f"`{name}" in explained or family.name.startswith("process_"), name

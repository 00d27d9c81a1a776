"""The files in deploy/: grants, settings, units, and the content of the image."""

import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
import yaml

from educa_chat.settings import DEMO_SESSION_KEY, load_settings
from educa_chat.storage.pool import Database, open_database
from educa_chat.websocket_protocol import HEARTBEAT_S
from tests.conftest import Postgres, skip_without
from tests.django_site import DjangoSite
from tests.django_site.settings import SECRET_KEY
from tests.nginx import CONFIGURATION, DEPLOY
from tests.processes import free_port, open_node
from tests.redis_server import RedisServer
from tests.serving import Person
from tests.test_command_line import run

PROJECT = Path(__file__).parent.parent
REDIS_PASSWORD = "${REDIS_PASSWORD:?see educa-chat.env.example}"
DRAIN_S = 30
"""The time that a node may take to stop."""


@pytest_asyncio.fixture
async def site(postgres: Postgres) -> AsyncIterator[tuple[DjangoSite, Database]]:
    """A Django site, and its owner's connection. The roles that a test created with grants.sql are dropped again."""
    url = await postgres.create_database()
    site = DjangoSite(url)
    await site.migrate()
    async with open_database(url, 1) as owner:
        yield site, owner
        for role in await owner.fetch("select rolname from pg_roles where rolname like 'granted%'"):
            await owner.execute(f"drop owned by {role[0]} cascade; drop role {role[0]}")


async def test_the_grants_allow_everything_the_chat_does(site: tuple[DjangoSite, Database]) -> None:
    django, owner = site
    seeded = await django.seed()
    for _ in range(2):  # Applying it again is harmless.
        await django.grant("granted_all", "watch=on")
    url = owner.url.replace("postgres@", "granted_all@")
    environment = {"EDUCA_CHAT_AUTH_DJANGO_SECRET_KEY": SECRET_KEY}
    for arguments in (("migrate",), ("migrate", "--watch-enrolments"), ("migrate", "--watch-enrolments"), ("check",)):
        code, output = await run(url, *arguments, environment=environment)
        assert code == 0, output
    assert "enrolments: triggers report changes at once" in output
    algebra = seeded["courses"]["algebra"]["id"]
    async with open_node(url, auth_django_secret_key=SECRET_KEY) as node, Person(node.url) as ana:
        ana.http.cookie_jar.update_cookies({"sessionid": await django.sign_in("ana")})
        socket = await ana.enter(algebra)
        await socket.say("hola", id="1")
        await socket.receive_until("ack", id="1")
        await django.remove_student("ana", "algebra")
        assert await socket.close_code() == 4003


async def test_the_grants_allow_nothing_else_and_no_triggers_by_default(site: tuple[DjangoSite, Database]) -> None:
    django, owner = site
    await django.grant("granted_least")
    url = owner.url.replace("postgres@", "granted_least@")
    assert (await run(url, "migrate"))[0] == 0
    code, output = await run(url, "migrate", "--watch-enrolments")
    assert (code, "grant trigger on" in output) == (1, True), output
    rights = await owner.fetch(
        "select table_name::text, privilege_type::text from information_schema.role_table_grants"
        " where grantee = 'granted_least' and table_schema <> 'educa_chat' order by 1, 2"
    )
    assert [tuple(right) for right in rights] == [
        ("auth_user", "SELECT"),
        ("courses_course", "REFERENCES"),
        ("courses_course", "SELECT"),
        ("courses_course_students", "SELECT"),
        ("courses_module", "SELECT"),
        ("courses_subject", "SELECT"),
        ("django_session", "SELECT"),
    ]
    connection = await asyncpg.connect(url)
    try:
        for statement in (
            "update auth_user set is_superuser = true",
            "delete from courses_course_students",
            "insert into django_session values ('x', '', now())",
            "create table public.mine ()",
            "create role another",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()


def example_settings() -> dict[str, str]:
    """Return the variables that the example sets, and those that it suggests."""
    text = (DEPLOY / "educa-chat.env.example").read_text(encoding="utf-8")
    return dict(line.split("=", 1) for line in re.findall(r"^#?([A-Z_]+=.*)$", text, re.MULTILINE))


def test_production_runs_with_the_example_settings_and_a_key() -> None:
    variables = example_settings()
    suggested = {name for name in variables if "AUTH" in name}
    assert suggested
    filled = {"EDUCA_CHAT_SESSION_KEY": "c" * 43 + "="}
    load_settings(None, variables | filled)
    settings = load_settings(None, {k: v for k, v in variables.items() if k not in suggested} | filled)
    assert settings.server.mode == "production"
    assert settings.session.secure
    assert settings.server.origins == ()
    assert DEMO_SESSION_KEY not in variables.values()


def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return content


def dockerfile() -> str:
    return (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")


def test_compose_checks_each_services_health_and_starts_them_in_order() -> None:
    services = compose()["services"]
    assert set(services) == {"postgres", "redis", "migrate", "one", "two", "nginx"}
    for name, service in services.items():
        assert service["healthcheck"] == {"disable": True} if name == "migrate" else service["healthcheck"]["test"]
        assert service["restart"] == ("no" if name == "migrate" else "always")
        assert ("ports" in service) == (name == "nginx")
        for other, condition in service.get("depends_on", {}).items():
            if condition["condition"] == "service_healthy":
                assert services[other]["healthcheck"]["test"]
    for name in ("one", "two"):
        assert services[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
        assert int(services[name]["stop_grace_period"].removesuffix("s")) > DRAIN_S
    assert services["postgres"]["volumes"]


def test_compose_nodes_have_valid_settings_and_the_addresses_nginx_uses() -> None:
    content = compose()
    services = content["services"]
    image = dict(re.findall(r"(EDUCA_CHAT_\w+)=(\S+)", dockerfile()))
    for name in ("one", "two", "migrate"):
        environment = {
            variable: re.sub(r"\$\{(\w+)_PASSWORD:[^}]*\}", r"\1", value)
            for variable, value in services[name]["environment"].items()
        }
        settings = load_settings(
            None, example_settings() | image | environment | {"EDUCA_CHAT_SESSION_KEY": "c" * 43 + "="}
        )
        assert settings.server.mode == "production"
        assert settings.server.host == "0.0.0.0"
        assert settings.server.trusted_proxies == (f"{services['nginx']['networks']['chat']['ipv4_address']}/32",)
        assert settings.server.metrics_networks
        assert not set(settings.server.metrics_networks) & set(settings.server.trusted_proxies)
        assert settings.database.url == "postgresql://educa_chat:POSTGRES@postgres/educa_chat"
        assert settings.bus.url == "redis://:REDIS@redis:6379"
    lines = content["configs"]["nodes"]["content"].split("\n")
    assert [line.split()[1] for line in lines if line] == [
        f"{services[name]['networks']['chat']['ipv4_address']}:{settings.server.port}" for name in ("one", "two")
    ]


async def test_compose_redis_requires_its_password_and_allows_what_nodes_need(tmp_path: Path) -> None:
    content = compose()
    redis = content["services"]["redis"]
    assert redis["configs"] == [{"source": "redis", "target": redis["command"][1]}]
    assert redis["environment"]["REDISCLI_AUTH"] == REDIS_PASSWORD
    assert "ports" not in redis
    file = tmp_path / "redis.conf"
    file.write_text(content["configs"]["redis"]["content"].replace(REDIS_PASSWORD, "secret"))
    server = RedisServer([str(file)])
    server.start()
    try:
        nowhere, url = f"postgresql://x@127.0.0.1:{free_port()}/x", f"redis://:secret@127.0.0.1:{server.port}"
        code, output = await run(nowhere, "check", environment={"EDUCA_CHAT_BUS_URL": url})
        assert "ok   bus: redis, received its own message" in output, (code, output)
        code, output = await run(nowhere, "check", environment={"EDUCA_CHAT_BUS_URL": server.url})
        assert "FAIL bus" in output, (code, output)
    finally:
        server.stop()


def test_nginx_timeouts_exceed_the_ping_interval_and_drop_silent_clients() -> None:
    text = CONFIGURATION
    for name in ("proxy_read_timeout", "proxy_send_timeout"):
        assert seconds(text, name) > 2 * HEARTBEAT_S
    for name in ("client_header_timeout", "client_body_timeout"):
        assert seconds(text, name) <= 10
    assert "hash" not in text, "sticky sessions"


def seconds(text: str, directive: str) -> int:
    (value,) = re.findall(rf"^ *{directive} (\d+)s;", text, re.MULTILINE)
    return int(value)


def test_the_unit_is_valid_and_sandboxed_and_waits_for_the_drain(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        skip_without("systemd", "there is no systemd-analyze")
    text = (DEPLOY / "educa-chat@.service").read_text(encoding="utf-8")
    assert seconds_of_unit(text, "TimeoutStopSec") > DRAIN_S
    # It is restarted whatever its exit code, and however often that happens.
    assert re.findall(r"^Restart=(.*)$", text, re.MULTILINE) == ["always"]
    assert seconds_of_unit(text, "StartLimitIntervalSec") == 0
    assert seconds_of_unit(text, "RestartSec") <= 5
    unit = tmp_path / "educa-chat@8001.service"
    # Only the program's path doesn't exist on this machine.
    assert text.count("/opt/educa-chat/bin/educa-chat") == 1
    unit.write_text(text.replace("/opt/educa-chat/bin/educa-chat", sys.executable))
    for arguments in (("verify", unit), ("security", "--offline=true", "--threshold=15", unit)):
        result = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60)
        assert result.returncode == 0, result.stdout + result.stderr
        if "verify" in arguments:
            assert result.stderr == ""


def seconds_of_unit(text: str, key: str) -> int:
    (value,) = re.findall(rf"^{key}=(\d+)$", text, re.MULTILINE)
    return int(value)


def test_the_image_receives_signals_is_unprivileged_and_has_a_health_check() -> None:
    text = dockerfile()
    last = text[text.rindex("\nFROM ") :]
    assert 'ENTRYPOINT ["educa-chat"]' in last
    assert re.search(r"^USER [1-9]\d*:", last, re.MULTILINE)
    assert "/health/ready" in last
    assert "RUN" not in last, "nothing is built in the image that runs"


def test_the_image_copies_everything_the_wheel_needs(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    ignored = (PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    for line in re.findall(r"^COPY ([^-].*)$", dockerfile(), re.MULTILINE):
        *names, target = line.split()
        for name in names:
            assert f"!{name}" in ignored
            if (PROJECT / name).is_dir():
                shutil.copytree(PROJECT / name, source / target)
            else:
                shutil.copy(PROJECT / name, source / target)
    # `pip wheel` would install a copy of setuptools first, which takes most of its time.
    build = f"from setuptools.build_meta import build_wheel; build_wheel({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, timeout=300, stdout=subprocess.DEVNULL)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    for folder, pattern in (
        ("educa_chat", "**/*.py"),
        ("educa_chat", "*.txt"),
        ("educa_chat/storage/migrations", "*.sql"),
        ("educa_chat/static", "**/*.*"),
    ):
        for file in (PROJECT / folder).glob(pattern):
            assert str(file.relative_to(PROJECT)) in names
    for name in ("templates/room.html", "config/production.toml"):
        assert f"educa_chat/{name}" in names

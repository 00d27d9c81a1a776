"""The command line: real processes, their output and their exit codes."""

import asyncio
import json
import os
import re
import shlex
import signal
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from tempfile import TemporaryFile

import pytest
from cryptography.fernet import Fernet

from educa_chat.cli import _build_parser, database_location, main
from educa_chat.settings import DEMO_SESSION_KEY
from educa_chat.storage.accounts import add_user
from educa_chat.storage.pool import open_database
from tests.conftest import Postgres
from tests.forks import fork
from tests.mail_server import mail_settings, open_mail_server
from tests.processes import free_port, open_node, open_process
from tests.redis_server import RedisCluster, RedisServer
from tests.serving import Person

KEY = Fernet.generate_key().decode()
CONFIG = Path(__file__).parent.parent / "config"
PRODUCTION = {"EDUCA_CHAT_SERVER_MODE": "production", "EDUCA_CHAT_SESSION_SECURE": "true"}


async def run(
    url: str, *arguments: str, input: str = "", environment: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Run `educa-chat` in another directory. Return its exit code, and its output without the database's line."""
    environment = {"EDUCA_CHAT_DATABASE_URL": url, "EDUCA_CHAT_SESSION_KEY": KEY, **(environment or {})}
    async with asyncio.timeout(60):
        process = await fork(
            *arguments, env={**os.environ, **environment}, cwd="/", input=input.encode("utf-8", "surrogateescape")
        )
        output = (await process.stdout.read()).decode()
        code = await process.wait()
    assert "Traceback" not in output, output
    return code, re.sub(r"^educa-chat: the database is .*\n", "", output, count=1)


async def test_four_commands_set_up_a_chat_in_an_empty_database(postgres: Postgres) -> None:
    url = await postgres.create_database()
    for arguments, input, said in (
        (("migrate",), "", "applied 0001_platform\napplied 0002_chat"),
        (("migrate",), "", "up to date"),
        (("user", "add", "teacher", "--first-name", "Tea", "--last-name", "Cher"), "a secret word\n", "teacher"),
        (("user", "add", "student"), "a secret word\n", "student"),
        (("course", "add", "Algebra <I>", "--owner", "teacher"), "", "1"),
        (("enrol", "student", "1"), "", "student"),
    ):
        assert (code_and_said := await run(url, *arguments, input=input))[0] == 0, code_and_said
        assert said in code_and_said[1]
    async with open_node(url) as node, Person(node.url) as student:
        assert (await student.sign_in("student", "a secret word"))[0] == 302
        assert "Algebra &lt;I&gt;" in (await student.get("/chat/room/1/"))[1]
        socket = await student.enter()
        await socket.receive()
        assert (await run(url, "unenrol", "student", "1"))[0] == 0
        assert await socket.close_code() == 4003
        assert (await student.get("/chat/room/1/"))[0] == 403
        assert (await run(url, "enrol", "student", "1"))[0] == 0
        socket = await student.enter()
        await socket.receive()
        assert (await run(url, "user", "password", "student", input="another secret\r\n"))[0] == 0
        assert await socket.close_code() == 4001
        assert (await student.sign_in("student", "another secret"))[0] == 302
        socket = await student.enter()
        await socket.receive()
        assert (await run(url, "user", "deactivate", "student"))[0] == 0
        assert await socket.close_code() == 4001
        assert (await student.sign_in("student", "another secret"))[0] == 200


WRONG_ARGUMENTS: list[tuple[tuple[str, ...], str]] = [
    (("user", "add", "ana"), "exists"),
    (("user", "add", "a b"), "may have only letters"),
    (("user", "add", "mallory", "--first-name", "\u202egpj"), "invisible characters"),
    (("user", "rename", "ana", "--first-name", "A\x1bB"), "invisible characters"),
    (("user", "rename", "nobody", "--first-name", "A"), "no user"),
    (("user", "reactivate", "nobody"), "no user"),
    (("course", "rename", "1", " "), "must not be empty"),
    (("course", "rename", "1", "x" * 201), "more than 200"),
    (("course", "rename", "Geometry", "X"), "no course Geometry"),
    (("course", "owner", "1", "nobody"), "no user"),
    (("roster", "99999999999999999999"), "no course"),
    (("user", "password", "nobody"), "no user"),
    (("user", "deactivate", "nobody"), "no user"),
    (("course", "add", "X", "--owner", "nobody"), "no user"),
    (("enrol", "ana", "1"), "already"),
    (("enrol", "ana", "99"), "no course"),
    (("unenrol", "ana", "2"), "not in the course"),
    (("enrol", "profe", "1"), "owns the course"),
    (("enrol", "profe", "1", "--role", "assistant"), "owns the course"),
    (("unenrol", "profe", "1"), "owns the course"),
    (("course", "remove", "1"), "--yes"),
    (("demo",), "already"),
]


async def test_errors_are_explained_and_the_exit_code_is_1(postgres: Postgres, subtests: pytest.Subtests) -> None:
    url = await postgres.create_chat_database(demo=True)
    for arguments, said in WRONG_ARGUMENTS:
        with subtests.test(arguments=arguments):
            code, output = await run(url, *arguments, input="a secret word\n")
            assert (code, said in output) == (1, True), output


async def test_courses_can_be_given_by_id_title_or_slug_and_slugs_are_unique(
    postgres: Postgres,
) -> None:
    url = await postgres.create_chat_database(demo=True)
    for arguments, said in (
        (("course", "add", "Álgebra lineal", "--owner", "profe"), "\n"),
        (("enrol", "luis", "algebra-lineal-2", "--role", "assistant"), "as assistant"),
        (("enrol", "ana", "2"), "as student"),
        (("course", "rename", "algebra-lineal-2", "Geometría"), "renamed"),
        (("course", "owner", "Geometría", "ana"), "ana owns"),
        (("course", "archive", "1"), "archived"),
        (("course", "restore", "1"), "restored"),
        (("course", "archive", "Geometría"), "archived"),
        (("user", "rename", "luis", "--first-name", "Lucho"), "renamed"),
        (("user", "deactivate", "marta"), "deactivated"),
    ):
        code, output = await run(url, *arguments)
        assert (code, said in output) == (0, True), output
    roster = json.loads((await run(url, "roster", "algebra-lineal-2", "--json"))[1])
    assert [(one["username"], one["name"], one["role"]) for one in roster] == [
        ("ana", "Ana Morales", "instructor"),
        ("profe", "Clara Benítez", "instructor"),
        ("luis", "Lucho", "assistant"),
    ]
    courses = json.loads((await run(url, "course", "list", "--json"))[1])
    (course,) = (course for course in courses if course.pop("id") > 2)
    assert course == {
        "title": "Geometría",
        "owner": "ana",
        "staff": 2,
        "students": 0,
        "is_archived": True,
        "owner_name": "Ana Morales",
    }
    active = {user["username"]: user["is_active"] for user in json.loads((await run(url, "user", "list", "--json"))[1])}
    assert active == {"ana": True, "luis": True, "marta": False, "profe": True}
    assert (await run(url, "user", "reactivate", "marta"))[0] == 0
    assert "removed" in (await run(url, "course", "remove", "1", "--yes"))[1]
    assert "no course" in (await run(url, "roster", "1"))[1]
    assert "marta\tMarta Vidal\tTrue\tFalse\n" in (await run(url, "user", "list"))[1]


async def test_learning_platforms_are_managed_on_the_command_line(postgres: Postgres) -> None:
    url = await postgres.create_chat_database()
    code, output = await run(
        url, "lti", "invite", environment={"EDUCA_CHAT_SERVER_PUBLIC_URL": "https://chat.example/"}
    )
    assert code == 0 and output.startswith("https://chat.example/lti/register?invitation=")
    addresses = ("--authorization-url", "https://a.example/x", "--token-url", "https://t.example/", "--jwks-url")
    add = ("lti", "add", "--issuer", "https://lms.example", "--client-id", "1", *addresses)
    assert "only https is allowed" in (await run(url, *add, "http://k.example/"))[1]
    assert "must not be empty" in (await run(url, *add, "https://k.example/", "--deployment", " "))[1]
    assert (await run(url, *add, "https://k.example/", "--deployment", "1"))[0] == 0
    assert "already" in (await run(url, *add, "https://k.example/"))[1]
    assert (await run(url, "lti", "deactivate", "1"))[0] == 0
    assert not json.loads((await run(url, "lti", "list", "--json"))[1])[0]["is_active"]
    assert (await run(url, "lti", "activate", "1", "--deployment", "2", "--origin", "https://b.example/y"))[0] == 0
    (platform,) = json.loads((await run(url, "lti", "list", "--json"))[1])
    assert platform["is_active"] and platform["deployments"] == ["1", "2"]
    assert set(platform["origins"]) == {"https://lms.example", "https://a.example", "https://b.example"}
    assert (await run(url, "lti", "remove", "1"))[0] == 0
    assert await run(url, "lti", "remove", "1") == (1, "educa-chat: there is no platform 1\n")


async def test_a_printed_link_lets_a_user_choose_a_password(postgres: Postgres) -> None:
    url = await postgres.create_chat_database(demo=True)
    async with open_node(url) as node, Person(node.url) as ana:
        code, output = await run(url, "user", "link", "ana", environment={"EDUCA_CHAT_SERVER_PUBLIC_URL": node.url})
        assert code == 0
        link = output.strip()
        assert link.startswith(f"{node.url}/chat/sign-in/link/?token=")
        status, html, _ = await ana.get(link.removeprefix(node.url))
        assert (status, "Ana Morales" in html) == (200, True)
    assert (await run(url, "user", "link", "nobody"))[0] == 1
    assert (await run(url, "user", "deactivate", "ana"))[0] == 0
    assert "reactivate them first" in (await run(url, "user", "link", "ana"))[1]
    code, output = await run(url, "user", "link", "luis", environment=PRODUCTION)
    assert (code, "server.public_url: missing" in output) == (1, True)


async def test_imported_people_can_sign_in_with_their_links(postgres: Postgres, tmp_path: Path) -> None:
    url = await postgres.create_chat_database(demo=True)
    people, links = tmp_path / "people.csv", tmp_path / "links.csv"
    content = (
        "Usuario;Nombre;Apellidos;Correo electrónico;Grupo\r\nzoe;Zoë;Núñez;zoe@x.es;A\r\nana;;;;B\r\n\x1b;X;;;\r\n"
    )
    people.write_bytes(content.encode("cp1252"))
    code, output = await run(url, "import", str(people), "--course", "1", "--dry-run", "--links", str(links))
    assert (code, links.exists()) == (0, False)
    assert output.splitlines() == [
        "ignored columns: Grupo",
        "line 2: zoe: new account, enrolled in Introducción a la programación as a student",
        "line 3: ana: unchanged",
        "line 4: \\x1b: refused: the username is missing, or has characters other than letters, digits and @.+-_",
        "would be 1 added, 1 enrolled, 1 refused",
    ]
    async with open_node(url) as node, Person(node.url) as zoe:
        environment = {"EDUCA_CHAT_SERVER_PUBLIC_URL": node.url}
        arguments = ("import", str(people), "--course", "1", "--links", str(links))
        code, output = await run(url, *arguments, environment=environment)
        assert (code, "1 sign-in links" in output) == (0, True), output
        assert links.stat().st_mode & 0o777 == 0o600
        heading, row = links.read_text(encoding="utf-8-sig").splitlines()
        assert heading == "username,name,email,link"
        assert row.startswith("zoe,Zoë Núñez,zoe@x.es,")
        assert "Zoë Núñez" in (await zoe.get(row.rpartition(",")[2].removeprefix(node.url)))[1]
    with open_mail_server() as mail_server:
        mail = mail_settings(mail_server.port)
        environment = {f"EDUCA_CHAT_{name.upper()}": str(value) for name, value in mail.items()}
        code, output = await run(url, "import", str(people), "--mail", "es", environment=environment)
        assert (code, "queued 1 sign-in links" in output) == (0, True), output
        assert "ok   e-mail: connected to 127.0.0.1" in (await run(url, "check", environment=environment))[1]
        async with open_node(url, "memory:", **mail):
            assert (await mail_server.mail())["To"] == "zoe@x.es"
    assert "FAIL e-mail" in (await run(url, "check", environment=environment))[1]
    assert "email.host: missing" in (await run(url, "import", str(people), "--mail", "es"))[1]
    assert "File exists" in (await run(url, *arguments))[1]
    for garbage, said in ((b"\0" * 100, "isn't text"), (b"x" * 2**23, "too large"), (b"username\n", "any people")):
        people.write_bytes(garbage)
        code, output = await run(url, "import", str(people))
        assert (code, said in output) == (1, True), output
    assert "No such file" in (await run(url, "import", str(tmp_path / "none.csv")))[1]


async def test_the_export_has_everything_about_a_user_and_nothing_about_others(postgres: Postgres) -> None:
    url = await postgres.create_chat_database(demo=True)
    async with open_node(url) as node, Person(node.url, "ana") as ana, Person(node.url, "luis") as luis:
        mine, others = await ana.enter(), await luis.enter()
        await mine.say("from ana", "1")
        seq = (await mine.receive_until("ack", id="1"))["seq"]
        await mine.send({"type": "edit", "id": "2", "target": seq, "message": "from ana, edited"})
        await mine.send({"type": "react", "id": "3", "target": seq, "emoji": "🎉", "on": True})
        await mine.receive_until("ack", id="3")
        await others.say("from luis", "4")
        await others.receive_until("ack", id="4")
        code, output = await run(url, "user", "export", "ANA")
    assert code == 0
    exported = json.loads(output)
    assert (exported["account"]["username"], exported["account"]["first_name"]) == ("ana", "Ana")
    assert [message["message"] for message in exported["messages"]] == ["from ana, edited"]
    assert [message["message"] for message in exported["earlier_texts"]] == ["from ana"]
    assert [reaction["emoji"] for reaction in exported["reactions"]] == ["🎉"]
    assert len(exported["sessions"]) == 1
    assert exported["courses"][0]["role"] == "student"
    assert "luis" not in output
    assert "pbkdf2" not in output
    assert (await run(url, "user", "export", "nobody"))[0] == 1


async def test_an_ambiguous_course_title_is_refused_with_the_ids(postgres: Postgres) -> None:
    url = await postgres.create_chat_database(demo=True)
    added = (await run(url, "course", "add", "Álgebra lineal", "--owner", "profe"))[1].strip()
    code, output = await run(url, "enrol", "ana", "Álgebra lineal")
    assert (code, f"the ids 2, {added}" in output) == (1, True), output


async def test_demo_data_needs_an_empty_database_in_development(postgres: Postgres) -> None:
    url = await postgres.create_chat_database()
    code, output = await run(url, "demo", environment=PRODUCTION)
    assert (code, "development only" in output) == (1, True), output
    assert (await run(url, "demo"))[0] == 0
    async with open_database(url, 1) as database:
        assert await database.fetchval("select count(*) from auth_user") == 4


async def test_demo_data_in_development_needs_no_previous_migration(postgres: Postgres) -> None:
    url = await postgres.create_database()
    code, output = await run(url, "demo", environment=PRODUCTION)
    assert (code, "migrate" in output) == (1, True), output
    assert (await run(url, "demo"))[0] == 0
    assert (await run(url, "check"))[0] == 0


async def test_a_django_sites_tables_are_not_written_to(postgres: Postgres) -> None:
    url = await postgres.create_chat_database(demo=True)
    async with open_database(url, 1) as database:
        await database.execute("create table django_migrations (id int)")
    for arguments in (
        ("user", "add", "x"),
        ("enrol", "luis", "2"),
        ("demo",),
        ("course", "add", "X", "--owner", "ana"),
    ):
        code, output = await run(url, *arguments, input="a secret word\n")
        assert (code, "Django site" in output) == (1, True), output


async def test_check_tests_each_part_and_reports_what_fails(postgres: Postgres) -> None:
    url = await postgres.create_chat_database()
    code, output = await run(url, "check")
    assert code == 0, output
    assert [line.split()[0] for line in output.splitlines()] == ["ok"] * 6
    assert "enrolments: triggers report changes at once" in output
    code, output = await run(url, "check", "--json")
    assert code == 0, output
    assert [outcome["ok"] for outcome in json.loads(output)] == [True] * 6
    empty = await postgres.create_database()
    code, output = await run(
        empty,
        "check",
        environment={"EDUCA_CHAT_BUS_URL": f"redis://127.0.0.1:{free_port()}", "EDUCA_CHAT_SESSION_KEY": ""},
    )
    assert code == 1
    failed = [line.split(":")[0] for line in output.splitlines() if line.startswith("FAIL")]
    assert failed == ["FAIL session key", "FAIL schema", "FAIL bus"], output
    assert "educa-chat migrate" in output
    assert (
        "ok   enrolments: checked every 30 seconds; to see changes at once, run `educa-chat migrate --watch-enrolments`"
        in output
    )


async def test_migrate_can_watch_enrolments_and_names_a_missing_privilege(postgres: Postgres) -> None:
    url = await postgres.create_chat_database()
    async with open_database(url, 1) as database:
        await database.execute("drop schema educa_chat cascade")  # The platform's tables stay, as on a site.
        await database.execute("create role watching_cli login")
        try:
            await database.execute("create schema educa_chat authorization watching_cli")
            await database.execute("grant select, references on all tables in schema public to watching_cli")
            own_url = url.replace("postgres@", "watching_cli@")
            code, output = await run(own_url, "migrate", "--watch-enrolments")
            assert code == 1
            assert "applied 0002_chat" in output
            last = output.splitlines()[-1]
            assert last.endswith("grant trigger on auth_user, courses_course, courses_course_students to watching_cli")
            code, output = await run(own_url, "check")
            assert (code, "ok   schema" in output, "enrolments: checked every" in output) == (0, True, True), output
            await database.execute(last.partition("lacks: ")[2])
            for _ in range(2):
                assert await run(own_url, "migrate", "--watch-enrolments") == (
                    0,
                    "the schema is up to date\ntriggers now report enrolment changes at once\n",
                )
            assert "ok   enrolments: triggers report changes at once" in (await run(own_url, "check"))[1]
        finally:
            await database.execute("drop owned by watching_cli cascade; drop role watching_cli")


@pytest.mark.parametrize("broker", ["redis_server", "redis_cluster"])
async def test_check_tests_redis(postgres: Postgres, broker: str, request: pytest.FixtureRequest) -> None:
    server: RedisServer | RedisCluster = request.getfixturevalue(broker)
    url = await postgres.create_chat_database()
    code, output = await run(url, "check", environment={"EDUCA_CHAT_BUS_URL": server.url})
    assert code == 0, output


async def test_check_and_serve_report_an_unreachable_database() -> None:
    url = f"postgresql://x@127.0.0.1:{free_port()}/x"
    assert (await run(url, "check"))[0] == 1
    code, output = await run(url, "serve", "--port", str(free_port()))
    assert code == 1
    assert "database can't be reached" in output


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"EDUCA_CHAT_DATABASE_URL": "postgresql://x@127.0.0.1:1/x?sslmode=maybe"}, "database.url: `sslmode`"),
        ({"EDUCA_CHAT_BUS_URL": "redis://127.0.0.1:1?nonsense=1"}, "bus.url: "),
    ],
)
async def test_check_and_serve_name_the_setting_with_an_unknown_option(
    postgres: Postgres, environment: Mapping[str, str], said: str
) -> None:
    url = await postgres.create_chat_database()
    for command in (("check",), ("serve", "--port", str(free_port()))):
        code, output = await run(url, *command, environment=environment)
        assert code == 1
        assert said in output
        assert "Traceback" not in output


async def test_production_refuses_an_outdated_schema_and_says_what_to_do(postgres: Postgres) -> None:
    url = await postgres.create_database()
    production = {"EDUCA_CHAT_BUS_URL": "memory:"}
    arguments = ("serve", "--config", str(CONFIG / "production.toml"), "--port", str(free_port()))
    code, output = await run(url, *arguments, environment=production)
    assert (code, "run `educa-chat migrate`" in output) == (1, True), output


async def test_production_refuses_unsafe_settings(subtests: pytest.Subtests) -> None:
    for environment, said in (
        ({"EDUCA_CHAT_SESSION_KEY": ""}, "session.key"),
        ({"EDUCA_CHAT_SESSION_KEY": DEMO_SESSION_KEY}, "demo key"),
        ({"EDUCA_CHAT_SESSION_SECURE": "false"}, "session.secure: production refuses"),
        ({"EDUCA_CHAT_DATABASE_URL": "embedded:x"}, "database.url: production refuses"),
        ({"EDUCA_CHAT_BUS_URL": "memory:", "EDUCA_CHAT_SERVER_WORKERS": "2"}, "memory bus"),
    ):
        with subtests.test(said=said):
            code, output = await run(
                "postgresql://x@y/z", "serve", "--config", str(CONFIG / "production.toml"), environment=environment
            )
            assert (code, said in output) == (1, True), output


async def test_several_workers_on_a_memory_bus_are_refused() -> None:
    code, output = await run("embedded:x", "serve", "--workers", "2")
    assert (code, "memory bus" in output) == (1, True), output


async def test_a_newer_database_is_refused(postgres: Postgres) -> None:
    url = await postgres.create_chat_database()
    async with open_database(url, 1) as database:
        await database.execute("insert into educa_chat.schema_version (number, name) values (9999, 'future')")
    for command in ("migrate", "serve"):
        code, output = await run(url, command)
        assert (code, "newer" in output) == (1, True), output


async def test_config_is_accepted_before_or_after_the_command(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("[server]\nnonsense = 1\n")
    add = ("add", "X", "--owner", "ana")
    for arguments in (
        ("--config", str(file), "check"),
        ("check", "--config", str(file)),
        ("course", "--config", str(file), *add),
        ("course", *add, "--config", str(file)),
    ):
        code, output = await run("embedded:x", *arguments)
        assert (code, "nonsense" in output) == (1, True), output


async def test_two_nodes_can_migrate_at_once(postgres: Postgres) -> None:
    url = await postgres.create_database()
    results = await asyncio.gather(run(url, "migrate"), run(url, "migrate"))
    assert [code for code, _ in results] == [0, 0], results
    assert sum("applied" in output for _, output in results) == 1


async def test_a_port_in_use_is_reported(postgres: Postgres) -> None:
    url = await postgres.create_chat_database()
    async with open_node(url) as node:
        code, output = await run(url, "serve", "--port", node.url.rpartition(":")[2])
    assert (code, "in use" in output) == (1, True), output


async def test_ctrl_c_stops_the_server_and_its_embedded_database(tmp_path: Path) -> None:
    folder = tmp_path / "database"
    port = free_port()
    environment = {"EDUCA_CHAT_DATABASE_URL": f"embedded:{folder}", "EDUCA_CHAT_SESSION_KEY": KEY}
    async with open_process(
        "serve", "--demo", "--port", str(port), environment=environment, url=f"http://127.0.0.1:{port}"
    ) as process:
        await process.ready()
        assert "ana, luis" in process.output
        assert f"http://127.0.0.1:{port}" in process.output
        assert (folder / "postmaster.pid").exists()
        process.signal(signal.SIGINT)
        assert await process.ended() == 0, process.output
    assert not (folder / "postmaster.pid").exists()


async def test_the_next_server_takes_over_and_stops_the_database_of_a_killed_one(tmp_path: Path) -> None:
    folder = tmp_path / "database"
    for number in (signal.SIGKILL, signal.SIGTERM):
        async with open_node(f"embedded:{folder}") as node:
            node.signal(number)
            await node.ended()
    assert not (folder / "postmaster.pid").exists()


# The database in use.


async def test_each_command_shows_its_database_without_passwords(subtests: pytest.Subtests) -> None:
    """On stderr, so that a script that reads the id of a course gets nothing else."""
    for arguments in (
        ("check",),
        ("migrate",),
        ("demo",),
        ("user", "add", "x"),
        ("user", "password", "x"),
        ("user", "deactivate", "x"),
        ("course", "add", "X", "--owner", "x"),
        ("user", "list"),
        ("user", "rename", "x", "--first-name", "X"),
        ("user", "reactivate", "x"),
        ("course", "list"),
        ("course", "rename", "1", "X"),
        ("course", "owner", "1", "x"),
        ("course", "remove", "1", "--yes"),
        ("roster", "1"),
        ("enrol", "x", "1"),
        ("unenrol", "x", "1"),
        ("serve", "--port", "1"),
    ):
        with subtests.test(" ".join(arguments)):
            port = free_port()
            environment = {
                "EDUCA_CHAT_DATABASE_URL": f"postgresql://educa:xyzzy@127.0.0.1:{port}/campus?password=plugh&host=127.0.0.1",
                "EDUCA_CHAT_SESSION_KEY": KEY,
            }
            with TemporaryFile() as stderr:
                process = await fork(*arguments, env={**os.environ, **environment}, stderr=stderr)
                printed = await process.stdout.read()
                await process.wait()
                stderr.seek(0)
                said = stderr.read()
            line = f"the database is postgresql://educa@127.0.0.1:{port}/campus?host=127.0.0.1\n"
            assert said.decode().splitlines(keepends=True)[0].endswith(line), said.decode()
            assert b"the database is" not in printed
            assert not any(password in printed + said for password in (b"xyzzy", b"plugh"))


def test_a_database_url_is_shown_without_passwords() -> None:
    for url, shown in (
        ("postgresql://educa:xyzzy@db.example:5432/campus", "postgresql://educa@db.example:5432/campus"),
        ("postgresql://educa@db.example/campus", "postgresql://educa@db.example/campus"),
        ("postgresql://db.example/campus", "postgresql://db.example/campus"),
        ("postgresql://educa:xy%40zzy@db.example/campus", "postgresql://educa@db.example/campus"),
        ("postgresql://educa:xy@zz/y?x#y@db.example/campus", "postgresql://educa@db.example/campus"),
        ("postgresql://:xyzzy@db.example/campus", "postgresql://@db.example/campus"),
        ("postgresql://one.example:1,two.example:2/campus", "postgresql://one.example:1,two.example:2/campus"),
        ("postgresql:///campus?host=/run&user=educa&password=xyzzy&sslpassword=xyzzy",
         "postgresql:///campus?host=/run&user=educa"),
        ("embedded:/var/lib/educa", "embedded:/var/lib/educa"),
        ("embedded:var/database", f"embedded:{Path.cwd()}/var/database"),
    ):  # fmt: skip
        assert database_location(url) == shown, url


async def test_a_misspelt_variable_stops_every_command(tmp_path: Path) -> None:
    """Otherwise, the default would apply: an embedded database in the current directory."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "educa_chat", "check",
        cwd=tmp_path,
        env={**os.environ, "EDUCA_CHAT_DATABSE_URL": "postgresql://db.example/campus"},
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, stderr = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert b"did you mean EDUCA_CHAT_DATABASE_URL?" in stderr
    assert os.listdir(tmp_path) == []


# Help.


def help_of(*command: str) -> str:
    with pytest.raises(SystemExit) as ended, redirect_stdout(StringIO()) as output:
        main([*command, "--help"])
    assert ended.value.code == 0
    return output.getvalue()


def helps_of(*group: str) -> dict[tuple[str, ...], str]:
    """Return the help text of each command below `group`, which is in the help text of the group."""
    text = help_of(*group)
    names = re.findall(r"^    (\w+) ", text, re.MULTILINE)
    return {command: help for name in names for command, help in helps_of(*group, name).items()} or {group: text}


def test_the_help_of_each_command_has_a_valid_example() -> None:
    helps, parser = helps_of(), _build_parser()
    assert ("user", "add") in helps
    for command, help in helps.items():
        examples = re.findall(rf"^  educa-chat ({' '.join(command)}.*)$", help, re.MULTILINE)
        assert examples, command
        for example in examples:
            arguments = shlex.split(re.split(" [<>] ", example)[0])
            assert parser.parse_args(arguments).parser.prog == f"educa-chat {' '.join(command)}"


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "educa-chat serve --demo" in capsys.readouterr().out


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"educa-chat {version('educa-chat')}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("migrat",), "unknown command 'migrat'. Did you mean migrate?"),
        (("unenroll", "ana", "1"), "unknown command 'unenroll'. Did you mean unenrol?"),
        (("user", "ad"), "unknown command 'ad'. Did you mean add?"),
        (("xyzzy",), "unknown command 'xyzzy'. Choose from: serve, migrate, check, demo, user, course"),
        (("serve", "--prot", "80"), "unknown argument --prot 80. Did you mean --port?"),
        (("migrate", "--watch-enrollments"), "unknown argument --watch-enrollments. Did you mean --watch-enrolments?"),
        (("check", "xyzzy"), "unknown argument xyzzy"),
        (("enrol", "ana", "1", "--role", "tutor"), "unknown --role 'tutor'. Choose from: student, assistant, teacher"),
    ],
)
def test_a_misspelt_command_is_refused_with_a_suggestion(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


# Passwords.


async def test_a_weak_password_is_refused_by_every_command(postgres: Postgres, subtests: pytest.Subtests) -> None:
    url = await postgres.create_chat_database()
    async with open_database(url, 1) as database:
        await add_user(database, "new-ana", "!")
        for input, said in (
            ("", "too short"),
            ("\n", "too short"),
            ("\nanother secret\n", "too short"),
            ("secret\n", "too short"),
            ("        \n", "too short"),
            ("password1\n", "most common"),
            ("new-ana1\n", "the user name"),
            ("Educa-Chat 2026!\n", "the name of this chat"),
            ("x" * 2000 + "y" * 2097 + "\n", "too long"),
            ("a secret \udcff word\n", "UTF-8"),
        ):
            for arguments in (("user", "add", "new-ana"), ("user", "password", "new-ana")):
                with subtests.test(input=input, arguments=arguments):
                    code, output = await run(url, *arguments, input=input)
                    assert (code, said in output) == (1, True), output
                    assert input.strip() not in output or not input.strip()
        users = await database.fetch("select username, password from auth_user")
    assert [tuple(user) for user in users] == [("new-ana", "!")]


async def test_the_demo_password_is_refused_in_production(postgres: Postgres) -> None:
    url = await postgres.create_chat_database()
    code, output = await run(url, "user", "add", "ana", input="educa-demo\n", environment=PRODUCTION)
    assert (code, "demo data" in output) == (1, True), output
    assert (await run(url, "user", "add", "ana", input="educa-demo\n"))[0] == 0

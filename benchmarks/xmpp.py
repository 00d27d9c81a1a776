"""ejabberd and Prosody, from Debian: peers that store each message, in the archive of its room (XEP-0313)."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from string import Template

import psycopg

from benchmarks.deployment import Deployment, Server, await_answer, free_port, running
from benchmarks.load import Dialect
from benchmarks.machine import SERVER_CORE

EJABBERD = "ejabberd"
PROSODY = "Prosody"
PACKAGES = {EJABBERD: ("ejabberd", "erlang-p1-pgsql"), PROSODY: ("prosody", "lua-dbi-postgresql")}
ARCHIVES = {EJABBERD: ("archive",), PROSODY: ("prosodyarchive",)}
"""The tables that the messages are in."""

_OPEN = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='localhost' version='1.0'/>"
DIALECT = Dialect(
    path="/xmpp-websocket",
    message=(
        "<message xmlns='jabber:client' type='groupchat' id='{mark}{nonce}' to='{room}@conference.localhost'>"
        "<body>{mark}{fill}</body></message>"
    ),
    subprotocol="xmpp",
    greetings=[
        (_OPEN, "ANONYMOUS"),
        ("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'/>", "<success"),
        (_OPEN, "urn:ietf:params:xml:ns:xmpp-bind"),
        (
            "<iq xmlns='jabber:client' type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
            "<jid>",
        ),
        (
            "<presence xmlns='jabber:client' to='{room}@conference.localhost/student{socket}-{nonce}'>"
            "<x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x></presence>",
            # A room sends its subject last, even if it has none.
            "<subject",
        ),
    ],
)
"""XMPP over WebSocket (RFC 7395), for anonymous users who join a room (XEP-0045)."""

_CONFIGURATIONS = Path(__file__).parent / "peers"
_EJABBERD_SCHEMA = Path("/usr/share/ejabberd/sql/pg.sql")


def version(name: str) -> str | None:
    """The version of the Debian package of a server, or None if one of the packages that it needs isn't installed."""
    if not shutil.which("dpkg-query"):
        return None
    command = ["dpkg-query", "--show", "--showformat", "${db:Status-Status}/${Package}/${Version}\n", *PACKAGES[name]]
    packages = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    versions = {
        package: version
        for status, package, version in (line.split("/") for line in packages.stdout.splitlines())
        if status == "installed"
    }
    return versions[PACKAGES[name][0]] if len(versions) == len(PACKAGES[name]) else None


def database_url(deployment: Deployment, name: str) -> str:
    """The database in which a server keeps its archive, in the Postgres of `deployment`."""
    return deployment.postgres.socket_url(name.lower())


@contextmanager
def serve_xmpp(deployment: Deployment, name: str) -> Iterator[Server]:
    """Run EJABBERD or PROSODY on the core of the server, with a new folder and a new database."""
    with psycopg.connect(deployment.database.url, autocommit=True) as connection:
        connection.execute(f"create database {name.lower()}")
    port = free_port()
    folder = deployment.folder / name.lower()
    folder.mkdir()
    [template] = _CONFIGURATIONS.glob(f"{name.lower()}.*")
    configuration = folder / template.name
    configuration.write_text(
        Template(template.read_text()).substitute(
            port=port,
            folder=folder,
            database=name.lower(),
            postgres_port=deployment.postgres.port,
            postgres_folder=deployment.postgres.socket_folder,
        )
    )
    if name == EJABBERD:
        with psycopg.connect(database_url(deployment, name)) as connection:
            connection.execute(_EJABBERD_SCHEMA.read_text())
        command, environment = _run_ejabberd(configuration)
    else:
        command, environment = ["prosody", "-F", "--config", str(configuration)], {}
    with running(command, folder / "log", SERVER_CORE, os.environ | environment) as process:
        await_answer(process, port)
        yield Server(port, [process.pid])


def _run_ejabberd(configuration: Path) -> tuple[list[str], dict[str, str]]:
    """The command and the environment, as `ejabberdctl foreground` makes them, without the distribution of Erlang.

    There is one scheduler for the one core. When it has nothing to do it sleeps at once: by default it would wait
    busily for a while, which would count as processor time of the messages.
    """
    libraries = next(Path("/usr/lib").glob("*/ejabberd-*/ebin/ejabberd.app")).parents[2]
    environment = {
        "ERL_LIBS": str(libraries),
        "ERL_CRASH_DUMP_BYTES": "0",
        "EJABBERD_CONFIG_PATH": str(configuration),
        "EJABBERD_LOG_PATH": str(configuration.with_suffix(".log")),
    }
    machine = ["+S", "1", "+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none", "+K", "true", "+P", "250000"]
    database = ["-mnesia", "dir", f'"{configuration.parent}/mnesia"']
    return ["erl", "-noinput", *machine, *database, "-s", "ejabberd"], environment

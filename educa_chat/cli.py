"""The command line `educa-chat`."""

import argparse
import asyncio
import getpass
import logging
import os
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec

from educa_chat.errors import DatabaseUnavailable, EducaChatError, PasswordRefused, RecordExists, SettingsInvalid
from educa_chat.log_lines import configure_logging
from educa_chat.settings import Settings, load_settings
from educa_chat.storage.pool import Database, open_database

logger = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parsed = _parser().parse_args(arguments)
    try:
        settings = load_settings(parsed.config, os.environ)
        configure_logging(logging.INFO if parsed.run is _serve else logging.WARNING, settings.server.mode)
        database = f"the database is {database_location(settings.database.url)}"
        if parsed.run is _serve:
            logger.info(database)
        else:
            print(f"educa-chat: {database}", file=sys.stderr)
        code: int = parsed.run(settings, parsed)
    except DatabaseUnavailable as error:
        print(f"educa-chat: the database can't be reached, see database.url: {error}", file=sys.stderr)
        return 1
    except EducaChatError as error:
        print(f"educa-chat: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"educa-chat: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def database_location(url: str) -> str:
    """Return what of `url` may be shown: where the database is, and the user, but no password."""
    scheme, _, location = url.partition(":")
    if scheme == "embedded":
        return f"embedded:{Path(location).absolute()}"
    # Whatever stands before the last @ may be part of a password.
    credentials, at, address = location.removeprefix("//").rpartition("@")
    address, _, query = address.partition("?")
    shown = [
        (name, value) for name, value in parse_qsl(query) if name in ("host", "port", "user", "dbname", "database")
    ]
    parameters = f"?{urlencode(shown, safe='/')}" if shown else ""
    return f"{scheme}://{credentials.partition(':')[0]}{at}{address}{parameters}"


def _parser() -> argparse.ArgumentParser:
    # --config may stand behind the subcommand or before it: the one behind leaves the one before alone.
    config = argparse.ArgumentParser(add_help=False)
    config.add_argument("--config", type=Path, default=argparse.SUPPRESS, metavar="FILE", help="the settings, in TOML")
    parser = argparse.ArgumentParser(prog="educa-chat", description="A course chat server for learning platforms.")
    parser.add_argument("--config", type=Path, default=None, metavar="FILE", help="the settings, in TOML")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        within: Any, name: str, run: Callable[[Settings, argparse.Namespace], int], help: str
    ) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = within.add_parser(name, parents=[config], help=help, description=help)
        added.set_defaults(run=run)
        return added

    serve = command(commands, "serve", _serve, "serve the pages and the sockets")
    serve.add_argument("--demo", action="store_true", help="add the demo data first, to an empty database")
    serve.add_argument("--host", help="where to listen")
    serve.add_argument("--port", type=int)
    serve.add_argument("--workers", type=int, help="how many processes share the port; several need a Redis bus")
    migrate = command(commands, "migrate", _migrate, "bring the database's schema up to date")
    migrate.add_argument(
        "--watch-enrolments",
        action="store_true",
        help="put triggers on the learning platform's tables, so that who leaves a course is out at once",
    )
    command(commands, "check", _check, "prove that everything the server needs works")
    command(commands, "demo", _on_own_database(_demo), "add the demo data to an empty database")

    def group(name: str, help: str) -> Any:
        return commands.add_parser(name, parents=[config], help=help, description=help).add_subparsers(
            required=True, metavar="COMMAND"
        )

    user = group("user", "the users of a stand-alone chat")
    add = command(user, "add", _on_own_database(_add_user), "add a user; the password is asked for, or read from input")
    add.add_argument("username")
    add.add_argument("--first-name", default="")
    add.add_argument("--last-name", default="")
    add.add_argument("--superuser", action="store_true", help="an instructor in every course")
    password = command(user, "password", _on_own_database(_set_password), "set a password; ends the user's sessions")
    password.add_argument("username")
    deactivate = command(user, "deactivate", _on_own_database(_deactivate), "lock a user out, at once")
    deactivate.add_argument("username")

    course = group("course", "the courses of a stand-alone chat")
    add_course = command(course, "add", _on_own_database(_add_course), "add a course and print its id")
    add_course.add_argument("title")
    add_course.add_argument("--owner", required=True, metavar="USERNAME", help="who teaches it")
    add_course.add_argument("--subject", default="General")
    add_course.add_argument("--overview", default="")
    for name, run, help in (
        ("enrol", _enrol, "make a user a student of a course"),
        ("unenrol", _unenrol, "take a student out of a course"),
    ):
        enrolment = command(commands, name, _on_own_database(run), help)
        enrolment.add_argument("username")
        enrolment.add_argument("course", type=int)
    return parser


def _serve(settings: Settings, arguments: argparse.Namespace) -> int:
    from educa_chat.demo import SIGN_INS, add_demo
    from educa_chat.serve import serve
    from educa_chat.settings import verify
    from educa_chat.storage.migrate import migrate

    given = {name: getattr(arguments, name) for name in ("host", "port", "workers")}
    server = msgspec.structs.replace(settings.server, **{k: v for k, v in given.items() if v is not None})
    settings = msgspec.structs.replace(settings, server=server)
    verify(settings)
    if arguments.demo:
        _refuse_demo_in_production(settings)

    def ready() -> None:
        host = f"[{server.host}]" if ":" in server.host else server.host
        print(f"\n  educa-chat serves on http://{host}:{server.port}", flush=True)
        if arguments.demo:
            print(f"  Sign in as {SIGN_INS}.\n  Ctrl-C stops it.\n", flush=True)

    async def run() -> None:
        async with AsyncExitStack() as stack:
            if arguments.demo:
                database = await stack.enter_async_context(open_database(settings.database.url, 1))
                await migrate(database)
                with suppress(RecordExists):
                    await add_demo(database)
            await serve(settings, ready)

    asyncio.run(run())
    return 0


def _migrate(settings: Settings, arguments: argparse.Namespace) -> int:
    from educa_chat.storage.migrate import migrate, watch_enrolments

    async def run() -> None:
        async with open_database(settings.database.url, 1) as database:
            applied = await migrate(database)
            print("\n".join(f"applied {name}" for name in applied) or "the schema is up to date")
            if arguments.watch_enrolments:
                await watch_enrolments(database)
                print("the enrolments are watched")

    asyncio.run(run())
    return 0


def _check(settings: Settings, _: argparse.Namespace) -> int:
    from educa_chat.check import check

    async def run() -> bool:
        all_sound = True
        async for part, is_sound, seen in check(settings):
            print(f"{'ok  ' if is_sound else 'FAIL'} {part}: {seen}")
            all_sound = all_sound and is_sound
        return all_sound

    return 0 if asyncio.run(run()) else 1


def _on_own_database(
    work: Callable[[Database, Settings, argparse.Namespace], Any],
) -> Callable[[Settings, argparse.Namespace], int]:
    """A command that writes to the platform's tables, which it may only where no Django site owns them."""
    from educa_chat.storage.accounts import refuse_platform
    from educa_chat.storage.migrate import migrate, require_current_schema

    def run(settings: Settings, arguments: argparse.Namespace) -> int:
        async def run() -> None:
            async with open_database(settings.database.url, 1) as database:
                await refuse_platform(database)
                if settings.server.mode == "development":
                    await migrate(database)
                await require_current_schema(database)
                await work(database, settings, arguments)

        asyncio.run(run())
        return 0

    return run


async def _demo(database: Database, settings: Settings, _: argparse.Namespace) -> None:
    from educa_chat.demo import SIGN_INS, add_demo

    _refuse_demo_in_production(settings)
    await add_demo(database)
    print(f"added the demo data: {SIGN_INS}")


def _refuse_demo_in_production(settings: Settings) -> None:
    if settings.server.mode == "production":
        raise SettingsInvalid("the demo data, whose password everybody knows, is for development only")


async def _add_user(database: Database, settings: Settings, arguments: argparse.Namespace) -> None:
    from educa_chat.storage.accounts import add_user

    user_id = await add_user(
        database,
        arguments.username,
        _ask_password(settings, arguments.username),
        first_name=arguments.first_name,
        last_name=arguments.last_name,
        is_superuser=arguments.superuser,
    )
    print(f"added the user {arguments.username} with the id {user_id}")


async def _set_password(database: Database, settings: Settings, arguments: argparse.Namespace) -> None:
    from educa_chat.storage.accounts import set_password

    await set_password(database, arguments.username, _ask_password(settings, arguments.username))
    print(f"{arguments.username} has a new password")


async def _deactivate(database: Database, _: Settings, arguments: argparse.Namespace) -> None:
    from educa_chat.storage.accounts import deactivate

    await deactivate(database, arguments.username)
    print(f"{arguments.username} is locked out")


async def _add_course(database: Database, _: Settings, arguments: argparse.Namespace) -> None:
    from educa_chat.storage.courses import add_course

    course = await add_course(
        database, arguments.title, arguments.owner, subject=arguments.subject, overview=arguments.overview
    )
    print(course)


async def _enrol(database: Database, _: Settings, arguments: argparse.Namespace) -> None:
    from educa_chat.storage.courses import enrol

    await enrol(database, arguments.username, arguments.course)
    print(f"{arguments.username} is a student of the course {arguments.course}")


async def _unenrol(database: Database, _: Settings, arguments: argparse.Namespace) -> None:
    from educa_chat.storage.courses import unenrol

    await unenrol(database, arguments.username, arguments.course)
    print(f"{arguments.username} is out of the course {arguments.course}")


def _ask_password(settings: Settings, username: str) -> str:
    """Read a new password from the terminal, or the first line of the input, and hash it. Raises PasswordRefused."""
    from educa_chat.demo import PASSWORD
    from educa_chat.people.passwords import make_password

    password = _typed_password() if sys.stdin.isatty() else _first_line()
    if settings.server.mode == "production" and password == PASSWORD:
        raise PasswordRefused("this is the password of the demo data, which everybody knows")
    return make_password(password, username)


def _typed_password() -> str:
    while True:
        password = getpass.getpass("Password: ")
        if password == getpass.getpass("Again: "):
            return password
        print("These two are not the same.", file=sys.stderr)


def _first_line() -> str:
    try:
        line = sys.stdin.buffer.readline().decode()
    except UnicodeDecodeError:
        raise PasswordRefused("the password is not in UTF-8") from None
    return line.removesuffix("\n").removesuffix("\r")

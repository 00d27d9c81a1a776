"""The command line `educa-chat`."""

import argparse
import asyncio
import getpass
import logging
import os
import re
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path
from textwrap import dedent, indent
from typing import Any, NoReturn
from urllib.parse import parse_qsl, urlencode

import msgspec

from educa_chat.cli_lti import add_lti_commands
from educa_chat.errors import (
    ConfirmationMissing,
    DatabaseUnavailable,
    EducaChatError,
    PasswordRefused,
    RecordExists,
    SettingsInvalid,
)
from educa_chat.log_lines import configure_logging
from educa_chat.protocol import Role
from educa_chat.settings import Settings, load_settings
from educa_chat.storage.pool import Database, open_database
from educa_chat.translations import LANGUAGES

logger = logging.getLogger(__name__)

_COURSE_HELP = "the course's id, title or short name (slug)"
_ROLES = {"student": Role.STUDENT, "assistant": Role.ASSISTANT, "teacher": Role.INSTRUCTOR}


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors suggest the command or option that was probably meant."""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError:
            choices = list(action.choices or ())
            suggestion = _did_you_mean(value, choices)
            what = action.option_strings[-1] if action.option_strings else "command"
            self.error(f"unknown {what} {value!r}{suggestion or '. Choose from: ' + ', '.join(choices)}")

    def refuse_unknown(self, arguments: list[str]) -> NoReturn:
        """Exit with an error that names `arguments`, which this parser doesn't know."""
        suggestion = _did_you_mean(arguments[0], re.findall(r"--[\w-]+", self.format_usage()))
        self.error(f"unknown argument {' '.join(arguments)}{suggestion}")


def _did_you_mean(word: str, known: list[str]) -> str:
    """Return a question that suggests the member of `known` most like `word`; empty if none is."""
    similar = get_close_matches(word, known, 1)
    return f". Did you mean {similar[0]}?" if similar else ""


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = _build_parser()
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments:
        parser.print_help()
        return 0
    parsed, unknown = parser.parse_known_args(arguments)
    if unknown:
        parsed.parser.refuse_unknown(unknown)
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
        print(f"educa-chat: the database can't be reached: {error}. Check database.url", file=sys.stderr)
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
    """Return `url` without its password and without options that may contain one."""
    scheme, _, location = url.partition(":")
    if scheme == "embedded":
        return f"embedded:{Path(location).absolute()}"
    # Everything before the last @ may be part of a password that was not escaped.
    credentials, at, address = location.removeprefix("//").rpartition("@")
    address, _, query = address.partition("?")
    shown = [
        (name, value) for name, value in parse_qsl(query) if name in ("host", "port", "user", "dbname", "database")
    ]
    parameters = f"?{urlencode(shown, safe='/')}" if shown else ""
    return f"{scheme}://{credentials.partition(':')[0]}{at}{address}{parameters}"


def _build_parser() -> _Parser:
    # --config may come before or after the subcommand. SUPPRESS keeps the one after from resetting the one before.
    config = _Parser(add_help=False)
    config.add_argument("--config", type=Path, default=argparse.SUPPRESS, metavar="FILE", help="a settings file (TOML)")
    parser = _Parser(
        prog="educa-chat",
        description="A course chat server for learning platforms.",
        epilog=_examples("""
            educa-chat serve --demo                               try it on this machine
            educa-chat check --config production.toml             check the configuration
            educa-chat user add clara --first-name Clara          add the first teacher
            educa-chat course add "Linear algebra" --owner clara  add the first course

            Every setting can also be an environment variable: EDUCA_CHAT_SERVER_PORT=8010 sets server.port.
            `educa-chat COMMAND --help` explains a command.
        """),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"educa-chat {version('educa-chat')}")
    parser.add_argument("--config", type=Path, default=None, metavar="FILE", help="a settings file (TOML)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        within: Any, name: str, run: Callable[[Settings, argparse.Namespace], int], help: str, examples: str
    ) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = within.add_parser(
            name,
            parents=[config],
            help=help,
            description=f"{help[0].upper()}{help[1:]}.",
            epilog=_examples(examples),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(run=run, parser=added)
        return added

    serve = command(
        commands,
        "serve",
        _serve,
        "run the server",
        """
        educa-chat serve --demo
        educa-chat serve --config production.toml --host 0.0.0.0 --port 8010
        """,
    )
    serve.add_argument("--demo", action="store_true", help="add the demo data first if the database is empty")
    serve.add_argument("--host", help="the address to listen on (server.host)")
    serve.add_argument("--port", type=int, help="the port to listen on (server.port)")
    serve.add_argument(
        "--workers", type=int, help="the number of processes (server.workers); more than one need a Redis bus"
    )
    migrate = command(
        commands,
        "migrate",
        _migrate,
        "create or update the database schema",
        """
        educa-chat migrate --config production.toml
        educa-chat migrate --watch-enrolments
        """,
    )
    migrate.add_argument(
        "--watch-enrolments",
        action="store_true",
        help="add triggers to the learning platform's tables, so that leaving a course closes connections at once",
    )
    check = command(
        commands,
        "check",
        _check,
        "check the configuration, the database and the bus",
        "educa-chat check --config production.toml",
    )
    command(commands, "demo", _on_own_database(_demo), "add the demo data to an empty database", "educa-chat demo")

    def group(name: str, help: str) -> Any:
        added = commands.add_parser(name, parents=[config], help=help, description=f"{help[0].upper()}{help[1:]}.")
        return added.add_subparsers(required=True, metavar="COMMAND")

    user = group("user", "manage the users of a stand-alone chat")
    add = command(
        user,
        "add",
        _on_own_database(_add_user),
        "add a user, with a password typed in or read from the first line of standard input",
        """
        educa-chat user add clara --first-name Clara --last-name Benitez
        educa-chat user add admin --superuser
        educa-chat user add ana < password.txt
        """,
    )
    add.add_argument("--first-name", default="", help="shown in the chat, with the last name, instead of the username")
    add.add_argument("--last-name", default="")
    add.add_argument("--email", default="", help="where the user gets sign-in links, if the chat sends mails")
    add.add_argument(
        "--superuser", action="store_true", help="make the user an administrator, who also teaches every course"
    )
    password = command(
        user,
        "password",
        _on_own_database(_set_password),
        "set a user's password and end their sessions",
        "educa-chat user password ana",
    )
    deactivate = command(
        user,
        "deactivate",
        _on_own_database(_deactivate),
        "deactivate a user and end their sessions",
        "educa-chat user deactivate ana",
    )
    reactivate = command(
        user,
        "reactivate",
        _on_own_database(_reactivate),
        "let a deactivated user sign in again",
        "educa-chat user reactivate ana",
    )
    promote = command(
        user,
        "promote",
        _on_own_database(_promote),
        "make a user an administrator, who also teaches every course",
        "educa-chat user promote alba",
    )
    demote = command(
        user,
        "demote",
        _on_own_database(_demote),
        "make an administrator an ordinary user",
        "educa-chat user demote alba",
    )
    rename = command(
        user,
        "rename",
        _on_own_database(_rename_user),
        "change a user's name; their username and messages stay",
        "educa-chat user rename ana --first-name Ana --last-name Morales",
    )
    export = command(
        user,
        "export",
        _on_database(_export_user),
        "print everything that is stored about a user, as JSON",
        "educa-chat user export ana > ana.json",
    )
    export.add_argument("username")
    rename.add_argument("--first-name", required=True)
    rename.add_argument("--last-name", default="")
    link = command(
        user,
        "link",
        _on_own_database(_link_user),
        "print a link with which a user can choose a password and sign in, once within a day",
        "educa-chat user link ana",
    )
    for added in (add, password, link, deactivate, reactivate, rename, promote, demote):
        added.add_argument("username")
    list_users = command(user, "list", _on_database(_list_users), "list the users", "educa-chat user list --json")

    course = group("course", "manage the courses of a stand-alone chat")
    list_courses = command(
        course, "list", _on_database(_list_courses), "list the courses", "educa-chat course list --json"
    )
    rename_course = command(
        course,
        "rename",
        _on_own_database(_rename_course),
        "change the title of a course",
        'educa-chat course rename 1 "Linear algebra II"',
    )
    owner = command(
        course,
        "owner",
        _on_own_database(_change_owner),
        "transfer a course to another owner; the former one stays as a teacher",
        "educa-chat course owner 1 profe",
    )
    archive = command(
        course,
        "archive",
        _on_database(_archive_course),
        "make a course read-only and take it off the lists",
        "educa-chat course archive 1",
    )
    restore = command(
        course,
        "restore",
        _on_database(_restore_course),
        "make an archived course an ordinary one again",
        "educa-chat course restore 1",
    )
    remove = command(
        course,
        "remove",
        _on_own_database(_remove_course),
        "delete a course with all of its messages, after you have confirmed its title; this can't be undone",
        """
        educa-chat course remove 1
        educa-chat course remove 1 --yes
        """,
    )
    remove.add_argument("--yes", action="store_true", help="don't ask for the title")
    roster = command(commands, "roster", _on_database(_show_roster), "list a course's people", "educa-chat roster 1")
    for added in (rename_course, owner, archive, restore, remove, roster):
        added.add_argument("course", help=_COURSE_HELP)
    rename_course.add_argument("title")
    owner.add_argument("username")
    for added in (list_users, list_courses, roster, check):
        added.add_argument("--json", action="store_true", help="print JSON instead of text")
    lti = group("lti", "connect a stand-alone chat to learning platforms with LTI 1.3")
    add_lti_commands(
        lambda name, work, summary, examples: command(lti, name, _on_own_database(work), summary, examples), _print_list
    )
    add_course = command(
        course,
        "add",
        _on_own_database(_add_course),
        "add a course and print its id",
        'educa-chat course add "Linear algebra" --owner clara --subject Mathematics',
    )
    add_course.add_argument("title")
    add_course.add_argument("--owner", required=True, metavar="USERNAME", help="the teacher of the course")
    add_course.add_argument("--subject", default="General")
    add_course.add_argument("--overview", default="", help="a short description of the course")
    import_people = command(
        commands,
        "import",
        _on_own_database(_import_people),
        "add, change and enrol the people of a CSV file",
        """
        educa-chat import people.csv --dry-run
        educa-chat import people.csv --links links.csv
        educa-chat import class.csv --course 1 --sync
        """,
    )
    import_people.add_argument("file", type=Path, help="with columns such as username, email, first name, role, course")
    import_people.add_argument("--course", help=f"for rows without a course: {_COURSE_HELP}")
    import_people.add_argument("--dry-run", action="store_true", help="only print what would happen")
    import_people.add_argument(
        "--sync",
        action="store_true",
        help="also remove students who aren't in the file from the courses that it names",
    )
    import_people.add_argument(
        "--links",
        type=Path,
        metavar="FILE",
        help="write sign-in links to a new CSV file for those without a password, with --mail only for those without an"
        " e-mail address",
    )
    import_people.add_argument(
        "--mail",
        metavar="LANGUAGE",
        choices=LANGUAGES,
        help="send the sign-in links by e-mail, in English (en) or Spanish (es)",
    )
    enrol = command(
        commands,
        "enrol",
        _on_database(_enrol),
        "give a user a role in a course; beside a Django site, only assistants and teachers",
        """
        educa-chat enrol ana 1
        educa-chat enrol luis 1 --role assistant
        """,
    )
    unenrol = command(
        commands, "unenrol", _on_database(_unenrol), "remove a user from a course", "educa-chat unenrol ana 1"
    )
    for added in (enrol, unenrol):
        added.add_argument("username")
        added.add_argument("course", help=_COURSE_HELP)
    enrol.add_argument("--role", choices=_ROLES, default="student", help="a student by default")
    return parser


def _examples(text: str) -> str:
    """Return the section of a help text that shows `text`, which may be indented."""
    return f"examples:\n{indent(dedent(text).strip(), '  ')}"


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
        print(f"\n  educa-chat is running at http://{host}:{server.port}", flush=True)
        if arguments.demo:
            print(f"  Sign in as {SIGN_INS}.\n  Press Ctrl-C to stop.\n", flush=True)

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
                print("triggers now report enrolment changes at once")

    asyncio.run(run())
    return 0


def _check(settings: Settings, arguments: argparse.Namespace) -> int:
    from educa_chat.check import check

    async def run() -> int:
        outcomes: list[dict[str, object]] = []
        async for part, is_ok, details in check(settings):
            outcomes.append({"part": part, "ok": is_ok, "details": details})
            if not arguments.json:
                print(f"{'ok  ' if is_ok else 'FAIL'} {part}: {details}")
        if arguments.json:
            _print_list(outcomes, as_json=True)
        return 0 if all(outcome["ok"] for outcome in outcomes) else 1

    return asyncio.run(run())


def _on_own_database(
    work: Callable[[Database, Settings, argparse.Namespace], Any],
) -> Callable[[Settings, argparse.Namespace], int]:
    """Return a command that runs `work` on the users and courses, unless a Django site owns these tables."""
    from educa_chat.storage.accounts import refuse_platform

    async def run(database: Database, settings: Settings, arguments: argparse.Namespace) -> None:
        await refuse_platform(database)
        await work(database, settings, arguments)

    return _on_database(run)


def _on_database(
    work: Callable[[Database, Settings, argparse.Namespace], Any],
) -> Callable[[Settings, argparse.Namespace], int]:
    """Return a command that runs `work` on a database whose schema is up to date."""
    from educa_chat.storage.migrate import migrate, require_current_schema

    def run(settings: Settings, arguments: argparse.Namespace) -> int:
        async def run() -> None:
            async with open_database(settings.database.url, 1) as database:
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
        raise SettingsInvalid("the demo data is for development only: its password is public")


async def _add_user(database: Database, settings: Settings, arguments: argparse.Namespace) -> None:
    from educa_chat.storage.accounts import add_user
    from educa_chat.storage.names import require_username

    require_username(arguments.username)
    user_id = await add_user(
        database,
        arguments.username,
        _ask_password(settings, arguments.username, *arguments.first_name.split(), *arguments.last_name.split()),
        first_name=arguments.first_name,
        last_name=arguments.last_name,
        email=arguments.email,
        is_superuser=arguments.superuser,
    )
    print(f"added user {arguments.username} with id {user_id}")


async def _set_password(database: Database, settings: Settings, arguments: argparse.Namespace) -> None:
    from educa_chat.storage.accounts import set_password

    await set_password(database, arguments.username, _ask_password(settings, arguments.username))
    print(f"changed the password of {arguments.username}")


async def _link_user(database: Database, settings: Settings, arguments: argparse.Namespace) -> None:
    from educa_chat.storage.sign_in_links import link_url, make_link

    site_url = settings.server.site_url
    print(link_url(site_url, await make_link(database, arguments.username)))


async def _export_user(database: Database, _: Settings, arguments: argparse.Namespace) -> None:
    from educa_chat.storage.user_export import export_user

    print(msgspec.json.format(msgspec.json.encode(await export_user(database, arguments.username))).decode())


async def _deactivate(database: Database, _: Settings, arguments: argparse.Namespace) -> None:
    from educa_chat.storage.accounts import deactivate

    await deactivate(database, arguments.username)
    print(f"deactivated {arguments.username}")


async def _reactivate(database: Database, _: Settings, arguments: argparse.Namespace) -> None:
    from educa_chat.storage.accounts import reactivate

    await reactivate(database, arguments.username)
    print(f"reactivated {arguments.username}")


async def _promote(database: Database, _: Settings, arguments: argparse.Namespace) -> None:
    from educa_chat.storage.accounts import promote

    await promote(database, arguments.username)
    print(f"{arguments.username} is an administrator now")


async def _demote(database: Database, _: Settings, arguments: argparse.Namespace) -> None:
    from educa_chat.storage.accounts import demote

    await demote(database, arguments.username)
    print(f"{arguments.username} is no longer an administrator")


async def _rename_user(database: Database, _: Settings, arguments: argparse.Namespace) -> None:
    from educa_chat.storage.accounts import rename

    await rename(database, arguments.username, arguments.first_name, arguments.last_name)
    print(f"renamed {arguments.username}")


async def _list_users(database: Database, _: Settings, arguments: argparse.Namespace) -> None:
    from educa_chat.storage.administration import list_users

    _print_list([user._asdict() for user in await list_users(database)], as_json=arguments.json)


async def _list_courses(database: Database, _: Settings, arguments: argparse.Namespace) -> None:
    from educa_chat.storage.administration import list_courses

    _print_list([course._asdict() for course in await list_courses(database)], as_json=arguments.json)


async def _show_roster(database: Database, _: Settings, arguments: argparse.Namespace) -> None:
    from educa_chat.storage.administration import find_course, read_roster

    course = await find_course(database, arguments.course)
    _print_list([member._asdict() for member in await read_roster(database, course)], as_json=arguments.json)


def _print_list(rows: list[dict[str, object]], *, as_json: bool) -> None:
    """Print `rows`, which all have the same keys, as JSON or as columns with tabs between them."""
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(rows)).decode())
        return
    for row in rows:
        print("\t".join(" ".join(value) if isinstance(value, list) else str(value) for value in row.values()))


async def _rename_course(database: Database, _: Settings, arguments: argparse.Namespace) -> None:
    from educa_chat.storage.administration import find_course, rename_course

    await rename_course(database, await find_course(database, arguments.course), arguments.title)
    print(f"renamed course {arguments.course} to {arguments.title}")


async def _change_owner(database: Database, _: Settings, arguments: argparse.Namespace) -> None:
    from educa_chat.storage.administration import change_owner, find_course

    await change_owner(database, await find_course(database, arguments.course), arguments.username)
    print(f"{arguments.username} owns course {arguments.course}")


async def _archive_course(database: Database, _: Settings, arguments: argparse.Namespace) -> None:
    from educa_chat.storage.administration import archive_course, find_course

    await archive_course(database, await find_course(database, arguments.course))
    print(f"archived course {arguments.course}")


async def _restore_course(database: Database, _: Settings, arguments: argparse.Namespace) -> None:
    from educa_chat.storage.administration import find_course, restore_course

    await restore_course(database, await find_course(database, arguments.course))
    print(f"restored course {arguments.course}")


async def _remove_course(database: Database, _: Settings, arguments: argparse.Namespace) -> None:
    from educa_chat.storage.administration import find_course, remove_course
    from educa_chat.storage.courses import course_page

    course = await find_course(database, arguments.course)
    page = await course_page(database, course)
    if page is not None and not arguments.yes:
        _confirm_removal(page.title)
    await remove_course(database, course)
    print(f"removed course {arguments.course}")


def _confirm_removal(title: str) -> None:
    """Ask for the title of the course on the terminal. Raises ConfirmationMissing."""
    from educa_chat.storage.names import is_same_title

    if not sys.stdin.isatty():
        raise ConfirmationMissing("removing a course can't be undone: confirm it with --yes")
    print(f"This deletes the course {title!r} with all of its messages, and can't be undone.", file=sys.stderr)
    if not is_same_title(input("Type its title to confirm: "), title):
        raise ConfirmationMissing("this is not the title of the course, so nothing was deleted")


async def _add_course(database: Database, _: Settings, arguments: argparse.Namespace) -> None:
    from educa_chat.storage.courses import add_course

    course = await add_course(
        database, arguments.title, arguments.owner, subject=arguments.subject, overview=arguments.overview
    )
    print(course)


async def _import_people(database: Database, settings: Settings, arguments: argparse.Namespace) -> None:
    from educa_chat.handlers.import_texts import describe_outcome, summarise
    from educa_chat.roster_file import FILE_BYTES, read_roster_file
    from educa_chat.storage.administration import find_course
    from educa_chat.storage.roster_import import Terms, import_roster
    from educa_chat.storage.sign_in_links import links_csv

    with arguments.file.open("rb") as file:
        roster = read_roster_file(file.read(FILE_BYTES + 1))
    terms = Terms(
        course=await find_course(database, arguments.course) if arguments.course else None,
        removes_missing=arguments.sync,
    )
    writes_links = arguments.links is not None and not arguments.dry_run
    mails_links = arguments.mail is not None and not arguments.dry_run
    if mails_links and not settings.email.is_set_up:
        raise SettingsInvalid("email.host: missing. It is needed to send mails")
    if writes_links:
        # Before anything is changed: is there an address for the links, and can the file be made?
        _ = settings.server.site_url
        _create_private_file(arguments.links)
    try:
        result = await import_roster(
            database,
            roster.rows,
            terms,
            dry_run=arguments.dry_run,
            with_links=writes_links,
            mail_language=arguments.mail if mails_links else "",
        )
    except BaseException:
        if writes_links:
            arguments.links.unlink()
        raise
    if writes_links:
        arguments.links.write_bytes(links_csv(settings.server.site_url, result.links))
    if roster.ignored:
        print(f"ignored columns: {_printable(', '.join(roster.ignored))}")
    for outcome in result.outcomes:
        line = f"line {outcome.line}" if outcome.line else "not in the file"
        refused = "refused: " if outcome.refusal else ""
        print(_printable(f"{line}: {outcome.username}: {refused}{describe_outcome(outcome, str)}"))
    print(f"{'would be ' if arguments.dry_run else ''}{summarise(result, str)}")
    if result.keeps_missing:
        print("nobody is removed as long as rows are refused")
    if writes_links:
        print(f"wrote {len(result.links)} sign-in links to {arguments.links}; they are valid for a day")
    if mails_links:
        print(f"queued {result.mailed} sign-in links, which the running server sends by e-mail")
        if result.unmailed:
            print(f"{result.unmailed} people have no e-mail address")


def _create_private_file(path: Path) -> None:
    """Create `path` for its owner only. Raises FileExistsError."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def _printable(text: str) -> str:
    """Return `text` with escapes for characters that could change what a terminal shows."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


async def _enrol(database: Database, _: Settings, arguments: argparse.Namespace) -> None:
    from educa_chat.storage.administration import find_course
    from educa_chat.storage.courses import enrol

    course = await find_course(database, arguments.course)
    await enrol(database, arguments.username, course, _ROLES[arguments.role])
    print(f"enrolled {arguments.username} in course {arguments.course} as {arguments.role}")


async def _unenrol(database: Database, _: Settings, arguments: argparse.Namespace) -> None:
    from educa_chat.storage.administration import find_course
    from educa_chat.storage.courses import unenrol

    await unenrol(database, arguments.username, await find_course(database, arguments.course))
    print(f"removed {arguments.username} from course {arguments.course}")


def _ask_password(settings: Settings, *words: str) -> str:
    """Read a new password from the terminal or the first line of standard input. Return its hash.

    `words` are the username and the words of the name. Raises PasswordRefused.
    """
    from educa_chat.demo import PASSWORD
    from educa_chat.people.passwords import make_password

    password = _typed_password() if sys.stdin.isatty() else _first_line()
    if settings.server.mode == "production" and password == PASSWORD:
        raise PasswordRefused("this is the public password of the demo data; choose another one")
    return make_password(password, *words)


def _typed_password() -> str:
    while True:
        password = getpass.getpass("Password: ")
        if password == getpass.getpass("Repeat the password: "):
            return password
        print("The passwords don't match. Try again.", file=sys.stderr)


def _first_line() -> str:
    try:
        line = sys.stdin.buffer.readline().decode()
    except UnicodeDecodeError:
        raise PasswordRefused("the password is not valid UTF-8") from None
    return line.removesuffix("\n").removesuffix("\r")

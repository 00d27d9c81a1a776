"""The commands `educa-chat lti …`: the learning platforms that may launch the chat."""

import argparse
from collections.abc import Callable
from typing import Any

from educa_chat.errors import SettingsInvalid
from educa_chat.settings import Settings
from educa_chat.storage.pool import Database

Work = Callable[[Database, Settings, argparse.Namespace], Any]


def add_lti_commands(
    command: Callable[[str, Work, str, str], argparse.ArgumentParser], print_list: Callable[..., None]
) -> None:
    """Add the commands with `command(name, work, help, examples)`. `print_list(rows, as_json=…)` prints a list."""

    async def list_platforms(database: Database, _: Settings, arguments: argparse.Namespace) -> None:
        print_list(await _platforms(database), as_json=arguments.json)

    command(
        "invite",
        _invite,
        "print an address at which a platform can register itself once, within a day",
        "educa-chat lti invite",
    )
    add = command(
        "add",
        _add,
        "add a platform that can't register itself, with the values that it shows",
        "educa-chat lti add --issuer https://lms.example --client-id abc --deployment 1"
        " --authorization-url https://lms.example/auth --token-url https://lms.example/token"
        " --jwks-url https://lms.example/keys",
    )
    add.add_argument("--issuer", required=True, metavar="URL", help="the platform's id (iss)")
    add.add_argument("--client-id", required=True, metavar="ID", help="the id that the platform has given to the chat")
    add.add_argument("--authorization-url", required=True, metavar="URL", help="where users sign in (OIDC login)")
    add.add_argument("--token-url", required=True, metavar="URL", help="where the chat gets tokens for rosters")
    add.add_argument("--jwks-url", required=True, metavar="URL", help="where the platform's keys are")
    add.add_argument("--name", default="", help="shown in the chat; the host of the issuer by default")
    activate = command(
        "activate",
        _activate,
        "allow launches by a platform that has registered itself, or add deployments to one",
        """
        educa-chat lti activate 1
        educa-chat lti activate 1 --deployment 2
        """,
    )
    for added in (add, activate):
        added.add_argument(
            "--deployment", action="append", default=[], metavar="ID", help="a deployment of the tool; may be repeated"
        )
        added.add_argument(
            "--origin",
            action="append",
            default=[],
            metavar="URL",
            help="another site of the platform, which embeds the chat or has the rosters; may be repeated",
        )
    deactivate = command(
        "deactivate",
        _deactivate,
        "refuse launches by a platform and sign its users out, until it is activated again",
        "educa-chat lti deactivate 1",
    )
    listing = command("list", list_platforms, "list the platforms", "educa-chat lti list --json")
    listing.add_argument("--json", action="store_true", help="print JSON instead of text")
    remove = command(
        "remove",
        _remove,
        "remove a platform and sign its users out; courses and messages stay",
        "educa-chat lti remove 1",
    )
    for added in (activate, deactivate, remove):
        added.add_argument("platform", type=int, help="the number that `educa-chat lti list` shows")
    command(
        "rotate-keys",
        _rotate_keys,
        "sign with the next key of /lti/jwks from now on, and publish a new one",
        "educa-chat lti rotate-keys",
    )


async def _invite(database: Database, settings: Settings, _: argparse.Namespace) -> None:
    from educa_chat.storage.lti_platforms import INVITATION_HOURS, add_invitation, invitation_url

    site_url = settings.server.site_url
    print(invitation_url(site_url, await add_invitation(database)))
    print(f"Enter this address in the learning platform. It works once, for {INVITATION_HOURS} hours.")


async def _add(database: Database, settings: Settings, arguments: argparse.Namespace) -> None:
    from educa_chat.storage.lti_platforms import Registration, add_platform

    registration = Registration(
        arguments.name,
        arguments.issuer,
        arguments.client_id,
        arguments.authorization_url,
        arguments.token_url,
        arguments.jwks_url,
        arguments.origin,
    )
    _require_urls(settings, *registration.urls)
    platform = await add_platform(database, registration, arguments.deployment, is_active=True)
    print(f"added platform {platform}")
    site_url = settings.server.site_url
    print(f"Enter these addresses in it: login {site_url}/lti/login, redirect and target {site_url}/lti/launch,")
    print(f"keys {site_url}/lti/jwks")


async def _activate(database: Database, settings: Settings, arguments: argparse.Namespace) -> None:
    from educa_chat.storage.lti_platforms import activate_platform, extend_platform, find_platform

    _require_urls(settings, *arguments.origin)
    await extend_platform(database, arguments.platform, deployments=arguments.deployment, origins=arguments.origin)
    await activate_platform(database, arguments.platform)
    platform = await find_platform(database, arguments.platform)
    print(f"platform {platform.id} ({platform.issuer}) is active")
    if not platform.deployments:
        print(f"It has no deployment yet. Add it: educa-chat lti activate {platform.id} --deployment ID")


async def _deactivate(database: Database, _: Settings, arguments: argparse.Namespace) -> None:
    from educa_chat.storage.lti_platforms import deactivate_platform

    await deactivate_platform(database, arguments.platform)
    print(f"platform {arguments.platform} is not active, and its users are signed out")


async def _platforms(database: Database) -> list[dict[str, object]]:
    from educa_chat.storage.lti_platforms import list_platforms

    return [
        {
            "id": platform.id,
            "name": platform.name,
            "issuer": platform.issuer,
            "client_id": platform.client_id,
            "deployments": list(platform.deployments),
            "origins": list(platform.origins),
            "is_active": platform.is_active,
        }
        for platform in await list_platforms(database)
    ]


async def _remove(database: Database, _: Settings, arguments: argparse.Namespace) -> None:
    from educa_chat.storage.lti_platforms import remove_platform

    await remove_platform(database, arguments.platform)
    print(f"removed platform {arguments.platform}")


async def _rotate_keys(database: Database, settings: Settings, _: argparse.Namespace) -> None:
    from educa_chat.people.own_keys import OwnKeys

    if not settings.session.key:
        raise SettingsInvalid("session.key: missing. It encrypts the keys")
    await OwnKeys(database, settings.session.derived_keys("signing-key")).rotate()
    print("the next key signs from now on; the former one is valid for another day")


def _require_urls(settings: Settings, *urls: str) -> None:
    """Raise OutboundFailed unless the server could connect to all `urls`."""
    from educa_chat.people.outbound import Outbound

    Outbound(settings.outbound.private_networks).require_urls(urls)

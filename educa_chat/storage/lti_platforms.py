"""The learning platforms that may launch the chat, their deployments, and invitations to register."""

import hashlib
import secrets
from collections.abc import Collection, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

import asyncpg

from educa_chat.errors import RecordExists, RecordMissing
from educa_chat.storage.access_changes import notify
from educa_chat.storage.accounts import make_unusable_password
from educa_chat.storage.external_people import tidy_name
from educa_chat.storage.pool import Database

INVITATION_HOURS = 24


class Registration(NamedTuple):
    """The data that a platform and the chat have about each other."""

    name: str
    issuer: str
    client_id: str
    authorization_url: str
    token_url: str
    jwks_url: str
    origins: Sequence[str] = ()
    """Further sites of the platform, besides those of its addresses."""


class Platform(NamedTuple):
    """A platform. An active one may launch the chat from its deployments."""

    id: int
    name: str
    issuer: str
    client_id: str
    authorization_url: str
    token_url: str
    jwks_url: str
    origins: Sequence[str]
    is_active: bool
    owner_id: int
    deployments: Sequence[str]

    @property
    def people_issuer(self) -> str:
        """The issuer of its people. A platform that is removed and added again has the same people."""
        return f"lti {self.issuer} {self.client_id}"

    @property
    def hosts(self) -> set[str]:
        """The hosts that we request keys, tokens and rosters from."""
        urls = (*self.origins, self.token_url, self.jwks_url)
        return {urlsplit(url).hostname or "" for url in urls}


_PLATFORMS = (
    "select id, name, issuer, client_id, authorization_url, token_url, jwks_url, origins, is_active, owner_id,"
    " array(select deployment from educa_chat.lti_deployment where platform = p.id order by deployment)"
    " from educa_chat.lti_platform p"
)


def origin_of(url: str) -> str:
    """Return the scheme, the host and the port of `url`."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


async def list_platforms(database: Database) -> list[Platform]:
    """Return all platforms, the oldest first."""
    return [Platform(*row) for row in await database.fetch(f"{_PLATFORMS} order by id")]


async def find_platforms(database: Database, issuer: str, client_id: str | None = None) -> list[Platform]:
    """Return the platforms of `issuer`, which may have several: one per client. Only those of `client_id`, if given."""
    rows = await database.fetch(
        f"{_PLATFORMS} where issuer = $1 and ($2::text is null or client_id = $2) order by id", issuer, client_id
    )
    return [Platform(*row) for row in rows]


async def find_platform(database: Database, platform: int) -> Platform:
    """Return a platform. Raises RecordMissing."""
    row = await database.fetchrow(f"{_PLATFORMS} where id = $1", platform)
    if row is None:
        raise RecordMissing(f"there is no platform {platform}")
    return Platform(*row)


async def embedding_origins(database: Database) -> list[str]:
    """Return the origins of all active platforms, which may embed our pages."""
    rows = await database.fetch(
        "select distinct unnest(origins) as origin from educa_chat.lti_platform where is_active order by origin"
    )
    return [row["origin"] for row in rows]


async def add_platform(
    database: Database,
    registration: Registration,
    deployments: Collection[str],
    *,
    is_active: bool,
    invitation: str | None = None,
) -> int:
    """Add a platform and return its id. Uses up `invitation`, if given.

    Raises RecordExists if the issuer has a platform with this client already, and RecordMissing if the invitation was
    used in the meantime.
    """
    name = tidy_name(registration.name) or urlsplit(registration.issuer).netloc
    origins = {origin_of(url) for url in (registration.issuer, registration.authorization_url)}
    try:
        async with database.connection() as connection, connection.transaction():
            if invitation is not None and not await connection.fetchval(
                "delete from educa_chat.lti_invitation where digest = sha256($1) and expires_at > now() returning true",
                invitation.encode(),
            ):
                raise RecordMissing("the invitation has been used")
            owner_id = await connection.fetchval(
                "insert into auth_user (username, password, first_name, last_name, email,"
                " is_superuser, is_staff, is_active, date_joined)"
                " values ($1, $2, $3, '', '', false, false, false, now()) returning id",
                f"platform-{secrets.token_hex(4)}",
                make_unusable_password(),
                name,
            )
            platform: int = await connection.fetchval(
                "insert into educa_chat.lti_platform (name, issuer, client_id, authorization_url, token_url, jwks_url,"
                " origins, is_active, owner_id) values ($1, $2, $3, $4, $5, $6, $7, $8, $9) returning id",
                name,
                registration.issuer,
                registration.client_id,
                registration.authorization_url,
                registration.token_url,
                registration.jwks_url,
                sorted(origins | set(map(origin_of, registration.origins))),
                is_active,
                owner_id,
            )
            await connection.executemany(
                "insert into educa_chat.lti_deployment values ($1, $2)", [(platform, one) for one in set(deployments)]
            )
    except asyncpg.UniqueViolationError:
        raise RecordExists(
            f"{registration.issuer} has a platform with the client id {registration.client_id} already"
        ) from None
    return platform


async def activate_platform(
    database: Database, platform: int, *, deployments: Collection[str] = (), origins: Collection[str] = ()
) -> None:
    """Allow launches by a platform, and add deployments and origins to it. Raises RecordMissing."""
    if not await database.fetchval(
        "update educa_chat.lti_platform set is_active = true,"
        " origins = array(select distinct unnest(origins || $2::text[]) order by 1) where id = $1 returning true",
        platform,
        [origin_of(origin) for origin in origins],
    ):
        raise RecordMissing(f"there is no platform {platform}")
    await database.execute(
        "insert into educa_chat.lti_deployment select $1, unnest($2::text[]) on conflict do nothing",
        platform,
        list(deployments),
    )


async def remove_platform(database: Database, platform: int) -> None:
    """Remove a platform and sign its people out. Its courses and accounts stay. Raises RecordMissing."""
    removed = await find_platform(database, platform)
    await database.execute("delete from educa_chat.lti_platform where id = $1", platform)
    await database.execute(
        "delete from educa_chat.session s using educa_chat.external_person p"
        " where p.user_id = s.user_id and p.issuer = $1",
        removed.people_issuer,
    )
    await notify(database, "everybody", "")


async def add_invitation(database: Database) -> str:
    """Return a secret with which a platform can register once, within INVITATION_HOURS."""
    secret = secrets.token_urlsafe(32)
    await database.execute("delete from educa_chat.lti_invitation where expires_at < now()")
    await database.execute(
        "insert into educa_chat.lti_invitation values (sha256($1), now() + make_interval(hours => $2))",
        secret.encode(),
        INVITATION_HOURS,
    )
    return secret


async def is_invited(database: Database, invitation: str) -> bool:
    """Return whether `invitation` is valid."""
    digest = hashlib.sha256(invitation.encode(errors="surrogatepass")).digest()
    return bool(
        await database.fetchval(
            "select true from educa_chat.lti_invitation where digest = $1 and expires_at > now()", digest
        )
    )

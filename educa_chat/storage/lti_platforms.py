"""The learning platforms that may launch the chat, their deployments, and invitations to register."""

import hashlib
import secrets
from collections.abc import Collection, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

import asyncpg

from educa_chat.errors import NameRefused, RecordExists, RecordMissing
from educa_chat.storage.access_changes import notify
from educa_chat.storage.accounts import make_unusable_password
from educa_chat.storage.admin_log import record
from educa_chat.storage.external_people import tidy_name
from educa_chat.storage.names import require_name
from educa_chat.storage.pool import Connection, Database

INVITATION_HOURS = 24
IDENTIFIER_CHARACTERS = 255
"""The longest id of a client or a deployment."""


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

    @property
    def urls(self) -> tuple[str, ...]:
        """All addresses, which the caller has to check before they are stored."""
        return self.issuer, self.authorization_url, self.token_url, self.jwks_url, *self.origins


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
    by: int | None = None,
) -> int:
    """Add a platform and return its id. It registers itself with `invitation`, which is used up, or is added by `by`.

    Raises RecordExists if the issuer has a platform with this client already, RecordMissing if the invitation was
    used in the meantime, and NameRefused for an id of the client or a deployment that can't be one.
    """
    for identifier in (registration.client_id, *deployments):
        _require_identifier(identifier)
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
            if invitation is None:
                await record(connection, by, "platform.added", platform=name)
    except asyncpg.UniqueViolationError:
        raise RecordExists(
            f"{registration.issuer} already has a platform with the client id {registration.client_id}"
        ) from None
    return platform


async def extend_platform(
    database: Database,
    platform: int,
    *,
    deployments: Collection[str] = (),
    origins: Collection[str] = (),
    by: int | None = None,
) -> None:
    """Add deployments and sites to a platform. Raises RecordMissing, and NameRefused like `add_platform`."""
    for deployment in deployments:
        _require_identifier(deployment)
    async with database.connection() as connection, connection.transaction():
        known = await _lock_platform(connection, platform)
        new_deployments = sorted(set(deployments) - set(known.deployments))
        new_origins = sorted(set(map(origin_of, origins)) - set(known.origins))
        await connection.execute(
            "insert into educa_chat.lti_deployment select $1, unnest($2::text[])", platform, new_deployments
        )
        await connection.execute(
            "update educa_chat.lti_platform set origins = origins || $2::text[] where id = $1", platform, new_origins
        )
        for added in (*new_deployments, *new_origins):
            await record(connection, by, "platform.extended", platform=known.name, added=added)


async def activate_platform(database: Database, platform: int, *, by: int | None = None) -> None:
    """Allow launches by a platform. Raises RecordMissing."""
    async with database.connection() as connection, connection.transaction():
        known = await _lock_platform(connection, platform)
        if not known.is_active:
            await connection.execute("update educa_chat.lti_platform set is_active = true where id = $1", platform)
            await record(connection, by, "platform.activated", platform=known.name)


async def deactivate_platform(database: Database, platform: int, *, by: int | None = None) -> None:
    """Refuse launches by a platform, and sign its people out. Raises RecordMissing."""
    async with database.connection() as connection, connection.transaction():
        known = await _lock_platform(connection, platform)
        if known.is_active:
            await connection.execute("update educa_chat.lti_platform set is_active = false where id = $1", platform)
            await _sign_people_out(connection, known)
            await record(connection, by, "platform.deactivated", platform=known.name)


async def remove_platform(database: Database, platform: int, *, by: int | None = None) -> None:
    """Remove a platform and sign its people out. Its courses and accounts stay. Raises RecordMissing."""
    async with database.connection() as connection, connection.transaction():
        known = await _lock_platform(connection, platform)
        await connection.execute("delete from educa_chat.lti_platform where id = $1", platform)
        await _sign_people_out(connection, known)
        await record(connection, by, "platform.removed", platform=known.name)


async def _lock_platform(connection: Connection, platform: int) -> Platform:
    """Return a platform, which nobody else changes until the transaction ends. Raises RecordMissing."""
    row = await connection.fetchrow(f"{_PLATFORMS} where id = $1 for update", platform)
    if row is None:
        raise RecordMissing(f"there is no platform {platform}")
    return Platform(*row)


async def _sign_people_out(connection: Connection, platform: Platform) -> None:
    await connection.execute(
        "delete from educa_chat.session s using educa_chat.external_person p"
        " where p.user_id = s.user_id and p.issuer = $1",
        platform.people_issuer,
    )
    await notify(connection, "everybody", "")


def _require_identifier(identifier: str) -> None:
    """Raise NameRefused unless `identifier` can be the id of a client or a deployment."""
    if not identifier.strip():
        raise NameRefused("the id of a client or a deployment must not be empty")
    require_name(identifier, IDENTIFIER_CHARACTERS)


async def add_invitation(database: Database, *, by: int | None = None) -> str:
    """Return a secret with which a platform can register once, within INVITATION_HOURS."""
    secret = secrets.token_urlsafe(32)
    async with database.connection() as connection, connection.transaction():
        await connection.execute("delete from educa_chat.lti_invitation where expires_at < now()")
        await connection.execute(
            "insert into educa_chat.lti_invitation values (sha256($1), now() + make_interval(hours => $2))",
            secret.encode(),
            INVITATION_HOURS,
        )
        await record(connection, by, "platform.invited")
    return secret


def invitation_url(site_url: str, invitation: str) -> str:
    """Return the address at which a platform registers itself with `invitation`."""
    return f"{site_url}/lti/register?invitation={invitation}"


async def is_invited(database: Database, invitation: str) -> bool:
    """Return whether `invitation` is valid."""
    digest = hashlib.sha256(invitation.encode(errors="surrogatepass")).digest()
    return bool(
        await database.fetchval(
            "select true from educa_chat.lti_invitation where digest = $1 and expires_at > now()", digest
        )
    )

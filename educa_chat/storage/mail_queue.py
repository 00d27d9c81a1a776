"""The e-mails with sign-in links that are waiting to be sent: one for each address at most, for LIFE_HOURS.

They survive a restart, and each is sent by one process. The link of an e-mail is made when the e-mail is sent, and is
never stored.
"""

import logging
from collections.abc import Collection
from enum import StrEnum
from typing import NamedTuple

from educa_chat.storage.accounts import DISPLAY_NAME
from educa_chat.storage.pool import Database, Queries
from educa_chat.storage.sign_in_links import make_links

logger = logging.getLogger(__name__)

LIFE_HOURS = 24
FIRST_PAUSE_S = 120
"""How long after the first attempt an e-mail is sent again. Each further pause is twice as long, up to LAST_PAUSE_S."""
LAST_PAUSE_S = 3600
MAX_REQUESTED = 20_000
"""While this many e-mails are waiting, further requests are ignored, because anyone can make them."""


class MailKind(StrEnum):
    """The reason for an e-mail with a sign-in link."""

    INVITATION = "invitation"
    """They are new, and choose their first password."""
    RESET = "reset"
    """They have asked for it."""


class DueMail(NamedTuple):
    """An e-mail that has to be sent now."""

    queued_address: str
    """The key of the e-mail in the queue."""
    address: str
    """As the user's account has it."""
    kind: MailKind
    user_id: int
    username: str
    name: str
    language: str


async def queue_invitations(database: Queries, addresses: Collection[str], language: str) -> None:
    """Queue an e-mail to each of `addresses`, if its user has no password yet."""
    await database.execute(
        "insert into educa_chat.mail (address, kind, language, expires_at)"
        " select distinct lower(a), $2, $3, now() + make_interval(hours => $4) from unnest($1::text[]) a"
        " on conflict (address) do update set expires_at = excluded.expires_at",
        list(addresses),
        MailKind.INVITATION,
        language,
        LIFE_HOURS,
    )


async def request_mail(database: Database, address: str, language: str) -> None:
    """Queue an e-mail to `address` if a user has it. Does the same work if nobody does."""
    await database.execute(
        "insert into educa_chat.mail (address, kind, language, expires_at)"
        " select lower($1), $2, $3, now() + make_interval(hours => $4)"
        " where (select count(*) from educa_chat.mail) < $5"
        " on conflict (address) do update set kind = excluded.kind, language = excluded.language, attempts = 0,"
        "  due_at = excluded.due_at, expires_at = excluded.expires_at",
        address,
        MailKind.RESET,
        language,
        LIFE_HOURS,
        MAX_REQUESTED,
    )


async def count_waiting(database: Database) -> int:
    """Return the number of waiting e-mails."""
    count: int = await database.fetchval("select count(*) from educa_chat.mail")
    return count


async def claim_mails(database: Database, count: int) -> list[DueMail]:
    """Return at most `count` e-mails that no other process is sending, requested ones first.

    Each is due again after a pause, in case this attempt fails or the process ends. Call `remove_mail` when it is done.
    E-mails that can't be delivered to anyone are removed here, and so are those that have waited for LIFE_HOURS.
    """
    async with database.connection() as connection, connection.transaction():
        # Skips what an import has locked: nothing here waits for another transaction.
        expired = await connection.fetch(
            "delete from educa_chat.mail where address in ("
            " select address from educa_chat.mail where expires_at <= now() for update skip locked) returning address"
        )
        claimed = await connection.fetch(
            "update educa_chat.mail m set attempts = m.attempts + 1,"
            " due_at = now() + make_interval(secs => least($3, $2 * power(2, least(m.attempts, 20))))"
            " from (select address from educa_chat.mail where due_at <= now()"
            "  order by kind <> 'reset', due_at limit $1 for update skip locked) due"
            " where m.address = due.address returning m.address",
            count,
            FIRST_PAUSE_S,
            LAST_PAUSE_S,
        )
        addresses = [row["address"] for row in claimed]
        rows = claimed and await connection.fetch(
            f"select m.address, u.email, m.kind, u.id, u.username, {DISPLAY_NAME},"
            " coalesce(nullif(p.language, ''), m.language)"
            " from educa_chat.mail m join auth_user u on lower(u.email) = m.address and u.is_active"
            " left join educa_chat.profile p on p.user_id = u.id"
            " where m.address = any ($1::text[])"
            " and (m.kind <> 'invitation' or starts_with(u.password, '!'))"
            " and not exists (select from educa_chat.external_person e where e.user_id = u.id)",
            addresses,
        )
        mails = [DueMail(queued, address, MailKind(kind), *rest) for queued, address, kind, *rest in rows]
        await connection.execute(
            "delete from educa_chat.mail where address = any ($1::text[])",
            list(set(addresses) - {mail.queued_address for mail in mails}),
        )
    if expired:
        logger.error("%d mails could not be sent within %d hours", len(expired), LIFE_HOURS)
    return mails


async def make_mailed_link(database: Database, mail: DueMail) -> str | None:
    """Make a new link for the user of `mail` and return its token, or None if they have been deactivated."""
    async with database.connection() as connection, connection.transaction():
        return (await make_links(connection, [mail.user_id])).get(mail.user_id)


async def remove_mail(database: Database, mail: DueMail) -> None:
    """Remove an e-mail that was sent or can't be sent, unless it has been requested again since it was claimed."""
    await database.execute("delete from educa_chat.mail where address = $1 and attempts > 0", mail.queued_address)

"""Sends the e-mails that wait in the database, in the background."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from gettext import NullTranslations

import aiosmtplib

from educa_chat.errors import DatabaseUnavailable, MailRefused
from educa_chat.people.mails import link_mail
from educa_chat.settings import Email, Settings
from educa_chat.storage.mail_queue import FIRST_PAUSE_S, DueMail, claim_mails, make_mailed_link, remove_mail
from educa_chat.storage.pool import Database
from educa_chat.tasks import supervised
from educa_chat.translations import load_translations

logger = logging.getLogger(__name__)

AT_ONCE = 20
"""How many e-mails a process claims at a time and sends over one connection."""
PAUSE_S = 0.5
"""The pause between two checks for e-mails."""
TIMEOUT_S = 20.0
"""The timeout for each answer of the mail server."""
BATCH_TIMEOUT_S = FIRST_PAUSE_S - 30.0
"""After this time, another process may claim the remaining e-mails."""


@asynccontextmanager
async def open_mailer(settings: Settings, database: Database) -> AsyncIterator[None]:
    """Send e-mails while the context lasts, if there is a mail server."""
    if not settings.email.is_set_up:
        yield
        return
    async with supervised(partial(_run, _Sender(settings, load_translations(), database)), "mailer"):
        yield


@asynccontextmanager
async def connect(settings: Email) -> AsyncIterator[aiosmtplib.SMTP]:
    """Open a connection to the mail server. Raises MailRefused if the server can't be used, also within the context."""
    try:
        async with aiosmtplib.SMTP(
            hostname=settings.host,
            port=settings.port,
            username=settings.username or None,
            password=settings.password or None,
            use_tls=settings.tls == "tls",
            start_tls=settings.tls == "starttls",
            timeout=TIMEOUT_S,
        ) as server:
            yield server
    except (aiosmtplib.SMTPException, OSError, ValueError) as error:
        code = f" {error.code}" if isinstance(error, aiosmtplib.SMTPResponseException) else ""
        raise MailRefused(f"the mail server can't be used: {type(error).__name__}{code}") from error


async def _run(sender: "_Sender") -> None:
    while True:
        is_busy = False
        try:
            is_busy = await sender.send_due() == AT_ONCE
        except (MailRefused, DatabaseUnavailable, TimeoutError) as error:
            logger.warning("mails are sent later: %s", error or "the mail server is too slow")
        if not is_busy:
            await asyncio.sleep(PAUSE_S)


class _Sender:
    def __init__(self, settings: Settings, translations: Mapping[str, NullTranslations], database: Database) -> None:
        self._settings = settings
        self._translations = translations
        self._database = database

    async def send_due(self) -> int:
        """Send some e-mails over one connection, remove those that are done, and return their number.

        Raises MailRefused, DatabaseUnavailable, and TimeoutError; the remaining e-mails are sent later.
        """
        mails = await claim_mails(self._database, AT_ONCE)
        if mails:
            async with asyncio.timeout(BATCH_TIMEOUT_S), connect(self._settings.email) as server:
                for mail in mails:
                    if await self._is_done(server, mail):
                        await remove_mail(self._database, mail)
        return len(mails)

    async def _is_done(self, server: aiosmtplib.SMTP, mail: DueMail) -> bool:
        """Send an e-mail. Return whether it needs no further attempt: it was accepted, or permanently refused.

        The link is made only now, when there is a connection. It ends an earlier one, which somebody may be using.
        """
        token = await make_mailed_link(self._database, mail)
        if token is None:
            return True
        try:
            await server.send_message(link_mail(self._settings, self._translations[mail.language], mail, token))
        except aiosmtplib.SMTPSenderRefused:
            # The settings are wrong, which affects all e-mails.
            raise
        except (aiosmtplib.SMTPRecipientsRefused, aiosmtplib.SMTPResponseException) as error:
            with suppress(aiosmtplib.SMTPException):
                await server.rset()
            refusal = error.recipients[0] if isinstance(error, aiosmtplib.SMTPRecipientsRefused) else error
            is_permanent = refusal.code >= 500
            logger.warning(
                "the mail server refused a mail to the user %d with %d: %s",
                mail.user_id,
                refusal.code,
                "it is not sent again" if is_permanent else "it is sent again later",
            )
            return is_permanent
        except (MailRefused, aiosmtplib.SMTPNotSupported, ValueError) as error:
            logger.warning("a mail to the user %d can't be sent: %s", mail.user_id, type(error).__name__)
        return True

"""Sends mails in the background: one connection to the mail server, and a bounded queue."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from email.errors import MessageError
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

import aiosmtplib
from aiohttp import web

from educa_chat.errors import MailRefused
from educa_chat.settings import Email
from educa_chat.tasks import supervised

logger = logging.getLogger(__name__)

WAITING = 20_000
"""How many tasks may wait: the invitations of the largest import."""
TIMEOUT_S = 20.0
RETRY_PAUSES_S = (1.0, 10.0, 60.0)
"""The pauses before a mail is sent again, if the server can't be reached or is busy."""

Mails = Callable[[], Awaitable[Sequence[EmailMessage]]]
"""Makes mails when it is their turn."""


def compose(settings: Email, address: str, subject: str, text: str) -> EmailMessage:
    """Return a mail of plain text. Raises MailRefused for an address that can't be in a header."""
    mail = EmailMessage()
    try:
        mail["From"] = settings.sender
        mail["To"] = address
        mail["Subject"] = " ".join(subject.split())
    except (ValueError, IndexError, MessageError) as error:
        raise MailRefused("the address can't be used in a mail") from error
    mail["Date"] = formatdate(localtime=False)
    mail["Message-ID"] = make_msgid(domain=settings.sender.rpartition("@")[2].strip("> ") or None)
    # Programs that answer mails automatically leave such mails alone (RFC 3834).
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(text)
    return mail


class Mailer:
    """Sends mails through the server that the settings name. For use within `open`."""

    def __init__(self, settings: Email, retry_pauses_s: Sequence[float] = RETRY_PAUSES_S) -> None:
        self._settings = settings
        self._retry_pauses_s = retry_pauses_s
        self._waiting: asyncio.Queue[Mails] = asyncio.Queue(WAITING)

    @property
    def is_set_up(self) -> bool:
        """Whether there is a mail server. If not, nothing may be offered."""
        return bool(self._settings.host)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Send what is offered while the context lasts. Mails that are still waiting at its end are lost."""
        if not self.is_set_up:
            yield
            return
        async with supervised(self._run, "mailer"):
            yield

    def offer(self, mails: Mails) -> bool:
        """Have `mails` made and sent later. Return False if too many are waiting."""
        try:
            self._waiting.put_nowait(mails)
        except asyncio.QueueFull:
            logger.warning("too many mails are waiting, so some are not sent")
            return False
        return True

    async def send(self, mails: deque[EmailMessage]) -> int:
        """Send `mails` over one connection now, and return how many the server has accepted.

        Those that are done are removed from the left of `mails`, including mails that the server refuses permanently.
        Raises MailRefused if the server can't be used; `mails` are then those that are left.
        """
        settings = self._settings
        sent = 0
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
                while mails:
                    try:
                        await server.send_message(mails[0])
                        sent += 1
                    except (aiosmtplib.SMTPRecipientsRefused, aiosmtplib.SMTPResponseException) as error:
                        if _is_temporary(error):
                            raise
                        logger.warning("the mail server refused a mail: %s", type(error).__name__)
                        with suppress(aiosmtplib.SMTPException):
                            await server.rset()
                    mails.popleft()
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise MailRefused(f"the mail server can't be used: {type(error).__name__}") from error
        return sent

    async def _run(self) -> None:
        while True:
            make_mails = await self._waiting.get()
            if mails := deque(await make_mails()):
                await self._persist(mails)

    async def _persist(self, mails: deque[EmailMessage]) -> None:
        for pause_s in (*self._retry_pauses_s, None):
            try:
                await self.send(mails)
                return
            except MailRefused as error:
                logger.warning("%s", error)
                if pause_s is not None:
                    await asyncio.sleep(pause_s)
        logger.error("%d mails could not be sent", len(mails))


MAILER = web.AppKey("MAILER", Mailer)


def _is_temporary(error: Exception) -> bool:
    errors = error.recipients if isinstance(error, aiosmtplib.SMTPRecipientsRefused) else [error]
    return any(400 <= getattr(one, "code", 500) < 500 for one in errors)

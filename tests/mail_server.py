"""A real mail server for tests."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.processes import free_port


def mail_settings(port: int) -> dict[str, str | int]:
    """The settings of a chat that sends its mails to a server on `port`."""
    return {
        "email_host": "127.0.0.1",
        "email_port": port,
        "email_tls": "none",
        "email_sender": "Example School <chat@school.example>",
    }


class MailServer:
    """Accepts mails; `received` has them. Addresses that begin with `gone` are refused."""

    def __init__(self) -> None:
        self.port = 0
        self.received: list[EmailMessage] = []
        self.is_busy = False
        self.refused: list[str] = []
        """The addresses whose mails were refused, each as often as it was tried."""

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.is_busy or address.startswith("gone"):
            self.refused.append(address)
            return "451 try again later" if self.is_busy else "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        mail = BytesParser(policy=default).parsebytes(envelope.content)
        assert isinstance(mail, EmailMessage)
        self.received.append(mail)
        return "250 OK"

    async def mail(self, count: int = 1, timeout_s: float = 30.0) -> EmailMessage:
        """Wait until `count` mails have arrived, and return the last of them."""
        async with asyncio.timeout(timeout_s):
            while len(self.received) < count:
                await asyncio.sleep(0.01)
        return self.received[count - 1]

    async def refusal(self, address: str, timeout_s: float = 30.0) -> None:
        """Wait until a mail to `address` was refused."""
        async with asyncio.timeout(timeout_s):
            while address not in self.refused:
                await asyncio.sleep(0.01)


@contextmanager
def open_mail_server(port: int = 0) -> Iterator[MailServer]:
    handler = MailServer()
    controller = Controller(handler, hostname="127.0.0.1", port=port or free_port())
    controller.start()
    handler.port = controller.port
    try:
        yield handler
    finally:
        controller.stop()

"""The e-mails with sign-in links, in the language of their reader."""

from email.errors import MessageError
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from gettext import NullTranslations

from educa_chat.errors import MailRefused
from educa_chat.settings import Email, Settings
from educa_chat.storage.mail_queue import DueMail, MailKind
from educa_chat.storage.sign_in_links import link_url


def link_mail(settings: Settings, translations: NullTranslations, mail: DueMail, token: str) -> EmailMessage:
    """Return the e-mail with the sign-in link that has `token`. Raises MailRefused."""
    _ = translations.gettext
    if mail.kind is MailKind.INVITATION:
        subject = _("Your account at {site}")
        text = _(
            "Hello {name},\n\nYou have an account at {site}. Your username is {username}.\n\n"
            "Open this link to choose a password and sign in. It works once, for a day:\n\n{url}\n\n"
            "If the link no longer works, choose “Forgot your password?” on the sign-in page."
        )
    else:
        subject = _("Choose a new password for {site}")
        text = _(
            "Hello {name},\n\nSomeone has requested a new password for your account at {site}."
            " Your username is {username}.\n\n"
            "Open this link to choose one. It works once, for a day:\n\n{url}\n\n"
            "If it wasn’t you, ignore this e-mail. Your password won’t change."
        )
    values = {
        "site": settings.site.name,
        "name": mail.name,
        "username": mail.username,
        "url": link_url(settings.server.site_url, token),
    }
    return compose(settings.email, mail.address, subject.format(**values), text.format(**values) + "\n")


def compose(settings: Email, address: str, subject: str, text: str) -> EmailMessage:
    """Return a plain-text e-mail. Raises MailRefused for an address that can't be in a header."""
    mail = EmailMessage()
    try:
        mail["From"] = settings.sender
        mail["To"] = address
        mail["Subject"] = " ".join(subject.split())
    except (ValueError, IndexError, MessageError) as error:
        raise MailRefused("the address can't be used in a mail") from error
    mail["Date"] = formatdate(localtime=False)
    mail["Message-ID"] = make_msgid(domain=settings.sender.rpartition("@")[2].strip("> ") or None)
    # Auto-responders don't answer such e-mails (RFC 3834).
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(text)
    return mail

"""The texts of mails, in the language of their reader."""

from collections.abc import Sequence
from email.message import EmailMessage
from gettext import NullTranslations

from educa_chat.errors import MailRefused
from educa_chat.people.mailer import compose
from educa_chat.settings import Settings
from educa_chat.storage.sign_in_links import NewLink, link_url


def invitation(settings: Settings, translations: NullTranslations, link: NewLink) -> EmailMessage:
    """Return the mail that gives somebody new their link. Raises MailRefused."""
    _ = translations.gettext
    text = _(
        "Hello {name},\n\nyou have an account at {site}. Your username is {username}.\n\n"
        "Open this link to choose a password and sign in. It works once, for a day:\n\n{url}\n\n"
        "If the link no longer works, choose “Forgot your password?” on the sign-in page."
    )
    return _mail(settings, link, _("Your account at {site}"), text)


def password_reset(settings: Settings, translations: NullTranslations, link: NewLink) -> EmailMessage:
    """Return the mail for somebody who has forgotten their password. Raises MailRefused."""
    _ = translations.gettext
    text = _(
        "Hello {name},\n\nsomebody has asked for a new password for your account at {site}."
        " Your username is {username}.\n\n"
        "Open this link to choose one. It works once, for a day:\n\n{url}\n\n"
        "If that wasn’t you, ignore this mail. Your password stays as it is."
    )
    return _mail(settings, link, _("Choose a new password for {site}"), text)


def invitations(settings: Settings, translations: NullTranslations, links: Sequence[NewLink]) -> list[EmailMessage]:
    """Return the invitations for those of `links` that have a usable address."""
    mails = []
    for link in links:
        if link.email:
            try:
                mails.append(invitation(settings, translations, link))
            except MailRefused:
                continue
    return mails


def _mail(settings: Settings, link: NewLink, subject: str, text: str) -> EmailMessage:
    values = {
        "site": settings.site.name,
        "name": link.name,
        "username": link.username,
        "url": link_url(settings.server.site_url, link.token),
    }
    return compose(settings.email, link.email, subject.format(**values), text.format(**values) + "\n")

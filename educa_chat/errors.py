"""The exceptions of this package, named after the facts they report. They are handled at the edges."""

from typing import Literal


class EducaChatError(Exception):
    """The base class of this package's exceptions."""


class SettingsInvalid(EducaChatError, ValueError):
    """The settings can't be used. The message names the key and says what to do."""


class SchemaMismatch(EducaChatError):
    """The schema of the database doesn't fit this program. The message says what to do."""


class ComponentEnded(EducaChatError):
    """A component of the server ended unexpectedly, so the process has stopped."""


class DatabaseUnavailable(EducaChatError):
    """The database can't be reached, or did not answer in time."""


class DatabaseBusy(DatabaseUnavailable):
    """The database gave up on a lock or a statement that took too long. Nothing was changed."""


class BusUnavailable(EducaChatError):
    """The broker can't be reached."""


class SubscriptionLost(EducaChatError):
    """Messages may have been missed: subscribe again, and catch up from the log."""


class CommandRefused(EducaChatError):
    """A command was refused and had no effect. `code` is one of the protocol's error codes."""

    def __init__(self, code: str, *, retry_after: float | None = None, id: str | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.retry_after = retry_after
        self.id = id


class RecordExists(EducaChatError):
    """The record to add already exists."""


class RecordMissing(EducaChatError):
    """The named record doesn't exist."""


class RosterOutdated(EducaChatError):
    """A roster of the course that was asked for later has begun to take effect."""


class ConfirmationMissing(EducaChatError):
    """An action that can't be undone was not confirmed."""


class NameRefused(EducaChatError, ValueError):
    """A username, a name or a title can't be used; the message says why."""


class EmailRefused(EducaChatError, ValueError):
    """A text isn't an e-mail address."""


class EmailTaken(EducaChatError):
    """Another user has this e-mail address."""


class OwnerFixed(EducaChatError):
    """The owner of a course teaches it as long as they own it."""


class LastAdministrator(EducaChatError):
    """The only active administrator can't be deactivated or lose their rights."""


class SessionStale(EducaChatError):
    """The user has to sign in again before they may do this."""


class PlatformOwned(EducaChatError):
    """The tables belong to a learning platform, and only the platform may write to them."""


class LinkRefused(EducaChatError):
    """A teacher can't make a sign-in link for this user."""


class RightMissing(EducaChatError):
    """The role of the database lacks a privilege. The message names it."""


class PlatformBusy(EducaChatError):
    """Another transaction has locked a table of the learning platform: try again later."""


class SignInBusy(EducaChatError):
    """Too many passwords are being verified: try again in a moment."""


class PasswordRefused(EducaChatError, ValueError):
    """A password is too weak, or can't be hashed. The message says why, without the password.

    `reason` says it in one word, for a page that explains it in the reader's language.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class OutboundFailed(EducaChatError):
    """Another server could not be reached, or gave no usable answer. The message says why, without secrets.

    `status` is that of an answer that isn't a success, or else 0.
    """

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class TokenRefused(EducaChatError):
    """A token or a state from elsewhere is not accepted. The message says why, without the token.

    `is_stale` is true if a user can cause this innocently, by going back or by taking too long.
    """

    def __init__(self, message: str, *, is_stale: bool = False) -> None:
        super().__init__(message)
        self.is_stale = is_stale


class SignInRefused(EducaChatError):
    """A sign-in that began elsewhere can't be completed. The message says why; `advice` selects a text."""

    def __init__(self, message: str, advice: Literal["cancelled", "expired", "inactive", "other_browser"]) -> None:
        super().__init__(message)
        self.advice = advice


class RosterFileRefused(EducaChatError, ValueError):
    """A file with people can't be read as a whole. The message says why.

    `reason` says it in one word, for a page that explains it in the reader's language. `line` is 0 if it concerns none.
    """

    def __init__(self, reason: str, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.reason = reason
        self.line = line


class MailRefused(EducaChatError):
    """An e-mail can't be made or sent. The message says why, without the address."""

"""What can go wrong, named by the fact. Raised deep, handled at the edges."""


class EducaChatError(Exception):
    """The root of this package's own exceptions."""


class SettingsInvalid(EducaChatError, ValueError):
    """The settings can't be used; the message says which key, and what to do."""


class SchemaMismatch(EducaChatError):
    """The database's schema is not the one that this program was written for; the message says what to do."""


class ComponentEnded(EducaChatError):
    """A component of the server has ended by itself, and therefore the process has stopped."""


class DatabaseUnavailable(EducaChatError):
    """The database could not be asked, or did not answer in time."""


class DatabaseBusy(DatabaseUnavailable):
    """The database gave up by itself, on a lock or on a statement that took too long. Nothing has happened."""


class BusUnavailable(EducaChatError):
    """The broker could not be told."""


class SubscriptionLost(EducaChatError):
    """Something that was published may have been missed: subscribe anew, and catch up elsewhere."""


class CommandRefused(EducaChatError):
    """A command was refused and had no effect. `code` is one of the protocol's error codes."""

    def __init__(self, code: str, *, retry_after: float | None = None, id: str | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.retry_after = retry_after
        self.id = id


class RecordExists(EducaChatError):
    """What was to be added is there already."""


class RecordMissing(EducaChatError):
    """What was named is not there."""


class OwnerFixed(EducaChatError):
    """The owner of a course teaches it as long as they own it."""


class PlatformOwned(EducaChatError):
    """The tables belong to a learning platform, which alone may write to them."""


class RightMissing(EducaChatError):
    """The database's role may not do what was asked for; the message names the right that it needs."""


class PlatformBusy(EducaChatError):
    """A table of the learning platform is held by somebody else: try again later."""


class SignInBusy(EducaChatError):
    """Too many passwords are being verified already: ask to try again in a moment."""


class PasswordRefused(EducaChatError, ValueError):
    """A password is too weak to be set, or can't be hashed at all; the message says why, without the password."""

"""Valid names of people and courses, and valid e-mail addresses."""

import re
import unicodedata

from educa_chat.errors import EmailRefused, NameRefused

USERNAME_CHARACTERS = 150
NAME_CHARACTERS = 150
TITLE_CHARACTERS = 200
EMAIL_CHARACTERS = 254
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


def require_username(username: str) -> None:
    """Raise NameRefused unless Django would accept `username`: letters, digits and `@.+-_`, 150 at most."""
    if not re.fullmatch(rf"[\w.@+-]{{1,{USERNAME_CHARACTERS}}}", username):
        raise NameRefused(f"the username {username!r} may have only letters, digits and @.+-_, 150 at most")


def require_name(name: str, most: int = NAME_CHARACTERS) -> None:
    """Raise NameRefused if `name` has more than `most` characters, or one that is invisible or reorders text.

    These are control and format characters, which include all characters of Unicode's bidirectional algorithm; line
    separators; and surrogates. The joiners of some scripts and of emoji are allowed.
    """
    if len(name) > most:
        raise NameRefused(f"the name {name[:40]!r}… has more than {most} characters")
    if any(
        unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in "\u200c\u200d"
        for character in name
    ):
        raise NameRefused(f"the name {name!r} contains invisible characters")


def require_title(title: str) -> None:
    """Raise NameRefused if `title` is empty, too long, or has a character that names may not have."""
    if not title.strip():
        raise NameRefused("the title of a course must not be empty")
    require_name(title, TITLE_CHARACTERS)


def require_email(email: str) -> None:
    """Raise EmailRefused unless `email` is empty or looks like an address."""
    if email and not (_EMAIL.fullmatch(email) and email.isprintable() and len(email) <= EMAIL_CHARACTERS):
        raise EmailRefused(f"{email!r} isn't an e-mail address")


def is_same_title(one: str, other: str) -> bool:
    """Return whether two titles look the same: a keyboard may compose accents differently from the stored title."""
    return unicodedata.normalize("NFC", one.strip()) == unicodedata.normalize("NFC", other.strip())

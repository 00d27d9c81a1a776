"""What a Django site writes about who is signed in, read without Django and without I/O.

The forms are those of django.core.signing, django.contrib.sessions and django.contrib.auth.
"""

import hashlib
import hmac
import json
import re
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode

USER_ID = "_auth_user_id"
"""In a session: the user's id, as a string."""

USER_BACKEND = "_auth_user_backend"
"""In a session: which of the site's backends signed the user in."""

USER_HASH = "_auth_user_hash"
"""In a session: the `session_auth_hash` of the user's password at that time."""

SESSION_BYTES = 2**20
"""The most that a session is decompressed to."""

_SESSION_SALT = "django.contrib.sessions.SessionStore"
_AUTH_SALT = "django.contrib.auth.models.AbstractBaseUser.get_session_auth_hash"


def is_session_key(value: str) -> bool:
    """Whether Django could have made this session key: 32 characters of a–z and 0–9.

    Django looks up any cookie of 8 characters or more. But it makes no others, and the database refuses some.
    """
    return re.fullmatch("[a-z0-9]{32}", value) is not None


def decode_session(session_data: str, secret_key: str) -> dict[str, object]:
    """Read `django_session.session_data`, signed with `secret_key`.

    Never raises for any data. The session is empty, and so anonymous, when the signature is not that key's or
    the content can't be read, as with Django; here also when it decompresses to more than SESSION_BYTES.
    """
    if not session_data.isascii():
        return {}
    signed, _, signature = session_data.rpartition(":")
    expected = urlsafe_b64encode(_hmac(f"{_SESSION_SALT}signer", secret_key, signed).digest()).rstrip(b"=")
    if not hmac.compare_digest(signature.encode(), expected):
        return {}
    payload, _, _ = signed.rpartition(":")  # the time of signing is not what ends a session
    try:
        session = json.loads(_content(payload))
    except (ValueError, RecursionError, zlib.error):
        return {}
    return session if isinstance(session, dict) else {}


def session_auth_hash(password_field: str, secret_key: str) -> str:
    """What a session's USER_HASH is as long as `password_field` stands in `auth_user.password`.

    To be compared in constant time; a session with another one ended when the password changed.
    """
    return _hmac(_AUTH_SALT, secret_key, password_field).hexdigest()


def _hmac(salt: str, secret_key: str, message: str) -> hmac.HMAC:
    key = hashlib.sha256((salt + secret_key).encode()).digest()
    return hmac.new(key, message.encode(), "sha256")


def _content(payload: str) -> str:
    """Unpack a payload. Raises ValueError or zlib.error."""
    encoded = payload.removeprefix(".")
    content = urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    if payload.startswith("."):
        stream = zlib.decompressobj()
        content = stream.decompress(content, SESSION_BYTES)
        if not stream.eof:
            raise ValueError(f"the content is cut off, or has more than {SESSION_BYTES} bytes")
    return content.decode("latin-1")

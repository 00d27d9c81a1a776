"""Logins in progress: they begin here, and end when the user comes back from a platform or an issuer.

Everything that has to be remembered in between is in the `state`, which is encrypted. So a flood of logins stores
nothing.

A login must end in the browser in which it began. Otherwise, an attacker could begin one, and let somebody else end it
and write in the attacker's name. So the browser keeps a secret, and the state contains its digest.
"""

import hashlib
import hmac
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import msgspec
from aiohttp import web
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from educa_chat.errors import TokenRefused
from educa_chat.handlers.embedding import set_partitioned_cookie
from educa_chat.storage.nonces import use_nonce
from educa_chat.storage.pool import Database

STATE_LIFE_S = 600
"""How long a user may take to sign in at the platform or the issuer."""
COOKIES = 16
"""How many logins can be in progress in one browser. More would make its requests too large for servers."""


class Login(msgspec.Struct, frozen=True):
    """A login that is in progress."""

    nonce: str
    digest: str
    """The digest of the browser's secret."""
    begun_at: int
    data: dict[str, str]
    """Data of the caller. The browser can't read it."""

    @property
    def cookie_name(self) -> str:
        return f"_{int(hashlib.sha256(self.nonce.encode()).hexdigest(), 16) % COOKIES}"


class LoginStates:
    """Makes and reads the states of one `purpose`, whose name is the beginning of the name of its cookies.

    The first of `keys`, which are used for this purpose only, encrypts. All of them decrypt.
    """

    def __init__(
        self,
        purpose: str,
        keys: Sequence[bytes],
        *,
        same_site: Literal["Lax", "None"],
        is_secure: bool,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._cookie = f"educa_chat_{purpose}"
        self._fernet = MultiFernet([Fernet(urlsafe_b64encode(key)) for key in keys])
        self._is_embedded = same_site == "None"
        self._is_secure = is_secure
        self._now = now

    def begin(self, data: Mapping[str, str]) -> tuple[str, Login, str]:
        """Return the state of a new login that remembers `data`, the login, and the secret that the browser keeps."""
        secret = secrets.token_urlsafe(32)
        login = Login(secrets.token_urlsafe(32), _digest(secret), int(self._now()), dict(data))
        state = self._fernet.encrypt_at_time(msgspec.msgpack.encode(login), login.begun_at)
        return state.decode(), login, secret

    def remember(self, response: web.StreamResponse, login: Login, secret: str) -> None:
        """Let the browser keep the secret in a cookie, which is partitioned if other sites may embed our pages."""
        self._set_cookie(response, login, secret, STATE_LIFE_S)

    def forget(self, response: web.StreamResponse, login: Login) -> None:
        """Delete the cookie of a login that has ended."""
        self._set_cookie(response, login, "", 0)

    def _set_cookie(self, response: web.StreamResponse, login: Login, value: str, max_age_s: int) -> None:
        name = self._cookie + login.cookie_name
        if self._is_embedded:
            set_partitioned_cookie(response, name, value, max_age_s)
        else:
            response.set_cookie(name, value, max_age=max_age_s, httponly=True, secure=self._is_secure, samesite="Lax")

    def read(self, state: str) -> Login:
        """Return the login of `state`. Raises TokenRefused if we didn't make it, or not within STATE_LIFE_S."""
        try:
            content = self._fernet.decrypt_at_time(state.encode(), STATE_LIFE_S, int(self._now()))
            return msgspec.msgpack.decode(content, type=Login)
        except (InvalidToken, msgspec.MsgspecError, UnicodeEncodeError) as error:
            raise TokenRefused("the state is not ours, or too old", is_stale=True) from error

    def is_in_browser(self, request: web.Request, login: Login) -> bool:
        """Return whether `request` comes from the browser in which `login` began, as its cookie says."""
        return is_secret_of(request.cookies.get(self._cookie + login.cookie_name, ""), login)


def is_secret_of(secret: str, login: Login) -> bool:
    """Return whether `secret` is the one that was given to the browser in which `login` began."""
    return hmac.compare_digest(_digest(secret), login.digest)


async def end_login(database: Database, login: Login, nonce: str) -> None:
    """Use up `login`, whose valid token contains `nonce`. Call it only then: it stores a row until the state expires.

    Raises TokenRefused if the nonce is another one, or if the login has ended already; and DatabaseUnavailable.
    """
    if not hmac.compare_digest(nonce.encode(errors="replace"), login.nonce.encode()):
        raise TokenRefused("the nonce is that of another login")
    if not await use_nonce(database, login.nonce, login.begun_at + STATE_LIFE_S):
        raise TokenRefused("it was already used", is_stale=True)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()

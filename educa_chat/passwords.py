"""Passwords in the formats of Django's `auth_user.password`: verified, made, and kept off the event loop.

The formats are those of django.contrib.auth.hashers: `algorithm$…`.
"""

import asyncio
import hashlib
import hmac
import re
import secrets
import string
import threading
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial

import bcrypt
from argon2 import Type
from argon2.exceptions import VerificationError
from argon2.low_level import verify_secret

from educa_chat.errors import SignInBusy

PASSWORD_BYTES = 4096
"""The longest password, in UTF-8."""

THREADS = 2
"""How many passwords one process verifies at a time: each takes a core for a quarter of a second."""

WAITING = 32
"""How many more may wait for that: the last of them waits some four seconds."""

_STORED_LENGTH = 128  # the width of the column
_ITERATIONS = 1_000_000
_SALT_LENGTH = 22
_SALT_CHARACTERS = string.ascii_letters + string.digits

# What a row may ask for: sixteen times the work of Django 5.2's defaults, and 256 MiB.
_WORK = 16
_MEMORY = 256 * 2**20
_PBKDF2_ITERATIONS = _WORK * _ITERATIONS
_ARGON2_BLOCKS = _WORK * 2 * 102_400
_ARGON2_LANES = 16
_BCRYPT_ROUNDS = 12 + 4
_SCRYPT_BLOCKS = _WORK * 2**14 * 8 * 5


def make_password(password: str) -> str:
    """Hash `password` as Django 5.2 does by default: PBKDF2 with SHA-256, a million iterations. Blocks.

    Raises ValueError for a password longer than PASSWORD_BYTES or with lone surrogates, which would never be
    verified.
    """
    salt = "".join(secrets.choice(_SALT_CHARACTERS) for _ in range(_SALT_LENGTH))
    digest = hashlib.pbkdf2_hmac("sha256", _bytes_of(password), salt.encode(), _ITERATIONS)
    return f"pbkdf2_sha256${_ITERATIONS}${salt}${b64encode(digest).decode()}"


def verify_password(password: str, stored: str) -> bool:
    """Whether `password` is the one that is stored as `stored`. Blocks: a quarter of a second, five at worst.

    Never raises: what is unusable, garbled, of an unknown algorithm, or asks for too much work or memory, is
    False.
    """
    algorithm, _, rest = stored.partition("$")
    verify = _ALGORITHMS.get(algorithm)
    if verify is None or len(stored) > _STORED_LENGTH:
        return False
    try:
        return verify(_bytes_of(password), rest)
    except (ValueError, VerificationError):
        return False


class PasswordVerifier:
    """Verifies passwords in threads, so many at a time that the machine stays free for the rest."""

    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self._executor = executor
        self._places = threading.BoundedSemaphore(THREADS + WAITING)

    async def verify(self, password: str, stored: str) -> bool:
        """Do `verify_password` off the event loop. Raises SignInBusy when WAITING others wait already."""
        if not self._places.acquire(blocking=False):
            raise SignInBusy
        work = self._executor.submit(verify_password, password, stored)
        work.add_done_callback(lambda _: self._places.release())
        # A thread can't be stopped: the place is taken until the work is done, even if nobody waits for it.
        return await asyncio.shield(asyncio.wrap_future(work))


@asynccontextmanager
async def open_password_verifier() -> AsyncIterator[PasswordVerifier]:
    """Own the threads of a PasswordVerifier. Leaving waits for the work under way, and drops the rest."""
    executor = ThreadPoolExecutor(THREADS, thread_name_prefix="password")
    try:
        yield PasswordVerifier(executor)
    finally:
        await asyncio.to_thread(executor.shutdown, cancel_futures=True)


def _bytes_of(password: str) -> bytes:
    encoded = password.encode()
    if len(encoded) > PASSWORD_BYTES:
        raise ValueError(f"the password has more than {PASSWORD_BYTES} bytes")
    return encoded


def _number(digits: str, most: int) -> int:
    """Read a parameter. Raises ValueError for anything but a number from 1 to `most`."""
    number = int(digits)
    if not 1 <= number <= most:
        raise ValueError(f"a number from 1 to {most} is expected")
    return number


def _salt(salt: str) -> bytes:
    """Read a salt. Raises ValueError for an empty one, which Django refuses too."""
    if not salt:
        raise ValueError("a salt is expected")
    return salt.encode()


def _matches(digest: bytes, encoded: str) -> bool:
    return hmac.compare_digest(b64encode(digest), encoded.encode())


def _verify_pbkdf2(hash_name: str, password: bytes, stored: str) -> bool:
    iterations, salt, digest = stored.split("$")
    count = _number(iterations, _PBKDF2_ITERATIONS)
    return _matches(hashlib.pbkdf2_hmac(hash_name, password, _salt(salt), count), digest)


# Pinned, so that nothing is verified with other parameters than those that were judged.
_ARGON2 = re.compile(r"(argon2(?:id|i|d))\$v=[0-9]+\$m=([0-9]+),t=([0-9]+),p=([0-9]+)\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+")
_ARGON2_TYPES = {"argon2id": Type.ID, "argon2i": Type.I, "argon2d": Type.D}


def _verify_argon2(password: bytes, stored: str) -> bool:
    parts = _ARGON2.fullmatch(stored)
    if parts is None:
        return False
    variety, memory_kib, passes, lanes = parts.groups()
    _number(lanes, _ARGON2_LANES)
    _number(passes, _ARGON2_BLOCKS // _number(memory_kib, _MEMORY // 1024))
    return verify_secret(b"$" + stored.encode(), password, _ARGON2_TYPES[variety])


_BCRYPT = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}")


def _verify_bcrypt(password: bytes, stored: str) -> bool:
    parts = _BCRYPT.fullmatch(stored)
    if parts is None or int(parts[1]) > _BCRYPT_ROUNDS:
        return False
    # bcrypt knows no more than 72 bytes; the library used to cut them off, and now leaves it to the caller.
    return bcrypt.checkpw(password[:72], stored.encode())


def _verify_bcrypt_sha256(password: bytes, stored: str) -> bool:
    return _verify_bcrypt(hashlib.sha256(password).hexdigest().encode(), stored)


def _verify_scrypt(password: bytes, stored: str) -> bool:
    work, salt, block_size, parallelism, digest = stored.split("$")
    n, r, p = (_number(digits, _SCRYPT_BLOCKS) for digits in (work, block_size, parallelism))
    if n * r * p > _SCRYPT_BLOCKS:
        return False
    return _matches(hashlib.scrypt(password, salt=_salt(salt), n=n, r=r, p=p, maxmem=_MEMORY, dklen=64), digest)


def _verify_md5(password: bytes, stored: str) -> bool:
    salt, digest = stored.split("$")
    computed = hashlib.md5(_salt(salt) + password, usedforsecurity=False).hexdigest()
    return hmac.compare_digest(computed.encode(), digest.encode())


_ALGORITHMS: dict[str, Callable[[bytes, str], bool]] = {
    "pbkdf2_sha256": partial(_verify_pbkdf2, "sha256"),
    "pbkdf2_sha1": partial(_verify_pbkdf2, "sha1"),
    "argon2": _verify_argon2,
    "bcrypt_sha256": _verify_bcrypt_sha256,
    "bcrypt": _verify_bcrypt,
    "scrypt": _verify_scrypt,
    "md5": _verify_md5,
}

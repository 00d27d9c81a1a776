"""Passwords in the formats of Django's `auth_user.password`: checks, hashes and verifies them in threads.

The formats are those of django.contrib.auth.hashers: `algorithm$…`. Verifying a password against any stored hash takes
the same work, so the time of a failed sign-in reveals nothing about the account: see `level_work`.
"""

import asyncio
import hashlib
import hmac
import os
import re
import secrets
import string
import sys
import threading
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import ParamSpec, Protocol, TypeVar

import bcrypt
from argon2 import Type
from argon2.exceptions import HashingError
from argon2.low_level import hash_secret_raw

from educa_chat.errors import PasswordRefused, SignInBusy
from educa_chat.people.password_policy import require_strong

P = ParamSpec("P")
T = TypeVar("T")

PASSWORD_BYTES = 4096
"""The longest password, in UTF-8."""

THREADS = 2
"""How many passwords one process verifies at a time: each takes a core for a quarter of a second."""

WAITING = 32
"""How many more may wait. The last of them waits about four seconds."""

NEW_ITERATIONS = 1_000_000
"""How many iterations of PBKDF2 with SHA-256 a new password gets, as with Django 5.2."""

_NICE = 5
_STORED_LENGTH = 128  # The width of the column.
_SALT_LENGTH = 22
_SALT_CHARACTERS = string.ascii_letters + string.digits
_DECOY_SALT = b"." * 22
_DECOY_BYTES = 32
_ARGON2_LEAST_SALT, _ARGON2_LEAST_DIGEST = 8, 4
_BCRYPT_LEAST_ROUNDS = 4
_BCRYPT_DIGEST_LENGTH = 31
_SCRYPT_BYTES = 64

# The limits for a stored hash: sixteen times the work of Django 5.2's defaults, and 256 MiB.
_WORK = 16
_MEMORY = 256 * 2**20
_PBKDF2_ITERATIONS = _WORK * NEW_ITERATIONS
_ARGON2_BLOCKS = _WORK * 2 * 102_400
_ARGON2_LANES = 16
_BCRYPT_ROUNDS = 12 + 4
_SCRYPT_BLOCKS = _WORK * 2**14 * 8 * 5


def make_password(password: str, *words: str) -> str:
    """Hash a new `password` as Django 5.2 does by default: PBKDF2 with SHA-256, a million iterations.

    `words` are the username and the words of the name. Blocks. Raises PasswordRefused for a weak password (see
    `password_policy`), and for one that `verify_password` would
    refuse: it is longer than PASSWORD_BYTES, or has lone surrogates.
    """
    secret = _bytes_of(password)
    require_strong(password, *words)
    salt = "".join(secrets.choice(_SALT_CHARACTERS) for _ in range(_SALT_LENGTH))
    digest = hashlib.pbkdf2_hmac("sha256", secret, salt.encode(), NEW_ITERATIONS)
    return f"pbkdf2_sha256${NEW_ITERATIONS}${salt}${b64encode(digest).decode()}"


def verify_password(password: str, stored: str) -> bool:
    """Return whether `password` matches the hash `stored`. Blocks for a quarter of a second, five at worst.

    Never raises. Return False for a hash that is unusable, malformed, of an unknown algorithm, or needs too much work
    or memory.
    """
    row = _read(stored)
    if row is None:
        return False
    try:
        digest = row.hasher.digest(_bytes_of(password), row.salt, row.amount, len(row.digest))
    except (PasswordRefused, HashingError):
        return False
    return hmac.compare_digest(digest, row.digest)


def level_work(password: str, stored: str, kinds: Collection[str]) -> None:
    """Do the work that `verify_password(password, stored)` did not need. Blocks.

    `kinds` are those of all stored hashes (see PARAMETERS). For each hasher among these kinds, the two
    functions together do as much work as the most expensive kind needs: first the work for `stored`, and the rest here.
    So an attempt costs the same for a cheap row, an expensive row, an unusable row (`!`) and no row at all (the empty
    string): exactly the same number of iterations, passes or rounds. No older row has to be hashed again, because the
    table may belong to a Django site.
    """
    try:
        secret = _bytes_of(password)
    except PasswordRefused:
        # verify_password does no work in this case either.
        return
    row = _read(stored)
    done = {row.hasher: row.amount} if row is not None else {}
    required = dict(done)
    for hasher, amount in filter(None, map(_read_kind, kinds)):
        required[hasher] = max(amount, required.get(hasher, 0))
    for hasher, amount in required.items():
        if missing := amount - done.get(hasher, 0):
            with suppress(HashingError):
                hasher.digest(secret, _DECOY_SALT, missing, _DECOY_BYTES)


class PasswordVerifier:
    """Verifies and hashes passwords in threads, only a few at a time, so that the machine can do other work."""

    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self._executor = executor
        self._free_slots = threading.BoundedSemaphore(THREADS + WAITING)

    async def verify(self, password: str, stored: str, kinds: Collection[str] = ()) -> bool:
        """Do `verify_password` and `level_work` off the event loop.

        Raises SignInBusy if WAITING others are waiting already.
        """
        return await self._run(_verify_levelly, password, stored, kinds)

    async def make(self, password: str, *words: str) -> str:
        """Do `make_password` off the event loop. Raises PasswordRefused and SignInBusy."""
        return await self._run(make_password, password, *words)

    async def _run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if not self._free_slots.acquire(blocking=False):
            raise SignInBusy
        work = self._executor.submit(function, *args, **kwargs)
        work.add_done_callback(lambda _: self._free_slots.release())
        # A thread can't be stopped: its slot is taken until the work is done, even if the caller was cancelled.
        return await asyncio.shield(asyncio.wrap_future(work))


def _verify_levelly(password: str, stored: str, kinds: Collection[str]) -> bool:
    is_right = verify_password(password, stored)
    level_work(password, stored, kinds)
    return is_right


@asynccontextmanager
async def open_password_verifier() -> AsyncIterator[PasswordVerifier]:
    """Yield a PasswordVerifier. At the end, wait for the work in progress, and drop the rest."""
    executor = ThreadPoolExecutor(THREADS, thread_name_prefix="password", initializer=_yield_to_others)
    try:
        yield PasswordVerifier(executor)
    finally:
        await asyncio.to_thread(executor.shutdown, cancel_futures=True)


def _yield_to_others() -> None:
    """Lower the priority of the calling thread, so that hashing leaves the processor to the event loop and to Postgres.

    Not to the lowest: on a busy machine, a thread with nice 19 gets a hundredth of the processor, and nobody could sign
    in.
    """
    if sys.platform == "linux":
        # Other systems have only one priority for the whole process.
        os.nice(_NICE)


def _bytes_of(password: str) -> bytes:
    try:
        encoded = password.encode()
    except UnicodeEncodeError:
        raise PasswordRefused("the password isn't valid text: it has lone surrogates", "characters") from None
    if len(encoded) > PASSWORD_BYTES:
        raise PasswordRefused(f"the password is too long: it has more than {PASSWORD_BYTES} bytes", "long")
    return encoded


class _Hasher(Protocol):
    """An algorithm with all parameters except `amount`, which its work is proportional to. Hashable."""

    def digest(self, password: bytes, salt: bytes, amount: int, size: int) -> bytes:
        """Hash `password` into `size` bytes. Raises HashingError if there is not enough memory."""


@dataclass(frozen=True)
class _Pbkdf2:
    """PBKDF2; the amount is the number of iterations."""

    hash_name: str

    def digest(self, password: bytes, salt: bytes, amount: int, size: int) -> bytes:
        return hashlib.pbkdf2_hmac(self.hash_name, password, salt, amount)


@dataclass(frozen=True)
class _Argon2:
    """Argon2; the amount is the number of passes over the memory."""

    variety: Type
    version: int
    memory_kib: int
    lanes: int

    def digest(self, password: bytes, salt: bytes, amount: int, size: int) -> bytes:
        return hash_secret_raw(
            password, salt, amount, self.memory_kib, self.lanes, size, type=self.variety, version=self.version
        )


@dataclass(frozen=True)
class _Bcrypt:
    """bcrypt; the amount is a sum of powers of two, one for each time that the password is hashed."""

    of_sha256: bool
    """Whether it hashes the hexadecimal digits of the password's SHA-256."""

    def digest(self, password: bytes, salt: bytes, amount: int, size: int) -> bytes:
        if self.of_sha256:
            password = hashlib.sha256(password).hexdigest().encode()
        hashed = b""
        for rounds in range(_BCRYPT_LEAST_ROUNDS, amount.bit_length()):
            if amount & 1 << rounds:
                # bcrypt uses only 72 bytes. The library no longer truncates the password, so we do.
                hashed = bcrypt.hashpw(password[:72], b"$2b$%02d$%s" % (rounds, salt))
        return hashed[-_BCRYPT_DIGEST_LENGTH:]


@dataclass(frozen=True)
class _Scrypt:
    """scrypt; the amount is the parallelism."""

    n: int
    block_size: int

    def digest(self, password: bytes, salt: bytes, amount: int, size: int) -> bytes:
        return hashlib.scrypt(
            password, salt=salt, n=self.n, r=self.block_size, p=amount, maxmem=_MEMORY, dklen=_SCRYPT_BYTES
        )


@dataclass(frozen=True)
class _Md5:
    """MD5 of the salt and the password. Its work is negligible compared to the others."""

    def digest(self, password: bytes, salt: bytes, amount: int, size: int) -> bytes:
        return hashlib.md5(salt + password, usedforsecurity=False).digest()


@dataclass(frozen=True)
class _Row:
    """A parsed hash."""

    hasher: _Hasher
    amount: int
    salt: bytes
    digest: bytes


def _read(stored: str) -> _Row | None:
    """Parse a stored hash. Return None if no password can match it."""
    parts = stored.split("$")
    form = _FORMATS.get(parts[0])
    if form is None or len(parts) != form.parts or len(stored) > _STORED_LENGTH:
        return None
    try:
        hasher, amount = form.read_cost(*(parts[position] for position in form.parameters))
        salt, digest = form.read_secrets(*(parts[n] for n in range(1, form.parts) if n not in form.parameters))
    except ValueError:
        return None
    return _Row(hasher, amount, salt, digest)


def _read_kind(kind: str) -> tuple[_Hasher, int] | None:
    """Parse the cost of a kind of hash. Return None if no valid hash has this kind."""
    algorithm, *parameters = kind.split("$")
    form = _FORMATS.get(algorithm)
    if form is None or len(parameters) != len(form.parameters):
        return None
    try:
        return form.read_cost(*parameters)
    except ValueError:
        return None


def _number(digits: str, most: int, least: int = 1) -> int:
    """Read a parameter. Raises ValueError for anything but a number from `least` to `most`."""
    number = int(digits)
    if not least <= number <= most:
        raise ValueError(f"a number from {least} to {most} is expected")
    return number


def _parameter(name: str, text: str) -> str:
    """Read the digits of `name=digits`. Raises ValueError for anything else."""
    if not re.fullmatch(f"{name}=[0-9]+", text):
        raise ValueError(f"{name}=… is expected")
    return text.removeprefix(f"{name}=")


def _salt(salt: str) -> bytes:
    """Read a salt. Raises ValueError for an empty one, which Django refuses too."""
    if not salt:
        raise ValueError("a salt is expected")
    return salt.encode()


def _base64(text: str, padding: str = "=") -> bytes:
    """Read base64, with or without `padding`. Raises ValueError for any form but the canonical one."""
    decoded = b64decode(text if padding else text + "=" * (-len(text) % 4), validate=True)
    canonical = b64encode(decoded).decode()
    if text != (canonical if padding else canonical.rstrip("=")):
        raise ValueError("canonical base64 is expected")
    return decoded


def _salt_and_base64(salt: str, digest: str) -> tuple[bytes, bytes]:
    return _salt(salt), _base64(digest)


def _pbkdf2_cost(hash_name: str, iterations: str) -> tuple[_Hasher, int]:
    return _Pbkdf2(hash_name), _number(iterations, _PBKDF2_ITERATIONS)


_ARGON2_TYPES = {"argon2id": Type.ID, "argon2i": Type.I, "argon2d": Type.D}
_ARGON2_VERSIONS = {"v=16": 16, "v=19": 19}


def _argon2_cost(variety: str, version: str, parameters: str) -> tuple[_Hasher, int]:
    names = ("m", "t", "p")
    memory_kib, passes, lanes = (_parameter(*each) for each in zip(names, parameters.split(","), strict=True))
    if variety not in _ARGON2_TYPES or version not in _ARGON2_VERSIONS:
        raise ValueError("a known variety and version are expected")
    lane_count = _number(lanes, _ARGON2_LANES)
    memory = _number(memory_kib, _MEMORY // 1024, least=8 * lane_count)
    hasher = _Argon2(_ARGON2_TYPES[variety], _ARGON2_VERSIONS[version], memory, lane_count)
    return hasher, _number(passes, _ARGON2_BLOCKS // memory)


def _argon2_secrets(salt: str, digest: str) -> tuple[bytes, bytes]:
    secrets = _base64(salt, padding=""), _base64(digest, padding="")
    if len(secrets[0]) < _ARGON2_LEAST_SALT or len(secrets[1]) < _ARGON2_LEAST_DIGEST:
        raise ValueError("a longer salt and digest are expected")
    return secrets


def _bcrypt_cost(nothing: str, variety: str, rounds: str, *, of_sha256: bool) -> tuple[_Hasher, int]:
    if nothing or variety not in ("2a", "2b", "2y") or len(rounds) != 2:
        raise ValueError("a known variety and the rounds are expected")
    return _Bcrypt(of_sha256), 1 << _number(rounds, _BCRYPT_ROUNDS, least=_BCRYPT_LEAST_ROUNDS)


def _bcrypt_secrets(salt_and_digest: str) -> tuple[bytes, bytes]:
    # The last digit of the salt has two bits only.
    parts = re.fullmatch(r"([./A-Za-z0-9]{21}[.Oeu])([./A-Za-z0-9]{31})", salt_and_digest)
    if parts is None:
        raise ValueError("a salt and a digest are expected")
    return parts[1].encode(), parts[2].encode()


def _scrypt_cost(work: str, block_size: str, parallelism: str) -> tuple[_Hasher, int]:
    n, r, p = (_number(digits, _SCRYPT_BLOCKS) for digits in (work, block_size, parallelism))
    if n == 1 or n & (n - 1) or n * r * p > _SCRYPT_BLOCKS or 128 * r * (n + p + 2) > _MEMORY:
        raise ValueError("a power of two is expected, and less work and memory")
    return _Scrypt(n, r), p


def _md5_cost() -> tuple[_Hasher, int]:
    return _Md5(), 0


def _md5_secrets(salt: str, digest: str) -> tuple[bytes, bytes]:
    if not re.fullmatch("[0-9a-f]{32}", digest):
        raise ValueError("32 hexadecimal digits are expected")
    return _salt(salt), bytes.fromhex(digest)


@dataclass(frozen=True)
class _Format:
    """How an algorithm's hashes are written: its name, its parameters, a salt and a digest, with dollars between."""

    parts: int
    parameters: tuple[int, ...]
    """Which of the parts, counted from 0, are parameters."""
    read_cost: Callable[..., tuple[_Hasher, int]]
    """Takes the parameters, and returns the hasher and the amount. Raises ValueError."""
    read_secrets: Callable[..., tuple[bytes, bytes]]
    """Takes what else follows the name, and returns the salt and the digest. Raises ValueError."""


_FORMATS = {
    "pbkdf2_sha256": _Format(4, (1,), partial(_pbkdf2_cost, "sha256"), _salt_and_base64),
    "pbkdf2_sha1": _Format(4, (1,), partial(_pbkdf2_cost, "sha1"), _salt_and_base64),
    "argon2": _Format(6, (1, 2, 3), _argon2_cost, _argon2_secrets),
    "bcrypt_sha256": _Format(5, (1, 2, 3), partial(_bcrypt_cost, of_sha256=True), _bcrypt_secrets),
    "bcrypt": _Format(5, (1, 2, 3), partial(_bcrypt_cost, of_sha256=False), _bcrypt_secrets),
    "scrypt": _Format(6, (1, 3, 4), _scrypt_cost, _salt_and_base64),
    "md5": _Format(3, (), _md5_cost, _md5_secrets),
}

PARAMETERS = {algorithm: form.parameters for algorithm, form in _FORMATS.items()}
"""Which parts of a stored hash, counted from 0 between the dollars, are parameters.

The name of the algorithm and these parts, with dollars between, are the kind of the hash.
"""

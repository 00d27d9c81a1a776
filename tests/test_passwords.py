"""Passwords, compared with the results of Django's hashers."""

import asyncio
import hashlib
import threading
import time
from collections.abc import Iterator

import argon2
import bcrypt
import pytest
from django.contrib.auth import hashers
from hypothesis import given, settings
from hypothesis import strategies as st

from educa_chat.errors import SignInBusy
from educa_chat.people import passwords
from educa_chat.people.passwords import (
    PASSWORD_BYTES,
    THREADS,
    WAITING,
    make_password,
    open_password_verifier,
    verify_password,
)

PASSWORD = " Contraseña de Ana €\0 "

DEFAULTS = [
    hashers.PBKDF2PasswordHasher,
    hashers.PBKDF2SHA1PasswordHasher,
    hashers.Argon2PasswordHasher,
    hashers.BCryptSHA256PasswordHasher,
    hashers.BCryptPasswordHasher,
    hashers.ScryptPasswordHasher,
    hashers.MD5PasswordHasher,
]

CHEAPER = {
    "iterations": 2,  # PBKDF2
    "time_cost": 1,  # argon2
    "memory_cost": 8,
    "rounds": 4,  # bcrypt
    "work_factor": 2,  # scrypt
    "parallelism": 1,  # both argon2 and scrypt; the latter's up to Django 5.0
}
CHEAP = [type(f"Cheap{hasher.__name__}", (hasher,), CHEAPER) for hasher in DEFAULTS]


def name_of(hasher: type[hashers.BasePasswordHasher]) -> str:
    return str(hasher.algorithm)


def stored_by(hasher: type[hashers.BasePasswordHasher], password: str = PASSWORD) -> str:
    return str(hasher().encode(password, hasher().salt()))


# PBKDF2 with SHA-256 is below: we make such hashes too.
def test_each_hash_with_the_usual_work_is_verified() -> None:
    for stored in (  # Django 5.2 has made them from PASSWORD, which takes as long as verifying them.
        "pbkdf2_sha1$1000000$DWVwZ3nNmlIf27WhoO6dw6$RaItDAsL13cvaddPUB90UPtxY5Q=",
        "argon2$argon2id$v=19$m=102400,t=2,p=8$U24xaUhTUE0ya0NpNURlaDZReG5xMA"
        "$Att8HGd+a5MyXOXuP6wMIjWiea6RjhGqDP34blExebk",
        "bcrypt_sha256$$2b$12$dqC20ApxSzBy2JZtl1fBDOAjSfmNJDmOpUOwP7JaIXrykwjQqjpu6",
        "bcrypt$$2b$12$N9GOl4jNh1mAdNQnP437C.P1LAO8/upPUD3/v5NWPmyaNkHidpv7e",
        "scrypt$16384$uAsqRS5C0RYF7RmXedLWB6$8$5"
        "$MAtJ73jOGawiGnBWOBzf0Kj3LWqk3MBB+LWkyTLjG/nC/e/wAytS5uxh5Fq9bYn3d9Cpea7U4KKQKhGx4B1KBA==",
    ):
        assert verify_password(PASSWORD, stored), stored


@pytest.mark.parametrize("hasher", CHEAP, ids=name_of)
@settings(deadline=None)
@given(password=st.text(max_size=18), other=st.text(max_size=18))
def test_every_hash_django_makes_is_verified(
    hasher: type[hashers.BasePasswordHasher], password: str, other: str
) -> None:
    stored = stored_by(hasher, password)
    assert verify_password(password, stored)
    assert verify_password(other, stored) == hasher().verify(other, stored)


def test_a_truncated_hash_is_refused() -> None:
    for hasher in CHEAP:
        stored = stored_by(hasher)
        assert verify_password(PASSWORD, stored), name_of(hasher)
        assert not any(verify_password(PASSWORD, stored[:length]) for length in range(len(stored))), name_of(hasher)


def test_bcrypt_considers_only_the_first_72_bytes() -> None:
    stored = "bcrypt$" + bcrypt.hashpw(b"a" * 72, bcrypt.gensalt(4)).decode()
    assert verify_password("a" * 100, stored)
    assert not verify_password("a" * 71, stored)


def test_django_accepts_our_hashes_as_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    # The other tests have fewer.
    hasher = hashers.PBKDF2PasswordHasher()
    assert hasher.verify(PASSWORD, make_password(PASSWORD))
    monkeypatch.setattr(passwords, "NEW_ITERATIONS", 1_000_000)
    stored = make_password(PASSWORD)
    assert not hasher.must_update(stored)
    assert verify_password(PASSWORD, stored)


def test_equal_passwords_get_different_hashes() -> None:
    assert make_password(PASSWORD) != make_password(PASSWORD)


def test_passwords_that_are_too_long_or_invalid_text_are_refused(subtests: pytest.Subtests) -> None:
    for password in ("a" * (PASSWORD_BYTES + 1), "ñ" * (PASSWORD_BYTES // 2 + 1), "a\ud800"):
        with subtests.test(password=password[:20]):
            stored = stored_by(hashers.MD5PasswordHasher, "a")
            salt = stored.split("$")[1]
            digest = hashlib.md5(salt.encode() + password.encode(errors="replace")).hexdigest()
            assert not verify_password(password, f"md5${salt}${digest}")
            with pytest.raises(ValueError, match=r"bytes|surrogates"):
                make_password(password)


def test_the_longest_password_is_verified() -> None:
    assert verify_password("a" * PASSWORD_BYTES, stored_by(hashers.MD5PasswordHasher, "a" * PASSWORD_BYTES))


def test_an_unusable_hash_is_refused() -> None:
    for stored in (
        "",
        "!",
        "!bhuAcyrRSQ09ry3V4KsGEbp5qW5OVnDoxCycz3ih",
        "!" + stored_by(hashers.MD5PasswordHasher),
        hashlib.md5(PASSWORD.encode()).hexdigest(),
        "md5$$" + hashlib.md5(PASSWORD.encode()).hexdigest(),
        "md5$" + "s" * 128 + "$" + hashlib.md5(b"s" * 128 + PASSWORD.encode()).hexdigest(),
        "sha1$salt$" + hashlib.sha1(b"salt" + PASSWORD.encode()).hexdigest(),
        "plain$" + PASSWORD,
        "pbkdf2_sha256$uno$salt$AAAA",
        "pbkdf2_sha256$-1$salt$AAAA",
        "pbkdf2_sha256$0$salt$AAAA",
        "pbkdf2_sha256$1$salt$ñ",
        "pbkdf2_sha256$1$\ud800$AAAA",
        "argon2$argon2id$v=19$m=8,t=1,p=1$****$AAAA",
        "argon2$argon2id$v=19$m=8,t=1,p=1$A$A",
        "argon2$argon2id$v=19$m=0,t=1,p=1$c2FsdHNhbHQ$AAAAAAAA",
        "argon2$argon2id$v=99$m=8,t=1,p=1$c2FsdHNhbHQ$AAAAAAAA",
        "bcrypt$$2b$04$" + "9" * 53,
        "bcrypt_sha256$$2b$03$" + "." * 53,
        "scrypt$3$salt$8$1$AAAA",
        "scrypt$2$salt$1000000$1$AAAA",
    ):
        assert not verify_password(PASSWORD, stored), stored


ALGORITHMS = [hasher.algorithm for hasher in DEFAULTS]


@settings(deadline=None)
@given(
    password=st.text(st.characters()),
    algorithm=st.sampled_from(ALGORITHMS),
    rest=st.text(st.characters()) | st.text("$0123=,.mtpvargon2idbAñ"),
)
def test_verifying_any_stored_value_never_raises(password: str, algorithm: str, rest: str) -> None:
    assert not verify_password(password, rest)
    assert not verify_password(password, f"{algorithm}${rest}")


def test_a_hash_that_would_take_too_much_work_is_refused_without_computing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(*_: object, **__: object) -> bytes:
        raise AssertionError("worked")

    monkeypatch.setattr(hashlib, "pbkdf2_hmac", work)
    monkeypatch.setattr(hashlib, "scrypt", work)
    monkeypatch.setattr(bcrypt, "hashpw", work)
    monkeypatch.setattr(passwords, "hash_secret_raw", work)
    for stored in (
        "pbkdf2_sha256$16000001$salt$AAAA",
        "pbkdf2_sha1$2147483647$salt$AAAA",
        "pbkdf2_sha256$" + "9" * 99 + "$salt$AAAA",
        "argon2$argon2id$v=19$m=262145,t=1,p=8$c2FsdHNhbHQ$AAAAAAAA",
        "argon2$argon2id$v=19$m=102400,t=33,p=8$c2FsdHNhbHQ$AAAAAAAA",
        "argon2$argon2id$v=19$m=102400,t=2,p=17$c2FsdHNhbHQ$AAAAAAAA",
        "argon2$argon2id$v=19$m=4194304,t=2,p=8,m=8$c2FsdHNhbHQ$AAAAAAAA",
        "bcrypt$$2b$17$" + "." * 53,
        "bcrypt_sha256$$2b$31$" + "." * 53,
        "scrypt$16384$salt$8$81$AAAA",
        "scrypt$1073741824$salt$1$1$AAAA",
    ):
        assert not verify_password(PASSWORD, stored), stored


def test_a_hash_that_would_take_too_much_memory_is_refused() -> None:
    digest = (  # `hashlib.scrypt` of the password; computing it takes a second.
        "8kgmnFAR1l7N5aLsB2yVGOnTPvl8/5M4WKfwjgHTH+2NzRFGsXYJW3JPphQ+OIAJyEk38JSYZkO3J4QyqosroA=="
    )
    assert not verify_password(PASSWORD, f"scrypt${2**18}$salt$8$1${digest}")


def test_each_variant_of_argon2_is_verified() -> None:
    for variety in argon2.Type:
        stored = argon2.PasswordHasher(1, 8, 1, type=variety).hash(PASSWORD)
        assert verify_password(PASSWORD, "argon2" + stored), variety
        assert not verify_password(PASSWORD.strip(), "argon2" + stored), variety


class Gate:
    """Replaces `verify_password`: each call waits until the gate is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.entered = threading.Semaphore(0)
        self.inside = 0
        self.most_inside = 0
        self.left = 0
        self._lock = threading.Lock()

    def verify_password(self, password: str, stored: str) -> bool:
        with self._lock:
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
        self.entered.release()
        self.opened.wait(5)
        self.opened.set()  # So that a failing test ends soon too.
        time.sleep(0.01)
        with self._lock:
            self.inside -= 1
            self.left += 1
        return True


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate()
    monkeypatch.setattr(passwords, "verify_password", gate.verify_password)
    yield gate
    gate.opened.set()


async def test_the_verifier_agrees_with_verify_password() -> None:
    stored = stored_by(hashers.MD5PasswordHasher)
    async with open_password_verifier() as verifier:
        assert await verifier.verify(PASSWORD, stored)
        assert not await verifier.verify("another", stored)


async def test_a_full_queue_refuses_further_passwords(gate: Gate) -> None:
    async with open_password_verifier() as verifier, asyncio.TaskGroup() as group:
        tasks = [group.create_task(verifier.verify("", "")) for _ in range(THREADS + WAITING)]
        await asyncio.to_thread(gate.entered.acquire)
        with pytest.raises(SignInBusy):
            await verifier.verify("", "")
        gate.opened.set()
        assert all(await asyncio.gather(*tasks))
        assert await verifier.verify("", "")
    assert gate.most_inside == THREADS


async def test_cancelled_work_keeps_its_slot_until_it_is_done(gate: Gate) -> None:
    async with open_password_verifier() as verifier:
        tasks = [asyncio.create_task(verifier.verify("", "")) for _ in range(THREADS + WAITING)]
        await asyncio.to_thread(gate.entered.acquire)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        with pytest.raises(SignInBusy):
            await verifier.verify("", "")
        gate.opened.set()


async def test_closing_waits_for_running_work(gate: Gate) -> None:
    async with open_password_verifier() as verifier:
        task = asyncio.create_task(verifier.verify("", ""))
        await asyncio.to_thread(gate.entered.acquire)
        gate.opened.set()
    assert gate.left == 1
    assert await task

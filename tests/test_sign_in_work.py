"""The cost of a sign-in, measured in hashing work: the same, whatever is wrong."""

import asyncio
import hashlib
import os
import threading
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import argon2
import argon2.low_level
import bcrypt
import pytest
import pytest_asyncio

from educa_chat.people import passwords
from educa_chat.people.own_accounts import OwnAccounts
from educa_chat.people.passwords import PARAMETERS, level_work, open_password_verifier, verify_password
from educa_chat.settings import Settings
from educa_chat.storage.accounts import add_user, find_password_kinds
from educa_chat.storage.pool import Database

PASSWORD = "the right one"
Work = Counter[tuple[object, ...]]


def pbkdf2(iterations: int, password: str = PASSWORD, hash_name: str = "sha256") -> str:
    digest = hashlib.pbkdf2_hmac(hash_name, password.encode(), b"salt", iterations)
    return f"pbkdf2_{hash_name}${iterations}$salt${b64encode(digest).decode()}"


def argon(passes: int, variety: argon2.Type = argon2.Type.ID, memory: int = 16) -> str:
    return "argon2" + argon2.PasswordHasher(passes, memory, 1, type=variety).hash(PASSWORD)


def bcrypted(rounds: int) -> str:
    return "bcrypt$" + bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(rounds)).decode()


def bcrypted_sha256(rounds: int) -> str:
    digits = hashlib.sha256(PASSWORD.encode()).hexdigest().encode()
    return "bcrypt_sha256$" + bcrypt.hashpw(digits, bcrypt.gensalt(rounds)).decode()


def scrypted(parallelism: int, n: int = 4) -> str:
    digest = hashlib.scrypt(PASSWORD.encode(), salt=b"salt", n=n, r=8, p=parallelism, dklen=64)
    return f"scrypt${n}$salt$8${parallelism}${b64encode(digest).decode()}"


def md5(salt: str = "salt") -> str:
    return f"md5${salt}${hashlib.md5(salt.encode() + PASSWORD.encode()).hexdigest()}"


USABLE = {
    "a cheap PBKDF2": pbkdf2(2),
    "a usual PBKDF2": pbkdf2(10),
    "a costly PBKDF2": pbkdf2(25),
    "PBKDF2 with SHA-1": pbkdf2(7, hash_name="sha1"),
    "a cheap Argon2": argon(1),
    "a costly Argon2": argon(3),
    "an Argon2 with more memory": argon(1, memory=32),
    "an Argon2d": argon(2, argon2.Type.D),
    "a cheap bcrypt": bcrypted(4),
    "a costly bcrypt": bcrypted(5),
    "bcrypt of SHA-256": bcrypted_sha256(4),
    "a cheap scrypt": scrypted(1),
    "a costly scrypt": scrypted(3),
    "a larger scrypt": scrypted(1, n=8),
    "MD5": md5(),
}
UNUSABLE = {
    "an empty row": "",
    "a row without a password": "!",
    "a row of Django without a password": "!bhuAcyrRSQ09ry3V4KsGEbp5qW5OVnDoxCycz3ih",
    "a password that was switched off": "!" + pbkdf2(10),
    "an algorithm that there isn't": "plain$" + PASSWORD,
    "a garbled PBKDF2": "pbkdf2_sha256$10$salt$AAAA=",
    "a cut Argon2": argon(3)[:-1],
    "an Argon2 with too little memory": "argon2$argon2id$v=19$m=4,t=1,p=1$c2FsdHNhbHQ$AAAAAAAA",
    "a garbled bcrypt": bcrypted(5)[:-1] + "$",
    "a bcrypt with a garbled salt": "bcrypt$$2b$04$" + "9" * 53,
    "a garbled scrypt": "scrypt$3$salt$8$1$AAAA",
    "too much work": "pbkdf2_sha256$16000001$salt$AAAA",
    "too much memory": "scrypt$262144$salt$8$1$AAAA",
}
STORED = USABLE | UNUSABLE


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    """The work so far: iterations, passes or rounds, by algorithm and its other parameters."""
    done: Work = Counter()
    lock = threading.Lock()

    def count(amount: int, *kind: object) -> None:
        with lock:
            done[kind] += amount

    real_pbkdf2, real_scrypt, real_bcrypt = hashlib.pbkdf2_hmac, hashlib.scrypt, bcrypt.hashpw
    real_argon2 = argon2.low_level.hash_secret_raw

    def counting_pbkdf2(hash_name: str, password: bytes, salt: bytes, iterations: int) -> bytes:
        count(iterations, "pbkdf2", hash_name)
        return real_pbkdf2(hash_name, password, salt, iterations)

    def counting_scrypt(password: bytes, **parameters: Any) -> bytes:
        count(parameters["p"], "scrypt", parameters["n"], parameters["r"])
        return real_scrypt(password, **parameters)

    def counting_bcrypt(password: bytes, salt: bytes) -> bytes:
        count(1 << int(salt[4:6]), "bcrypt")
        return real_bcrypt(password, salt)

    def counting_argon2(
        secret: bytes, salt: bytes, passes: int, memory: int, lanes: int, size: int, **more: Any
    ) -> bytes:
        count(passes, "argon2", memory, lanes, *sorted(more.items()))
        return real_argon2(secret, salt, passes, memory, lanes, size, **more)

    monkeypatch.setattr(hashlib, "pbkdf2_hmac", counting_pbkdf2)
    monkeypatch.setattr(hashlib, "scrypt", counting_scrypt)
    monkeypatch.setattr(bcrypt, "hashpw", counting_bcrypt)
    monkeypatch.setattr(passwords, "hash_secret_raw", counting_argon2)
    return done


def work_for(work: Work, stored: str, password: str) -> Work:
    work.clear()
    is_right = verify_password(password, stored)
    assert is_right == (password == PASSWORD and stored in USABLE.values())
    level_work(password, stored, [kind_of(stored) for stored in STORED.values()])
    return work.copy()


def kind_of(stored: str) -> str:
    parts = stored.split("$")
    return "$".join([parts[0], *(parts[position] for position in PARAMETERS.get(parts[0], ()))])


def test_verifying_any_hash_costs_as_much_as_the_most_expensive_ones(work: Work) -> None:
    expected: Work = Counter(
        {
            ("pbkdf2", "sha256"): 25,
            ("pbkdf2", "sha1"): 7,
            ("argon2", 16, 1, ("type", argon2.Type.ID), ("version", 19)): 3,
            ("argon2", 32, 1, ("type", argon2.Type.ID), ("version", 19)): 1,
            ("argon2", 16, 1, ("type", argon2.Type.D), ("version", 19)): 2,
            ("bcrypt",): 2**5 + 2**4,
            ("scrypt", 4, 8): 3,
            ("scrypt", 8, 8): 1,
        }
    )
    for password in (PASSWORD, "a wrong one", "", "x" * 4096):
        for name, stored in STORED.items():
            assert work_for(work, stored, password) == expected, name


@pytest.mark.parametrize("password", ["x" * 4097, "\ud800"])
def test_a_password_that_cannot_be_hashed_costs_no_work(work: Work, password: str) -> None:
    for stored in STORED.values():
        assert work_for(work, stored, password) == Counter()


def test_a_hash_of_a_unique_kind_costs_only_its_own_work(work: Work) -> None:
    for stored in USABLE.values():
        work.clear()
        verify_password(PASSWORD, stored)
        alone = work.copy()
        level_work(PASSWORD, stored, [])
        assert work == alone


@pytest_asyncio.fixture
async def accounts(database: Database) -> AsyncIterator[OwnAccounts]:
    own = OwnAccounts(Settings())
    async with own.connect(database):
        yield own


async def test_each_kind_of_hash_is_listed_once(database: Database) -> None:
    assert await find_password_kinds(database, PARAMETERS) == []
    more = [pbkdf2(10, "another"), argon(1), bcrypted(4), bcrypted_sha256(4), scrypted(1), md5("pepper")]
    for number, stored in enumerate([*USABLE.values(), *more]):
        await add_user(database, f"user-{number}", stored)
    await add_user(database, "without", "!")
    assert sorted(await find_password_kinds(database, PARAMETERS)) == sorted(map(kind_of, USABLE.values()))


async def test_a_failed_sign_in_costs_the_same_whatever_is_wrong(
    database: Database, accounts: OwnAccounts, work: Work
) -> None:
    for name, stored in STORED.items():
        await add_user(database, name, stored)
    await add_user(database, "inactive", pbkdf2(10))
    await database.execute("update auth_user set is_active = false where username = 'inactive'")
    costs = {}
    for username in (*STORED, "inactive", "nobody", "", "a\0b", "x" * 200):
        for password in (PASSWORD, "a wrong one", ""):
            work.clear()
            user_id = await accounts.authenticate(username, password)
            assert (user_id is not None) == (password == PASSWORD and username in USABLE), username
            costs[username, password] = work.copy()
    assert costs["nobody", PASSWORD].total() > 0
    assert {str(sorted(cost.items(), key=str)) for cost in costs.values()} == {
        str(sorted(costs["nobody", PASSWORD].items(), key=str))
    }


@pytest.mark.parametrize("stored", [pbkdf2(1, ""), "md5$salt$" + hashlib.md5(b"salt").hexdigest()])
async def test_an_empty_password_is_always_wrong(database: Database, accounts: OwnAccounts, stored: str) -> None:
    await add_user(database, "ana", stored)
    assert verify_password("", stored)
    assert await accounts.authenticate("ana", "") is None


async def test_signing_in_does_not_rehash_the_password(database: Database, accounts: OwnAccounts) -> None:
    """The table may belong to a Django site, and only the site writes to it."""
    await add_user(database, "ana", pbkdf2(2))
    await add_user(database, "luis", pbkdf2(20))
    assert await accounts.authenticate("ana", PASSWORD)
    assert await database.fetchval("select password from auth_user where username = 'ana'") == pbkdf2(2)


async def test_hashing_runs_at_a_lower_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    def own_priority(password: str, stored: str) -> bool:
        priorities.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        both.wait(5)
        return True

    priorities: list[int] = []
    both = threading.Barrier(2)
    monkeypatch.setattr(passwords, "verify_password", own_priority)
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    async with open_password_verifier() as verifier:
        await asyncio.gather(verifier.verify("", ""), verifier.verify("", ""))
    assert len(priorities) == 2
    assert min(priorities) > before
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before

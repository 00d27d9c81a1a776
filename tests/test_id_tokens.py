"""Tokens from issuers and platforms: validation, and how often keys are fetched."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import pytest
from aiohttp import web
from joserfc import jwk, jwt

from educa_chat.errors import OutboundFailed, TokenRefused
from educa_chat.people.id_tokens import Claims, verify_token
from educa_chat.people.key_sets import KeySets
from educa_chat.people.login_states import LoginStates, end_login, is_secret_of
from educa_chat.people.outbound import Outbound
from educa_chat.people.own_keys import OwnKeys
from educa_chat.storage.external_people import ExternalPerson, find_or_add_person, tidy_name
from educa_chat.storage.pool import Database
from tests.outside import LOOPBACK, Signer, claims_for, open_elsewhere, signed_with_secret, unsigned

ISSUER = "https://moodle.example"
KEYS = (b"k" * 32,)


class Issuer:
    """A key set at an address, a count of its requests, and a clock."""

    keys: KeySets

    def __init__(self) -> None:
        self.signer = Signer()
        self.fetches = 0
        self.status = 200
        self.now_s = 1000.0
        self.url = ""

    async def answer(self, _: web.Request) -> web.Response:
        self.fetches += 1
        if self.status != 200:
            raise web.HTTPInternalServerError
        return web.json_response(self.signer.public())

    async def verify(self, token: str, issuer: str = ISSUER) -> Claims:
        return await verify_token(token, Claims, self.keys, jwks_url=self.url, issuer=issuer, client_id="us")


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    one = Issuer()
    async with open_elsewhere(one.answer) as one.url, Outbound(LOOPBACK).open() as outbound:
        one.keys = KeySets(outbound, lambda: one.now_s)
        yield one


async def test_a_valid_token_is_accepted(issuer: Issuer) -> None:
    claims = claims_for(ISSUER, "us", aud=["us", "others"], azp="us")
    assert (await issuer.verify(issuer.signer.sign(claims))).sub == "17"


NOW = int(time.time())  # The parameters are made minutes before a test runs.


WRONG_CLAIMS: list[tuple[dict[str, Any], str]] = [
    ({"iss": "https://other.example"}, "issuer"),
    ({"aud": "others"}, "audience"),
    ({"aud": []}, "audience"),
    ({"aud": ["us", "others"]}, "no authorized party"),
    ({"aud": ["us", "others"], "azp": "others"}, "authorized party"),
    ({"azp": "others"}, "authorized party"),
    ({"sub": "a\0b"}, "sub"),
    ({"exp": NOW - 120}, "expired"),
    ({"iat": NOW - 2 * 3600}, "too old"),
    ({"iat": NOW + 86400}, "future"),
    ({"nbf": NOW + 86400}, "future"),
    ({"exp": None}, "can't be used"),
    ({"exp": "soon"}, "can't be used"),
    ({"iat": None}, "can't be used"),
    ({"aud": None}, "can't be used"),
    ({"aud": {"us": 1}}, "can't be used"),
    ({"sub": 17}, "can't be used"),
]


async def test_wrong_claims_are_refused(issuer: Issuer, subtests: pytest.Subtests) -> None:
    for claims, reason in WRONG_CLAIMS:
        with subtests.test(claims=claims):
            with pytest.raises(TokenRefused, match=reason):
                await issuer.verify(issuer.signer.sign(claims_for(ISSUER, "us", **claims)))


async def test_the_algorithm_is_pinned(issuer: Issuer) -> None:
    claims = claims_for(ISSUER, "us")
    with pytest.raises(TokenRefused, match="algorithm is 'none'"):
        await issuer.verify(unsigned(claims))
    # The public key, used as the secret of a symmetric algorithm.
    with pytest.raises(TokenRefused, match="algorithm is 'HS256'"):
        await issuer.verify(signed_with_secret(claims, issuer.signer.key.as_bytes(private=False)))
    # An elliptic-curve key with the id of the RSA key.
    curve = jwk.ECKey.generate_key("P-256", {"kid": "one"}, private=True)
    with pytest.raises(TokenRefused, match="no key for ES256"):
        await issuer.verify(jwt.encode({"alg": "ES256", "kid": "one"}, claims, curve))


async def test_a_key_that_the_token_brings_along_is_ignored(issuer: Issuer) -> None:
    forger = Signer()
    for header in ({"jwk": forger.key.as_dict(private=False)}, {"jku": "https://forger.example/"}):
        with pytest.raises(TokenRefused, match="signature"):
            await issuer.verify(forger.sign(claims_for(ISSUER, "us"), **header))


async def test_an_invalid_token_is_refused(issuer: Issuer, subtests: pytest.Subtests) -> None:
    for token in ("", "a.b", "a.b.c", "..", "é.é.é", "e30.e30.e30", "x" * 100_000, "W10.W10.W10"):
        with subtests.test(token=token):
            with pytest.raises(TokenRefused):
                await issuer.verify(token)
            assert not issuer.fetches


async def test_simultaneous_tokens_cause_one_fetch_of_the_keys(issuer: Issuer) -> None:
    token = issuer.signer.sign(claims_for(ISSUER, "us"))
    await asyncio.gather(*(issuer.verify(token) for _ in range(50)))
    assert issuer.fetches == 1


async def test_an_unknown_key_is_looked_up_at_most_once_a_minute(issuer: Issuer) -> None:
    old = issuer.signer
    claims = claims_for(ISSUER, "us")
    await issuer.verify(old.sign(claims))
    issuer.signer = Signer("two")
    for _ in range(20):
        with pytest.raises(TokenRefused, match="no key"):
            await issuer.verify(issuer.signer.sign(claims))
    assert issuer.fetches == 1
    issuer.now_s += 61
    await issuer.verify(issuer.signer.sign(claims))
    assert issuer.fetches == 2
    with pytest.raises(TokenRefused, match="no key"):
        await issuer.verify(old.sign(claims))


async def test_known_keys_are_used_while_fetching_fails(issuer: Issuer) -> None:
    token = issuer.signer.sign(claims_for(ISSUER, "us"))
    issuer.status = 500
    for _ in range(5):
        with pytest.raises(OutboundFailed):
            await issuer.verify(token)
    assert issuer.fetches == 1
    issuer.status = 200
    issuer.now_s += 6
    await issuer.verify(token)
    issuer.status = 500
    issuer.now_s += 3700
    await issuer.verify(token)
    assert issuer.fetches == 3


async def test_weak_keys_and_unknown_key_types_are_ignored(issuer: Issuer) -> None:
    keys = [
        {"kty": "RSA", "kid": "weak", "n": "AQAB", "e": "AQAB"},
        {"kty": "oct", "kid": "secret", "k": "c2VjcmV0"},
        {"kty": "new", "kid": "new"},
        {"kid": 5},
        {"kty": "RSA", "kid": "broken", "n": 5},
    ]
    public = issuer.signer.public()
    issuer.signer.public = lambda: {"keys": [*keys, *public["keys"]]}  # type: ignore[method-assign]
    await issuer.verify(issuer.signer.sign(claims_for(ISSUER, "us")))


async def test_a_login_can_be_completed_once_in_its_own_browser_within_the_time_limit(database: Database) -> None:
    now = time.time()
    states = LoginStates("test", KEYS, same_site="None", is_secure=True, now=lambda: now)
    state, begun, secret = states.begin({"platform": "1"})
    login = states.read(state)
    assert login == begun and login.data == {"platform": "1"}
    assert is_secret_of(secret, login)
    assert not is_secret_of("", login) and not is_secret_of(states.begin({})[2], login)
    with pytest.raises(TokenRefused, match="nonce"):
        await end_login(database, login, "another")
    await end_login(database, login, login.nonce)
    with pytest.raises(TokenRefused, match="already used"):
        await end_login(database, login, login.nonce)
    with pytest.raises(TokenRefused, match="state"):
        LoginStates("test", (b"o" * 32,), same_site="None", is_secure=True).read(state)
    with pytest.raises(TokenRefused, match="state"):
        states.read("x" + state)
    now += 601
    with pytest.raises(TokenRefused, match="state"):
        states.read(state)


async def test_a_flood_of_logins_stores_nothing(database: Database) -> None:
    states = LoginStates("test", KEYS, same_site="Lax", is_secure=True)
    for _ in range(100):
        states.read(states.begin({})[0])
    assert await database.fetchval("select count(*) from educa_chat.used_nonce") == 0


async def test_keys_are_created_once_and_rotated_without_a_gap(database: Database) -> None:
    """All processes create the missing keys at the same time. A token signed just before a rotation stays valid."""
    one, other = OwnKeys(database, KEYS), OwnKeys(database, KEYS)
    published: dict[str, Any] = (await asyncio.gather(one.public_keys(), other.public_keys()))[0]
    assert len(published["keys"]) == 2 and not any("d" in key for key in published["keys"])
    before = await one.sign({"iss": "us"})
    await other.rotate()
    after = await one.sign({"iss": "us"})
    keys = jwk.KeySet.import_key_set(await one.public_keys())  # type: ignore[arg-type]
    for token in (before, after):
        assert jwt.decode(token, keys, ["RS256"]).claims["iss"] == "us"
    # The key that signs now was published before.
    assert jwt.decode(after, keys, ["RS256"]).header["kid"] == published["keys"][1]["kid"]
    # A new session key without the former one as a fallback.
    await OwnKeys(database, (b"n" * 32,)).sign({})


async def test_own_keys_are_used_without_checking_their_primes(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check holds the event loop for 60 ms, and everybody can ask for the key set."""
    keys = OwnKeys(database, KEYS)
    await keys.public_keys()

    def check(_: object) -> NoReturn:
        raise AssertionError("a private key is checked")

    monkeypatch.setattr(jwk.RSAKey.binding, "import_private_key", check)
    assert len((await keys.public_keys())["keys"]) == 2
    assert await keys.sign({"iss": "us"})


async def test_an_external_person_is_always_the_same_user(database: Database) -> None:
    ana = ExternalPerson("lti:1", "17", "Ana", "Álvarez")
    found = await asyncio.gather(*(find_or_add_person(database, ana) for _ in range(5)))
    assert len({one.user_id for one in found}) == 1
    others = [
        ExternalPerson("lti:2", "17", "Ana", "Álvarez"),
        ExternalPerson("lti:1", "18", "Ana\u202e", "Álvarez"),
        ExternalPerson("lti:1", "19"),
    ]
    for other in others:
        await find_or_add_person(database, other)
    await find_or_add_person(database, ExternalPerson("lti:1", "17", "Ana", "Morales"))
    await find_or_add_person(database, ExternalPerson("lti:1", "17"))
    rows = await database.fetch("select username, first_name, last_name from auth_user order by id")
    assert [tuple(row) for row in rows[:3]] == [
        ("ana.alvarez", "Ana", "Morales"),
        ("ana.alvarez2", "Ana", "Álvarez"),
        ("ana.alvarez3", "Ana", "Álvarez"),
    ]
    assert rows[3]["username"].startswith("member-") and len(rows) == 4


def test_an_external_name_is_cleaned() -> None:
    assert tidy_name(" An\u202ea\n\t ") == "Ana"
    assert len(tidy_name("é" * 500)) == 150

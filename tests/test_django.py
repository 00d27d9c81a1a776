"""Django's sessions, compared with those that Django itself signs and stores."""

import json
import tracemalloc
import zlib
from base64 import urlsafe_b64encode
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from django.core.signing import TimestampSigner
from hypothesis import given, settings
from hypothesis import strategies as st

from educa_chat.people.django import (
    SESSION_BYTES,
    USER_BACKEND,
    USER_HASH,
    USER_ID,
    decode_session,
    is_session_key,
    session_auth_hash,
)
from educa_chat.people.passwords import verify_password
from tests.conftest import Postgres
from tests.django_site import DjangoSite
from tests.django_site.settings import SECRET_KEY

VECTOR = "eyJhIjoxfQ:1r31eq:YPVGxMwXXjZe5sqROQW4K1w4zWMXmk0rWag7bmev1IQ"
"""{"a": 1} as Django stored it at the time 1700000000."""

DJANGO = TimestampSigner(key=SECRET_KEY, salt="django.contrib.sessions.SessionStore", fallback_keys=())
"""The salt with which Django's session stores sign."""

TEXT = st.text(st.characters())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=8,
)
SESSIONS = st.dictionaries(TEXT, JSON, max_size=3)


def signed(content: bytes, *, compressed: bytes | None = None) -> str:
    """Return any content with Django's signature."""
    if compressed is None:
        return str(DJANGO.sign(urlsafe_b64encode(content).rstrip(b"=").decode()))
    return str(DJANGO.sign("." + urlsafe_b64encode(compressed).rstrip(b"=").decode()))


def test_a_known_session_is_read() -> None:
    assert decode_session(VECTOR, SECRET_KEY) == {"a": 1}


@settings(deadline=None)
@given(session=SESSIONS, compress=st.booleans())
def test_anything_django_signs_is_read_unchanged(session: dict[str, object], compress: bool) -> None:
    assert decode_session(DJANGO.sign_object(session, compress=compress), SECRET_KEY) == session


def test_a_session_is_read_only_with_its_own_key() -> None:
    assert decode_session(VECTOR, SECRET_KEY + " ") == {}


def test_data_signed_for_another_purpose_is_not_a_session() -> None:
    other = TimestampSigner(key=SECRET_KEY, salt="django.core.signing", fallback_keys=())
    assert decode_session(other.sign_object({"a": 1}), SECRET_KEY) == {}


@settings(deadline=None)
@given(
    session=SESSIONS,
    position=st.integers(min_value=0, max_value=10**6),
    character=st.characters(),
)
def test_one_changed_character_makes_a_session_anonymous(
    session: dict[str, object], position: int, character: str
) -> None:
    data = DJANGO.sign_object(session, compress=True)
    position %= len(data)
    changed = data[:position] + character + data[position + 1 :]
    assert decode_session(changed, SECRET_KEY) == (session if changed == data else {})


def test_a_truncated_session_is_anonymous() -> None:
    assert all(decode_session(VECTOR[:length], SECRET_KEY) == {} for length in range(len(VECTOR)))


@settings(deadline=None)
@given(data=TEXT, key=st.text())
def test_decoding_any_text_never_raises(data: str, key: str) -> None:
    assert decode_session(data, key) == {}


@settings(deadline=None)
@given(payload=st.text("._-=:\nAa09ñ") | st.text())
def test_decoding_any_signed_text_never_raises(payload: str) -> None:
    assert decode_session(DJANGO.sign(payload), SECRET_KEY) == {}


@settings(deadline=None)
@given(content=st.binary(), compressed=st.binary())
def test_decoding_any_signed_content_never_raises(content: bytes, compressed: bytes) -> None:
    assert decode_session(signed(content), SECRET_KEY) == {}
    assert decode_session(signed(b"", compressed=compressed), SECRET_KEY) == {}


def test_a_signed_session_that_is_not_an_object_is_anonymous() -> None:
    for content in (
        b"",
        b"null",
        b"1",
        b'"text"',
        b'[{"a": 1}]',
        b'{"a": ',
        b'{"a": 1} {}',
        b"[" * 10**5,
        b'{"a": ' + b"9" * 5000 + b"}",
    ):
        assert decode_session(signed(content), SECRET_KEY) == {}, content[:20]
        assert decode_session(signed(b"", compressed=zlib.compress(content)), SECRET_KEY) == {}, content[:20]


def test_a_signed_session_with_truncated_compression_is_anonymous() -> None:
    compressed = zlib.compress(b'{"a": 1}')
    assert decode_session(signed(b"", compressed=compressed), SECRET_KEY) == {"a": 1}
    for length in range(len(compressed)):
        assert decode_session(signed(b"", compressed=compressed[:length]), SECRET_KEY) == {}


def test_a_session_is_decompressed_up_to_one_mebibyte() -> None:
    largest = json.dumps({"a": "b" * (SESSION_BYTES - len('{"a": ""}'))}).encode()
    assert len(largest) == SESSION_BYTES
    assert decode_session(signed(b"", compressed=zlib.compress(largest)), SECRET_KEY) == json.loads(largest)
    assert decode_session(signed(b"", compressed=zlib.compress(largest + b" ")), SECRET_KEY) == {}


def test_a_small_session_that_decompresses_to_a_huge_one_takes_little_memory() -> None:
    bomb = signed(b"", compressed=zlib.compress(b'{"a": "' + b"b" * 2**26 + b'"}'))
    tracemalloc.start()
    try:
        assert decode_session(bomb, SECRET_KEY) == {}
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * SESSION_BYTES


def test_a_session_key_has_32_lower_case_letters_and_digits() -> None:
    for value, is_key in (
        ("l0bw1msh7yr13pnia2ncx7wc7e9lu60z", True),
        ("l0bw1msh7yr13pnia2ncx7wc7e9lu60", False),
        ("l0bw1msh7yr13pnia2ncx7wc7e9lu60zz", False),
        ("L0bw1msh7yr13pnia2ncx7wc7e9lu60z", False),
        ("l0bw1msh7yr13pnia2ncx7wc7e9lu60\n", False),
        ("l0bw1msh7yr13pnia2ncx7wc7e9lu60z\n", False),
        ("l0bw1msh7yr13pnia2ncx7wc7e9lu60\0", False),
        ("l0bw1msh7yr13pnia2ncx7wc7e9lu60٣", False),
        ("", False),
    ):
        assert is_session_key(value) == is_key, value


class SeededSite:
    """A site with users, and a connection to its tables."""

    def __init__(self, url: str, people: dict[str, Any]) -> None:
        self.django = DjangoSite(url)
        self.people = people
        self._url = url

    async def fetchval(self, query: str, *arguments: object) -> Any:
        connection = await asyncpg.connect(self._url)
        try:
            return await connection.fetchval(query, *arguments)
        finally:
            await connection.close()

    async def session(self, key: str) -> dict[str, object]:
        data = await self.fetchval("select session_data from django_session where session_key = $1", key)
        return decode_session(data, SECRET_KEY)

    async def password(self, username: str) -> str:
        stored: str = await self.fetchval("select password from auth_user where username = $1", username)
        return stored


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(postgres: Postgres) -> SeededSite:
    url = await postgres.create_database()
    django = DjangoSite(url)
    await django.migrate()
    return SeededSite(url, (await django.seed())["users"])


async def test_a_sites_session_identifies_its_user(site: SeededSite) -> None:
    key = await site.django.sign_in("ana")
    assert is_session_key(key)
    assert await site.session(key) == {
        USER_ID: str(site.people["ana"]["id"]),
        USER_BACKEND: "django.contrib.auth.backends.ModelBackend",
        USER_HASH: session_auth_hash(await site.password("ana"), SECRET_KEY),
    }


async def test_a_changed_password_invalidates_earlier_sessions(site: SeededSite) -> None:
    key = await site.django.sign_in("berta")
    await site.django.set_password("berta", "otra")
    session = await site.session(key)
    assert session[USER_ID] == str(site.people["berta"]["id"])
    assert session[USER_HASH] != session_auth_hash(await site.password("berta"), SECRET_KEY)
    assert verify_password("otra", await site.password("berta"))


async def test_signing_out_on_the_site_leaves_no_session(site: SeededSite) -> None:
    key = await site.django.sign_in("ana")
    await site.django.sign_out(key)
    assert await site.fetchval("select count(*) from django_session where session_key = $1", key) == 0


async def test_passwords_stored_by_a_site_are_verified(site: SeededSite, subtests: pytest.Subtests) -> None:
    for username in ("ines", "ana", "carla", "dario", "inactiva"):
        with subtests.test(username=username):
            assert verify_password(site.people[username]["password"], await site.password(username))


async def test_a_user_without_a_password_on_the_site_is_refused(site: SeededSite) -> None:
    assert not verify_password("", await site.password("sinclave"))

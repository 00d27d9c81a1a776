"""A dishonest issuer: its answers sign nobody in, and don't keep the chat busy."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
import pytest_asyncio
from aiohttp import web
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from yarl import URL

from educa_chat.handlers.keys import DATABASE
from educa_chat.people import outbound
from educa_chat.settings import CourseRule, Settings
from tests.openid import Answer, walk
from tests.outside import Signer, claims_for, open_elsewhere, signed_with_secret, unsigned
from tests.serving import Person, Server, open_server, settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

BEGIN = "/chat/sign-in/with/liar/"
CALLBACK = f"{BEGIN}callback/"


class Liar:
    """An issuer whose answers a test changes."""

    url: str

    def __init__(self) -> None:
        self.signer = Signer()
        self.reset()

    def reset(self) -> None:
        """Be honest again, and forget all requests."""
        self.metadata: dict[str, Any] = {}
        self.userinfo: dict[str, Any] = {}
        self.make_token: Callable[[dict[str, Any]], str] = self.signer.sign
        self.token_answer: Callable[[str], web.StreamResponse] | None = None
        self.requests: list[web.Request] = []
        self.forms: list[Mapping[str, str]] = []
        self.claims: dict[str, Any] = {}
        self.nonce = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        if request.path == "/.well-known/openid-configuration":
            return web.json_response(
                {
                    "issuer": self.url,
                    "authorization_endpoint": f"{self.url}/authorize?tenant=1",
                    "token_endpoint": f"{self.url}/token",
                    "jwks_uri": f"{self.url}/keys",
                    **self.metadata,
                }
            )
        if request.path == "/keys":
            return web.json_response(self.signer.public())
        if request.path == "/userinfo":
            return web.json_response(self.userinfo)
        assert request.path == "/token", request.path
        self.forms.append({name: str(value) for name, value in (await request.post()).items()})
        token = self.make_token(claims_for(self.url, "chat", **{"nonce": self.nonce, "name": "Ana", **self.claims}))
        if self.token_answer:
            return self.token_answer(token)
        return web.json_response({"id_token": token, "access_token": "secret", "token_type": "Bearer"})


def liar_settings(url: str, issuer: str, **others: str) -> Settings:
    liar = {"issuers_liar_name": "The liar", "issuers_liar_issuer": issuer, "issuers_liar_client_id": "chat"}
    return settings_for(url, **{"outbound_private_networks": "127.0.0.0/8", **liar, **others})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(url: str) -> AsyncIterator[tuple[Liar, Server]]:
    liar = Liar()
    async with open_elsewhere(liar.answer) as liar.url:
        settings = liar_settings(url, liar.url)
        rules = (CourseRule("groups", "algebra", "1"),)
        issuer = msgspec.structs.replace(settings.issuers["liar"], courses=rules)
        async with open_server(msgspec.structs.replace(settings, issuers={"liar": issuer})) as server:
            yield liar, server


@pytest.fixture
def liar(running: tuple[Liar, Server]) -> Liar:
    running[0].reset()
    return running[0]


@pytest.fixture
def server(running: tuple[Liar, Server]) -> Server:
    return running[1]


@pytest_asyncio.fixture(loop_scope="module")
async def person(server: Server) -> AsyncIterator[Person]:
    async with Person(server.url) as one:
        yield one


async def sign_in(liar: Liar, person: Person, **parameters: str) -> Answer:
    """Start a login, and return from the issuer."""
    page = await walk(person.http, person.url + BEGIN, until=liar.url)
    liar.nonce = page.url.query["nonce"]
    query = {"state": page.url.query["state"], "code": "c", **parameters}
    return await walk(person.http, f"{person.url}{CALLBACK}?{urlencode(query)}")


async def has_session(person: Person) -> bool:
    return (await person.get("/api/rooms"))[0] == 200


async def test_an_honest_issuer_signs_people_in(liar: Liar, person: Person) -> None:
    page = await sign_in(liar, person)
    assert page.status == 200, page.text
    assert await has_session(person)


async def test_the_code_is_bound_to_the_request_with_pkce(liar: Liar, person: Person) -> None:
    page = await walk(person.http, person.url + BEGIN, until=liar.url)
    query = page.url.query
    assert (query["tenant"], query["response_type"], query["code_challenge_method"]) == ("1", "code", "S256")
    assert query["scope"] == "openid profile email"
    await sign_in(liar, person)
    assert 43 <= len(liar.forms[-1]["code_verifier"]) <= 128
    assert liar.forms[-1]["redirect_uri"] == person.url + CALLBACK


async def test_behind_a_proxy_the_redirect_uses_the_public_address(url: str, liar: Liar) -> None:
    settings = liar_settings(url, liar.url, server_trusted_proxies="127.0.0.1/32", session_secure="true")
    async with open_server(settings) as server, Person(server.url) as person:
        forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "chat.school.example"}
        status, _, headers = await person.get(BEGIN, **forwarded)
    assert status == 302
    assert URL(headers["Location"]).query["redirect_uri"] == f"https://chat.school.example{CALLBACK}"
    cookie = headers["Set-Cookie"]
    assert all(flag in cookie for flag in ("Secure", "HttpOnly", "SameSite=Lax")), cookie


def with_public_key_as_secret(liar: Liar) -> Callable[[dict[str, Any]], str]:
    pem = liar.signer.key.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return lambda claims: signed_with_secret(claims, pem)


WRONG_CLAIMS: list[tuple[dict[str, Any], str]] = [
    ({"nonce": "of another login"}, "nonce"),
    ({"nonce": None}, "nonce"),
    ({"iss": "https://other.example"}, "issuer"),
    ({"aud": "another"}, "audience"),
    ({"aud": ["chat", "another"]}, "azp"),
    ({"aud": ["chat", "another"], "azp": "another"}, "azp"),
    ({"exp": 1}, "expired"),
    ({"iat": 2**40}, "future"),
    ({"exp": "never"}, "can't be used"),
    ({"sub": None}, "sub"),
    ({"sub": ""}, "sub"),
    ({"sub": "a\0b"}, "sub"),
    ({"sub": 17}, "can't be used"),
    ({"sub": 300 * "x"}, "sub"),
    ({"sid": "a\0b"}, "sid"),
    ({"sid": ""}, "sid"),
]


async def test_a_token_with_wrong_claims_signs_nobody_in(
    liar: Liar, person: Person, caplog: pytest.LogCaptureFixture, subtests: pytest.Subtests
) -> None:
    for claims, reason in WRONG_CLAIMS:
        with subtests.test(claims=claims):
            caplog.clear()
            liar.claims = claims
            page = await sign_in(liar, person)
            assert page.status == 403
            assert reason in caplog.text
            assert not await has_session(person)


async def test_a_token_not_signed_by_the_issuer_signs_nobody_in(
    liar: Liar, person: Person, caplog: pytest.LogCaptureFixture, subtests: pytest.Subtests
) -> None:
    caplog.set_level(logging.INFO)
    forgeries: dict[str, Callable[[dict[str, Any]], str]] = {
        "none": unsigned,
        "HS256": with_public_key_as_secret(liar),
        "secret": lambda claims: signed_with_secret(claims, b""),
        "key": Signer().sign,
        "garbage": lambda claims: "a.b.c",
        "kid": Signer("two").sign,
    }
    for forgery, make_token in forgeries.items():
        with subtests.test(forgery):
            liar.make_token = make_token
            page = await sign_in(liar, person)
            assert (page.status, "didn’t work" in page.text) == (403, True)
            assert not await has_session(person)


async def test_unknown_keys_are_fetched_at_most_once_a_minute(liar: Liar, person: Person) -> None:
    await sign_in(liar, person)
    liar.make_token = Signer("unknown").sign
    before = len(liar.requests)
    for _ in range(5):
        assert (await sign_in(liar, person)).status == 403
    assert [request.path for request in liar.requests[before:]].count("/keys") <= 1


@pytest.mark.parametrize(
    "answer",
    [
        lambda token: web.json_response({"error": "invalid_grant"}, status=400),
        lambda token: web.json_response({"error": "invalid_client"}, status=401),
    ],
)
async def test_a_code_refused_by_the_issuer_signs_nobody_in(liar: Liar, person: Person, answer: Any) -> None:
    liar.token_answer = answer
    page = await sign_in(liar, person)
    assert (page.status, "didn’t work" in page.text) == (403, True)


async def test_an_unusable_answer_is_reported_as_the_issuers_fault(
    liar: Liar, person: Person, subtests: pytest.Subtests
) -> None:
    for answer in (
        lambda token: web.json_response({"access_token": "x"}),
        lambda token: web.json_response({"id_token": 1}),
        lambda token: web.json_response([]),
        lambda token: web.Response(text="<html>"),
        lambda token: web.Response(text='{"id_token": "' + 400_000 * "x"),
        lambda token: web.Response(text=100_000 * "["),
        lambda token: web.json_response({"id_token": token}, status=500),
        lambda token: web.Response(status=302, headers={"Location": "http://127.0.0.1/"}),
        lambda token: web.Response(status=307, headers={"Location": "/token"}),
    ):
        with subtests.test(answer=answer):
            liar.token_answer = answer
            page = await sign_in(liar, person)
            assert (page.status, "The liar can’t be reached" in page.text) == (502, True)
            assert not await has_session(person)


async def test_an_issuer_that_never_finishes_its_response_does_not_delay_others(
    url: str, liar: Liar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbound, "TIMEOUT_S", 1.0)

    async def hang(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(3600)
        raise AssertionError

    async with open_elsewhere(hang) as issuer:
        async with (
            open_server(liar_settings(url, issuer)) as server,
            Person(server.url) as person,
            Person(server.url) as other,
        ):
            waiting = asyncio.create_task(person.get(BEGIN))
            assert (await other.get("/chat/sign-in/"))[0] == 200
            assert (await waiting)[0] == 502
            # The failure is remembered for a few seconds: a class doesn't wait for one timeout after another.
            assert (await other.get(BEGIN))[0] == 502


async def test_invalid_metadata_is_refused(url: str, liar: Liar, subtests: pytest.Subtests) -> None:
    for metadata in (
        {"issuer": "https://other.example"},
        {"issuer": None},
        {"authorization_endpoint": "http://other.example/authorize"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"end_session_endpoint": "http://other.example/end"},
        {"token_endpoint": None},
        {"jwks_uri": None},
    ):
        with subtests.test(metadata=metadata):
            liar.metadata = metadata
            async with open_server(liar_settings(url, liar.url)) as server, Person(server.url) as person:
                assert (await person.get(BEGIN))[0] == 502


async def test_metadata_cannot_direct_requests_into_a_private_network(
    url: str, liar: Liar, caplog: pytest.LogCaptureFixture, subtests: pytest.Subtests
) -> None:
    for endpoint in ("token_endpoint", "jwks_uri", "userinfo_endpoint"):
        for address in (
            "https://10.1.2.3/x",
            "https://169.254.169.254/x",
            "https://[::ffff:10.1.2.3]/x",
            "http://example.org/",
        ):
            with subtests.test(endpoint=endpoint, address=address):
                caplog.clear()
                liar.metadata = {endpoint: address}
                async with open_server(liar_settings(url, liar.url)) as server, Person(server.url) as person:
                    assert (await sign_in(liar, person)).status == 502
                    assert not await has_session(person)
                assert "private addresses are refused" in caplog.text or "only https is allowed" in caplog.text


async def test_an_issuer_in_a_private_network_has_to_be_allowed(url: str, liar: Liar) -> None:
    async with (
        open_server(liar_settings(url, liar.url, outbound_private_networks="")) as server,
        Person(server.url) as person,
    ):
        assert (await person.get(BEGIN))[0] == 502
    assert liar.requests == []


async def test_userinfo_adds_claims_only_for_the_same_user(url: str, liar: Liar, server: Server) -> None:
    liar.metadata = {"userinfo_endpoint": f"{liar.url}/userinfo"}
    liar.claims = {"sub": "u1"}
    async with open_server(liar_settings(url, liar.url)) as asking:
        async with Person(asking.url) as person:
            liar.userinfo = {"sub": "u2", "preferred_username": "userinfo"}
            assert (await sign_in(liar, person)).status == 403
            liar.userinfo = {"sub": "u1", "preferred_username": "userinfo", "name": "Another"}
            assert (await sign_in(liar, person)).status == 200
        assert liar.requests[-1].path == "/userinfo"
        assert liar.requests[-1].headers["Authorization"] == "Bearer secret"
        user = await asking.app[DATABASE].fetchrow("select * from auth_user where username = 'userinfo'")
        # Only the signed content counts.
        assert user and user["first_name"] == "Ana"


async def test_claims_too_large_for_a_token_remove_no_role(liar: Liar, server: Server) -> None:
    liar.claims = {"sub": "many groups", "groups": ["algebra"]}
    for claims in ({"groups": ["algebra"]}, {"_claim_names": {"groups": "elsewhere"}}):
        liar.claims = {"sub": "many groups", **claims}
        async with Person(server.url) as person:
            assert (await sign_in(liar, person)).status == 200
            assert (await person.get("/chat/room/1/"))[0] == 200


async def test_invalid_characters_are_removed_from_names(liar: Liar, server: Server, person: Person) -> None:
    liar.claims = {
        "sub": "strange",
        "preferred_username": "a\0\u202eb<script>",
        "name": "An\0a\u202e\n<b>" + 400 * "x",
        "email": "\0@x",
        "email_verified": True,
        "groups": [["algebra"], {"x": 1}, None],
    }
    assert (await sign_in(liar, person)).status == 200
    user = await server.app[DATABASE].fetchrow(
        "select u.* from educa_chat.external_person p join auth_user u on u.id = p.user_id where p.subject = 'strange'"
    )
    assert user and user["username"] == "a.b.script"
    assert len(user["first_name"]) == 150


async def test_the_client_secret_is_sent_in_the_way_the_issuer_supports(url: str, liar: Liar) -> None:
    liar.metadata = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    async with (
        open_server(liar_settings(url, liar.url, issuers_liar_client_secret="s3cret")) as server,
        Person(server.url) as person,
    ):
        assert (await sign_in(liar, person)).status == 200
    assert liar.forms[-1]["client_secret"] == "s3cret"

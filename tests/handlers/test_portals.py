"""Signed links of portals, which sign a user in once, within a minute."""

import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from joserfc import jwt
from joserfc.jwk import OctKey, OKPKey, RSAKey

from educa_chat.check import check
from educa_chat.errors import SettingsInvalid
from educa_chat.handlers.keys import DATABASE
from educa_chat.handlers.rendering import ACCOUNT_PATH
from educa_chat.people.portal_pages import SigningPortal
from educa_chat.settings import CourseRule, Portal
from educa_chat.storage.pool import open_database
from tests.conftest import Postgres
from tests.outside import signed_with_secret, unsigned
from tests.serving import Person, Server, open_server, settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "a secret of the portal and the chat"
AUDIENCE = "https://chat.school.example"


class Portals:
    """A chat with two portals: `portal` signs with a secret, `eddsa` with a private key."""

    def __init__(self, server: Server, key: OKPKey, pem: bytes) -> None:
        self.server = server
        self.key = key
        self.pem = pem

    def token(self, portal: str = "portal", **claims: Any) -> str:
        now = int(time.time())
        standard = {
            "iss": portal,
            "aud": AUDIENCE,
            "sub": "17",
            "iat": now,
            "exp": now + 60,
            "jti": uuid.uuid4().hex,
            "name": "Ana",
        }
        payload = {name: value for name, value in {**standard, **claims}.items() if value is not None}
        if portal == "portal":
            return jwt.encode({"alg": "HS256"}, payload, OctKey.import_key(SECRET))
        return jwt.encode({"alg": "EdDSA"}, payload, self.key, algorithms=["EdDSA"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def portals(url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Portals]:
    private = Ed25519PrivateKey.generate()
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    file = tmp_path_factory.mktemp("keys") / "portal.pem"
    file.write_bytes(pem)
    settings = settings_for(
        url,
        portals_portal_name="The portal",
        portals_portal_audience=AUDIENCE,
        portals_portal_secret=SECRET,
        portals_eddsa_name="The other portal",
        portals_eddsa_audience=AUDIENCE,
        portals_eddsa_public_key=file,
    )
    portal = msgspec.structs.replace(settings.portals["portal"], courses=(CourseRule("group", "algebra", "1"),))
    settings = msgspec.structs.replace(settings, portals=settings.portals | {"portal": portal})
    key = OKPKey.import_key(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    async with open_server(settings) as server:
        yield Portals(server, key, pem)


@pytest_asyncio.fixture(loop_scope="module")
async def person(portals: Portals) -> AsyncIterator[Person]:
    async with Person(portals.server.url) as one:
        yield one


async def has_session(person: Person) -> bool:
    return (await person.get("/api/rooms"))[0] == 200


@pytest.mark.parametrize("portal", ["portal", "eddsa"])
async def test_a_link_signs_its_user_in_and_redirects_within_the_chat(
    portals: Portals, person: Person, portal: str
) -> None:
    sub = uuid.uuid4().hex
    token = portals.token(portal, sub=sub, preferred_username="eva", name="Eva", group="algebra")
    status, _, headers = await person.get(f"/chat/sign-in/from/{portal}/?token={token}&next=/chat/room/1/")
    assert (status, headers["Location"]) == (302, "/chat/room/1/")
    assert await has_session(person)
    # Only the portal with a rule for it can give the course.
    assert (await person.get("/chat/room/1/"))[0] == (200 if portal == "portal" else 403)
    issuer = await portals.server.app[DATABASE].fetchval(
        "select issuer from educa_chat.external_person where subject = $1", sub
    )
    assert issuer == f"portal:{portal}"


async def test_a_token_with_any_jti_works_only_once(portals: Portals, person: Person) -> None:
    for jti in ("a\0b", "ñ", 1000 * "x"):
        path = f"/chat/sign-in/from/portal/?token={portals.token(jti=jti, sub='17')}"
        assert [(await person.get(path))[0] for _ in range(2)] == [302, 403]


async def test_a_link_never_redirects_to_another_site(portals: Portals, person: Person) -> None:
    _, _, headers = await person.get(f"/chat/sign-in/from/portal/?token={portals.token()}&next=//evil.example/")
    assert headers["Location"] == "/chat/courses/"


async def test_a_link_can_be_used_only_once(portals: Portals, person: Person) -> None:
    path = f"/chat/sign-in/from/portal/?token={portals.token()}"
    async with Person(portals.server.url) as first:
        assert (await first.get(path))[0] == 302
    status, text, _ = await person.get(path)
    assert (status, "no longer valid" in text, "works once, for one minute" in text) == (403, True, True)
    assert not await has_session(person)


async def test_a_head_request_does_not_use_up_a_link(portals: Portals, person: Person) -> None:
    path = f"/chat/sign-in/from/portal/?token={portals.token()}"
    async with person.http.head(person.url + path, allow_redirects=False) as response:
        assert response.status == 405
    assert (await person.get(path))[0] == 302


WRONG_CLAIMS: list[tuple[dict[str, Any], str]] = [
    ({"iss": "eddsa"}, "issuer"),
    ({"iss": None}, "can't be used"),
    ({"aud": "https://another.example"}, "audience"),
    ({"aud": None}, "can't be used"),
    ({"aud": [AUDIENCE, "another"]}, "azp"),
    ({"iat": -90, "exp": -31}, "expired"),
    ({"exp": 1000}, "more than 60 s"),
    ({"iat": 200, "exp": 260}, "future"),
    ({"iat": 55, "exp": 115}, "future"),
    ({"exp": None}, "can't be used"),
    ({"iat": None}, "can't be used"),
    ({"exp": "1e999"}, "can't be used"),
    ({"jti": None}, "can't be used"),
    ({"jti": ""}, "jti"),
    ({"sub": None}, "can't be used"),
    ({"sub": ""}, "sub"),
    ({"sub": 17}, "can't be used"),
    ({"sub": "a\0b"}, "sub"),
]


async def test_a_token_with_wrong_claims_signs_nobody_in(
    portals: Portals, person: Person, caplog: pytest.LogCaptureFixture, subtests: pytest.Subtests
) -> None:
    for claims, reason in WRONG_CLAIMS:
        with subtests.test(claims=claims):
            caplog.clear()
            now = int(time.time())
            times = {
                name: now + value for name, value in claims.items() if name in ("iat", "exp") and isinstance(value, int)
            }
            token = portals.token(**claims | times)
            status, _, _ = await person.get(f"/chat/sign-in/from/portal/?token={token}")
            assert status == 403
            assert reason in caplog.text
            assert token not in caplog.text
            assert not await has_session(person)


async def test_a_token_not_signed_by_the_portal_signs_nobody_in(portals: Portals, person: Person) -> None:
    now = int(time.time())
    claims = {"iss": "eddsa", "aud": AUDIENCE, "sub": "17", "iat": now, "exp": now + 60, "jti": "j"}
    forged = {
        "eddsa": [
            unsigned(claims),
            signed_with_secret(claims, portals.pem),
            jwt.encode({"alg": "EdDSA"}, claims, OKPKey.generate_key("Ed25519"), algorithms=["EdDSA"]),
            jwt.encode({"alg": "RS256"}, claims, RSAKey.generate_key(2048)),
            portals.token("portal", iss="eddsa"),
            "",
            "a.b.c",
            portals.token("eddsa")[:-4] + "AAAA",
        ],
        "portal": [
            unsigned(claims | {"iss": "portal"}),
            jwt.encode({"alg": "HS256"}, claims | {"iss": "portal"}, OctKey.import_key(SECRET + "x")),
            jwt.encode(
                {"alg": "HS512"}, claims | {"iss": "portal"}, OctKey.import_key(2 * SECRET), algorithms=["HS512"]
            ),
            portals.token("eddsa", iss="portal"),
        ],
    }
    for portal, tokens in forged.items():
        for token in tokens:
            assert (await person.get(f"/chat/sign-in/from/{portal}/?token={token}"))[0] == 403, token
    assert not await has_session(person)


async def test_a_signed_in_user_has_to_confirm_before_a_link_switches_accounts(portals: Portals) -> None:
    """Otherwise, somebody could send them a link and read what they write."""
    async with Person(portals.server.url, "ana") as ana:
        token = portals.token(sub=uuid.uuid4().hex, name="Mallory")
        path = "/chat/sign-in/from/portal/"
        status, text, _ = await ana.get(f"{path}?token={token}&next=/chat/room/1/")
        assert (status, "Sign in as somebody else?" in text) == (200, True)
        assert "<bdi>ana</bdi>" in (await ana.get(ACCOUNT_PATH))[1]
        # A form of another site can't agree for them.
        async with ana.http.post(ana.url + path, data={"token": token}, allow_redirects=False) as response:
            assert response.status == 403
        data = {"token": token, "next": "/chat/course/1/", "csrf_token": await ana.token("/chat/courses/")}
        async with ana.http.post(ana.url + path, data=data, allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (302, "/chat/course/1/")
        assert "<bdi>ana</bdi>" not in (await ana.get(ACCOUNT_PATH))[1]


async def test_a_link_for_the_same_user_needs_no_confirmation(portals: Portals, person: Person) -> None:
    sub = uuid.uuid4().hex
    for _ in range(2):
        assert (await person.get(f"/chat/sign-in/from/portal/?token={portals.token(sub=sub)}"))[0] == 302


async def test_the_example_in_the_guide_creates_a_working_link(portals: Portals, person: Person) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "single-sign-on.md").read_text(encoding="utf-8")
    code = guide.partition("```python\n")[2].partition("```")[0]
    assert len(code.splitlines()) <= 12
    scope: dict[str, Any] = {}
    exec(code, scope)
    url: str = scope["chat_link"](SECRET, 17, "Ana")
    assert url.startswith(f"{AUDIENCE}/chat/sign-in/from/")
    status, text, _ = await person.get("/chat/sign-in/from/portal/" + url[url.index("?") :])
    assert status == 302, text


async def test_a_public_key_is_refused_as_a_secret(portals: Portals) -> None:
    with pytest.raises(SettingsInvalid, match=r"^portals\.p\.secret: "):
        SigningPortal("p", Portal(name="P", audience=AUDIENCE, secret=portals.pem.decode()))


async def test_portals_are_refused_beside_a_django_site(postgres: Postgres) -> None:
    url = await postgres.create_chat_database()
    async with open_database(url, 1) as database:
        await database.execute("create table django_migrations (id int)")
    portal = {"portals_p_name": "P", "portals_p_audience": AUDIENCE, "portals_p_secret": SECRET}
    with pytest.raises(SettingsInvalid, match="belong to a Django site"):
        async with open_server(settings_for(url, **portal)):
            pass


async def test_an_unusable_key_is_reported_at_startup(url: str, tmp_path: Path, subtests: pytest.Subtests) -> None:
    for content, reason in (
        (None, "can't read"),
        (b"", "no Ed25519"),
        (b"-----BEGIN", "no Ed25519"),
        ("rsa", "no Ed25519"),
    ):
        with subtests.test(content=content):
            file = tmp_path / "key.pem"
            if content == "rsa":
                file.write_bytes(RSAKey.generate_key(2048).as_pem(private=False))
            elif isinstance(content, bytes):
                file.write_bytes(content)
            settings = settings_for(url, portals_p_name="P", portals_p_audience=AUDIENCE, portals_p_public_key=file)
            results = {part: (works, details) async for part, works, details in check(settings)}
            assert (results["portal p"][0], reason in results["portal p"][1]) == (False, True)
            with pytest.raises(SettingsInvalid, match=rf"^portals\.p\.public_key: .*{reason}"):
                async with open_server(settings):
                    pass

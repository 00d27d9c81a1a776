"""Signing in with OpenID Connect, with a real provider."""

import html
import json
import logging
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from joserfc import jwk, jwt

from educa_chat.check import check
from educa_chat.handlers.keys import DATABASE
from educa_chat.people import key_sets
from educa_chat.people.openid import LOGOUT_EVENT
from educa_chat.protocol import CloseCode
from educa_chat.settings import CourseRule
from educa_chat.storage.accounts import deactivate
from educa_chat.storage.pool import Database
from tests.openid import CLIENT_ID, CLIENT_SECRET, Answer, new_key, open_provider, sign_in_at_provider, submit, walk
from tests.outside import claims_for
from tests.ports import free_port
from tests.serving import Person, Server, add_person, open_server, settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

BEGIN = "/chat/sign-in/with/school/"
CALLBACK = f"{BEGIN}callback/"
LOGOUT = f"{BEGIN}logout/"
RULES = (
    CourseRule("groups", "algebra", "1"),
    CourseRule("groups", "algebra-staff", "1", "teacher"),
    CourseRule("groups", "algebra", "no such course"),
)


class School:
    """A school with a provider, and a chat that uses it."""

    server: Server
    issuer: str

    def __init__(self, folder: Path) -> None:
        self.key = new_key()
        self._port = free_port()
        self._accounts = folder / "accounts.json"
        self._claims: dict[str, dict[str, Any]] = {}
        self._provider = AsyncExitStack()

    @property
    def database(self) -> Database:
        return self.server.app[DATABASE]

    def settings(self, url: str) -> Any:
        settings = settings_for(
            url,
            outbound_private_networks="127.0.0.0/8",
            issuers_school_name="Colegio Sur",
            issuers_school_issuer=f"http://127.0.0.1:{self._port}",
            issuers_school_client_id=CLIENT_ID,
            issuers_school_client_secret=CLIENT_SECRET,
            issuers_school_email_domains="school.example",
        )
        school = msgspec.structs.replace(settings.issuers["school"], courses=RULES)
        return msgspec.structs.replace(settings, issuers={"school": school})

    async def open_provider(self) -> None:
        """Start the provider, instead of one that is already running."""
        await self.close_provider()
        self._accounts.write_text(json.dumps(self._claims))
        self.issuer = await self._provider.enter_async_context(
            open_provider(self._port, [self.server.url], self._accounts, self.key)
        )

    async def close_provider(self) -> None:
        await self._provider.aclose()

    def enrol(self, **claims: Any) -> str:
        """Add a person about whom the provider makes these claims, and return their `sub`."""
        sub = f"s{uuid.uuid4().hex[:10]}"
        self.claim(sub, **claims)
        return sub

    def claim(self, sub: str, **claims: Any) -> None:
        """Make the provider return these claims about `sub` from now on."""
        self._claims[sub] = claims
        self._accounts.write_text(json.dumps(self._claims))

    async def at_provider(self, person: Person, next: str = "") -> Answer:
        """Press the button on the sign-in page. Return the first page of the provider."""
        page = await walk(person.http, f"{self.server.url}{BEGIN}?next={next}")
        assert str(page.url).startswith(self.issuer), page.text
        return page

    async def response_url(self, person: Person, sub: str) -> str:
        """Sign in at the provider, and stop before the browser returns to the chat. Return the URL for that."""
        page = await self.at_provider(person)
        page = await sign_in_at_provider(person.http, page, sub, until=self.server.url)
        return str(page.url)

    async def sign_in(self, person: Person, sub: str, next: str = "") -> Answer:
        """Sign in from the button to the page of the chat."""
        return await sign_in_at_provider(person.http, await self.at_provider(person, next), sub)

    async def user_of(self, sub: str) -> dict[str, Any] | None:
        row = await self.database.fetchrow(
            "select u.* from educa_chat.external_person p join auth_user u on u.id = p.user_id"
            " where p.subject = $1 and p.issuer = $2",
            sub,
            self.issuer,
        )
        return dict(row) if row else None

    async def role_of(self, sub: str) -> str | None:
        user = await self.user_of(sub)
        assert user
        role: str | None = await self.database.fetchval("select educa_chat.role_of(1, $1)::text", user["id"])
        return role

    def sign(self, claims: dict[str, Any], typ: str = "logout+jwt") -> str:
        """Sign as the provider does."""
        return jwt.encode({"alg": "RS256", "kid": self.key["kid"], "typ": typ}, claims, jwk.import_key(self.key))


@asynccontextmanager
async def open_school(url: str, folder: Path) -> AsyncIterator[School]:
    school = School(folder)
    async with open_server(school.settings(url)) as school.server:
        try:
            await school.open_provider()
            yield school
        finally:
            await school.close_provider()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def school(url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[School]:
    async with open_school(url, tmp_path_factory.mktemp("school")) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def person(school: School) -> AsyncIterator[Person]:
    """A user with a new browser."""
    async with Person(school.server.url) as one:
        yield one


def is_signed_in(page: Answer) -> bool:
    return page.status == 200 and 'id="sign-out"' in page.text


async def has_session(person: Person) -> bool:
    return (await person.get("/api/rooms"))[0] == 200


async def test_a_new_user_gets_an_account_with_their_name_and_lands_on_the_requested_page(
    school: School, person: Person
) -> None:
    sub = school.enrol(
        preferred_username="clara@school.example", given_name="Clara", family_name="Benítez", groups=["algebra"]
    )
    page = await school.sign_in(person, sub, next="/chat/room/1/")
    assert is_signed_in(page), page.text
    assert page.url.path == "/chat/room/1/"
    user = await school.user_of(sub)
    assert user
    assert (user["username"], user["first_name"], user["last_name"]) == ("clara", "Clara", "Benítez")
    assert not user["is_superuser"]


async def test_a_returning_user_has_the_same_account_with_their_current_name(school: School) -> None:
    sub = school.enrol(preferred_username="rosa", name="Rosa")
    users = []
    for name in ("Rosa", "Rosa María"):
        school.claim(sub, preferred_username="another", name=name)
        async with Person(school.server.url) as person:
            await school.sign_in(person, sub)
            users.append(await school.user_of(sub))
    first, second = users
    assert first and second
    assert (first["id"], second["id"], second["first_name"]) == (first["id"], first["id"], "Rosa María")


async def test_equal_usernames_at_an_issuer_make_separate_accounts(school: School) -> None:
    names = []
    for _ in range(2):
        sub = school.enrol(preferred_username="profe")
        async with Person(school.server.url) as person:
            await school.sign_in(person, sub)
        user = await school.user_of(sub)
        assert user
        names.append(user["username"])
    assert len({*names, "profe"}) == 3


async def test_a_login_redirects_only_within_the_site(school: School, subtests: pytest.Subtests) -> None:
    for next, path in (
        ("", "/chat/courses/"),
        ("https://evil.example/", "/chat/courses/"),
        ("//evil.example/", "/chat/courses/"),
        ("/" + 600 * "x", "/chat/courses/"),
        ("/chat/course/1/?x=%26y", "/chat/course/1/"),
    ):
        with subtests.test(next=next):
            async with Person(school.server.url) as person:
                page = await school.sign_in(person, school.enrol(name="Ana", groups=["algebra"]), next=next)
            assert (page.url.path, str(page.url.origin())) == (path, school.server.url)


async def test_groups_grant_and_revoke_roles_at_each_sign_in(school: School) -> None:
    sub = school.enrol()
    roles = []
    for groups in (["algebra"], ["algebra", "algebra-staff"], ["algebra"], [], None):
        school.claim(sub, name="Iris", groups=groups)
        async with Person(school.server.url) as person:
            await school.sign_in(person, sub)
        roles.append(await school.role_of(sub))
    assert roles == ["student", "instructor", "student", None, None]


async def test_losing_a_role_closes_the_sockets_in_its_course(school: School) -> None:
    sub = school.enrol(groups=["algebra"])
    async with Person(school.server.url) as here, Person(school.server.url) as there:
        await school.sign_in(here, sub)
        socket = await here.enter()
        school.claim(sub, groups=[])
        await school.sign_in(there, sub)
        assert await socket.close_code() == CloseCode.NOT_A_MEMBER


async def set_email(school: School, username: str, email: str) -> None:
    await school.database.execute("update auth_user set email = $2 where username = $1", username, email)


async def test_a_verified_address_in_a_trusted_domain_links_to_its_account(school: School, person: Person) -> None:
    username = await add_person(school.database, 1)
    await set_email(school, username, f"{username}@School.Example")
    sub = school.enrol(email=f"{username.upper()}@school.example", email_verified=True)
    await school.sign_in(person, sub)
    user = await school.user_of(sub)
    assert user and user["username"] == username


async def test_no_other_address_links_to_an_account(school: School, subtests: pytest.Subtests) -> None:
    for stored, claimed, is_verified in (
        ("{}@school.example", "{}@school.example", False),
        ("{}@school.example", "{}@school.example", None),
        ("{}@school.example", "{}@school.example", "yes"),
        ("{}@other.example", "{}@other.example", True),
        ("{}@sub.school.example", "{}@sub.school.example", True),
        ("{}@evil.example@school.example", "{}@school.example", True),
        ("{}@school.example", "{}", True),
        ("", "", True),
        ("{}@school.example", "%@school.example", True),
    ):
        with subtests.test(stored=stored, claimed=claimed, is_verified=is_verified):
            username = await add_person(school.database)
            await set_email(school, username, stored.format(username))
            sub = school.enrol(email=claimed.format(username), email_verified=is_verified)
            async with Person(school.server.url) as person:
                await school.sign_in(person, sub)
            user = await school.user_of(sub)
            assert user and user["username"] != username


async def test_an_address_shared_by_two_accounts_links_to_neither(school: School) -> None:
    address = f"{uuid.uuid4().hex[:10]}@school.example"
    usernames = [await add_person(school.database) for _ in range(2)]
    for username in usernames:
        await set_email(school, username, address)
    for _ in range(2):
        sub = school.enrol(email=address, email_verified=True)
        async with Person(school.server.url) as person:
            await school.sign_in(person, sub)
        user = await school.user_of(sub)
        assert user and user["username"] not in usernames


async def test_an_address_links_to_an_account_only_once(school: School) -> None:
    """The address may belong to somebody else next year."""
    username = await add_person(school.database)
    await set_email(school, username, f"{username}@school.example")
    users = []
    for _ in range(2):
        sub = school.enrol(email=f"{username}@school.example", email_verified=True)
        async with Person(school.server.url) as person:
            await school.sign_in(person, sub)
        users.append(await school.user_of(sub))
    assert users[0] and users[1]
    assert users[0]["username"] == username != users[1]["username"]


async def test_a_deactivated_user_learns_why_they_cannot_sign_in(school: School) -> None:
    sub = school.enrol(name="Nadia")
    async with Person(school.server.url) as person:
        await school.sign_in(person, sub)
    user = await school.user_of(sub)
    assert user
    await deactivate(school.database, user["username"])
    async with Person(school.server.url) as person:
        page = await school.sign_in(person, sub)
        assert (page.status, "has been deactivated" in page.text) == (403, True)
        assert not await has_session(person)


async def test_a_login_must_end_in_the_browser_in_which_it_began(school: School, person: Person) -> None:
    sub = school.enrol(name="Mallory")
    async with Person(school.server.url) as mallory:
        url = await school.response_url(mallory, sub)
    page = await walk(person.http, url)
    assert (page.status, "began in another browser" in page.text) == (403, True)
    assert not await has_session(person)
    assert await school.user_of(sub) is None


async def test_a_login_can_be_completed_only_once(school: School, person: Person) -> None:
    url = await school.response_url(person, school.enrol(name="Olga"))
    cookies = {cookie.key: cookie.value for cookie in person.http.cookie_jar}
    assert is_signed_in(await walk(person.http, url))
    # Not even with the cookie that was deleted.
    async with Person(school.server.url) as thief:
        thief.http.cookie_jar.update_cookies(cookies)
        page = await walk(thief.http, url)
        assert page.status == 403
        assert not await has_session(thief)


async def test_going_back_to_a_completed_login_keeps_the_user_signed_in(school: School, person: Person) -> None:
    url = await school.response_url(person, school.enrol(name="Vera"))
    await walk(person.http, url)
    page = await walk(person.http, url)
    assert (page.status, "My courses" in page.text) == (403, True)
    assert await has_session(person)


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        (lambda url: re.sub(r"state=[^&]+", "state=forged", url), "no longer valid"),
        (lambda url: re.sub(r"state=[^&]+&", "", url), "no longer valid"),
        (lambda url: re.sub(r"iss=[^&]+", "iss=https%3A%2F%2Fevil.example", url), "didn’t work"),
        (lambda url: re.sub(r"&iss=[^&]+", "", url), "didn’t work"),
        (lambda url: re.sub(r"code=[^&]+", "code=guessed", url), "didn’t work"),
        (lambda url: re.sub(r"code=[^&]+&", "", url), "didn’t work"),
        (lambda url: f"{url}&code=another", "didn’t work"),
        (lambda url: re.sub(r"code=[^&]+", "error=access_denied", url), "You haven’t signed in"),
        (lambda url: re.sub(r"code=[^&]+", "error=%0Aserver_error%00", url), "didn’t work"),
    ],
)
async def test_an_unsolicited_response_signs_nobody_in(
    school: School, person: Person, change: Any, advice: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    sub = school.enrol(name="Eva")
    url = await school.response_url(person, sub)
    page = await walk(person.http, change(url))
    assert (page.status, advice in page.text) == (403, True), page.text
    assert not await has_session(person)
    assert await school.user_of(sub) is None
    # The log says why, without what could be used again.
    assert "a sign-in through Colegio Sur was refused: " in caplog.text
    for secret in re.findall(r"(?:code|state)=([^&]+)", url):
        assert secret not in caplog.text


async def test_a_user_who_cancels_learns_what_to_do(school: School, person: Person) -> None:
    page = await school.at_provider(person)
    page = await walk(person.http, f"{page.url}/abort")
    assert "You haven’t signed in" in page.text
    assert f'href="{BEGIN}"' in page.text


async def test_a_head_request_does_not_use_up_a_login(school: School, person: Person) -> None:
    url = await school.response_url(person, school.enrol(name="Hugo"))
    async with person.http.head(url, allow_redirects=False) as response:
        assert response.status == 405
    assert is_signed_in(await walk(person.http, url))


async def test_signing_in_ends_the_previous_users_session(school: School) -> None:
    async with Person(school.server.url, "ana") as ana:
        former = {cookie.key: cookie.value for cookie in ana.http.cookie_jar}
        await school.sign_in(ana, school.enrol(name="Berta"))
        assert await has_session(ana)
        async with Person(school.server.url) as thief:
            thief.http.cookie_jar.update_cookies({"educa_chat_session": former["educa_chat_session"]})
            assert not await has_session(thief)


async def test_a_flood_of_logins_stores_nothing(school: School, person: Person) -> None:
    tables = [
        row["name"]
        for row in await school.database.fetch(
            "select schemaname || '.' || relname as name from pg_stat_user_tables order by 1"
        )
    ]

    async def count() -> dict[str, int]:
        return {name: await school.database.fetchval(f"select count(*) from {name}") for name in tables}

    before = await count()
    for _ in range(50):
        async with person.http.get(f"{school.server.url}{BEGIN}", allow_redirects=False) as response:
            assert response.status == 302
            assert response.headers["Cache-Control"] == "no-store"
        assert len(person.http.cookie_jar) <= 16
    assert await count() == before


async def test_failed_logins_are_rate_limited_by_address(url: str, school: School) -> None:
    settings = school.settings(url)
    limits = msgspec.structs.replace(settings.limits, sign_in_failures_per_minute=1)
    async with (
        open_server(msgspec.structs.replace(settings, limits=limits)) as server,
        Person(server.url) as person,
    ):
        statuses = [(await person.get(CALLBACK))[0] for _ in range(11)]
        assert (statuses[0], statuses[-1]) == (403, 429)
        status, _, headers = await person.get(CALLBACK)
        assert (status, int(headers["Retry-After"]) > 0) == (429, True)


async def test_an_unreachable_provider_is_named_and_the_next_attempt_works(school: School, url: str) -> None:
    async with open_server(school.settings(url)) as server, Person(server.url) as person:
        await school.close_provider()
        status, text, _ = await person.get(BEGIN)
        assert (status, "Colegio Sur can’t be reached" in text) == (502, True)
        await school.open_provider()
    # Another process, because this one waits five seconds before it tries again.
    async with open_server(school.settings(url)) as server, Person(server.url) as person:
        assert (await person.get(BEGIN))[0] == 302


async def test_a_provider_can_rotate_its_key(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Otherwise the new key would be fetched a minute later.
    monkeypatch.setattr(key_sets, "REFETCH_S", 0.0)
    async with open_school(url, tmp_path) as school:
        async with Person(school.server.url) as person:
            assert is_signed_in(await school.sign_in(person, school.enrol(name="Key")))
        school.key = new_key()
        await school.open_provider()
        async with Person(school.server.url) as person:
            assert is_signed_in(await school.sign_in(person, school.enrol(name="Key")))


def logout_claims(school: School, **others: Any) -> dict[str, Any]:
    return claims_for(
        school.issuer,
        CLIENT_ID,
        **{"nonce": None, "sub": None, "jti": uuid.uuid4().hex, "events": {LOGOUT_EVENT: {}}, **others},
    )


async def post_logout(school: School, token: str) -> tuple[int, str]:
    async with Person(school.server.url) as provider:
        async with provider.http.post(provider.url + LOGOUT, data={"logout_token": token}) as response:
            assert response.headers["Cache-Control"] == "no-store"
            return response.status, await response.text()


async def test_signing_out_at_the_provider_closes_the_sockets_on_every_node(
    school: School, person: Person, url: str
) -> None:
    await school.sign_in(person, school.enrol(name="Julia", groups=["algebra"]))
    async with open_server(school.settings(url)) as other:
        sockets = [await person.enter()]
        person.url = other.url
        sockets.append(await person.enter())
        page = await walk(person.http, f"{school.issuer}/session/end")
        await submit(person.http, page, logout="yes")
        assert [await socket.close_code() for socket in sockets] == [CloseCode.SESSION_ENDED] * 2
        assert not await has_session(person)


async def test_the_provider_can_end_one_session_by_sid_or_all_by_sub(school: School) -> None:
    sub = school.enrol(name="Lola")
    people = [Person(school.server.url) for _ in range(3)]
    sids = []
    async with AsyncExitStack() as stack:
        for one in people:
            await stack.enter_async_context(one)
            await school.sign_in(one, sub)
            sids += [
                row["sid"]
                for row in await school.database.fetch(
                    "select sid from educa_chat.issuer_session where subject = $1", sub
                )
                if row["sid"] not in sids
            ]
        assert len(sids) == 3
        assert (await post_logout(school, school.sign(logout_claims(school, sid=sids[0]))))[0] == 200
        assert [await has_session(one) for one in people] == [False, True, True]
        assert (await post_logout(school, school.sign(logout_claims(school, sid=sids[1], sub="another"))))[0] == 200
        assert [await has_session(one) for one in people] == [False, True, True]
        assert (await post_logout(school, school.sign(logout_claims(school, sub=sub))))[0] == 200
        assert [await has_session(one) for one in people] == [False, False, False]


FORGED_CLAIMS: list[tuple[dict[str, Any], str]] = [
    ({"iss": "https://evil.example"}, "issuer"),
    ({"aud": "another"}, "audience"),
    ({"exp": 1}, "expired"),
    ({"jti": None}, "jti"),
    ({"events": None}, "events"),
    ({"events": {}}, "events"),
    ({"events": {LOGOUT_EVENT: "x"}}, "events"),
    ({"nonce": "n"}, "nonce"),
    ({"sid": None, "sub": None}, "neither"),
    ({"sid": "a\0b"}, "sid"),
    ({"sub": "a\0b"}, "sub"),
]


async def test_a_forged_logout_ends_nothing(school: School, person: Person) -> None:
    sub = school.enrol(name="Pia")
    await school.sign_in(person, sub)
    for claims, reason in FORGED_CLAIMS:
        token = school.sign({k: v for k, v in (logout_claims(school, sub=sub) | claims).items() if v is not None})
        status, text = await post_logout(school, token)
        assert (status, json.loads(text)["error"]) == (400, "invalid_request"), claims
        assert reason in text
        assert await has_session(person), claims


async def test_an_id_token_is_not_accepted_as_a_logout_token(school: School, person: Person) -> None:
    sub = school.enrol(name="Rita")
    await school.sign_in(person, sub)
    id_token = await school.database.fetchval("select id_token from educa_chat.issuer_session where subject = $1", sub)
    assert (await post_logout(school, id_token))[0] == 400
    assert await has_session(person)


async def test_a_logout_token_works_once(school: School) -> None:
    sub = school.enrol(name="Sara")
    token = school.sign(logout_claims(school, sub=sub))
    assert (await post_logout(school, token))[0] == 200
    async with Person(school.server.url) as person:
        await school.sign_in(person, sub)
        status, text = await post_logout(school, token)
        assert (status, "already used" in text) == (400, True)
        assert await has_session(person)


async def test_signing_out_redirects_to_the_provider_and_back(school: School, person: Person) -> None:
    sub = school.enrol(name="Tina")
    await school.sign_in(person, sub)
    data = {"csrf_token": await person.token("/chat/courses/")}
    async with person.http.post(f"{school.server.url}/chat/sign-out/", data=data) as response:
        text = await response.text()
        # nginx refuses headers of more than 4 KiB in all.
        assert sum(len(name) + len(value) for name, value in response.headers.items()) < 2048
    refresh = re.search('<meta http-equiv="refresh" content="0; url=([^"]+)">', text)
    assert refresh
    assert "signed out of Colegio Sur too" in text
    assert not await has_session(person)
    page = await walk(person.http, html.unescape(refresh[1]))
    page = await submit(person.http, page, logout="yes")
    assert (page.url.path, str(page.url.origin())) == ("/accounts/login/", school.server.url)
    # The next sign-in asks for credentials.
    assert 'name="login"' in (await school.at_provider(person)).text


async def test_a_user_with_a_password_signs_out_without_the_provider(school: School) -> None:
    async with Person(school.server.url, "ana") as ana:
        assert await ana.sign_out() == 302


async def test_signing_out_works_while_the_provider_does_not_answer(school: School, url: str) -> None:
    async with Person(school.server.url) as person:
        await school.sign_in(person, school.enrol(name="Uma"))
        cookies = {cookie.key: cookie.value for cookie in person.http.cookie_jar}
    await school.close_provider()
    try:
        # A process that has never asked the provider anything.
        async with open_server(school.settings(url)) as server, Person(server.url) as person:
            person.http.cookie_jar.update_cookies(cookies)
            assert await person.sign_out() == 302
            assert not await has_session(person)
    finally:
        await school.open_provider()


async def test_the_sign_in_button_of_an_issuer_keeps_next(school: School, person: Person) -> None:
    _, text, _ = await person.get("/accounts/login/?next=/chat/room/1/%3Fx%3D%22%26y")
    assert "Colegio Sur" in text
    assert f'href="{BEGIN}?next=/chat/room/1/%3Fx%3D%22%26y"' in text


async def test_check_contacts_each_issuer(school: School, url: str) -> None:
    settings = school.settings(url)
    wrong = msgspec.structs.replace(settings.issuers["school"], issuer=f"{school.issuer}/")
    settings = msgspec.structs.replace(settings, issuers=settings.issuers | {"wrong": wrong})
    results = {part: (works, details) async for part, works, details in check(settings)}
    assert results["issuer school"] == (True, school.issuer)
    works, details = results["issuer wrong"]
    assert (works, f"the issuer calls itself '{school.issuer}'" in details) == (False, True)

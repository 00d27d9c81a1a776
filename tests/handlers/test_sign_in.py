"""Signing in and out: CSRF protection, redirects, sessions, and limits on attempts."""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator
from http.cookies import Morsel, SimpleCookie
from urllib.parse import urljoin, urlsplit

import aiohttp
import pytest
import pytest_asyncio
from cryptography.fernet import Fernet
from yarl import URL

from educa_chat.handlers.keys import DATABASE
from educa_chat.settings import DEMO_SESSION_KEY
from educa_chat.storage.accounts import deactivate, set_password
from tests.serving import TIMEOUT_S, Person, Server, add_person, open_server, quick_hash, settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

LOGIN = "/accounts/login/"
COURSES = "/students/courses/"
COOKIE = "educa_chat_session"
GOOD_ORIGIN = "https://school.example"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(url: str) -> AsyncIterator[Server]:
    """A server behind a proxy, with generous limits on failed attempts."""
    settings = settings_for(url, server_trusted_proxies="127.0.0.1/32")
    async with open_server(settings) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def other_server(url: str) -> AsyncIterator[Server]:
    """Another node on the same database, without a common bus."""
    async with open_server(settings_for(url)) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def strict_server(url: str) -> AsyncIterator[Server]:
    """A server behind a proxy that allows three failures a minute."""
    settings = settings_for(url, server_trusted_proxies="127.0.0.1/32", limits_sign_in_failures_per_minute=3)
    async with open_server(settings) as opened:
        yield opened


async def newcomer(server: Server) -> str:
    """A new student of course 1."""
    return await add_person(server.app[DATABASE], 1)


def at(person: Person, address: str) -> Person:
    """Add the headers that a proxy would send for `person`."""
    person.http.headers["X-Forwarded-For"] = address
    return person


async def post(person: Person, path: str = LOGIN, origin: str | None = None, **data: str) -> aiohttp.ClientResponse:
    headers = {} if origin is None else {"Origin": origin}
    async with person.http.post(person.url + path, data=data, headers=headers, allow_redirects=False) as response:
        await response.read()
        return response


async def is_signed_in(person: Person) -> bool:
    return (await person.get(COURSES))[0] == 200


def cookies_set(response: aiohttp.ClientResponse) -> dict[str, Morsel[str]]:
    """The cookies that an answer sets, with their attributes."""
    found: SimpleCookie = SimpleCookie()
    for header in response.headers.getall("Set-Cookie", []):
        found.load(header)
    return dict(found)


def session_id_in(cookie: str) -> str:
    payload = json.loads(Fernet(DEMO_SESSION_KEY).decrypt(cookie.encode()))
    assert set(payload) <= {"created", "session"}
    assert set(payload["session"]) == {"id"}
    return str(payload["session"]["id"])


def cookie_of(person: Person) -> str:
    return next(cookie.value for cookie in person.http.cookie_jar if cookie.key == COOKIE)


async def with_cookie(server: Server, cookie: str, path: str = COURSES) -> int:
    """Return the status for a request with only the session cookie."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        headers = {"Cookie": f"{COOKIE}={cookie}"}
        async with http.get(server.url + path, headers=headers, allow_redirects=False) as response:
            return response.status


# CSRF protection.


async def test_a_wrong_csrf_token_is_refused(server: Server, subtests: pytest.Subtests) -> None:
    async with Person(server.url) as ana:
        for token in ("", "x", "0" * 64, "é", "\0"):
            with subtests.test(token=token):
                await ana.token()
                response = await post(ana, username="ana", password="educa-demo", csrf_token=token)
                assert response.status == 403
                assert COOKIE not in cookies_set(response)
                assert not await is_signed_in(ana)


async def test_a_missing_csrf_token_or_cookie_is_refused(server: Server) -> None:
    async with Person(server.url) as ana:
        token = await ana.token()
        assert (await post(ana, username="ana", password="educa-demo")).status == 403
        ana.http.cookie_jar.clear()
        assert (await post(ana, username="ana", password="educa-demo", csrf_token=token)).status == 403
        assert not await is_signed_in(ana)


async def test_another_visitors_csrf_token_is_refused(server: Server) -> None:
    async with Person(server.url) as attacker, Person(server.url) as victim:
        token = await attacker.token()
        await victim.token()
        response = await post(victim, username="luis", password="educa-demo", csrf_token=token)
        assert response.status == 403
        assert not await is_signed_in(victim)


async def test_another_sessions_csrf_token_is_refused(server: Server) -> None:
    async with Person(server.url) as ana:
        before = await ana.token()
        assert (await ana.sign_in("ana"))[0] == 302
        assert (await post(ana, "/accounts/logout/", csrf_token=before)).status == 403
        assert await is_signed_in(ana)
        inside = await ana.token(COURSES)
        assert (await ana.sign_in("luis"))[0] == 302
        assert (await post(ana, "/accounts/logout/", csrf_token=inside)).status == 403
        assert await is_signed_in(ana)


async def test_signing_out_needs_a_csrf_token(server: Server) -> None:
    async with Person(server.url, "ana") as ana:
        assert (await post(ana, "/accounts/logout/")).status == 403
        assert (await post(ana, "/accounts/logout/", csrf_token="0" * 64)).status == 403
        assert await is_signed_in(ana)


async def test_showing_the_form_creates_no_session(server: Server) -> None:
    sessions = "select count(*) from educa_chat.session"
    before = await server.app[DATABASE].fetchval(sessions)
    async with Person(server.url) as visitor:
        await visitor.token()
        assert {cookie.key for cookie in visitor.http.cookie_jar} == {"educa_chat_csrf"}
    assert await server.app[DATABASE].fetchval(sessions) == before


def foreign_origins(server: Server) -> list[str]:
    host, port = str(urlsplit(server.url).hostname), int(urlsplit(server.url).port or 0)
    return [
        "https://evil.example",
        "null",
        "",
        "evil",
        f"http://{host}",
        f"http://{host}:{port + 1}",
        f"http://www.{host}:{port}",
        f"https://{host}:{port}",
        f"http://{host}.evil.example:{port}",
        f"http://{host}:{port}.evil.example",
        f"http://{host}:{port}@evil.example",
        f"http://user@{host}:{port}",
        f"http://evil.example/{host}:{port}",
        f"http://evil.example?{host}:{port}",
        f"file://{host}:{port}",
        f"http://{host}:{port} http://evil.example",
        f"http://[{host}:{port}",
        f"//{host}:{port}",
    ]


async def test_a_form_from_another_site_is_refused(server: Server) -> None:
    async with Person(server.url) as ana:
        token = await ana.token()
        for origin in foreign_origins(server):
            response = await post(ana, origin=origin, username="ana", password="educa-demo", csrf_token=token)
            assert response.status == 403, origin
            assert not await is_signed_in(ana)


async def test_two_origins_are_refused(server: Server) -> None:
    async with Person(server.url) as ana:
        data = {"username": "ana", "password": "educa-demo", "csrf_token": await ana.token()}
        headers = [("Origin", server.url), ("Origin", "https://evil.example")]
        async with ana.http.post(server.url + LOGIN, data=data, headers=headers) as response:
            assert response.status == 403


async def test_a_form_from_our_own_page_is_accepted(server: Server) -> None:
    for origin in (server.url, server.url.upper()):
        async with Person(server.url) as ana:
            token = await ana.token()
            response = await post(ana, origin=origin, username="ana", password="educa-demo", csrf_token=token)
            assert response.status == 302


async def test_only_configured_origins_are_allowed(url: str) -> None:
    async with open_server(settings_for(url, server_origins=f"{GOOD_ORIGIN},http://chat.example:81")) as server:
        async with Person(server.url) as ana:
            token = await ana.token()
            for origin in (
                server.url,
                "http://school.example",
                "https://school.example:444",
                "https://a.school.example",
                "https://school.example.evil",
                "https://evilschool.example",
                "http://chat.example",
                "http://chat.example:8",
            ):
                response = await post(ana, origin=origin, username="ana", password="educa-demo", csrf_token=token)
                assert response.status == 403, origin
        for origin in (GOOD_ORIGIN, f"{GOOD_ORIGIN}:443", "http://chat.example:81"):
            async with Person(server.url) as ana:
                token = await ana.token()
                response = await post(ana, origin=origin, username="ana", password="educa-demo", csrf_token=token)
                assert response.status == 302, origin


async def test_a_malformed_body_is_refused_without_an_error(server: Server, subtests: pytest.Subtests) -> None:
    for content_type, body in (
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=", b"x"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\nx"),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="username"\r\n\r\nx'),
        ("multipart/form-data; boundary=b", b"x" * 1000),
        ("application/x-www-form-urlencoded", b"username=\xff\xfe&password=%ff&next=%c3%28"),
        ("application/x-www-form-urlencoded; charset=no-such", b"username=a"),
        ("application/x-www-form-urlencoded; charset=utf-16", b"username=a"),
        ("application/x-www-form-urlencoded; charset=hex", b"zz"),
        ("application/json", b"[" * 10_000),
        ("text/plain", b"\0"),
        ("", b""),
    ):
        with subtests.test(content_type=content_type, body=body):
            async with Person(server.url) as visitor:
                await visitor.token()
                headers = {"Content-Type": content_type}
                async with visitor.http.post(server.url + LOGIN, data=body, headers=headers) as response:
                    assert 400 <= response.status < 500
                assert (await visitor.sign_in("ana"))[0] == 302


async def test_a_form_that_is_too_long_is_refused(server: Server) -> None:
    async with Person(server.url) as visitor:
        token = await visitor.token()
        assert (await post(visitor, username="a" * 100_000, csrf_token=token)).status == 413


async def test_a_username_that_cannot_be_stored_is_refused(server: Server, subtests: pytest.Subtests) -> None:
    async with Person(server.url) as visitor:
        for charset in ("utf-8", "utf-7", "unicode_escape", "raw_unicode_escape"):
            for name in ("\\ud800", "+2AA-", "%ED%A0%80", "%00", "x" * 200, ""):
                with subtests.test(charset=charset, name=name):
                    body = (
                        f"csrf_token={await visitor.token()}&password=educa-demo&next={name}&username={name}".encode()
                    )
                    headers = {"Content-Type": f"application/x-www-form-urlencoded; charset={charset}"}
                    async with visitor.http.post(
                        server.url + LOGIN, data=body, headers=headers, allow_redirects=False
                    ) as answer:
                        assert answer.status in (200, 400, 403)


# Redirects.

HOSTILE_NEXTS = [
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\/evil.example",
    "\\\\evil.example",
    "https:evil.example",
    "https:/evil.example",
    "https://evil.example/",
    "HTTPS://evil.example",
    "//good@evil.example",
    "https://127.0.0.1@evil.example",
    "javascript:alert(1)",
    "JAVASCRIPT:alert(1)",
    "java\tscript:alert(1)",
    "data:text/html,x",
    "\t//evil.example",
    " //evil.example",
    "\x00//evil.example",
    "\x01//evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "/\r/evil.example",
    "/\t\\evil.example",
    "/a\r\nSet-Cookie: x=1",
    "/a\r\n\r\n<script>alert(1)</script>",
    "/a\x00b",
    "evil.example",
    "chat/room/1/",
    "",
    "?next=//evil.example",
    "#//evil.example",
    "/" + "a" * 8192,
    "\ufeff//evil.example",
    "\u2028//evil.example",
    "／／evil.example",
]


def leads_to(location: str) -> str:
    """Return where a browser goes when our form redirects it to `location` (URL Standard)."""
    cleaned = re.sub(r"[\t\n\r]", "", location.strip("".join(map(chr, range(0x21))))).replace("\\", "/")
    return urljoin(GOOD_ORIGIN + LOGIN, cleaned)


async def test_next_never_redirects_to_another_site(server: Server, subtests: pytest.Subtests) -> None:
    for next in HOSTILE_NEXTS:
        with subtests.test(next=next):
            async with Person(server.url) as ana:
                status, location = await ana.sign_in("ana", next=next)
                assert status == 302
                assert leads_to(location).startswith(GOOD_ORIGIN + "/")
                # A NUL is removed.
                assert location == ("/ab" if next == "/a\0b" else COURSES)


async def test_the_form_drops_a_hostile_next(server: Server, subtests: pytest.Subtests) -> None:
    for next in [next for next in HOSTILE_NEXTS if len(next) < 8192]:
        with subtests.test(next=next):
            async with (
                Person(server.url) as visitor,
                visitor.http.get(server.url + LOGIN, params={"next": next}) as response,
            ):
                assert response.status == 200
                assert re.findall(r'name="next" value="([^"]*)"', await response.text()) == [""]


async def test_repeated_next_fields_never_redirect_to_another_site(server: Server) -> None:
    for nexts in (["//evil.example", "/chat/room/1/"], ["/chat/room/1/", "//evil.example"]):
        async with Person(server.url) as ana:
            data = [("username", "ana"), ("password", "educa-demo"), ("csrf_token", await ana.token())]
            data += [("next", next) for next in nexts]
            async with ana.http.post(server.url + LOGIN, data=data, allow_redirects=False) as response:
                assert response.headers["Location"] in (COURSES, "/chat/room/1/")


async def test_next_redirects_within_the_site(server: Server, subtests: pytest.Subtests) -> None:
    for next in (
        "/chat/room/1/",
        "/students/course/1/?a=b",
        "/%2f%2fevil.example",
        "/%09/evil.example",
        "/a//evil.example",
    ):
        with subtests.test(next=next):
            async with Person(server.url) as ana:
                status, location = await ana.sign_in("ana", next=next)
                assert (status, location) == (302, next)
                assert leads_to(location).startswith(GOOD_ORIGIN + "/")


# Sessions that begin.


async def test_the_cookie_holds_only_an_encrypted_session_id(server: Server) -> None:
    async with Person(server.url, "ana") as ana:
        cookie = cookie_of(ana)
    id = session_id_in(cookie)
    assert len(id) >= 32
    assert id not in cookie
    rows = await server.app[DATABASE].fetch("select digest from educa_chat.session")
    assert hashlib.sha256(id.encode()).digest() in [row["digest"] for row in rows]
    assert id.encode() not in [row["digest"] for row in rows]


@pytest.mark.parametrize("secure", [False, True])
async def test_the_cookies_are_samesite_and_httponly(url: str, secure: bool) -> None:
    async with (
        open_server(settings_for(url, session_secure=secure, session_days=3)) as server,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
    ):
        async with http.get(server.url + LOGIN) as response:
            csrf = cookies_set(response)["educa_chat_csrf"]
            token = re.findall(r'name="csrf_token" value="([^"]*)"', await response.text())[0]
        data = {"username": "ana", "password": "educa-demo", "csrf_token": token}
        headers = {"Cookie": f"educa_chat_csrf={csrf.value}"}
        async with http.post(server.url + LOGIN, data=data, headers=headers, allow_redirects=False) as response:
            assert response.status == 302
            session = cookies_set(response)[COOKIE]
    for cookie in (csrf, session):
        assert cookie["httponly"]
        assert cookie["samesite"] == "Lax"
        assert cookie["path"] == "/"
        assert bool(cookie["secure"]) is secure
        assert not cookie["domain"]
    assert session["max-age"] == str(3 * 86400)


async def test_signing_in_starts_a_new_session_and_ends_the_old_one(server: Server) -> None:
    async with Person(server.url, "ana") as ana:
        old, chatter = cookie_of(ana), await ana.enter()
        assert (await ana.sign_in("ana"))[0] == 302
        assert session_id_in(cookie_of(ana)) != session_id_in(old)
        assert await is_signed_in(ana)
        assert await with_cookie(server, old) == 302
        assert await with_cookie(server, old, "/api/rooms/1/messages") == 401
        assert await chatter.close_code() == 4001


async def test_session_fixation_is_prevented(server: Server) -> None:
    forged = Fernet(Fernet.generate_key()).encrypt(b'{"created": 9999999999, "session": {"id": "fixed"}}').decode()
    async with Person(server.url) as victim:
        victim.http.cookie_jar.update_cookies({COOKIE: forged}, response_url=URL(server.url))
        assert (await victim.sign_in("ana"))[0] == 302
        assert session_id_in(cookie_of(victim)) != "fixed"
    assert await with_cookie(server, forged) == 302


async def test_a_wrong_password_neither_starts_nor_ends_a_session(server: Server) -> None:
    async with Person(server.url, "ana") as ana:
        before = cookie_of(ana)
        assert (await ana.sign_in("ana", "wrong"))[0] == 200
        assert cookie_of(ana) == before
        assert await is_signed_in(ana)


async def test_a_username_is_trimmed_and_normalised(server: Server, subtests: pytest.Subtests) -> None:
    for typed in ("ana", "  ana\t", "ａｎａ", "\u00a0ana\u3000", "ᵃna"):
        with subtests.test(typed=typed):
            async with Person(server.url) as ana:
                assert (await ana.sign_in(typed))[0] == 302


async def test_a_lookalike_username_is_a_different_one(server: Server, subtests: pytest.Subtests) -> None:
    async with Person(server.url) as visitor:
        for typed in ("an", "ana'--", "ana%", "аna"):
            with subtests.test(typed=typed):
                assert (await visitor.sign_in(typed))[0] == 200
                assert not await is_signed_in(visitor)


async def test_the_response_does_not_reveal_which_credential_is_wrong(server: Server) -> None:
    inactive = await newcomer(server)
    await deactivate(server.app[DATABASE], inactive)
    unusable = await newcomer(server)
    await server.app[DATABASE].execute("update auth_user set password = '!' where username = $1", unusable)
    answers = set()
    for username, password in [
        ("ana", "wrong"),
        ("ana", ""),
        ("ana", "educa-demo\0x"),
        ("ana", "x" * 5000),
        ("nobody", "educa-demo"),
        ("nobody", "wrong"),
        (inactive, "educa-demo"),
        (inactive, "wrong"),
        (unusable, "educa-demo"),
        (unusable, "!"),
    ]:
        async with Person(server.url) as visitor:
            status, html = await visitor.sign_in(username, password)
            html = html.replace(f'name="username" value="{username}"', 'name="username" value="X"')
            answers.add((status, re.sub(r'name="csrf_token" value="[^"]+"', "", html)))
            assert not await is_signed_in(visitor)
            assert COOKIE not in [cookie.key for cookie in visitor.http.cookie_jar]
    assert len(answers) == 1
    assert next(iter(answers))[0] == 200


async def test_the_form_escapes_what_was_typed(server: Server) -> None:
    async with Person(server.url) as visitor:
        _, html = await visitor.sign_in('"><script>alert(1)</script>{{7*7}}', "secret-word")
    assert "<script>alert" not in html
    assert "{{7*7}}" in html
    assert "secret-word" not in html


# Sessions that end.


async def test_signing_out_ends_the_session_and_its_sockets_on_every_node(server: Server, other_server: Server) -> None:
    async with Person(server.url, await newcomer(server)) as ana:
        here, cookie = await ana.enter(), cookie_of(ana)
        ana.url = other_server.url
        there, there_basic = await ana.enter(), await ana.enter(basic=True)
        ana.url = server.url
        assert await ana.sign_out() == 302
        assert await here.close_code() == await there.close_code() == await there_basic.close_code() == 4001
        assert not await is_signed_in(ana)
        for one in (server, other_server):
            assert await with_cookie(one, cookie) == 302
            assert await with_cookie(one, cookie, "/api/rooms/1/messages") == 401
            assert await with_cookie(one, cookie, "/ws/chat/room/1/") == 401


async def test_signing_out_ends_only_one_session(server: Server) -> None:
    username = await newcomer(server)
    async with Person(server.url, username) as laptop, Person(server.url, username) as phone:
        chatter = await phone.enter()
        assert await laptop.sign_out() == 302
        assert await is_signed_in(phone)
        await chatter.say("still here", "a")
        await chatter.receive_until("ack", id="a")


async def test_signing_out_redirects_to_the_form_and_deletes_the_cookie(server: Server) -> None:
    async with Person(server.url, "ana") as ana:
        response = await post(ana, "/accounts/logout/", csrf_token=await ana.token(COURSES))
        assert (response.status, response.headers["Location"]) == (302, LOGIN)
        assert COOKIE not in [cookie.key for cookie in ana.http.cookie_jar]


async def test_signing_out_of_an_expired_session_redirects_to_the_form(server: Server) -> None:
    async with Person(server.url, "ana") as ana:
        token = await ana.token(COURSES)
        await server.app[DATABASE].execute(
            "update educa_chat.session set expires_at = now() - interval '1 second'"
            " where user_id = (select id from auth_user where username = 'ana')"
        )
        response = await post(ana, "/accounts/logout/", csrf_token=token)
        assert (response.status, response.headers["Location"]) == (302, LOGIN)


async def test_signing_out_needs_a_post_request(server: Server) -> None:
    async with Person(server.url, "ana") as ana:
        assert (await ana.get("/accounts/logout/"))[0] == 405
        assert await is_signed_in(ana)


async def test_changing_the_password_ends_all_sessions_on_every_node(server: Server, other_server: Server) -> None:
    username = await newcomer(server)
    async with Person(server.url, username) as laptop, Person(other_server.url, username) as phone:
        chatters = [await laptop.enter(), await phone.enter(), await phone.enter(basic=True)]
        await set_password(server.app[DATABASE], username, quick_hash("another"))
        assert [await chatter.close_code() for chatter in chatters] == [4001] * 3
        assert not await is_signed_in(laptop)
        assert not await is_signed_in(phone)
        assert (await phone.sign_in(username))[0] == 200
        assert (await phone.sign_in(username, "another"))[0] == 302


async def test_deactivating_a_user_ends_all_their_sessions_on_every_node(server: Server, other_server: Server) -> None:
    username = await newcomer(server)
    async with Person(server.url, username) as laptop, Person(other_server.url, username) as phone:
        chatters = [await laptop.enter(), await phone.enter()]
        await deactivate(server.app[DATABASE], username)
        assert [await chatter.close_code() for chatter in chatters] == [4001] * 2
        assert not await is_signed_in(laptop)
        assert (await phone.sign_in(username))[0] == 200


async def test_an_expired_session_is_anonymous(server: Server) -> None:
    username = await newcomer(server)
    async with Person(server.url, username) as ana:
        await server.app[DATABASE].execute(
            "update educa_chat.session s set expires_at = now() - interval '1 second'"
            " from auth_user u where u.id = s.user_id and u.username = $1",
            username,
        )
        assert not await is_signed_in(ana)
        assert (await ana.get("/api/rooms/1/messages"))[0] == 401
        assert (await ana.sign_in(username))[0] == 302
        assert await is_signed_in(ana)


async def test_the_session_of_a_deleted_user_is_anonymous(server: Server) -> None:
    username = await add_person(server.app[DATABASE])
    async with Person(server.url, username) as ana:
        await server.app[DATABASE].execute("delete from auth_user where username = $1", username)
        assert not await is_signed_in(ana)


# Limits on attempts.


async def test_failures_lock_an_account_only_for_the_address_that_failed(strict_server: Server) -> None:
    server = strict_server
    username, classmate = await newcomer(server), await newcomer(server)
    async with at(Person(server.url), "203.0.113.1") as attacker, at(Person(server.url), "203.0.113.2") as owner:
        assert [(await attacker.sign_in(username, "wrong"))[0] for _ in range(3)] == [200] * 3
        response = await post(attacker, username=username, password="wrong", csrf_token=await attacker.token())
        assert response.status == 429
        assert int(response.headers["Retry-After"]) >= 1
        assert "Too many attempts" in await response.text()
        assert (await attacker.sign_in(username))[0] == 429
        assert not await is_signed_in(attacker)
        assert (await attacker.sign_in(f" {username}\u3000", "wrong"))[0] == 429
        assert (await owner.sign_in(username))[0] == 302
        assert (await attacker.sign_in(classmate))[0] == 302


async def test_the_limit_is_the_same_for_an_unknown_user(strict_server: Server) -> None:
    async with at(Person(strict_server.url), "203.0.113.3") as visitor:
        tries = [(await visitor.sign_in("nobody-at-all", "wrong"))[0] for _ in range(4)]
    assert tries == [200, 200, 200, 429]


async def test_failures_from_the_same_address_do_not_lock_out_a_known_browser(
    strict_server: Server,
) -> None:
    server = strict_server
    username, classmate = await newcomer(server), await newcomer(server)
    async with (
        at(Person(server.url), "203.0.113.9") as owner,
        at(Person(server.url), "203.0.113.9") as attacker,
    ):
        assert (await owner.sign_in(username))[0] == 302
        await owner.sign_out()
        # Also not with a browser that is known for another account, or with a forged cookie.
        assert (await attacker.sign_in(classmate))[0] == 302
        while (await attacker.sign_in(username, "wrong"))[0] != 429:
            pass
        attacker.http.cookie_jar.update_cookies({"educa_chat_device": "name.0000"}, response_url=URL(server.url))
        assert (await attacker.sign_in(username))[0] == 429
        assert (await owner.sign_in(username))[0] == 302
        # The user's own failures count like anyone's.
        tries = [(await owner.sign_in(username, "wrong"))[0] for _ in range(4)]
        assert tries == [200, 200, 200, 429]


async def test_successful_sign_ins_neither_count_as_failures_nor_clear_them(strict_server: Server) -> None:
    username = await newcomer(strict_server)
    async with at(Person(strict_server.url), "203.0.113.4") as person:
        assert [(await person.sign_in(username))[0] for _ in range(6)] == [302] * 6
        assert [(await person.sign_in(username, "wrong"))[0] for _ in range(2)] == [200] * 2
        assert (await person.sign_in(username))[0] == 302
        assert (await person.sign_in(username, "wrong"))[0] == 200
        assert (await person.sign_in(username, "wrong"))[0] == 429


async def test_an_address_may_fail_ten_times_as_often_across_all_accounts(strict_server: Server) -> None:
    server = strict_server
    username = await newcomer(server)
    async with at(Person(server.url), "203.0.113.5") as sprayer, at(Person(server.url), "203.0.113.6") as another:
        assert {(await sprayer.sign_in(f"guess-{n}", "wrong"))[0] for n in range(30)} == {200}
        # On a busy machine, these have taken so long that a few more may fail.
        async with asyncio.timeout(TIMEOUT_S):
            while {(await sprayer.sign_in("guess", "wrong"))[0], (await sprayer.sign_in(username))[0]} != {429}:
                pass
        assert (await another.sign_in(username))[0] == 302


async def test_addresses_in_one_ipv6_64_count_as_one(strict_server: Server) -> None:
    username = await newcomer(strict_server)
    async with Person(strict_server.url) as person:
        tries = [(await at(person, f"2001:db8:0:7::{n}").sign_in(username, "wrong"))[0] for n in range(4)]
        assert tries == [200, 200, 200, 429]
        assert (await at(person, "2001:db8:0:8::1").sign_in(username))[0] == 302


async def test_only_addresses_reported_by_the_proxy_are_trusted(strict_server: Server, url: str) -> None:
    username = await newcomer(strict_server)
    async with Person(strict_server.url) as person:
        tries = [(await at(person, f"198.51.100.{n}, 203.0.113.7").sign_in(username, "wrong"))[0] for n in range(4)]
        assert tries == [200, 200, 200, 429]
    settings = settings_for(url, limits_sign_in_failures_per_minute=1)
    async with open_server(settings) as server, Person(server.url) as person:
        tries = [(await at(person, f"203.0.113.{n}").sign_in(username, "wrong"))[0] for n in range(2)]
        assert tries == [200, 429]


async def test_attempts_without_a_csrf_token_lock_nobody_out(strict_server: Server) -> None:
    username = await newcomer(strict_server)
    async with at(Person(strict_server.url), "203.0.113.8") as person:
        for _ in range(10):
            assert (await post(person, username=username, password="wrong", csrf_token="x")).status == 403
        assert (await person.sign_in(username))[0] == 302


async def test_a_limit_of_zero_disables_the_limit(url: str) -> None:
    settings = settings_for(url, limits_sign_in_failures_per_minute=0)
    async with open_server(settings) as server, Person(server.url) as person:
        assert {(await person.sign_in("ana", "wrong"))[0] for _ in range(20)} == {200}
        assert (await person.sign_in("ana"))[0] == 302


async def test_the_access_denied_page_has_a_sign_out_button(server: Server) -> None:
    async with Person(server.url, await add_person(server.app[DATABASE])) as stranger:
        async with stranger.http.get(f"{server.url}/chat/room/1/") as response:
            assert response.status == 403
            token = re.findall(r'name="csrf_token" value="([^"]+)"', await response.text())[0]
        async with stranger.http.post(
            f"{server.url}/chat/sign-out/", data={"csrf_token": token}, allow_redirects=False
        ) as response:
            assert response.status == 302
        assert (await stranger.get("/chat/courses/"))[0] == 302

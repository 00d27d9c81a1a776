"""Sign-in links: who can use them, when they end, and that no log and no `Referer` contains the token."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from educa_chat.people.sign_in_limits import ADDRESS_FACTOR, WIDE_FACTOR
from educa_chat.storage.accounts import deactivate, set_password
from educa_chat.storage.pool import Database
from educa_chat.storage.sign_in_links import PATH, link_url, make_link
from tests.handlers.test_pages import Page
from tests.serving import Person, Server, add_person, open_server, quick_hash, settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

PASSWORD = "correct horse battery"


@pytest_asyncio.fixture(loop_scope="module")
async def newcomer(database: Database) -> str:
    """A student of course 1 without a password."""
    username = await add_person(database, 1)
    await set_password(database, username, "!unusable")
    return username


async def choose(person: Person, token: str, password: str = PASSWORD, **others: str) -> aiohttp.ClientResponse:
    data = {"csrf_token": await person.token("/chat/sign-in/"), "token": token, "password": password, **others}
    async with person.http.post(person.url + PATH, data=data, allow_redirects=False) as response:
        await response.read()
        return response


async def is_valid(server: Server, token: str) -> bool:
    async with Person(server.url) as anyone:
        return (await anyone.get(link_url("", token)))[0] == 200


async def test_a_link_names_its_user_and_signs_them_in_with_the_password_they_choose(
    server: Server, database: Database, newcomer: str
) -> None:
    token = await make_link(database, newcomer)
    async with Person(server.url) as person:
        status, html, headers = await person.get(link_url("", token))
        assert status == 200
        assert newcomer in html
        assert headers["Cache-Control"] == "no-store"
        response = await choose(person, token)
        assert (response.status, response.headers["Location"]) == (302, "/chat/courses/")
        assert (await person.get("/chat/courses/"))[0] == 200
    async with Person(server.url) as elsewhere:
        assert (await elsewhere.sign_in(newcomer, PASSWORD))[0] == 302


async def test_a_link_can_be_opened_repeatedly_but_used_only_once(
    server: Server, database: Database, newcomer: str
) -> None:
    token = await make_link(database, newcomer)
    async with Person(server.url) as scanner:
        for method in ("GET", "HEAD", "GET"):
            async with scanner.http.request(method, server.url + link_url("", token)) as response:
                assert response.status == 200
    async with Person(server.url) as one, Person(server.url) as other:
        answers = await asyncio.gather(choose(one, token), choose(other, token, "another good one"))
        assert sorted(response.status for response in answers) == [302, 410]
        assert (await choose(one, token)).status == 410
    assert not await is_valid(server, token)


async def test_a_new_link_a_new_password_and_deactivation_invalidate_a_link(server: Server, database: Database) -> None:
    async def another_link(username: str) -> None:
        await make_link(database, username)

    async def another_password(username: str) -> None:
        await set_password(database, username, quick_hash("another one"))

    async def deactivation(username: str) -> None:
        await deactivate(database, username)

    async def a_day(username: str) -> None:
        await database.execute(
            "update educa_chat.sign_in_link set expires_at = expires_at - interval '24 hours'"
            " where user_id = (select id from auth_user where username = $1)",
            username,
        )

    for change in (another_link, another_password, deactivation, a_day):
        username = await add_person(database, 1)
        token = await make_link(database, username)
        assert await is_valid(server, token)
        await change(username)
        assert not await is_valid(server, token), change
        async with Person(server.url) as person:
            assert (await choose(person, token)).status == 410


async def test_an_unknown_link_shows_what_to_do(server: Server, subtests: pytest.Subtests) -> None:
    async with Person(server.url) as person:
        for token in ("", "x", "a" * 43, "%00", "%ED%A0%80", "x" * 5000):
            with subtests.test(token=token):
                status, html, _ = await person.get(link_url("", token))
                assert status == 410
                assert "ask your teacher or the administrator" in html
                assert not Page(html).named("form")


@pytest.mark.parametrize(
    ("password", "said"),
    [("short", "too short"), ("password1", "most common"), ("aaaaaaaaaaaa", "repetition"), ("x" * 5000, "too long")],
)
async def test_a_refused_password_does_not_use_up_the_link(
    server: Server, database: Database, newcomer: str, password: str, said: str
) -> None:
    token = await make_link(database, newcomer)
    async with Person(server.url) as person:
        data = {"csrf_token": await person.token("/chat/sign-in/"), "token": token, "password": password}
        async with person.http.post(person.url + PATH, data=data) as response:
            assert response.status == 200
            assert said in await response.text()
        assert (await choose(person, token)).status == 302


async def test_a_form_from_another_site_does_not_use_up_a_link(
    server: Server, database: Database, newcomer: str
) -> None:
    token = await make_link(database, newcomer)
    async with Person(server.url) as person:
        assert (await choose(person, token, csrf_token="0" * 80)).status == 403
    assert await is_valid(server, token)


async def test_choosing_a_password_ends_the_users_sessions_and_the_browsers_session(
    server: Server, database: Database, newcomer: str
) -> None:
    await set_password(database, newcomer, quick_hash())
    async with Person(server.url, newcomer) as before, Person(server.url, "luis") as browser:
        socket, others = await before.enter(), await browser.enter()
        assert (await choose(browser, await make_link(database, newcomer))).status == 302
        assert await socket.close_code() == 4001
        assert await others.close_code() == 4001
        assert newcomer in (await browser.get("/chat/courses/"))[1]


async def test_only_digests_are_stored(database: Database, newcomer: str) -> None:
    token = await make_link(database, newcomer)
    rows = await database.fetch("select l::text as row from educa_chat.sign_in_link l")
    assert rows
    assert not any(token in row["row"] or token.encode().hex() in row["row"] for row in rows)


async def test_the_token_is_in_no_log_line_and_no_referer(
    server: Server, database: Database, newcomer: str, caplog: pytest.LogCaptureFixture
) -> None:
    token = await make_link(database, newcomer)
    with caplog.at_level(logging.DEBUG):
        async with Person(server.url) as person:
            _, html, headers = await person.get(link_url("", token))
            assert headers["Referrer-Policy"] == "strict-origin"
            assert all(
                token not in str(one) for _, attributes in Page(html).elements for one in link_targets(attributes)
            )
            await choose(person, token, "short")
            await choose(person, token)
            await choose(person, token)
            assert (await person.get(link_url("", token)))[0] == 410
    lines = [record.getMessage() for record in caplog.records]
    assert any(PATH in line for line in lines)
    assert not any(token in line for line in lines)


def link_targets(attributes: dict[str, str | None]) -> list[str]:
    return [str(attributes[name]) for name in ("href", "src", "action") if attributes.get(name)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def strict_server(url: str) -> AsyncIterator[Server]:
    async with open_server(settings_for(url, limits_sign_in_failures_per_minute=1)) as opened:
        yield opened


async def test_tokens_cannot_be_guessed_quickly(strict_server: Server, database: Database, newcomer: str) -> None:
    token = await make_link(database, newcomer)
    async with Person(strict_server.url) as person:
        statuses = [(await person.get(link_url("", f"guess{n}")))[0] for n in range(ADDRESS_FACTOR * WIDE_FACTOR + 1)]
        assert statuses[:ADDRESS_FACTOR] == [410] * ADDRESS_FACTOR
        assert statuses[-1] == 429
        status, html, headers = await person.get(link_url("", token))
        assert (status, newcomer in html) == (429, False)
        assert re.fullmatch("[0-9]+", headers["Retry-After"])

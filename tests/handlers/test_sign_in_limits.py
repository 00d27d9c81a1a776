"""Limits on successful sign-ins and on sessions, and the addresses that count as one."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable

import pytest
import pytest_asyncio

from educa_chat.handlers.keys import DATABASE
from educa_chat.people.own import OwnIdentity
from educa_chat.people.sign_in_limits import ADDRESS_FACTOR, SUCCESS_FACTOR, WIDE_FACTOR
from educa_chat.settings import Limits, Settings
from educa_chat.storage.accounts import add_user
from educa_chat.storage.pool import open_database
from educa_chat.storage.sessions import SESSIONS_PER_USER, find_visitors, start_session
from tests.serving import Person, Server, add_person, add_room, open_server, quick_hash, settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

FAILURES = Limits().sign_in_failures_per_minute
SIGN_INS = SUCCESS_FACTOR * FAILURES
CLASS = 30


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(url: str) -> AsyncIterator[Server]:
    """A server behind a proxy, with default limits."""
    settings = settings_for(url, server_trusted_proxies="127.0.0.1/32", limits_sign_in_failures_per_minute=FAILURES)
    async with open_server(settings) as opened:
        yield opened


async def sign_in(server: Server, address: str, username: str, password: str = "educa-demo") -> int:
    """Sign in with a new browser. Return the status."""
    async with Person(server.url) as person:
        person.http.headers["X-Forwarded-For"] = address
        return (await person.sign_in(username, password))[0]


async def tries_until_refused(server: Server, tries: Iterable[tuple[str, str, str]], *, status: int) -> int:
    """Sign in with one address, username and password after the other, until an attempt is refused. Return the number
    before.
    """
    for count, one in enumerate(tries):
        if (answer := await sign_in(server, *one)) == 429:
            return count
        assert answer == status
    raise AssertionError("no try was too many")


async def test_successful_sign_ins_are_limited_per_account_from_any_address(server: Server) -> None:
    username, classmate = [await add_person(server.app[DATABASE], 1) for _ in range(2)]
    answers = Counter(await asyncio.gather(*(sign_in(server, f"203.0.113.{n}", username) for n in range(2 * SIGN_INS))))
    assert answers.keys() == {302, 429}
    assert answers[302] >= SIGN_INS
    rows = await server.app[DATABASE].fetchval(
        "select count(*) from educa_chat.session s join auth_user u on u.id = s.user_id where u.username = $1", username
    )
    assert rows == SESSIONS_PER_USER
    assert await sign_in(server, "203.0.113.1", classmate) == 302


async def test_a_whole_class_can_sign_in_at_once_from_one_address(server: Server) -> None:
    _, students = await add_room(server.app[DATABASE], students=CLASS)
    answers = await asyncio.gather(*(sign_in(server, "203.0.113.50", student) for student in students))
    assert answers == [302] * CLASS


async def test_wrong_passwords_do_not_use_up_a_users_sign_ins(server: Server) -> None:
    username = await add_person(server.app[DATABASE], 1)
    wrong = (sign_in(server, f"198.51.100.{n}", username, "wrong") for n in range(SIGN_INS + 10))
    assert set(await asyncio.gather(*wrong)) == {200}
    assert await sign_in(server, "203.0.113.51", username) == 302


async def test_successful_sign_ins_to_many_accounts_are_limited_per_address(url: str) -> None:
    settings = settings_for(url, server_trusted_proxies="127.0.0.1/32", limits_sign_in_failures_per_minute=1)
    async with open_server(settings) as server:
        limit = SUCCESS_FACTOR * ADDRESS_FACTOR
        usernames = [await add_person(server.app[DATABASE]) for _ in range(limit)]
        tries = (("203.0.113.60", username, "educa-demo") for username in usernames * 2)
        assert await tries_until_refused(server, tries, status=302) >= limit
        assert await sign_in(server, "203.0.113.61", usernames[-1]) == 302


@pytest.mark.parametrize("factor", [1, ADDRESS_FACTOR], ids=["one account", "many accounts"])
async def test_an_ipv6_48_has_a_shared_failure_limit_a_few_times_that_of_a_64(url: str, factor: int) -> None:
    settings = settings_for(url, server_trusted_proxies="127.0.0.1/32", limits_sign_in_failures_per_minute=1)
    async with open_server(settings) as server:
        username = await add_person(server.app[DATABASE])
        tries = (
            (f"2001:db8:9:{n:x}::1", username if factor == 1 else f"nobody-{n}", "wrong")
            for n in range(10 * WIDE_FACTOR * factor)
        )
        assert await tries_until_refused(server, tries, status=200) >= WIDE_FACTOR * factor
        assert await sign_in(server, "2001:db8:a::1", username) == 302


@pytest.mark.parametrize(
    "address", ["203.0.113.70", "203.0.113.70:5000", "::ffff:203.0.113.70", "[::ffff:cb00:7146]:1"]
)
async def test_all_notations_of_an_address_count_as_one(server: Server, address: str) -> None:
    username = await add_person(server.app[DATABASE])
    tries = [("203.0.113.70", username, "wrong")] * 10 * FAILURES
    assert await tries_until_refused(server, tries, status=200) >= FAILURES
    assert await sign_in(server, address, username) == 429


# Sessions.


async def test_one_session_too_many_ends_the_oldest_and_its_sockets(server: Server, url: str) -> None:
    username = await add_person(server.app[DATABASE], 1)
    user_id = await server.app[DATABASE].fetchval("select id from auth_user where username = $1", username)
    async with (
        open_server(settings_for(url)) as elsewhere,
        Person(server.url, username) as oldest,
        Person(elsewhere.url, username) as second,
    ):
        first_sockets = [await oldest.enter(), await oldest.enter(basic=True)]
        socket = await second.enter()
        for _ in range(SESSIONS_PER_USER - 2):
            await start_session(server.app[DATABASE], user_id, 1)
        assert (await oldest.get("/students/courses/"))[0] == 200
        await start_session(elsewhere.app[DATABASE], user_id, 1)
        assert [await one.close_code() for one in first_sockets] == [4001, 4001]
        assert (await oldest.get("/students/courses/"))[0] == 302
        await socket.say("still here", "a")
        await socket.receive_until("ack", id="a")
        await start_session(server.app[DATABASE], user_id, 1)
        assert await socket.close_code() == 4001


async def test_simultaneous_sign_ins_respect_the_session_limit(server: Server) -> None:
    database = server.app[DATABASE]
    first, second = [await add_user(database, f"at-once-{n}", quick_hash()) for n in range(2)]
    ids = await asyncio.gather(*(start_session(database, user_id, 1) for user_id in [first, second] * 50))
    ids.append(await start_session(database, first, 1))
    visitors = await find_visitors(database, ids)
    assert Counter(visitor.user_id for visitor in visitors) == {first: SESSIONS_PER_USER, second: SESSIONS_PER_USER}
    assert ids[-1] in {visitor.session_id for visitor in visitors}


async def test_expired_sessions_do_not_count(server: Server) -> None:
    database = server.app[DATABASE]
    user_id = await add_user(database, "with-old-sessions", quick_hash())
    first = await start_session(database, user_id, 1)
    for _ in range(SESSIONS_PER_USER):
        await database.execute(
            "insert into educa_chat.session (digest, user_id, password_digest, expires_at)"
            " values (sha256(gen_random_uuid()::text::bytea), $1, '', now() - interval '1 second')",
            user_id,
        )
    await start_session(database, user_id, 1)
    assert await find_visitors(database, [first])


async def test_a_session_can_be_started_with_read_only_access_to_users(server: Server) -> None:
    """As if the table belonged to a Django site."""
    database = server.app[DATABASE]
    user_id = await add_user(database, "of-a-site", quick_hash())
    await database.execute(
        "create role reader login; grant select on auth_user to reader;"
        " grant usage on schema educa_chat to reader; grant all on educa_chat.session, educa_chat.profile to reader"
    )
    try:
        reader_url = database.url.replace("postgres@", "reader@")
        identity = OwnIdentity(Settings())
        async with open_database(reader_url, 1) as reading, identity.connect(reading):
            assert await identity.authenticate("of-a-site", "educa-demo") == user_id
            assert await identity.visitors([await identity.start_session(user_id)])
    finally:
        await database.execute("drop owned by reader; drop role reader")

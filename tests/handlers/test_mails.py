"""Forgotten passwords and invitations, with a real mail server."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from email.message import EmailMessage

import pytest
import pytest_asyncio

from educa_chat.errors import MailRefused
from educa_chat.handlers.keys import DATABASE
from educa_chat.people import mailer
from educa_chat.people.forgotten_page import MAILS_PER_HOUR, PATH
from educa_chat.people.mails import compose
from educa_chat.settings import Email
from educa_chat.storage.accounts import change_profile, deactivate, find_user_id
from educa_chat.storage.mail_queue import (
    LIFE_HOURS,
    MAX_REQUESTED,
    MailKind,
    claim_mails,
    queue_invitations,
    request_mail,
)
from educa_chat.storage.pool import Database
from educa_chat.storage.sign_in_links import find_linked_user, make_link
from tests.conftest import Postgres
from tests.handlers.test_admin_pages import post
from tests.handlers.test_import_page import ADMIN, confirm, upload
from tests.mail_server import MailServer, mail_settings, open_mail_server
from tests.processes import free_port
from tests.serving import TIMEOUT_S, Person, Server, add_person, open_server, settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

SENDER = "Example School <chat@school.example>"


@pytest.fixture(scope="module", autouse=True)
def _mails_are_sent_at_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mailer, "PAUSE_S", 0.05)
        yield


@pytest.fixture(scope="module")
def mail_server() -> Iterator[MailServer]:
    with open_mail_server() as opened:
        yield opened


@pytest.fixture(autouse=True)
def _empty(mail_server: MailServer) -> None:
    mail_server.received.clear()
    mail_server.refused.clear()
    mail_server.is_busy = False


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(url: str, mail_server: MailServer) -> AsyncIterator[Server]:
    """A server that sends mails."""
    async with open_server(settings_for(url, **mail_settings(mail_server.port), site_name="Example School")) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def quiet_url(postgres: Postgres) -> str:
    """A database whose mails no server of another test sends."""
    return await postgres.create_chat_database(demo=True)


async def person_with(database: Database, email: str) -> str:
    username = await add_person(database, 1)
    await database.execute("update auth_user set email = $2 where username = $1", username, email)
    return username


async def ask(server: Server, email: str, **headers: str) -> tuple[int, str]:
    async with Person(server.url) as person:
        data = {"csrf_token": await person.token(PATH), "email": email}
        async with person.http.post(server.url + PATH, data=data, headers=headers) as response:
            return response.status, re.sub(r'value="[^"]*"', "", await response.text())


def link_in(mail: EmailMessage) -> str:
    found = re.search(r"https?://[^/]+(/\S+)", mail.get_content())
    assert found
    return found[1]


async def test_a_forgotten_password_can_be_reset_with_a_mailed_link(
    server: Server, database: Database, mail_server: MailServer
) -> None:
    username = await person_with(database, "Zoe@x.example")
    async with Person(server.url) as person:
        assert PATH in (await person.get("/chat/sign-in/"))[1]
        assert (await ask(server, "zoe@X.example"))[0] == 200
        mail = await mail_server.mail()
        assert (mail["To"], mail["From"]) == ("Zoe@x.example", SENDER)
        assert mail["Subject"] == "Choose a new password for Example School"
        assert mail["Auto-Submitted"] == "auto-generated"
        assert mail.get_content_type() == "text/plain"
        status, html, _ = await person.get(link_in(mail))
        assert (status, username in html) == (200, True)


async def test_the_mail_is_in_the_users_or_else_the_browsers_language(
    server: Server, database: Database, mail_server: MailServer
) -> None:
    username = await person_with(database, "idioma@x.example")
    await ask(server, "idioma@x.example", **{"Accept-Language": "es"})
    assert (await mail_server.mail())["Subject"] == "Elige una contraseña nueva para Example School"
    await change_profile(database, await find_user_id(database, username), "", "", "en")
    await ask(server, "idioma@x.example", **{"Accept-Language": "es"})
    assert (await mail_server.mail(2))["Subject"] == "Choose a new password for Example School"


async def test_the_answer_is_the_same_whether_or_not_the_address_exists(
    server: Server, database: Database, mail_server: MailServer
) -> None:
    await deactivate(database, await person_with(database, "inactive@x.example"))
    external = await person_with(database, "external@x.example")
    await database.execute(
        "insert into educa_chat.external_person select 'issuer', 'subject', id from auth_user where username = $1",
        external,
    )
    await person_with(database, "known@x.example")
    unknown = ["nobody@x.example", "inactive@x.example", "external@x.example", "x" * 2000, "a\0b@x.example", "a\rb"]
    answers = {await ask(server, email) for email in [*unknown, "known@x.example"]}
    assert len(answers) == 1
    # Mails are sent in order, so none came for the others.
    assert (await mail_server.mail())["To"] == "known@x.example"
    assert len(mail_server.received) == 1


async def test_mails_to_one_address_are_rate_limited(
    server: Server, database: Database, mail_server: MailServer
) -> None:
    await person_with(database, "often@x.example")
    await person_with(database, "last@x.example")
    for number in range(MAILS_PER_HOUR + 2):
        assert (await ask(server, "often@x.example"))[0] == 200
        await mail_server.mail(min(number + 1, MAILS_PER_HOUR))
    await ask(server, "last@x.example")
    await mail_server.mail(MAILS_PER_HOUR + 1)
    assert mail_server.received[-1]["To"] == "last@x.example"


async def test_requests_for_many_addresses_by_one_client_are_rate_limited(url: str, mail_server: MailServer) -> None:
    limits = {"limits_sign_in_failures_per_minute": 1}
    async with open_server(settings_for(url, **mail_settings(mail_server.port), **limits)) as strict:
        statuses = [(await ask(strict, f"n{n}@x.example"))[0] for n in range(12)]
    assert (statuses[0], statuses[-1]) == (200, 429)


async def test_a_form_from_another_site_sends_no_mail(server: Server, database: Database) -> None:
    async with Person(server.url) as person, person.http.post(server.url + PATH, data={"email": "a@b.c"}) as response:
        assert response.status == 403


async def test_password_reset_is_not_offered_without_a_mail_server(url: str) -> None:
    async with open_server(settings_for(url)) as server, Person(server.url) as person:
        assert PATH not in (await person.get("/chat/sign-in/"))[1]
        assert (await person.get(PATH))[0] == 404
        assert "ask your teacher" in (await person.sign_in("ana", "forgotten"))[1]


async def test_an_import_mails_links_to_users_with_an_address(
    server: Server, database: Database, mail_server: MailServer
) -> None:
    content = "username;first name;email\ninv.1;Inés;inv1@x.example\ninv.2;;\n".encode()
    async with Person(server.url, await add_person(database, is_superuser=True)) as person:
        _, html = await upload(person, ADMIN, content)
        status, html, _ = await confirm(person, ADMIN, html, mail="1")
        assert status == 200
        assert "1 sign-in link is being sent." in html
        assert "1 person has no e-mail address." in html
        mail = await mail_server.mail()
        assert (mail["To"], mail["Subject"]) == ("inv1@x.example", "Your account at Example School")
        assert "Inés" in (await person.get(link_in(mail)))[1]


async def test_an_added_user_with_an_address_can_be_sent_a_link_by_email(
    server: Server, database: Database, mail_server: MailServer
) -> None:
    async with Person(server.url, await add_person(database, is_superuser=True)) as admin:
        form = "/admin/people/add/"
        assert "E-mail them a sign-in link" in (await admin.get(form))[1]
        status, _ = await post(admin, form, username="unasked", email="unasked@x.example")
        assert status == 303
        status, path = await post(admin, form, username="invited", email="Invited@x.example", mail="1")
        assert (status, "done=person_invited" in path) == (303, True)
        mail = await mail_server.mail()
        assert (mail["To"], mail["Subject"]) == ("Invited@x.example", "Your account at Example School")
        for email, said in (
            ("invited@X.example", "Another person has this e-mail address."),
            ("x", "an e-mail address"),
        ):
            status, page = await post(admin, form, username="third", email=email, mail="1")
            assert (status, said in page, f'value="{email}"' in page) == (422, True, True)
        mail_server.is_busy = True
        await post(admin, form, username="busy", email="busy@x.example", mail="1")
        assert "1 e-mail with a sign-in link is waiting" in (await admin.get("/admin/people/"))[1]
        await mail_server.refusal("busy@x.example")
    await database.execute("delete from educa_chat.mail")


async def waiting(database: Database) -> list[str]:
    rows = await database.fetch("select address from educa_chat.mail order by address")
    return [row["address"] for row in rows]


async def until_waiting(database: Database, *addresses: str) -> None:
    """Wait until e-mails to exactly these addresses are queued."""
    async with asyncio.timeout(TIMEOUT_S):
        while await waiting(database) != list(addresses):
            await asyncio.sleep(0.01)


async def make_due(database: Database) -> None:
    """Let the pauses of all mails be over."""
    await database.execute("update educa_chat.mail set due_at = now()")


async def until_attempted(database: Database, address: str) -> None:
    """Wait until somebody has tried to send the mail to `address`, and failed."""
    async with asyncio.timeout(TIMEOUT_S):
        while not await database.fetchval("select due_at > now() from educa_chat.mail where address = $1", address):
            await asyncio.sleep(0.01)


async def test_a_permanently_refused_email_is_not_retried_and_does_not_delay_others(
    server: Server, database: Database, mail_server: MailServer
) -> None:
    for name in ("gone", "here"):
        await person_with(database, f"{name}@x.example")
        await ask(server, f"{name}@x.example")
    assert (await mail_server.mail())["To"] == "here@x.example"
    await until_waiting(database)
    assert mail_server.refused == ["gone@x.example"]


async def test_an_email_to_a_busy_server_is_sent_later(
    server: Server, database: Database, mail_server: MailServer
) -> None:
    await person_with(database, "later@x.example")
    mail_server.is_busy = True
    await ask(server, "later@x.example")
    await mail_server.refusal("later@x.example")
    mail_server.is_busy = False
    await make_due(database)
    assert (await mail_server.mail())["To"] == "later@x.example"
    await until_waiting(database)


async def test_emails_survive_an_unreachable_mail_server_and_a_restart(quiet_url: str) -> None:
    port = free_port()
    async with open_server(settings_for(quiet_url, **mail_settings(port))) as first:
        username = await person_with(first.app[DATABASE], "patient@x.example")
        earlier = await make_link(first.app[DATABASE], username)
        await ask(first, "patient@x.example")
        await until_attempted(first.app[DATABASE], "patient@x.example")
        assert await find_linked_user(first.app[DATABASE], earlier), "a mail that isn't sent ends no link"
    with open_mail_server(port) as late:
        async with open_server(settings_for(quiet_url, **mail_settings(port))) as second, Person(second.url) as person:
            await make_due(second.app[DATABASE])
            mail = await late.mail()
            assert mail["To"] == "patient@x.example"
            assert username in (await person.get(link_in(mail)))[1]
            await until_waiting(second.app[DATABASE])


async def test_no_link_is_stored_while_an_email_is_waiting(
    database: Database, server: Server, mail_server: MailServer
) -> None:
    mail_server.is_busy = True
    await person_with(database, "secret@x.example")
    await ask(server, "secret@x.example")
    await mail_server.refusal("secret@x.example")
    stored = await database.fetchval("select row_to_json(m)::text from educa_chat.mail m")
    assert set(json.loads(stored)) == {"address", "kind", "language", "attempts", "due_at", "expires_at"}
    await database.execute("delete from educa_chat.mail")


async def test_an_email_is_abandoned_after_a_day(server: Server, database: Database, mail_server: MailServer) -> None:
    mail_server.is_busy = True
    await person_with(database, "late@x.example")
    await ask(server, "late@x.example")
    await mail_server.refusal("late@x.example")
    await database.execute(f"update educa_chat.mail set expires_at = expires_at - interval '{LIFE_HOURS} hours'")
    await until_waiting(database)


async def test_each_email_is_claimed_once_and_retried_after_growing_pauses(quiet_url: str) -> None:
    async with open_server(settings_for(quiet_url)) as idle:
        database = idle.app[DATABASE]
        usernames = [await person_with(database, f"claim{number}@x.example") for number in range(6)]
        await database.execute("update auth_user set password = '!' where username = any ($1)", usernames[:5])
        await queue_invitations(database, [f"Claim{number}@x.example" for number in range(5)], "en")
        await request_mail(database, "claim5@x.example", "en")
        [first] = await claim_mails(database, 1)
        assert (first.kind, first.username) == (MailKind.RESET, usernames[5])
        claims = await asyncio.gather(*(claim_mails(database, 2) for _ in range(4)))
        assert sorted(mail.address for mails in claims for mail in mails) == [
            f"claim{number}@x.example" for number in range(5)
        ]
        pauses = []
        for _ in range(7):
            await make_due(database)
            assert len(await claim_mails(database, 10)) == 6
            minutes = "select round(extract(epoch from min(due_at) - now()) / 60)::integer from educa_chat.mail"
            pauses.append(await database.fetchval(minutes))
        assert pauses == [4, 8, 16, 32, 60, 60, 60]
        await database.execute("delete from educa_chat.mail")


async def test_users_who_have_already_chosen_a_password_get_no_invitation(quiet_url: str) -> None:
    async with open_server(settings_for(quiet_url)) as idle:
        await person_with(idle.app[DATABASE], "quick@x.example")
        await queue_invitations(idle.app[DATABASE], ["quick@x.example"], "en")
        assert await claim_mails(idle.app[DATABASE], 10) == []
        assert await waiting(idle.app[DATABASE]) == []


async def test_the_number_of_waiting_requests_is_limited(quiet_url: str) -> None:
    async with open_server(settings_for(quiet_url)) as idle:
        database = idle.app[DATABASE]
        await database.execute(
            "insert into educa_chat.mail (address, kind, language, expires_at)"
            " select n || '@x.example', 'reset', 'en', now() + interval '1 day' from generate_series(1, $1::integer) n",
            MAX_REQUESTED,
        )
        await request_mail(database, "more@x.example", "en")
        assert "more@x.example" not in await waiting(database)
        await database.execute("truncate educa_chat.mail")


async def test_an_import_of_many_people_only_queues_their_emails(quiet_url: str) -> None:
    """The page waits for no mail server: there is none."""
    async with open_server(settings_for(quiet_url, **mail_settings(free_port()))) as server:
        database = server.app[DATABASE]
        rows = "".join(f"many{number};many{number}@x.example\n" for number in range(2000))
        async with Person(server.url, await add_person(database, is_superuser=True)) as person:
            _, html = await upload(person, ADMIN, f"username;email\n{rows}".encode())
            status, html, _ = await confirm(person, ADMIN, html, mail="1")
        assert (status, "2000 sign-in links are being sent." in html) == (200, True)
        assert len(await waiting(database)) == 2000
        joined = "educa_chat.sign_in_link l join auth_user u on u.id = l.user_id"
        assert await database.fetchval(f"select count(*) from {joined} where u.username like 'many%'") == 0
        await database.execute("truncate educa_chat.mail")


@pytest.mark.parametrize("address", ["a@b.c\nBcc: x@y.z", "a@b.c\r\n\r\nhi", "a@b.c\ud800"])
async def test_an_address_cannot_inject_headers(address: str) -> None:
    with pytest.raises(MailRefused):
        compose(Email(host="x", sender=SENDER), address, "s", "t")

"""Forgotten passwords and invitations, with a real mail server."""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Iterator
from email.message import EmailMessage

import pytest
import pytest_asyncio

from educa_chat.errors import MailRefused
from educa_chat.handlers.keys import DATABASE
from educa_chat.people.forgotten_page import MAILS_PER_HOUR, PATH
from educa_chat.people.mailer import Mailer, compose
from educa_chat.settings import Email
from educa_chat.storage.accounts import change_profile, deactivate, find_user_id
from educa_chat.storage.pool import Database
from tests.handlers.test_import_page import ADMIN, confirm, upload
from tests.mail_server import MailServer, open_mail_server
from tests.serving import TIMEOUT_S, Person, Server, add_person, open_server, settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

SENDER = "Example School <chat@school.example>"


@pytest.fixture(scope="module")
def mail_server() -> Iterator[MailServer]:
    with open_mail_server() as opened:
        yield opened


@pytest.fixture(autouse=True)
def _empty(mail_server: MailServer) -> None:
    mail_server.received.clear()
    mail_server.is_busy = False


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(url: str, mail_server: MailServer) -> AsyncIterator[Server]:
    """A server that sends mails."""
    mail = {"email_host": "127.0.0.1", "email_port": mail_server.port, "email_tls": "none", "email_sender": SENDER}
    async with open_server(settings_for(url, **mail, site_name="Example School")) as opened:
        yield opened


@pytest.fixture
def database(server: Server) -> Database:
    return server.app[DATABASE]


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
    for _ in range(MAILS_PER_HOUR + 2):
        assert (await ask(server, "often@x.example"))[0] == 200
    await ask(server, "last@x.example")
    await mail_server.mail(MAILS_PER_HOUR + 1)
    assert mail_server.received[-1]["To"] == "last@x.example"


async def test_requests_for_many_addresses_by_one_client_are_rate_limited(url: str, mail_server: MailServer) -> None:
    mail = {"email_host": "127.0.0.1", "email_port": mail_server.port, "email_tls": "none", "email_sender": SENDER}
    async with open_server(settings_for(url, **mail, limits_sign_in_failures_per_minute=1)) as strict:
        statuses = [(await ask(strict, f"n{n}@x.example"))[0] for n in range(12)]
    assert (statuses[0], statuses[-1]) == (200, 429)


async def test_a_form_from_another_site_sends_no_mail(server: Server, database: Database) -> None:
    async with Person(server.url) as person, person.http.post(server.url + PATH, data={"email": "a@b.c"}) as response:
        assert response.status == 403


async def test_password_reset_is_not_offered_without_a_mail_server(url: str) -> None:
    async with open_server(settings_for(url)) as server, Person(server.url) as person:
        assert PATH not in (await person.get("/chat/sign-in/"))[1]
        assert (await person.get(PATH))[0] == 404


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


async def test_one_refused_mail_does_not_stop_the_others(mail_server: MailServer) -> None:
    settings = Email(host="127.0.0.1", port=mail_server.port, tls="none", sender=SENDER)
    mails = [compose(settings, address, "s", "t") for address in ("gone@x.example", "here@x.example")]
    assert await Mailer(settings).send(deque(mails)) == 1
    assert (await mail_server.mail())["To"] == "here@x.example"


async def test_sending_is_retried_when_the_mail_server_is_busy_or_unreachable(mail_server: MailServer) -> None:
    settings = Email(host="127.0.0.1", port=mail_server.port, tls="none", sender=SENDER)
    mail_server.is_busy = True
    mailer = Mailer(settings, retry_pauses_s=[0.01] * 1000)

    async def made() -> list[EmailMessage]:
        return [compose(settings, address, "s", "t") for address in ("first@x.example", "later@x.example")]

    async with mailer.open():
        assert mailer.offer(made)
        async with asyncio.timeout(TIMEOUT_S):
            while mail_server.put_off < 2:
                await asyncio.sleep(0.01)
        mail_server.is_busy = False
        assert (await mail_server.mail(2))["To"] == "later@x.example"
    assert [mail["To"] for mail in mail_server.received] == ["first@x.example", "later@x.example"]
    with pytest.raises(MailRefused):
        await Mailer(Email(host="127.0.0.1", port=1, tls="none", sender=SENDER)).send(deque(await made()))


@pytest.mark.parametrize("address", ["a@b.c\nBcc: x@y.z", "a@b.c\r\n\r\nhi", "a@b.c\ud800"])
async def test_an_address_cannot_inject_headers(address: str) -> None:
    with pytest.raises(MailRefused):
        compose(Email(host="x", sender=SENDER), address, "s", "t")

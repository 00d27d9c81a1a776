"""The queue of e-mails with sign-in links."""

from educa_chat.storage.mail_queue import claim_mails, remove_mail, request_mail
from educa_chat.storage.pool import Database
from tests.serving import add_person


async def test_a_mail_that_is_requested_again_while_it_is_sent_is_sent_again(database: Database) -> None:
    username = await add_person(database)
    await database.execute("update auth_user set email = $2 where username = $1", username, "ana@x.example")
    await request_mail(database, "ana@x.example", "en")
    [mail] = await claim_mails(database, 10)
    await request_mail(database, "Ana@x.example", "en")
    await remove_mail(database, mail)
    [mail] = await claim_mails(database, 10)
    await remove_mail(database, mail)
    assert await claim_mails(database, 10) == []

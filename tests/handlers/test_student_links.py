"""Sign-in links that teachers make for their students: permissions, expiry, and the student's account page."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from educa_chat.handlers.keys import DATABASE
from educa_chat.protocol import Role
from educa_chat.storage.accounts import deactivate, find_user_id, promote
from educa_chat.storage.administration import archive_course, change_owner, read_admin_log
from educa_chat.storage.courses import enrol, unenrol
from educa_chat.storage.pool import Database
from tests.handlers.test_admin_pages import age_session, post
from tests.handlers.test_roster_page import path_of, shown
from tests.handlers.test_sign_in_links import choose
from tests.serving import Classroom, Person, Server, add_classroom, add_person, open_server, settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

HEADING = "Sign-in links that others made for you"


@pytest_asyncio.fixture(loop_scope="module")
async def classroom(database: Database) -> Classroom:
    return await add_classroom(database)


@pytest_asyncio.fixture(loop_scope="module")
async def teacher(server: Server, classroom: Classroom) -> AsyncIterator[Person]:
    async with Person(server.url, classroom.teacher) as person:
        yield person


async def make_link(teacher: Person, classroom: Classroom, username: str) -> tuple[int, str]:
    """Make a link on the page; the status, and the token or else the page."""
    status, page = await post(teacher, path_of(classroom), act="link", username=username)
    found = re.search(r'<code class="secret">.*\?token=(.*?)</code>', page)
    return status, found[1] if found else page


async def set_email(database: Database, username: str, email: str) -> None:
    await database.execute("update auth_user set email = $2 where username = $1", username, email)


async def test_a_teacher_can_make_a_link_for_a_student_who_sees_its_author(
    server: Server, database: Database, classroom: Classroom, teacher: Person
) -> None:
    assert (await shown(teacher, path_of(classroom))).count('value="link"') == 2, "for both students"
    async with Person(server.url, classroom.ana) as ana, Person(server.url) as elsewhere:
        socket = await ana.enter(classroom.course)
        assert HEADING not in await shown(ana, "/chat/account/")
        status, token = await make_link(teacher, classroom, classroom.ana)
        assert status == 200
        assert token not in await shown(teacher, path_of(classroom)), "it is shown only once"
        account = await shown(ana, "/chat/account/")
        assert (HEADING in account, classroom.teacher in account) == (True, True)
        assert (await choose(elsewhere, token)).status == 302
        assert await socket.close_code() == 4001, "the other sessions of the student end"
    [entry] = await read_admin_log(database, before=None, limit=1)
    made = (entry.action, entry.actor_name, entry.username, entry.course)
    assert made == ("user.link_made", classroom.teacher, classroom.ana, classroom.course)


async def assists(database: Database, username: str) -> None:
    await enrol(database, username, (await add_classroom(database)).course, Role.ASSISTANT)


async def owns_a_course(database: Database, username: str) -> None:
    await change_owner(database, (await add_classroom(database)).course, username)


async def is_django_staff(database: Database, username: str) -> None:
    await database.execute("update auth_user set is_staff = true where username = $1", username)


async def signs_in_elsewhere(database: Database, username: str) -> None:
    await database.execute(
        "insert into educa_chat.external_person select 'issuer', username, id from auth_user where username = $1",
        username,
    )


RIGHTS: list[Callable[[Database, str], Awaitable[None]]] = [
    assists, owns_a_course, is_django_staff, signs_in_elsewhere, promote, deactivate,
]  # fmt: skip


@pytest.mark.parametrize("grant", RIGHTS)
async def test_users_with_other_roles_get_no_link_and_lose_an_earlier_one(
    server: Server,
    database: Database,
    classroom: Classroom,
    teacher: Person,
    grant: Callable[[Database, str], Awaitable[None]],
) -> None:
    status, token = await make_link(teacher, classroom, classroom.ana)
    assert status == 200
    await grant(database, classroom.ana)
    status, page = await make_link(teacher, classroom, classroom.ana)
    assert (status, "You can’t make a sign-in link for this person." in page) == (422, True)
    assert page.count('value="link"') == 1, "only for the other student"
    async with Person(server.url) as anyone:
        assert (await choose(anyone, token)).status == 410


async def test_a_link_ends_when_the_student_leaves_or_the_teacher_stops_teaching(
    server: Server, database: Database, classroom: Classroom
) -> None:
    second = await add_person(database)
    await enrol(database, second, classroom.course, Role.INSTRUCTOR)
    async with Person(server.url, second) as teacher:
        tokens = [(await make_link(teacher, classroom, username))[1] for username in (classroom.ana, classroom.luis)]
        await unenrol(database, classroom.ana, classroom.course)
        await enrol(database, second, classroom.course, Role.ASSISTANT)
        async with Person(server.url) as anyone:
            assert [(await choose(anyone, token)).status for token in tokens] == [410, 410]
        assert (await make_link(teacher, classroom, classroom.luis))[0] == 403, "assistants make none"


async def test_a_teacher_can_make_links_only_for_students_of_their_own_active_course(
    database: Database, classroom: Classroom, teacher: Person
) -> None:
    strangers = [await add_person(database), (await add_classroom(database)).ana, classroom.teacher, "nobody"]
    assert [(await make_link(teacher, classroom, username))[0] for username in strangers] == [422] * 4
    await archive_course(database, classroom.course)
    assert (await make_link(teacher, classroom, classroom.ana))[0] == 422
    assert 'value="link"' not in await shown(teacher, path_of(classroom))


async def test_making_a_link_requires_a_recent_sign_in(
    database: Database, classroom: Classroom, teacher: Person
) -> None:
    await age_session(database, classroom.teacher)
    status, page = await make_link(teacher, classroom, classroom.ana)
    assert (status, "Sign in again" in page) == (422, True)
    count = "select count(*) from educa_chat.sign_in_link where user_id = $1"
    assert await database.fetchval(count, await find_user_id(database, classroom.ana)) == 0


async def test_with_a_mail_server_only_students_without_an_address_get_a_link(url: str) -> None:
    mail = {"email_host": "127.0.0.1", "email_port": 1, "email_tls": "none", "email_sender": "chat@school.example"}
    async with open_server(settings_for(url, **mail)) as server:
        classroom = await add_classroom(server.app[DATABASE])
        await set_email(server.app[DATABASE], classroom.ana, "ana@x.example")
        async with Person(server.url, classroom.teacher) as teacher:
            assert (await shown(teacher, path_of(classroom))).count('value="link"') == 1
            assert (await make_link(teacher, classroom, classroom.ana))[0] == 422
            assert (await make_link(teacher, classroom, classroom.luis))[0] == 200


async def test_users_also_see_links_made_by_administrators(
    server: Server, database: Database, classroom: Classroom
) -> None:
    async with Person(server.url, await add_person(database, is_superuser=True)) as admin:
        path = f"/admin/people/{await find_user_id(database, classroom.ana)}/"
        assert (await post(admin, path, act="link"))[0] == 200
        async with Person(server.url, classroom.ana) as ana:
            assert admin.username in await shown(ana, "/chat/account/")

"""The pages under /admin/, where administrators of a stand-alone chat manage users and courses."""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator
from html import unescape

import pytest
import pytest_asyncio

from educa_chat.app import build_app
from educa_chat.errors import LastAdministrator
from educa_chat.handlers.keys import DATABASE
from educa_chat.storage.accounts import add_user, deactivate, demote, find_user_id
from educa_chat.storage.administration import read_admin_log
from educa_chat.storage.pool import Database, open_database
from tests.conftest import Postgres
from tests.serving import Classroom, Person, Server, add_classroom, add_person, open_server, quick_hash, settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def classroom(server: Server) -> Classroom:
    return await add_classroom(server.app[DATABASE])


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def admin(server: Server) -> AsyncIterator[Person]:
    async with Person(server.url, await add_person(server.app[DATABASE], is_superuser=True)) as person:
        yield person


async def post(person: Person, path: str, **fields: str) -> tuple[int, str]:
    """Post a form of a page. Return the status, and the address of the redirect or the page."""
    data = {"csrf_token": await person.token("/chat/courses/"), **fields}
    async with person.http.post(person.url + path, data=data, allow_redirects=False) as response:
        return response.status, response.headers.get("Location") or unescape(await response.text())


async def page(person: Person, path: str) -> str:
    status, text, _ = await person.get(path)
    assert status == 200, text
    return unescape(text)


async def path_of(database: Database, username: str) -> str:
    return f"/admin/people/{await find_user_id(database, username)}/"


async def age_session(database: Database, username: str) -> None:
    """Make the user's sessions old."""
    await database.execute(
        "update educa_chat.session set created_at = now() - interval '1 hour'"
        " where user_id = (select id from auth_user where username = $1)",
        username,
    )


async def last_actions(database: Database, count: int) -> list[tuple[str, str, str]]:
    entries = await read_admin_log(database, before=None, limit=count)
    return [(one.action, one.actor_name, one.username or one.title) for one in reversed(entries)]


async def test_an_added_user_chooses_a_password_with_their_link_and_is_signed_in(
    server: Server, classroom: Classroom, admin: Person
) -> None:
    username = f"new-{uuid.uuid4().hex[:8]}"
    status, path = await post(admin, "/admin/people/add/", username=username, first_name="Nora", last_name="Paz")
    assert status == 303
    assert "The person was added." in await page(admin, path)
    path = path.partition("?")[0]
    assert (await post(admin, path, act="enrol", course=str(classroom.course), role="assistant"))[0] == 303
    assert "Assistant" in await page(admin, path)
    status, answer = await post(admin, path, act="link")
    assert status == 200
    found = re.search(r'<code class="secret">(.*?)</code>', answer)
    assert found
    assert "secret" not in await page(admin, path), "it is shown only once"
    async with Person(server.url) as nora:
        assert (await nora.sign_in(username, ""))[0] == 200, "nobody signs in without a password"
        link = found[1].removeprefix(server.url)
        token = re.search("token=(.*)", link)
        assert token
        data = {"csrf_token": await nora.token(link), "token": token[1], "password": "six clever owls"}
        async with nora.http.post(f"{server.url}/chat/sign-in/link/", data=data, allow_redirects=False) as response:
            assert response.status == 302
        assert (await nora.get(f"/chat/room/{classroom.course}/"))[0] == 200
    name = admin.username
    assert await last_actions(server.app[DATABASE], 3) == [
        ("user.added", name, username), ("course.enrolled", name, username), ("user.link_made", name, username),
    ]  # fmt: skip
    log = await page(admin, "/admin/log/")
    assert "made a sign-in link for" in log
    assert token[1] not in log


async def test_users_can_be_searched_by_name_and_are_paginated(server: Server, admin: Person) -> None:
    database, mark = server.app[DATABASE], f"zz{uuid.uuid4().hex[:6]}"
    for number in range(52):
        await add_user(database, f"{mark}{number:02}", quick_hash(), first_name="Ángela", last_name=f"Núñez {mark}")
    first = await page(admin, f"/admin/people/?q=angela+nunez+{mark}")
    assert "52 people" in first
    assert (f"{mark}49" in first, f"{mark}50" in first) == (True, False)
    later = re.search(r'href="([^"]*)" rel="next"', first)
    assert later
    second = await page(admin, f"/admin/people/{later[1]}")
    assert f"{mark}51" in second
    assert 'rel="next"' not in second
    assert "0 people" in await page(admin, f"/admin/people/?q={mark}x")
    assert (await admin.get("/admin/people/?q=%00"))[0] == 400


async def test_account_changes_take_effect_at_once_and_are_audited(
    server: Server, classroom: Classroom, admin: Person
) -> None:
    database = server.app[DATABASE]
    path = await path_of(database, classroom.ana)
    async with Person(server.url, classroom.ana) as ana:
        socket = await ana.enter(classroom.course)
        assert (await post(admin, path, act="sign_out"))[0] == 303
        assert await socket.close_code() == 4001
        await ana.sign_in(classroom.ana)
        socket = await ana.enter(classroom.course)
        assert (await post(admin, path, act="deactivate"))[0] == 303
        assert await socket.close_code() == 4001
        assert (await ana.sign_in(classroom.ana))[0] == 200, "the form again"
        status, answer = await post(admin, path, act="link")
        assert (status, "deactivated" in answer) == (422, True)
        assert (await post(admin, path, act="reactivate"))[0] == 303
        assert (await ana.sign_in(classroom.ana))[0] == 302
        assert (await post(admin, path, act="edit", first_name="Ana", last_name="Ruiz"))[0] == 303
        assert "Ana Ruiz" in await page(ana, "/chat/courses/")
        assert (await ana.get("/admin/people/"))[0] == 403
        assert (await post(admin, path, act="promote"))[0] == 303
        assert "Administration" in await page(ana, "/chat/courses/")
        assert (await ana.get("/admin/people/"))[0] == 200
        assert (await post(admin, path, act="demote"))[0] == 303
        assert (await ana.get("/admin/people/"))[0] == 403
    assert [action for action, _, _ in await last_actions(database, 6)] == [
        "user.signed_out", "user.deactivated", "user.reactivated", "user.renamed", "user.promoted", "user.demoted",
    ]  # fmt: skip


async def test_the_page_of_a_user_says_why_a_change_is_refused(
    server: Server, admin: Person, subtests: pytest.Subtests
) -> None:
    database = server.app[DATABASE]
    await database.execute("update auth_user set email = 'taken@example.org' where username = 'luis'")
    path = await path_of(database, "profe")
    for fields, said in (
        ({"act": "edit", "first_name": "\u202egnat"}, "invisible characters"),
        ({"act": "edit", "first_name": "x" * 151}, "too long"),
        ({"act": "edit", "email": "nowhere"}, "an e-mail address"),
        ({"act": "edit", "email": "TAKEN@example.org"}, "Another person has this e-mail address"),
        ({"act": "enrol", "course": "999999", "role": "student"}, "No course has this title"),
        ({"act": "enrol", "course": "1", "role": "instructor"}, "The owner of a course always teaches it"),
    ):
        with subtests.test(fields=fields):
            status, answer = await post(admin, path, **fields)
            assert (status, said in answer) == (422, True)


async def test_adding_a_user_with_a_taken_or_invalid_name_is_refused(server: Server, admin: Person) -> None:
    for path, fields, said in (
        ("people/add/", {"username": "profe"}, "taken"),
        ("people/add/", {"username": "two words"}, "A username can only have"),
        ("people/add/", {"username": "fine", "first_name": "\u0007"}, "invisible characters"),
        ("courses/add/", {"title": " ", "subject": "x", "owner": "profe"}, "empty"),
        ("courses/add/", {"title": "x", "subject": "x", "owner": "nobody"}, "Nobody has this username"),
    ):
        status, answer = await post(admin, f"/admin/{path}", **fields)
        assert (status, said in answer) == (422, True), fields
    assert not await server.app[DATABASE].fetchval("select exists (select from auth_user where username = 'fine')")


async def test_a_course_can_be_added_renamed_transferred_archived_restored_and_removed(
    server: Server, classroom: Classroom, admin: Person
) -> None:
    database, title = server.app[DATABASE], f"Topology {uuid.uuid4().hex[:8]}"
    status, path = await post(
        admin, "/admin/courses/add/", title=title, subject="Mathematics", owner=classroom.teacher, overview="Knots."
    )
    assert (status, path.endswith("?done=course_added")) == (303, True)
    path = path.partition("?")[0]
    for fields, shown in (
        ({"act": "rename", "title": f"{title} II"}, f"{title} II"),
        ({"act": "owner", "owner": classroom.ana}, f"taught by <bdi>{classroom.ana}"),
        ({"act": "archive"}, "Restore"),
        ({"act": "restore"}, "Archive"),
    ):
        assert (await post(admin, path, **fields))[0] == 303
        assert shown in await page(admin, path)
    assert title in await page(admin, f"/admin/courses/?q={title.replace(' ', '+')}")
    assert (await post(admin, path, act="owner", owner="nobody"))[0] == 422
    status, answer = await post(admin, f"{path}remove/", title=title)
    assert (status, "This is not the title" in answer) == (422, True)
    assert (await post(admin, f"{path}remove/", title=f"{title} II"))[0] == 303
    assert (await admin.get(path))[0] == 404
    assert [action for action, _, _ in await last_actions(database, 6)] == [
        "course.added", "course.renamed", "course.owner_changed",
        "course.archived", "course.restored", "course.removed",
    ]  # fmt: skip
    assert f"{title} II" in await page(admin, "/admin/log/")


async def test_irreversible_and_privileged_actions_require_a_recent_sign_in(
    server: Server, classroom: Classroom
) -> None:
    database = server.app[DATABASE]
    username = await add_person(database, is_superuser=True)
    own, other = await path_of(database, username), await path_of(database, classroom.ana)
    title = await database.fetchval("select title from courses_course where id = $1", classroom.course)
    removal = f"/admin/courses/{classroom.course}/remove/"
    async with Person(server.url, username) as admin:
        await age_session(database, username)
        assert "Sign in again" in await page_of_any_status(admin, removal)
        for path, fields in (
            (removal, {"title": title}), (own, {"act": "link"}), (other, {"act": "promote"}),
        ):  # fmt: skip
            status, answer = await post(admin, path, **fields)
            assert (status, "Sign in again" in answer) == (422, True)
        assert not await database.fetchval("select is_superuser from auth_user where username = $1", classroom.ana)
        assert (await post(admin, other, act="link"))[0] == 200, "students’ links need no new sign-in"
        await admin.sign_in(username)
        assert "Type the title of the course" in await page(admin, removal)
        assert (await post(admin, removal, title=title))[0] == 303


async def page_of_any_status(person: Person, path: str) -> str:
    return (await person.get(path))[1]


@pytest_asyncio.fixture(loop_scope="module")
async def empty(postgres: Postgres) -> AsyncIterator[Database]:
    """A database without users."""
    async with open_database(await postgres.create_chat_database(), 5) as database:
        yield database


async def test_two_administrators_cannot_lock_each_other_out_at_once(empty: Database) -> None:
    database = empty
    for username in ("one", "two"):
        await add_user(database, username, "!", is_superuser=True)
    await add_user(database, "student", "!")
    await deactivate(database, "student")
    results = await asyncio.gather(deactivate(database, "one"), demote(database, "two"), return_exceptions=True)
    assert sorted(map(type, results), key=str) == sorted([LastAdministrator, type(None)], key=str)
    assert await database.fetchval("select count(*) from auth_user where is_superuser and is_active") == 1


async def test_the_last_administrator_cannot_lock_themselves_out(empty: Database) -> None:
    database = empty
    await add_user(database, "boss", quick_hash(), is_superuser=True)
    async with open_server(settings_for(database.url)) as server, Person(server.url, "boss") as boss:
        for act in ("deactivate", "demote"):
            status, answer = await post(boss, await path_of(database, "boss"), act=act)
            assert (status, "the only active administrator" in answer) == (422, True)
        await add_user(database, "other", "!", is_superuser=True)
        assert await post(boss, await path_of(database, "boss"), act="demote") == (303, "/chat/courses/")
        assert (await boss.get("/admin/people/"))[0] == 403


PATHS = [
    "people/", "people/add/", "people/1/", "courses/", "courses/add/", "courses/1/", "courses/1/remove/", "log/",
]  # fmt: skip


async def test_beside_a_django_site_there_are_no_admin_pages() -> None:
    """Django's own administration is usually at the same address."""
    paths = {
        secret: {
            resource.canonical
            for resource in build_app(
                settings_for("postgresql://localhost/x", auth_django_secret_key=secret)
            ).router.resources()
        }
        for secret in ("", "x" * 50)
    }
    assert "/admin/people/" in paths[""]
    assert not [path for path in paths["x" * 50] if path.startswith("/admin")]


async def test_admin_pages_are_refused_if_the_tables_belong_to_a_django_site(server: Server, admin: Person) -> None:
    """A chat beside a site may sign users in by itself. The users and courses still belong to the site."""
    database = server.app[DATABASE]
    path = await path_of(database, "profe")
    await database.execute("create table django_migrations (id int)")
    try:
        assert (await admin.get(path))[0] == 403
        assert (await post(admin, path, act="deactivate"))[0] == 403
        assert "/admin/" not in await page(admin, "/chat/courses/")
    finally:
        await database.execute("drop table django_migrations")


async def test_forms_from_other_sites_are_refused(server: Server, admin: Person) -> None:
    database = server.app[DATABASE]
    path = await path_of(database, "profe")
    for data in ({"act": "deactivate"}, {"act": "deactivate", "csrf_token": "x" * 80}):
        async with admin.http.post(server.url + path, data=data, allow_redirects=False) as response:
            assert response.status == 403
    assert await database.fetchval("select is_active from auth_user where username = 'profe'")
    assert (await post(admin, path, act="explode"))[0] == 400
    assert (await admin.get("/admin/people/99999999/"))[0] == 404
    assert (await admin.get("/admin/people/x/"))[0] == 404
    assert "0 people" not in await page(admin, "/admin/people/")


async def test_the_pages_are_translated(server: Server, admin: Person) -> None:
    for path in PATHS:
        status, text, _ = await admin.get(f"/admin/{path}", **{"Accept-Language": "es"})
        assert (status, 'lang="es"' in text, "Personas" in text) == (200, True, True)

"""The import pages: permissions, the preview, and changes only after confirmation."""

import csv
import io
import re

import aiohttp
import pytest
from cryptography.fernet import Fernet

from educa_chat.handlers.keys import DATABASE
from educa_chat.roster_file import FILE_BYTES
from educa_chat.storage.accounts import find_user_id
from educa_chat.storage.administration import read_roster
from educa_chat.storage.pool import Database
from tests.serving import Classroom, Person, Server, add_classroom, add_person, open_server, settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADMIN = "/admin/import/"


def roster_path(room: Classroom) -> str:
    return f"/chat/course/{room.course}/roster/import/"


async def upload(person: Person, path: str, content: bytes, **fields: str) -> tuple[int, str]:
    form = aiohttp.FormData()
    for name, value in {"csrf_token": await person.token(path), **fields}.items():
        form.add_field(name, value)
    form.add_field("file", io.BytesIO(content), filename="people.csv", content_type="text/csv")
    async with person.http.post(person.url + path, data=form) as response:
        return response.status, await response.text()


async def confirm(person: Person, path: str, html: str, **fields: str) -> tuple[int, str, str]:
    digest = re.search(r'name="digest" value="([0-9a-f]{64})"', html)
    data = {"csrf_token": await person.token(path), "digest": digest[1] if digest else "0" * 64, **fields}
    async with person.http.post(f"{person.url}{path}confirm/", data=data) as response:
        return response.status, await response.text(), response.headers["Content-Type"]


async def test_an_administrator_previews_and_confirms_an_import_and_gets_links(
    server: Server, database: Database
) -> None:
    room = await add_classroom(database)
    administrator = await add_person(database, is_superuser=True)
    new = f"new{room.course}"
    content = f"Usuario;Nombre;Curso;Rol\n{new};Zoë;{room.course};\n{room.ana};;{room.course};ayudante\na b;;;\n"
    async with Person(server.url, administrator) as person, Person(server.url) as zoe:
        status, html = await upload(person, ADMIN, content.encode("cp1252"))
        assert status == 200
        assert "1 added, 2 enrolled, 1 refused" in html
        assert html.index("the username is missing") < html.index("as an assistant")
        members = await read_roster(database, room.course)
        assert new not in {member.username for member in members}
        status, text, content_type = await confirm(person, ADMIN, html, links="1")
        assert (status, content_type) == (200, "text/csv; charset=utf-8")
        (row,) = csv.DictReader(text.removeprefix("\ufeff").splitlines())
        assert (row["username"], row["name"]) == (new, "Zoë")
        assert (await zoe.get(row["link"].partition("//")[2].partition("/")[2].join(["/", ""])))[0] == 200
        members = await read_roster(database, room.course)
        assert {member.username: str(member.role) for member in members}[room.ana] == "assistant"
        status, html, _ = await confirm(person, ADMIN, html, links="1")
        assert (status, "already been imported" in html) == (409, True)
        assert "imported a file with people: 1 added" in (await person.get("/admin/log/"))[1]


async def test_links_use_the_address_of_the_request_if_the_settings_have_none(url: str) -> None:
    production = {
        "server_mode": "production",
        "session_key": Fernet.generate_key().decode(),
        "server_allow_insecure_cookies": "true",
    }
    async with open_server(settings_for(url, **production)) as server:
        async with Person(server.url, await add_person(server.app[DATABASE], is_superuser=True)) as person:
            _, html = await upload(person, ADMIN, b"username\nanew.one\n")
            status, text, _ = await confirm(person, ADMIN, html, links="1")
            assert (status, f",{server.url}/chat/sign-in/link/?token=" in text) == (200, True), text


async def test_a_teacher_can_import_only_into_their_course(server: Server, database: Database) -> None:
    room, other = await add_classroom(database), await add_classroom(database)
    new = f"new{room.course}"
    rows = f"username,first_name,course,role\n{new},New,,\n{room.ana},Mallory,,\n"
    rows += f"{room.luis},,{other.course},\nx1,,,teacher\n"
    async with Person(server.url, room.teacher) as teacher:
        status, html = await upload(teacher, roster_path(room), rows.encode())
        assert (status, "1 added, 1 enrolled, 2 refused" in html) == (200, True)
        status, html, _ = await confirm(teacher, roster_path(room), html)
        assert (status, "The file was imported:" in html) == (200, True)
        for path in (ADMIN, roster_path(other)):
            assert (await teacher.get(path))[0] == 403
    assert new in {member.username for member in await read_roster(database, room.course)}
    assert await database.fetchval("select first_name from auth_user where username = $1", room.ana) == ""


async def test_students_and_assistants_cannot_import(server: Server, database: Database) -> None:
    room = await add_classroom(database)
    for username in (room.ana, "luis"):
        async with Person(server.url, username) as person:
            assert (await person.get(roster_path(room)))[0] == 403
            assert (await person.get(ADMIN))[0] == 403
    async with Person(server.url) as nobody:
        assert (await nobody.get(ADMIN))[0] == 302


async def test_a_file_previewed_for_one_course_is_not_imported_into_another(server: Server, database: Database) -> None:
    room = await add_classroom(database)
    administrator = await add_person(database, is_superuser=True)
    async with Person(server.url, administrator) as person:
        _, html = await upload(person, ADMIN, f"username\nnew{room.course}\n".encode())
        assert (await confirm(person, roster_path(room), html))[0] == 409


async def test_a_sync_on_the_page_removes_students(server: Server, database: Database) -> None:
    room = await add_classroom(database)
    async with Person(server.url, room.teacher) as teacher:
        _, html = await upload(teacher, roster_path(room), f"username\n{room.ana}\n".encode(), sync="1")
        assert "1 removed" in html
        assert (await confirm(teacher, roster_path(room), html))[0] == 200
    assert {member.username for member in await read_roster(database, room.course)} == {room.teacher, room.ana}


async def test_a_file_that_is_not_csv_is_refused(server: Server, database: Database, subtests: pytest.Subtests) -> None:
    async with Person(server.url, await add_person(database, is_superuser=True)) as person:
        for content, said in (
            (b"", "The first line must name the columns"),
            (b"\x89PNG\r\n\x1a\n\0", "This isn’t a CSV file"),
            (b"username\n" + b"x" * FILE_BYTES, "too large"),
            (b"username\n" + b"x\n" * 30_000, "too long"),
            (b'username\n"x', "Line 2 isn’t valid CSV"),
        ):
            with subtests.test(said=said):
                status, html = await upload(person, ADMIN, content)
                assert (status, said in html) == (422, True)


async def test_malformed_forms_and_forms_from_another_site_are_refused(server: Server, database: Database) -> None:
    async with Person(server.url, await add_person(database, is_superuser=True)) as person:
        assert (await upload(person, ADMIN, b"username\nx1\n", csrf_token="0" * 80))[0] == 403
        for content_type, body in (
            ("text/csv", b"username\nx1\n"),
            ("multipart/form-data", b"x"),
            ("multipart/form-data; boundary=b", b"x" * 1000),
            ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\nx'),
            ("multipart/form-data; boundary=b", b"--b\r\n\r\nx\r\n--b--\r\n"),
            ("multipart/mixed; boundary=b", b"--b--\r\n"),
        ):
            async with person.http.post(
                server.url + ADMIN, data=body, headers={"Content-Type": content_type}
            ) as answer:
                assert answer.status in (400, 403), body
        assert await find_user_id(database, "ana")

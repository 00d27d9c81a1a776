"""The pages: permissions, content, and the headers of every response."""

import asyncio
import json
import re
import shutil
from collections.abc import Sequence
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from urllib.parse import parse_qs, quote

import aiohttp
import pytest

from educa_chat.handlers.keys import DATABASE, STATIC_FILES
from educa_chat.handlers.static import StaticFiles
from educa_chat.storage.accounts import deactivate
from educa_chat.storage.courses import add_course, add_module, enrol
from tests.serving import Person, Server, add_person, add_room, quick_hash

pytestmark = pytest.mark.asyncio(loop_scope="module")

MEMBERS_ONLY = ["/students/course/{}/", "/chat/room/{}/"]
WRONG_IDS = ["01", "١", "１", "0", "-1", "+1", "1e1", "1.0", "0x1", "x", " 1", "1 ", "1\n", "9" * 30, str(2**63)]
MISSING = 2**63 - 1
HOSTILE = """</title></script><script>alert(1)</script>"'><img src=x onerror=alert(2)>{{7*7}}{% raw %}${7*7}"""


async def check_order_of_refusals(server: Server, name: str, queries: Sequence[str], subtests: pytest.Subtests) -> None:
    """Check that the API `name` of a room refuses a wrong id, then an anonymous visitor, then a stranger."""
    async with Person(server.url) as anonymous, Person(server.url, "marta") as stranger:
        for query in queries:
            with subtests.test(query=query):
                for wrong in WRONG_IDS:
                    assert (await anonymous.get(f"/api/rooms/{quote(wrong)}/{name}{query}"))[0] == 403
                status, body, _ = await anonymous.get(f"/api/rooms/1/{name}{query}")
                assert (status, json.loads(body)["error"]["code"]) == (401, "unauthorized")
                of_others, none = [await stranger.get(f"/api/rooms/{course}/{name}{query}") for course in (1, MISSING)]
                assert (of_others[0], of_others[1]) == (none[0], none[1])
                assert of_others[0] == 403


class Page(HTMLParser):
    """The content of a page: its elements with their attributes and texts, in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[int, str] = {}
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        place = len(self.elements) - 1
        self.texts[place] = self.texts.get(place, "") + data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text_of(self, tag: str, **attributes: str) -> str:
        """Return the text directly after the start tag of the first such element."""
        for place, (name, has) in enumerate(self.elements):
            if name == tag and all(has.get(key) == value for key, value in attributes.items()):
                return self.texts.get(place, "").strip()
        raise AssertionError(f"no {tag} with {attributes}")


# Who.


async def test_the_home_page_redirects_to_the_courses(server: Server) -> None:
    async with Person(server.url) as anonymous:
        status, _, headers = await anonymous.get("/")
        assert (status, headers["Location"]) == (302, "/students/courses/")


async def test_an_anonymous_visitor_is_redirected_to_sign_in_and_back(
    server: Server, subtests: pytest.Subtests
) -> None:
    for path in ("/students/courses/", "/students/course/1/", "/chat/room/1/", "/chat/room/1/?a=b&c=d"):
        with subtests.test(path=path):
            async with Person(server.url) as anonymous:
                status, _, headers = await anonymous.get(path)
                address, _, query = headers["Location"].partition("?")
                assert (status, address, parse_qs(query)) == (302, "/accounts/login/", {"next": [path]})
                async with anonymous.http.get(server.url + headers["Location"]) as response:
                    assert Page(await response.text()).text_of("h1") == "Sign in"
                    token = await anonymous.token(headers["Location"])
                data = {"username": "ana", "password": "educa-demo", "csrf_token": token, "next": path}
                async with anonymous.http.post(
                    f"{server.url}/accounts/login/", data=data, allow_redirects=False
                ) as response:
                    assert (response.status, response.headers["Location"]) == (302, path)


async def test_an_anonymous_api_client_gets_401(server: Server, subtests: pytest.Subtests) -> None:
    async with Person(server.url) as anonymous:
        for path in ("/api/rooms", "/api/rooms/1/messages", "/ws/chat/room/1/"):
            with subtests.test(path=path):
                status, body, headers = await anonymous.get(path)
                assert (status, headers["Content-Type"]) == (401, "application/json; charset=utf-8")
                assert json.loads(body)["error"]["code"] == "unauthorized"


async def test_members_can_see_their_course(server: Server, subtests: pytest.Subtests) -> None:
    for username in ("ana", "luis", "profe"):
        with subtests.test(username=username):
            async with Person(server.url, username) as member:
                for path in [*MEMBERS_ONLY, "/api/rooms/{}/messages"]:
                    assert (await member.get(path.format(1)))[0] == 200


async def test_a_superuser_can_see_every_course(server: Server) -> None:
    username = await add_person(server.app[DATABASE], is_superuser=True)
    async with Person(server.url, username) as superuser:
        for path in [*MEMBERS_ONLY, "/api/rooms/{}/messages"]:
            for course in (1, 2):
                assert (await superuser.get(path.format(course)))[0] == 200
            assert (await superuser.get(path.format(MISSING)))[0] == 403


async def test_a_stranger_cannot_tell_whether_a_course_exists(server: Server, subtests: pytest.Subtests) -> None:
    async with Person(server.url, "marta") as stranger:
        for path in (*MEMBERS_ONLY, "/api/rooms/{}/messages", "/ws/chat/room/{}/"):
            with subtests.test(path=path):
                of_others, none = await stranger.get(path.format(1)), await stranger.get(path.format(MISSING))
                assert of_others[0] == none[0] == 403
                # The token of the sign-out form belongs to the visitor, and is the same on both pages.
                assert of_others[1] == none[1]
                own = {"Date": "", "X-Request-ID": ""}
                assert {**of_others[2], **own} == {**none[2], **own}


async def test_leaving_a_course_ends_access_to_it(server: Server) -> None:
    username = await add_person(server.app[DATABASE], 1)
    async with Person(server.url, username) as student:
        assert (await student.get("/chat/room/1/"))[0] == 200
        await server.app[DATABASE].execute(
            "delete from courses_course_students s using auth_user u where u.id = s.user_id and u.username = $1",
            username,
        )
        assert [(await student.get(path.format(1)))[0] for path in MEMBERS_ONLY] == [403, 403]


async def test_a_deactivated_user_is_anonymous(server: Server) -> None:
    username = await add_person(server.app[DATABASE], 1)
    async with Person(server.url, username) as student:
        await deactivate(server.app[DATABASE], username)
        for path in ["/students/courses/", *MEMBERS_ONLY]:
            status, _, headers = await student.get(path.format(1))
            assert (status, headers["Location"].partition("?")[0]) == (302, "/accounts/login/")
        assert (await student.get("/api/rooms/1/messages"))[0] == 401


async def test_a_malformed_id_is_refused_before_authentication(server: Server, subtests: pytest.Subtests) -> None:
    async with Person(server.url) as anonymous, Person(server.url, "ana") as ana:
        for path in (*MEMBERS_ONLY, "/api/rooms/{}/messages", "/ws/chat/room/{}/"):
            with subtests.test(path=path):
                for id in WRONG_IDS:
                    for person in (anonymous, ana):
                        assert (await person.get(path.format(quote(id))))[0] == 403, id
                assert (await anonymous.get(path.format(MISSING)))[0] in (302, 401)


# Content.


async def test_my_courses_lists_courses_a_user_joined_or_teaches(server: Server) -> None:
    async def links(username: str) -> list[str]:
        async with Person(server.url, username) as person:
            _, html, _ = await person.get("/students/courses/")
        return sorted(str(a["href"]) for a in Page(html).named("a") if str(a["href"]).startswith("/students/course/"))

    assert await links("ana") == ["/students/course/1/"]
    assert await links("profe") == ["/students/course/1/", "/students/course/2/"]
    assert await links(await add_person(server.app[DATABASE])) == []


async def test_my_rooms_are_listed_with_their_unread_counts(server: Server) -> None:
    database = server.app[DATABASE]
    room, (username, other) = await add_room(database)
    largest = await add_course(database, "A last one", "profe")
    await database.execute("update courses_course set id = $1 where id = $2", 2**60, largest)
    await enrol(database, username, 2**60)
    async with Person(server.url, username) as ana, Person(server.url, other) as luis:
        socket = await luis.enter(room)
        for number in range(3):
            await socket.say(f"number {number}", id=f"{number}")
            await socket.receive_until("ack", id=f"{number}")
        title = await database.fetchval("select title from courses_course where id = $1", room)
        status, body, headers = await ana.get("/api/rooms")
        assert (status, headers["Cache-Control"]) == (200, "no-store")
        assert json.loads(body) == {
            "rooms": [
                {"id": str(2**60), "title": "A last one", "unread": 0},
                {"id": room, "title": title, "unread": 3},
            ]
        }
        reader = await ana.enter(room)
        await reader.send({"type": "read", "seq": 2})

        async def unread() -> int:
            return int(json.loads((await ana.get("/api/rooms"))[1])["rooms"][1]["unread"])

        async with asyncio.timeout(10):
            while await unread() != 1:
                await asyncio.sleep(0.02)


async def test_the_course_page_links_to_its_room(server: Server) -> None:
    async with Person(server.url, "ana") as ana:
        _, html, _ = await ana.get("/students/course/1/")
        page = Page(html)
        assert page.text_of("a", href="/chat/room/1/") == "Course chat room"
        assert page.text_of("h1") == "Introducción a la programación"
        assert [text.strip() for text in page.texts.values()].count("Primeros pasos") == 1


async def test_the_room_page_has_the_elements_that_scripts_rely_on(server: Server) -> None:
    async with Person(server.url, "ana") as ana:
        _, html, _ = await ana.get("/chat/room/1/")
    page = Page(html)
    ids = {str(attributes["id"]) for _, attributes in page.elements if "id" in attributes}
    assert {"chat", "chat-input", "chat-message-input", "chat-message-submit", "course-id", "request-user"} <= ids
    assert json.loads(page.text_of("script", type="application/json", id="course-id")) == 1
    assert json.loads(page.text_of("script", type="application/json", id="request-user")) == "ana"
    all_ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(all_ids) == len(set(all_ids))


async def test_a_course_id_beyond_2_53_keeps_all_its_digits_on_the_room_page(server: Server) -> None:
    large = 2**53 + 1
    course = await add_course(server.app[DATABASE], "Far away", "profe")
    await server.app[DATABASE].execute("update courses_course set id = $1 where id = $2", large, course)
    async with Person(server.url, "profe") as profe:
        status, html, _ = await profe.get(f"/chat/room/{large}/")
        assert status == 200
        assert json.loads(Page(html).text_of("script", id="course-id")) == str(large)


async def test_user_input_is_escaped_on_every_page(server: Server) -> None:
    database = server.app[DATABASE]
    teacher = await add_person(database)
    student = await add_person(database)
    await database.execute("update auth_user set first_name = $1", HOSTILE)
    try:
        course = await add_course(database, HOSTILE, teacher, subject=HOSTILE + "!", overview=HOSTILE)
        await add_module(database, course, HOSTILE, HOSTILE)
        await enrol(database, student, course)
        async with Person(server.url, student) as person:
            for path in ("/students/courses/", f"/students/course/{course}/", f"/chat/room/{course}/"):
                _, html, _ = await person.get(path)
                page = Page(html)
                assert "{{7*7}}" in html
                assert "onerror=" not in "".join(key + "=" for _, has in page.elements for key in has)
                assert all(image["src"] == server.app[STATIC_FILES].address("logo.svg") for image in page.named("img"))
                assert HOSTILE in [text.strip() for text in page.texts.values()]
                assert all(
                    "src" in script or script.get("type") == "application/json" for script in page.named("script")
                )
                assert "alert(1)</script>" not in html
    finally:
        await database.execute("update auth_user set first_name = ''")


async def test_a_hostile_username_stays_within_its_json_block(server: Server) -> None:
    database = server.app[DATABASE]
    username = "</script><script>alert(1)</script><!--"
    await database.execute(
        "insert into auth_user (password, is_superuser, username, first_name, last_name, email, is_staff, is_active,"
        " date_joined) values ($1, false, $2, '', '', '', false, true, now())",
        quick_hash(),
        username,
    )
    await enrol(database, username, 1)
    async with Person(server.url, username) as person:
        _, html, _ = await person.get("/chat/room/1/")
    assert username not in html
    assert json.loads(Page(html).text_of("script", id="request-user")) == username


async def test_no_page_has_inline_scripts_or_styles(server: Server, subtests: pytest.Subtests) -> None:
    async with Person(server.url, "ana") as ana:
        for path in (
            "/accounts/login/",
            "/students/courses/",
            "/students/course/1/",
            "/chat/room/1/",
            "/chat/room/2/",
            "/no/such/page",
        ):
            with subtests.test(path=path):
                _, html, _ = await ana.get(path)
                page = Page(html)
                assert page.elements
                for tag, attributes in page.elements:
                    assert tag not in ("style", "base", "iframe", "object", "embed")
                    assert not [name for name in attributes if name.startswith("on") or name == "style"]
                    for name in ("href", "src", "action"):
                        assert str(attributes.get(name) or "/").startswith(("/", "#")), (tag, attributes)
                for attributes in page.named("script"):
                    assert "src" in attributes or attributes.get("type") == "application/json"


# Headers.


RESPONSES: list[tuple[str, int]] = [
    ("/", 302),
    ("/accounts/login/", 200),
    ("/students/courses/", 200),
    ("/chat/room/1/", 200),
    ("/chat/room/2/", 403),
    ("/chat/room/01/", 403),
    ("/api/rooms/1/messages", 200),
    ("/api/rooms/1/messages?before=x", 400),
    ("/api/rooms/2/messages", 403),
    ("/ws/chat/room/1/", 400),
    ("/health/live", 200),
    ("/health/ready", 200),
    ("/static/js/room.js", 404),
    ("/static/", 404),
    ("/no/such/page", 404),
]


async def test_every_response_has_the_security_headers(server: Server, subtests: pytest.Subtests) -> None:
    async with Person(server.url, "ana") as ana:
        for path, expected in RESPONSES:
            with subtests.test(path=path):
                status, _, headers = await ana.get(path)
                assert status == expected
                policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
                assert policy["default-src"] == "'none'"
                for kind in ("script-src", "style-src", "connect-src", "form-action"):
                    assert policy[kind] == "'self'"
                assert policy["base-uri"] == "'none'"
                assert policy["frame-ancestors"] in ("'none'", "'self'")
                assert "unsafe" not in headers["Content-Security-Policy"]
                assert headers["X-Content-Type-Options"] == "nosniff"
                assert headers["Referrer-Policy"] in ("same-origin", "no-referrer", "strict-origin")


async def test_personal_responses_are_not_cached(server: Server, subtests: pytest.Subtests) -> None:
    async with Person(server.url, "ana") as ana:
        for path in (
            "/accounts/login/",
            "/students/courses/",
            "/chat/room/1/",
            "/chat/room/2/",
            "/api/rooms/1/messages",
            "/none",
        ):
            with subtests.test(path=path):
                _, _, headers = await ana.get(path)
                assert headers["Cache-Control"] == "no-store"


async def test_a_page_is_in_the_readers_language(server: Server, subtests: pytest.Subtests) -> None:
    async with Person(server.url) as anonymous:
        for header, language in (
            ("es", "es"),
            ("es-MX,es;q=0.9,en;q=0.8", "es"),
            ("ES", "es"),
            ("en", "en"),
            ("de", "en"),
            (";;q=,\xff", "en"),
        ):
            with subtests.test(header=header):
                status, html, headers = await anonymous.get("/accounts/login/", **{"Accept-Language": header})
                assert status == 200
                assert Page(html).named("html")[0]["lang"] == language
                assert "Accept-Language" in headers["Vary"]


async def test_other_methods_get_405_with_an_allow_header(server: Server, subtests: pytest.Subtests) -> None:
    for method, path, allowed in (
        ("GET", "/accounts/logout/", "POST"),
        ("POST", "/students/courses/", "GET,HEAD"),
        ("DELETE", "/chat/room/1/", "GET,HEAD"),
        ("POST", "/ws/chat/room/1/", "GET"),
        ("PUT", "/api/rooms/1/messages", "GET,HEAD"),
        ("DELETE", "/accounts/login/", "GET,HEAD,POST"),
    ):
        with subtests.test(method=method, path=path):
            async with Person(server.url, "ana") as ana, ana.http.request(method, server.url + path) as response:
                assert (response.status, response.headers["Allow"]) == (405, allowed)
                assert "Content-Security-Policy" in response.headers


async def test_an_unknown_page_gets_a_404_page(server: Server, subtests: pytest.Subtests) -> None:
    async with Person(server.url) as anonymous:
        for path in ("/none", "/chat/room/1", "/chat/room/", "/chat/room/1/2/", "/%00", "/%ff", "/<b>"):
            with subtests.test(path=path):
                status, html, headers = await anonymous.get(path)
                assert (status, headers["Content-Type"]) == (404, "text/html; charset=utf-8")
                assert Page(html).text_of("h1") == "Page not found"
                assert "<b>" not in html


async def test_an_unknown_api_path_gets_404_as_json(server: Server) -> None:
    async with Person(server.url) as anonymous:
        status, body, _ = await anonymous.get("/api/none")
    assert (status, json.loads(body)["error"]["code"]) == (404, "not_found")


async def test_a_static_file_has_its_type_and_is_cached_forever(server: Server, subtests: pytest.Subtests) -> None:
    async with Person(server.url) as anonymous:
        for path, types in (
            ("js/room.js", ("text/javascript", "application/javascript")),
            ("css/base.css", ("text/css",)),
            ("css/room.css", ("text/css",)),
            ("logo.svg", ("image/svg+xml",)),
        ):
            with subtests.test(path=path):
                status, _, headers = await anonymous.get(server.app[STATIC_FILES].address(path))
                assert (status, headers["Content-Type"].partition(";")[0] in types) == (200, True)
                assert headers["Cache-Control"] == "public, max-age=31536000, immutable"


async def test_files_and_pages_are_compressed_for_clients_that_accept_it(
    server: Server, subtests: pytest.Subtests
) -> None:
    script = server.app[STATIC_FILES].address("js/room.js")
    for accepted, of_file, of_page in (
        ("gzip, deflate, br", "br", "gzip"),
        ("br;q=1.0, GZIP;q=0.5", "br", "gzip"),
        ("br;q=0, gzip", "gzip", "gzip"),
        ("gzip", "gzip", "gzip"),
        ("gzip;q=0", None, None),
        ("gzip; q=0.000, br", "br", None),
        ("br", "br", None),
        ("", None, None),
    ):
        for path, coding in ((script, of_file), ("/accounts/login/", of_page)):
            with subtests.test(path=path, accepted=accepted):
                async with Person(server.url) as anonymous:
                    _, plain, _ = await anonymous.get(path, **{"Accept-Encoding": "identity"})
                    _, text, headers = await anonymous.get(path, **{"Accept-Encoding": accepted})
                assert headers.get("Content-Encoding") == coding
                assert "Accept-Encoding" in headers["Vary"]
                assert (int(headers["Content-Length"]) < len(plain) / 2) == (coding is not None)
                token = r'name="csrf_token" value="[^"]+"'
                assert re.sub(token, "", text) == re.sub(token, "", plain)


async def test_every_page_has_a_different_csrf_token(server: Server) -> None:
    async with Person(server.url) as anonymous:
        tokens = [await anonymous.token() for _ in range(3)]
        assert len({token[place : place + 16] for token in tokens for place in range(0, 80, 16)}) == 15


async def test_static_paths_change_with_the_content_and_other_versions_get_404(server: Server, tmp_path: Path) -> None:
    folder = Path(str(resources.files("educa_chat") / "static"))
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    here = server.app[STATIC_FILES].address("js/room.js")
    assert StaticFiles(tmp_path).address("js/room.js") == here
    (tmp_path / "js" / "outbox.js").write_text("// changed")
    other = StaticFiles(tmp_path).address("js/room.js")
    assert other != here
    async with Person(server.url) as anonymous:
        assert [(await anonymous.get(path))[0] for path in (here, other)] == [200, 404]


async def test_the_strings_of_a_part_are_in_the_language_of_the_page(server: Server) -> None:
    for language, searching in {"en": "Searching…", "es": "Buscando…"}.items():
        async with Person(server.url, "ana") as ana:
            address = server.app[STATIC_FILES].address(f"strings/{language}/search.json")
            _, page, _ = await ana.get("/chat/room/1/", **{"Accept-Language": language})
            assert address in page
            _, strings, headers = await ana.get(address)
        assert json.loads(strings)["searching"] == searching
        assert "immutable" in headers["Cache-Control"]


async def test_only_static_files_are_served(server: Server, subtests: pytest.Subtests) -> None:
    for path in ("../app.py", "..%2fapp.py", "%2e%2e/app.py", "js/../../app.py", "/etc/passwd", "%00"):
        with subtests.test(path=path):
            reader, writer = await _raw(server)
            writer.write(f"GET /static/{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
            assert answer.split(b" ", 2)[1] in (b"400", b"403", b"404")
            assert b"import asyncio" not in answer


async def test_every_file_that_a_page_references_exists(server: Server) -> None:
    async with Person(server.url, "ana") as ana:
        for path in ("/accounts/login/", "/students/courses/", "/chat/room/1/"):
            _, html, _ = await ana.get(path)
            for tag, attributes in Page(html).elements:
                name = attributes.get("src") or (attributes.get("href") if tag == "link" else None)
                if name:
                    assert (await ana.get(name))[0] == 200, name


async def test_invalid_http_is_refused_and_the_next_request_is_served(server: Server) -> None:
    for hostile in (
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\0" * 9000 + b"\r\n\r\n",
    ):
        reader, writer = await _raw(server)
        writer.write(hostile + b"\r\n\r\n")
        writer.write_eof()
        assert not (await reader.read()).startswith(b"HTTP/1.1 2")
        writer.close()
        await writer.wait_closed()
    async with Person(server.url) as anonymous:
        assert (await anonymous.get("/health/live"))[0] == 200


async def _raw(server: Server) -> "tuple[asyncio.StreamReader, asyncio.StreamWriter]":
    host, _, port = server.url.removeprefix("http://").partition(":")
    return await asyncio.open_connection(host, int(port))


async def test_the_api_refuses_impossible_positions_and_limits(server: Server) -> None:
    async with Person(server.url, "ana") as ana:
        for query in (
            "before=-1",
            "before=x",
            "before=١",
            "after=1e3",
            f"after={2**53 + 1}",
            "limit=0",
            "before=1&after=1",
        ):
            status, body, _ = await ana.get(f"/api/rooms/1/messages?{query}")
            assert (status, json.loads(body)["error"]["code"]) == (400, "bad_request"), query
        for query in ("before=0", f"before={2**53}", "after=0", "limit=1", "limit=100000"):
            assert (await ana.get(f"/api/rooms/1/messages?{query}"))[0] == 200, query


async def test_an_invalid_session_cookie_is_anonymous(server: Server) -> None:
    for cookie in ("x", "gAAAAA" + "A" * 200, "%00", "é", "a" * 4000, '"', ""):
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
            headers = {"Cookie": f"educa_chat_session={cookie}; educa_chat_csrf={cookie}"}
            async with http.get(f"{server.url}/chat/room/1/", headers=headers, allow_redirects=False) as response:
                assert response.status == 302, cookie


async def test_metrics_count_sockets_and_commands_and_contain_no_text(server: Server) -> None:
    async with Person(server.url, "ana") as ana:
        socket = await ana.enter()
        await socket.say("a secret of mine", id="metrics")
        await socket.receive_until("ack")
        await socket.send("no command")
        await socket.receive_until("error")
        status, text, headers = await ana.get("/metrics")
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    for line in (
        "educa_chat_sockets ",
        'educa_chat_commands_total{outcome="accepted"}',
        'educa_chat_commands_total{outcome="bad_json"}',
        "educa_chat_bus_lost 0.0",
    ):
        assert line in text
    assert "secret" not in text

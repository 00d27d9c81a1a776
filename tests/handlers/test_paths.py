"""The paths that pages use, all under the chat's two prefixes: all others may belong to a site."""

import json

import pytest

from educa_chat.demo import PASSWORD
from tests.handlers.test_pages import Page
from tests.serving import Person, Server

pytestmark = pytest.mark.asyncio(loop_scope="module")

OWN = "/chat/"


async def test_pages_link_only_to_the_chats_own_prefixes(server: Server, subtests: pytest.Subtests) -> None:
    for username, path, status in (
        ("ana", "/chat/courses/", 200),
        ("ana", "/chat/course/1/", 200),
        ("ana", "/chat/room/1/", 200),
        ("ana", "/chat/account/", 200),
        ("profe", "/chat/room/1/", 200),
        ("profe", "/chat/room/1/audit/", 200),
        ("profe", "/chat/room/1/reports/", 200),
        ("ana", "/chat/room/1/reports/", 403),
        ("ana", "/chat/none/", 404),
        ("", "/chat/sign-in/", 200),
    ):
        with subtests.test(username=username, path=path):
            async with Person(server.url, username) as person:
                answer, html, _ = await person.get(path)
                assert answer == status
                addresses = {
                    str(attributes[name])
                    for _, attributes in Page(html).elements
                    for name in ("href", "src", "action")
                    if attributes.get(name)
                }
                assert addresses
                posted = {form["action"] for form in Page(html).named("form") if form.get("method") == "post"}
                for address in addresses:
                    assert address.startswith((OWN, "#")), address
                    if address.startswith(OWN) and address not in posted:
                        assert (await person.get(address))[0] == 200, address


async def test_links_stay_under_the_prefix_of_the_page(server: Server) -> None:
    async with Person(server.url) as anonymous:
        assert (await anonymous.get("/chat/"))[2]["Location"] == "/chat/courses/"
        assert (await anonymous.get("/chat/courses/"))[2]["Location"] == "/accounts/login/?next=/chat/courses/"
    async with Person(server.url, "ana") as ana:
        for parent in ("/chat/", "/students/"):
            _, html, _ = await ana.get(f"{parent}courses/")
            links = [str(attributes["href"]) for attributes in Page(html).named("a")]
            assert f"{parent}course/1/" in links
            assert (await ana.get(f"{parent}course/1/"))[0] == 200
            assert (await ana.get(f"{parent}course/2/"))[0] == 403


async def test_the_api_gives_the_same_answers_under_both_prefixes(server: Server) -> None:
    async with Person(server.url, "ana") as ana, Person(server.url, "profe") as profe, Person(server.url) as nobody:
        socket = await ana.enter()
        await socket.say("something", id="1")
        await socket.receive_until("chat_message")
        for person, path, status in (
            (ana, "", 200),
            (ana, "/1/messages", 200),
            (ana, "/1/messages?before=x", 400),
            (ana, "/2/messages", 403),
            (ana, "/1/search?q=nothing", 200),  # A new message may become searchable between the two requests.
            (ana, "/1/members?q=l", 200),
            (ana, "/1/muted", 403),
            (profe, "/1/muted", 200),
            (profe, "/1/reports", 200),
            (nobody, "", 401),
            (nobody, "/1/none", 404),
        ):
            own = await person.get(f"/chat/api/rooms{path}")
            documented = await person.get(f"/api/rooms{path}")
            assert own[0] == documented[0] == status, path
            assert json.loads(own[1]) == json.loads(documented[1]), path


async def test_a_sign_in_form_posts_to_its_own_path_and_redirects_under_the_same_prefix(
    server: Server, subtests: pytest.Subtests
) -> None:
    for path, next, location in (
        ("/chat/sign-in/", "", "/chat/courses/"),
        ("/chat/sign-in/", "/chat/room/1/", "/chat/room/1/"),
        ("/accounts/login/", "", "/students/courses/"),
    ):
        with subtests.test(path=path):
            async with Person(server.url) as ana:
                _, html, _ = await ana.get(path)
                assert [form["action"] for form in Page(html).named("form")] == [path]
                data = {"username": "ana", "password": PASSWORD, "next": next, "csrf_token": await ana.token(path)}
                async with ana.http.post(server.url + path, data=data, allow_redirects=False) as response:
                    assert (response.status, response.headers["Location"]) == (302, location)
                    assert response.cookies["educa_chat_device"]["path"] == path


@pytest.mark.parametrize("path", ["/chat/sign-out/", "/accounts/logout/"])
async def test_signing_out_under_either_prefix_ends_the_session_and_closes_sockets(server: Server, path: str) -> None:
    async with Person(server.url, "ana") as ana:
        socket = await ana.enter()
        async with ana.http.post(f"{server.url}{path}", data={"csrf_token": "0" * 80}) as response:
            assert response.status == 403, "without the token of a form of ours"
        data = {"csrf_token": await ana.token("/chat/courses/")}
        async with ana.http.post(f"{server.url}{path}", data=data, allow_redirects=False) as response:
            assert response.status == 302
        assert await socket.close_code() == 4001
        assert (await ana.get("/chat/api/rooms"))[0] == 401

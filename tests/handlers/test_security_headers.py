"""Security headers: on pages, errors, the API and files."""

from collections.abc import Mapping

import pytest

from educa_chat.handlers.keys import DATABASE, SEARCHES, STATIC_FILES
from tests.serving import Person, Server

pytestmark = pytest.mark.asyncio(loop_scope="module")


def assert_kept_to_itself(headers: Mapping[str, str]) -> None:
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    policy = headers["Content-Security-Policy"].split("; ")
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'self'" in policy
    is_document = headers.get("Content-Type", "").startswith("text/html")
    permissions = headers.get("Permissions-Policy", "").split(", ") if is_document else []
    assert is_document == ("camera=()" in permissions and "microphone=()" in permissions)


RESPONSES: list[tuple[str, str, int]] = [
    ("GET", "/chat/room/1/", 200),
    ("HEAD", "/chat/room/1/", 200),
    ("GET", "/chat/room/2/", 403),
    ("GET", "/chat/none/", 404),
    ("GET", "/chat/static/none.js", 404),
    ("DELETE", "/chat/room/1/", 405),
    ("POST", "/chat/sign-out/", 400),
    ("GET", "/chat/", 302),
    ("GET", "/chat/api/rooms", 200),
    ("GET", "/chat/api/rooms/2/messages", 403),
    ("GET", "/chat/api/none", 404),
    ("GET", "/ws/chat/room/1/", 400),
    ("GET", "/health/live", 200),
    ("GET", "/health/ready", 200),
    ("GET", "/metrics", 200),
    ("GET", "/%ff%00", 404),
]


async def test_responses_of_any_status_have_the_security_headers(server: Server, subtests: pytest.Subtests) -> None:
    async with Person(server.url, "ana") as ana:
        for method, path, status in RESPONSES:
            with subtests.test(method=method, path=path):
                async with ana.http.request(method, server.url + path, allow_redirects=False) as answer:
                    assert answer.status == status
                    assert_kept_to_itself(answer.headers)


async def test_responses_413_429_and_417_have_the_security_headers(server: Server) -> None:
    async with Person(server.url, "ana") as ana:
        async with ana.http.post(f"{server.url}/accounts/login/", data={"username": "x" * 70_000}) as answer:
            assert answer.status == 413
            assert_kept_to_itself(answer.headers)
        user = await server.app[DATABASE].fetchval("select id from auth_user where username = 'ana'")
        while not server.app[SEARCHES].take(user):
            pass
        status, _, headers = await ana.get("/chat/api/rooms/1/search?q=x")
        assert status == 429
        assert_kept_to_itself(headers)
        status, _, headers = await ana.get("/chat/room/1/", Expect="the impossible")
        assert status == 417
        assert_kept_to_itself(headers)


@pytest.mark.parametrize(
    ("breakage", "repair", "expected"),
    [
        ("alter table {} rename body to hidden", "alter table {} rename hidden to body", 500),
        ("alter table {} rename to hidden", "alter table educa_chat.hidden rename to message", 503),
    ],
)
async def test_server_errors_have_the_security_headers(
    server: Server, breakage: str, repair: str, expected: int
) -> None:
    database = server.app[DATABASE]
    async with Person(server.url, "ana") as ana:
        await database.execute(breakage.format("educa_chat.message"))
        try:
            status, _, headers = await ana.get("/chat/api/rooms/1/messages")
        finally:
            await database.execute(repair.format("educa_chat.message"))
        assert status == expected
        assert_kept_to_itself(headers)


async def test_static_files_are_served_with_nosniff(server: Server, subtests: pytest.Subtests) -> None:
    async with Person(server.url) as anonymous:
        for path in ("js/room.js", "css/room.css", "logo.svg"):
            with subtests.test(path=path):
                status, _, headers = await anonymous.get(server.app[STATIC_FILES].address(path))
                assert (status, headers["X-Content-Type-Options"]) == (200, "nosniff")
                if path.endswith(".svg"):
                    assert_kept_to_itself(headers)  # An SVG that is opened by itself is a document.

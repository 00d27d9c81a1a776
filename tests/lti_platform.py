"""A learning platform for tests: its keys, its rosters, and the forms that it posts."""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from html import escape
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from aiohttp import web

from educa_chat.storage.lti_platforms import Registration, add_platform
from educa_chat.storage.pool import Database
from tests.outside import Signer, claims_for, open_elsewhere
from tests.serving import Person

LTI = "https://purl.imsglobal.org/spec/lti/claim/"
MEMBERSHIP = "http://purl.imsglobal.org/vocab/lis/v2/membership#"
ROSTER = "https://purl.imsglobal.org/spec/lti-nrps/claim/namesroleservice"
CLIENT_ID = "client"
DEPLOYMENT = "1"


class FakePlatform:
    """Signs launches like Moodle 4.5, with the claims that Moodle sends, and answers the tool's requests."""

    def __init__(self) -> None:
        self.url = ""
        self.signer = Signer()
        self.pages: list[Any] = []
        """The pages of the roster, or functions that make the answers in their places."""
        self.before_roster: Callable[[], Awaitable[object]] | None = None
        self.tokens: list[dict[str, str]] = []
        """The forms that were posted to get access tokens."""
        self.registration: dict[str, Any] = {}
        self.configuration: dict[str, Any] = {}
        self.registered: list[tuple[str | None, Any]] = []
        self.key_fetches = 0
        self.tool = ""
        """The address of the tool that the pages of the platform lead to."""
        self.users: dict[str, dict[str, Any]] = {"17": {}}
        """The claims of the users of these pages, by their login hints."""

    @property
    def issuer(self) -> str:
        return self.url

    @property
    def roster_url(self) -> str:
        return f"{self.url}/roster/2"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        match request.path:
            case "/course":
                return web.Response(text=self.course_page(request), content_type="text/html")
            case "/auth":
                return web.Response(text=self.auth_page(request.query), content_type="text/html")
            case "/keys":
                self.key_fetches += 1
                return web.json_response(self.signer.public())
            case "/token":
                self.tokens.append({name: str(value) for name, value in (await request.post()).items()})
                # Moodle's token.php says text/html.
                return web.Response(text='{"access_token": "t", "expires_in": 3600}', content_type="text/html")
            case "/roster/2":
                assert request.headers["Authorization"] == "Bearer t"
                number = int(request.query.get("page", 0))
                page = self.pages[number]
                if self.before_roster is not None:
                    await self.before_roster()
                if callable(page):
                    made: web.Response = page()
                    return made
                response = web.json_response({"id": "x", "context": {"id": "2"}, "members": page})
                if number + 1 < len(self.pages):
                    response.headers["Link"] = f'<{self.roster_url}?page={number + 1}>; rel="next"'
                return response
            case "/configuration":
                return web.json_response(self.own_configuration() | self.configuration)
            case "/register":
                self.registered.append((request.headers.get("Authorization"), await request.json()))
                return web.json_response({"client_id": CLIENT_ID, **self.registration})
        raise web.HTTPNotFound

    def own_configuration(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.url}/auth",
            "registration_endpoint": f"{self.url}/register",
            "jwks_uri": f"{self.url}/keys",
            "token_endpoint": f"{self.url}/token",
            "https://purl.imsglobal.org/spec/lti-platform-configuration": {"product_family_code": "moodle"},
        }

    def claims(self, nonce: str, tool: str, /, **changes: Any) -> dict[str, Any]:
        """Return the claims of a launch by the student Ana; None removes a claim."""
        claims = claims_for(
            self.issuer,
            CLIENT_ID,
            nonce=nonce,
            sub="17",
            name="Ana Morales",
            given_name="Ana",
            family_name="Morales",
            email="ana@school.example",
            **{
                LTI + "deployment_id": DEPLOYMENT,
                LTI + "message_type": "LtiResourceLinkRequest",
                LTI + "version": "1.3.0",
                LTI + "target_link_uri": f"{tool}/lti/launch",
                LTI + "roles": [MEMBERSHIP + "Learner"],
                LTI + "context": {"id": "2", "label": "alg", "title": "Álgebra", "type": ["CourseSection"]},
                LTI + "resource_link": {"id": "1", "title": "Chat", "description": ""},
                LTI + "launch_presentation": {"locale": "es", "document_target": "iframe", "return_url": self.url},
                LTI + "ext": {"user_username": "ana", "lms": "moodle-2"},
                LTI + "lis": {"person_sourcedid": "", "course_section_sourcedid": ""},
                LTI + "tool_platform": {
                    "product_family_code": "moodle",
                    "version": "2024100705.01",
                    "guid": "d84ff0210b5e4d955ac958743c59264e",
                    "name": "sur",
                    "description": "Colegio Sur",
                },
                LTI + "custom": {"context_memberships_url": self.roster_url},
                ROSTER: {"context_memberships_url": self.roster_url, "service_versions": ["1.0", "2.0"]},
            },
        )
        return {name: value for name, value in (claims | changes).items() if value is not None}

    def course_page(self, request: web.Request) -> str:
        """Return a page of the platform with the tool in an iframe. With `?storage`, it keeps values for the tool."""
        login = {
            "iss": self.issuer,
            "login_hint": request.query.get("user", "17"),
            "target_link_uri": f"{self.tool}/lti/launch",
            "lti_message_hint": "hint",
            "client_id": CLIENT_ID,
            "lti_deployment_id": DEPLOYMENT,
        }
        if "storage" in request.query:
            login["lti_storage_target"] = "_parent"
        address = escape(f"{self.tool}/lti/login?{urlencode(login)}")
        return f"""<!doctype html><title>Course</title><script>
          const kept = new Map(), log = [];
          addEventListener('message', ({{ data, source, origin }}) => {{
            log.push(data);
            if (!{int("storage" in request.query)} || !data.subject?.startsWith('lti.') || !data.key) return;
            if (data.subject === 'lti.put_data') kept.set(data.key, data.value);
            source.postMessage({{ ...data, subject: data.subject + '.response', value: kept.get(data.key) }}, origin);
          }});
          </script><iframe src="{address}" width="1000" height="700"></iframe>"""

    def auth_page(self, query: Mapping[str, str]) -> str:
        """Answer an authentication request with a form that posts itself to the tool."""
        assert query["redirect_uri"] == f"{self.tool}/lti/launch"
        token = self.signer.sign(self.claims(query["nonce"], self.tool, **self.users[query["login_hint"]]))
        return f"""<!doctype html><form method="post" action="{escape(query["redirect_uri"])}">
          <input name="id_token" value="{token}"><input name="state" value="{escape(query["state"])}">
          <input name="lti_storage_target" value="_parent"></form>
          <script>document.forms[0].submit()</script>"""

    async def register(self, database: Database, *, deployments: tuple[str, ...] = (DEPLOYMENT,), **others: Any) -> int:
        """Add this platform to the chat, and return its id."""
        registration = Registration(
            "School", self.issuer, CLIENT_ID, f"{self.url}/auth", f"{self.url}/token", f"{self.url}/keys"
        )
        return await add_platform(database, registration, deployments, **{"is_active": True} | others)


@asynccontextmanager
async def open_platform() -> AsyncIterator[FakePlatform]:
    platform = FakePlatform()
    async with open_elsewhere(platform.answer) as platform.url:
        yield platform


class LtiUser(Person):
    """A user whose browser a platform sends to the chat."""

    async def begin(self, platform: FakePlatform, **changes: str | None) -> dict[str, str]:
        """Start the login. Return the parameters with which the tool redirects the browser to the platform."""
        query = self.login_form(platform, **changes)
        async with self.http.get(f"{self.url}/lti/login", params=query, allow_redirects=False) as response:
            text = await response.text()
            assert response.status == 302, (response.status, text)
            address = urlsplit(response.headers["Location"])
        # The test's client drops a Secure cookie of an address with http, which browsers keep for localhost.
        self.keep_cookies(response.headers.getall("Set-Cookie", []))
        return dict(parse_qsl(address.query))

    async def begin_embedded(self, platform: FakePlatform) -> dict[str, str]:
        """Start the login in an iframe, as Moodle does, with a browser that keeps the cookie."""
        form, framed = self.login_form(platform), {"Sec-Fetch-Dest": "iframe"}
        async with self.http.post(f"{self.url}/lti/login", data=form, headers=framed) as response:
            found = re.search(r'id="lti-login">(.*?)</script>', await response.text())
        assert found
        self.keep_cookies(response.headers.getall("Set-Cookie", []))
        data = json.loads(found[1])
        async with self.http.get(f"{self.url}{data['cookie_url']}") as response:
            assert await response.json() == {"cookie": True}
        return dict(parse_qsl(urlsplit(data["url"]).query))

    def login_form(self, platform: FakePlatform, **changes: str | None) -> dict[str, str]:
        """What a platform sends to the login."""
        form = {
            "iss": platform.issuer,
            "login_hint": "17",
            "target_link_uri": f"{self.url}/lti/launch",
            "lti_message_hint": '{"cmid":2}',
            "client_id": CLIENT_ID,
            "lti_deployment_id": DEPLOYMENT,
            **changes,
        }
        return {name: value for name, value in form.items() if value is not None}

    def keep_cookies(self, headers: list[str]) -> None:
        for header in headers:
            pair, _, attributes = header.partition(";")
            name, _, value = pair.partition("=")
            assert "Secure" in attributes and "Partitioned" in attributes and "SameSite=None" in attributes
            self.http.cookie_jar.update_cookies({name: value})

    async def launch(
        self,
        platform: FakePlatform,
        begun: Mapping[str, str] | None = None,
        /,
        *,
        token: Any = None,
        **changes: Any,
    ) -> tuple[int, str]:
        """Begin a login unless it has `begun`, and launch with `token`, or one whose claims have `changes`.

        Return the status, and the address of the redirect or the page.
        """
        begun = begun or await self.begin(platform)
        signed = platform.signer.sign(platform.claims(begun["nonce"], self.url, **changes))
        form = {"id_token": token or signed, "state": begun["state"]}
        async with self.http.post(f"{self.url}/lti/launch", data=form, allow_redirects=False) as response:
            if response.status == 303:
                self.keep_cookies(response.headers.getall("Set-Cookie", []))
            return response.status, response.headers.get("Location") or await response.text()


def kind_of(page: str) -> str | None:
    """Return the kind of the text on a page that explains a failed launch."""

    class Finder(HTMLParser):
        kind: str | None = None

        def handle_starttag(self, _: str, attributes: list[tuple[str, str | None]]) -> None:
            self.kind = self.kind or dict(attributes).get("data-kind")

    finder = Finder()
    finder.feed(page)
    return finder.kind

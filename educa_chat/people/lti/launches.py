"""Launches: a platform sends a user here. The user gets a session and enters the room of their course.

A launch has two steps (1EdTech Security Framework 1.0 §5.1.1): the login, after which the browser asks the platform for
a token, and the launch with that token. It may take place in an iframe, whose cookies some browsers drop. Then a script
of the login page keeps the secret of the login, and one of the launch page sends it. The session is then kept by the
page too.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from educa_chat.errors import OutboundFailed, TokenRefused
from educa_chat.handlers import embedding, pages
from educa_chat.handlers.access import find_visitor, is_own_url, site_url
from educa_chat.handlers.csrf import posted_form, use_posted_session
from educa_chat.handlers.embedding import EmbeddedSession
from educa_chat.handlers.rendering import redirect, render_anonymous
from educa_chat.people.browsers import describe_browser
from educa_chat.people.id_tokens import verify_token
from educa_chat.people.login_states import Login, end_login, is_secret_of
from educa_chat.people.lti import claims, deep_links
from educa_chat.people.lti.claims import Launch
from educa_chat.people.lti.tool import LaunchRefused, Tool, answer_refusal, message_page
from educa_chat.people.outbound import location
from educa_chat.protocol import Role
from educa_chat.storage.external_people import ExternalPerson, find_or_add_person
from educa_chat.storage.lti_courses import find_or_add_course, note_launch
from educa_chat.storage.lti_platforms import Platform, find_platform, find_platforms
from educa_chat.storage.sessions import end_session, start_session
from educa_chat.translations import negotiate_language

logger = logging.getLogger(__name__)

MAX_PARAMETER = 4096
LAUNCHES_AT_ONCE = 4
"""How many logins and launches use the database at a time. The others wait, so a class that clicks at once can't keep
the connections from everyone else.
"""
MAX_SUBJECT = 255
"""The longest `sub` that the specification allows."""


class Launches:
    """The pages of the login and the launch, and the room in an iframe that keeps no cookies."""

    def __init__(self, tool: Tool, on_instructor: Callable[[], None]) -> None:
        self._tool = tool
        self._on_instructor = on_instructor
        self._turns = asyncio.Semaphore(LAUNCHES_AT_ONCE)

    def set_up(self, app: web.Application) -> None:
        """Add the routes."""
        app.router.add_get("/lti/login", self._login)
        app.router.add_post("/lti/login", self._login)
        app.router.add_get("/lti/cookie", self._has_cookie)
        app.router.add_post("/lti/launch", self._launch)
        app.router.add_get("/lti/room/{course}/", self._enter)
        app.router.add_post("/lti/room/{course}/", self._room)
        app.router.add_get(embedding.ENDED_PATH, self._ended)
        app.router.add_get("/lti/jwks", self._own_keys)

    async def _login(self, request: web.Request) -> web.Response:
        """Begin a login, and send the browser to the platform. Stores nothing."""
        form: Mapping[str, str] = await posted_form(request) if request.method == "POST" else request.query
        try:
            platform = await self._platform_of_login(request, form)
        except LaunchRefused as refusal:
            return answer_refusal(request, refusal)
        state, login, secret = self._tool.states.begin({"platform": str(platform.id)})
        parameters = {
            "scope": "openid",
            "response_type": "id_token",
            "response_mode": "form_post",
            "prompt": "none",
            "client_id": platform.client_id,
            "redirect_uri": f"{site_url(request)}/lti/launch",
            "state": state,
            "nonce": login.nonce,
            "login_hint": form["login_hint"],
        }
        if "lti_message_hint" in form:
            parameters["lti_message_hint"] = form["lti_message_hint"]
        glue = "&" if "?" in platform.authorization_url else "?"
        url = f"{platform.authorization_url}{glue}{urlencode(parameters)}"
        if not _is_framed(request):
            response = redirect(url)
        else:
            response = render_anonymous(
                request,
                "lti_login.html",
                login_url=f"/lti/login?{urlencode(form)}",
                data={
                    "url": url,
                    "id": _id(login),
                    "secret": secret,
                    "cookie_url": f"/lti/cookie?{urlencode({'state': state})}",
                    "storage_target": form.get("lti_storage_target", ""),
                },
            )
        self._tool.states.remember(response, login, secret)
        return response

    async def _platform_of_login(self, request: web.Request, form: Mapping[str, str]) -> Platform:
        if any(len(value) > MAX_PARAMETER for value in form.values()) or not form.get("login_hint"):
            raise LaunchRefused("the login is incomplete or too long", "again")
        issuer = form.get("iss", "")
        if not is_own_url(request, form.get("target_link_uri", "")):
            raise LaunchRefused(f"the target_link_uri of {location(issuer)} leads elsewhere", "platform")
        async with self._turns:
            platforms = await find_platforms(self._tool.database, issuer, form.get("client_id"))
        deployment = form.get("lti_deployment_id")
        if deployment is not None and len(platforms) > 1:
            platforms = [one for one in platforms if deployment in one.deployments]
        if len(platforms) != 1:
            reason = "several platforms have" if platforms else "no platform has"
            raise LaunchRefused(f"{reason} the issuer {location(issuer)} and the client id of the login", "platform")
        self._tool.require_active(platforms[0])
        return platforms[0]

    async def _has_cookie(self, request: web.Request) -> web.Response:
        """Tell the login page whether the browser has kept its cookie."""
        try:
            has_cookie = self._tool.states.is_in_browser(
                request, self._tool.states.read(request.query.get("state", ""))
            )
        except TokenRefused:
            has_cookie = False
        return web.json_response({"cookie": has_cookie}, headers={"Cache-Control": "no-store"})

    async def _launch(self, request: web.Request) -> web.Response:
        """End a login with the platform's token: start a session, and redirect to the room."""
        form = await posted_form(request)
        try:
            try:
                return await self._answer_launch(request, form)
            except TokenRefused as error:
                raise LaunchRefused(f"{error}", "again" if error.is_stale else "platform") from error
            except OutboundFailed as error:
                raise LaunchRefused(f"the keys of the platform are missing: {error}", "unreachable") from error
        except LaunchRefused as refusal:
            return answer_refusal(request, refusal)

    async def _answer_launch(self, request: web.Request, form: Mapping[str, str]) -> web.Response:
        tool = self._tool
        login = tool.states.read(form.get("state", ""))
        if "error" in form:
            raise LaunchRefused(f"the platform reports the error {form['error'][:100]!r}", "again")
        has_cookie = tool.states.is_in_browser(request, login)
        if not has_cookie and "secret" not in form and _is_framed(request):
            return render_anonymous(
                request,
                "lti_launch.html",
                data={"id": _id(login), "storage_target": form.get("lti_storage_target", "")},
                form={name: form[name] for name in ("id_token", "state") if name in form},
            )
        if not has_cookie and not is_secret_of(form.get("secret", ""), login):
            raise LaunchRefused("the login began in another browser, or the browser drops our cookie", "blocked")
        platform, launch = await self._verify(request, login, form.get("id_token", ""))
        # Not before the token is verified, which may take as long as the platform takes to answer.
        async with self._turns:
            return await self._enter_course(request, login, platform, launch, has_cookie=has_cookie)

    async def _enter_course(
        self, request: web.Request, login: Login, platform: Platform, launch: Launch, *, has_cookie: bool
    ) -> web.Response:
        """End the login of a valid `launch`, and lead to the room or, for deep linking, back to the platform."""
        tool = self._tool
        await end_login(tool.database, login, launch.nonce)
        role = claims.role_of(launch.roles or ())
        if launch.message_type == claims.DEEP_LINK:
            response = await deep_links.answer(request, tool, platform, launch, role)
            tool.states.forget(response, login)
            return response
        user_id = await self._find_person(platform, launch)
        course = await self._find_course(platform, launch)
        await note_launch(tool.database, course, user_id, role)
        if role is Role.INSTRUCTOR:
            self._on_instructor()
        session = await self._session(request, user_id, launch)
        if has_cookie:
            response = redirect(pages.room_url(course), status=303)
            embedding.remember(response, session, tool.session_days)
            tool.states.forget(response, login)
        else:
            # Browsers don't send the fragment to servers, and a script removes it from the address.
            response = redirect(f"{pages.embedded_room_url(course)}#{session.credential}", status=303)
        logger.info("a launch by platform %d has opened room %d", platform.id, course)
        return response

    async def _verify(self, request: web.Request, login: Login, token: str) -> tuple[Platform, Launch]:
        """Return the platform of `login` and the claims of its `token`."""
        async with self._turns:
            platform = await find_platform(self._tool.database, int(login.data["platform"]))
        self._tool.require_active(platform)
        launch = await verify_token(
            token,
            Launch,
            self._tool.keys,
            jwks_url=platform.jwks_url,
            hosts=platform.hosts,
            issuer=platform.issuer,
            client_id=platform.client_id,
        )
        if launch.deployment not in platform.deployments:
            raise LaunchRefused(
                f"platform {platform.id} has no deployment {launch.deployment[:100]!r}. If it should, run"
                f" educa-chat lti activate {platform.id} --deployment ID",
                "platform",
            )
        if launch.version != claims.VERSION or launch.message_type not in (claims.RESOURCE_LINK, claims.DEEP_LINK):
            raise LaunchRefused("the version or the type of the message is not one that we know", "platform")
        if not is_own_url(request, launch.target_link_uri):
            raise LaunchRefused("the target_link_uri leads elsewhere", "platform")
        return platform, launch

    async def _find_person(self, platform: Platform, launch: Launch) -> int:
        if not launch.sub or len(launch.sub) > MAX_SUBJECT or "\0" in launch.sub:
            raise LaunchRefused("the platform doesn't say who the user is", "withheld")
        first_name, last_name = claims.names_of(launch.name, launch.given_name, launch.family_name)
        person = ExternalPerson(platform.people_issuer, launch.sub, first_name, last_name)
        found = await find_or_add_person(self._tool.database, person)
        if not found.is_active:
            raise LaunchRefused(f"user {found.user_id} is deactivated", "deactivated")
        return found.user_id

    async def _find_course(self, platform: Platform, launch: Launch) -> int:
        context = launch.context
        if context is None or not context.id or len(context.id) > MAX_PARAMETER or "\0" in context.id:
            raise LaunchRefused("the launch is not from a course", "course")
        return await find_or_add_course(
            self._tool.database,
            platform,
            launch.deployment,
            context.id,
            title=context.title or context.label,
            roster_url=launch.roster.context_memberships_url if launch.roster else None,
        )

    async def _session(self, request: web.Request, user_id: int, launch: Launch) -> EmbeddedSession:
        """Return a session of the user: the one that this browser has, or a new one instead of somebody else's."""
        locales = (launch.presentation.locale if launch.presentation else None, launch.locale)
        language = claims.language_of(locales) or negotiate_language(request.headers.get("Accept-Language", ""))
        visitor = await find_visitor(request) if embedding.embedded_session(request) else None
        if visitor is not None and visitor.user_id == user_id:
            # Another tab may use it, whose socket a new one would not end.
            return EmbeddedSession(visitor.session_id, language)
        if visitor is not None:
            await end_session(self._tool.database, visitor)
        browser, system = describe_browser(request.headers.get("User-Agent", ""))
        session_id = await start_session(self._tool.database, user_id, self._tool.session_days, browser, system)
        return EmbeddedSession(session_id, language)

    async def _enter(self, request: web.Request) -> web.Response:
        """A page whose script asks for the room with the session that it keeps."""
        return render_anonymous(request, "lti_enter.html")

    async def _room(self, request: web.Request) -> web.StreamResponse:
        """The room, for the session in the form."""
        if not await use_posted_session(request):
            raise web.HTTPForbidden
        return await pages.room_page(request, needs_token="message" in await posted_form(request))

    async def _ended(self, request: web.Request) -> web.Response:
        response = message_page(request, "ended")
        embedding.forget(response)
        return response

    async def _own_keys(self, _: web.Request) -> web.Response:
        keys: dict[str, Any] = await self._tool.own_keys.public_keys()
        return web.json_response(keys, headers={"Cache-Control": "public, max-age=300"})


def _is_framed(request: web.Request) -> bool:
    return request.headers.get("Sec-Fetch-Dest") in ("iframe", "frame")


def _id(login: Login) -> str:
    """Return the name under which a page keeps the secret of `login`."""
    return hashlib.sha256(login.nonce.encode()).hexdigest()[:32]

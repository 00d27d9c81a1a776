"""Dynamic registration (LTI Dynamic Registration 1.0): a platform with an invitation registers itself.

It can launch the chat when an administrator has activated it.
"""

import logging
from typing import Any
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from educa_chat.errors import NameRefused, OutboundFailed, RecordExists, RecordMissing
from educa_chat.handlers.access import site_url
from educa_chat.handlers.embedding import EMBEDDED_BY
from educa_chat.handlers.keys import SETTINGS
from educa_chat.handlers.rendering import render_anonymous, translations_for
from educa_chat.people.lti import claims
from educa_chat.people.lti.platform_pages import PATH as PLATFORMS_PATH
from educa_chat.people.lti.tool import LaunchRefused, Tool, answer_refusal
from educa_chat.people.outbound import location
from educa_chat.storage.lti_platforms import Registration, add_platform, is_invited, origin_of

logger = logging.getLogger(__name__)

TOOL_CONFIGURATION = "https://purl.imsglobal.org/spec/lti-tool-configuration"
PLATFORM_CONFIGURATION = "https://purl.imsglobal.org/spec/lti-platform-configuration"


class _PlatformDetails(msgspec.Struct, frozen=True):
    product_family_code: str = ""
    name: str = ""


class _Configuration(msgspec.Struct, frozen=True):
    """The configuration of a platform (OpenID Connect Discovery 1.0 §3)."""

    issuer: str
    authorization_endpoint: str
    registration_endpoint: str
    jwks_uri: str
    token_endpoint: str
    details: _PlatformDetails = msgspec.field(name=PLATFORM_CONFIGURATION, default=_PlatformDetails())


class _ToolDetails(msgspec.Struct, frozen=True):
    deployment_id: str | None = None


class _Registered(msgspec.Struct, frozen=True):
    client_id: str
    details: _ToolDetails = msgspec.field(name=TOOL_CONFIGURATION, default=_ToolDetails())


class Registrations:
    """The page at which a platform registers itself."""

    def __init__(self, tool: Tool) -> None:
        self._tool = tool

    def set_up(self, app: web.Application) -> None:
        """Add the route."""
        app.router.add_get("/lti/register", self._register)

    async def _register(self, request: web.Request) -> web.Response:
        invitation = request.query.get("invitation", "")
        url = request.query.get("openid_configuration", "")
        is_valid = await is_invited(self._tool.database, invitation)
        try:
            if not is_valid:
                raise LaunchRefused("the invitation is not valid, or was used", "invitation")
            response = await self._answer(request, invitation, url)
        except OutboundFailed as error:
            response = answer_refusal(request, LaunchRefused(str(error), "unreachable"))
        except LaunchRefused as refusal:
            response = answer_refusal(request, refusal)
        # The platform may show this page in an iframe or a window, which it closes when the page says so.
        response.headers["Cross-Origin-Opener-Policy"] = "unsafe-none"
        if is_valid and _is_plain_url(self._tool, url):
            response[EMBEDDED_BY] = origin_of(url)
        return response

    async def _answer(self, request: web.Request, invitation: str, url: str) -> web.Response:
        tool = self._tool
        configuration, _ = await tool.outbound.get(url, _Configuration)
        host = tool.outbound.require_url(url)
        addresses = (
            configuration.issuer,
            configuration.authorization_endpoint,
            configuration.registration_endpoint,
            configuration.jwks_uri,
            configuration.token_endpoint,
        )
        for address in addresses:
            if tool.outbound.require_url(address) != host:
                raise LaunchRefused(f"{location(url)} names {location(address)}, which is another host", "platform")
        token = request.query.get("registration_token")
        registered = await tool.outbound.post(
            configuration.registration_endpoint,
            _Registered,
            hosts=[host],
            headers={"Authorization": f"Bearer {token}"} if token else None,
            json=_own_configuration(
                site_url(request),
                request.app[SETTINGS].site.name,
                translations_for(request).gettext("Course chat room"),
            ),
        )
        registration = Registration(
            configuration.details.name or host,
            configuration.issuer,
            registered.client_id,
            configuration.authorization_endpoint,
            configuration.token_endpoint,
            configuration.jwks_uri,
        )
        deployment = registered.details.deployment_id
        try:
            platform = await add_platform(
                tool.database,
                registration,
                [deployment] if deployment else [],
                is_active=False,
                invitation=invitation,
            )
        except (RecordExists, RecordMissing) as error:
            raise LaunchRefused(str(error), "invitation") from error
        except NameRefused as error:
            raise LaunchRefused(str(error), "platform") from error
        logger.info("platform %d has registered and waits to be activated: %s", platform, location(url))
        return render_anonymous(
            request,
            "lti_registered.html",
            platform=platform,
            issuer=configuration.issuer,
            activation_url=f"{site_url(request)}{PLATFORMS_PATH}{platform}/",
        )


def _own_configuration(site: str, name: str, description: str) -> dict[str, Any]:
    """Return our configuration of the tool (Dynamic Registration §3.5)."""
    launch_url = f"{site}/lti/launch"
    return {
        "application_type": "web",
        "response_types": ["id_token"],
        "grant_types": ["implicit", "client_credentials"],
        "initiate_login_uri": f"{site}/lti/login",
        "redirect_uris": [launch_url],
        "client_name": name,
        "jwks_uri": f"{site}/lti/jwks",
        "token_endpoint_auth_method": "private_key_jwt",
        "scope": claims.ROSTER_SCOPE,
        TOOL_CONFIGURATION: {
            "domain": urlsplit(site).netloc,
            "target_link_uri": launch_url,
            "description": description,
            "claims": ["iss", "sub", "name", "given_name", "family_name"],
            "messages": [
                {"type": claims.RESOURCE_LINK, "target_link_uri": launch_url},
                {"type": claims.DEEP_LINK, "target_link_uri": launch_url, "label": name},
            ],
        },
    }


def _is_plain_url(tool: Tool, url: str) -> bool:
    try:
        tool.outbound.require_url(url)
    except OutboundFailed:
        return False
    return True

"""Deep linking (LTI Deep Linking 2.0): a teacher adds the room of their course to the platform's course."""

from aiohttp import web

from educa_chat.errors import OutboundFailed
from educa_chat.handlers.access import site_url
from educa_chat.handlers.embedding import FORM_ACTION
from educa_chat.handlers.rendering import render_anonymous, translations_for
from educa_chat.people.lti import claims
from educa_chat.people.lti.claims import Launch
from educa_chat.people.lti.tool import LaunchRefused, Tool
from educa_chat.protocol import Role
from educa_chat.storage.lti_platforms import Platform, origin_of

ANSWER_LIFE_S = 3600
"""How long the page may stay open."""


async def answer(request: web.Request, tool: Tool, platform: Platform, launch: Launch, role: Role) -> web.Response:
    """Return a page with a button that sends the link back to the platform. Raises LaunchRefused."""
    if role is Role.STUDENT:
        raise LaunchRefused("a student wants to add a link", "not_teacher")
    wanted = launch.deep_linking
    if wanted is None or "ltiResourceLink" not in wanted.accept_types:
        raise LaunchRefused("the platform doesn't accept an ltiResourceLink here", "platform")
    try:
        host = tool.outbound.require_url(wanted.deep_link_return_url)
    except OutboundFailed as error:
        raise LaunchRefused(f"the deep_link_return_url can't be used: {error}", "platform") from error
    if host not in platform.hosts:
        raise LaunchRefused(
            f"the deep_link_return_url leads to {host}, which is not platform {platform.id}", "platform"
        )
    title = translations_for(request).gettext("Course chat room")
    item = {"type": "ltiResourceLink", "title": title, "url": f"{site_url(request)}/lti/launch"}
    content: dict[str, object] = {
        "iss": platform.client_id,
        "aud": [platform.issuer],
        "nonce": launch.nonce,
        claims.LTI + "deployment_id": launch.deployment,
        claims.LTI + "message_type": "LtiDeepLinkingResponse",
        claims.LTI + "version": claims.VERSION,
        claims.DEEP_LINKING + "content_items": [item],
    }
    if wanted.data is not None:
        content[claims.DEEP_LINKING + "data"] = wanted.data
    token = await tool.own_keys.sign(content, life_s=ANSWER_LIFE_S)
    response = render_anonymous(
        request,
        "lti_deep_link.html",
        return_url=wanted.deep_link_return_url,
        token=token,
        course=launch.context.title if launch.context else "",
    )
    response[FORM_ACTION] = origin_of(wanted.deep_link_return_url)
    return response

"""Signing out, the same for each way to sign in."""

from aiohttp import web
from aiohttp.typedefs import Handler

from educa_chat.handlers.access import find_visitor
from educa_chat.handlers.csrf import is_own_form, posted_form, use_posted_session
from educa_chat.handlers.embedding import ENDED_PATH, embedded_session
from educa_chat.handlers.keys import SETTINGS
from educa_chat.handlers.rendering import redirect, render_anonymous
from educa_chat.people.identity import Identity

SIGNED_OUT_COOKIE = "educa_chat_signed_out"
"""Contains the user who signed out before the page's scripts were loaded. The next page deletes their data in the
browser.
"""
SIGNED_OUT_COOKIE_S = 86400


def sign_out_with(identity: Identity) -> Handler:
    """Return a handler that ends the visitor's session in every process."""

    async def sign_out(request: web.Request) -> web.Response:
        await use_posted_session(request)
        is_own = await is_own_form(request)
        elsewhere = None
        if (visitor := await find_visitor(request)) is not None:
            # When the session is over, its form token is invalid, and there is nothing left to protect.
            if not is_own:
                raise web.HTTPForbidden
            elsewhere = await identity.sign_out_elsewhere(request, visitor)
            await identity.sign_out(visitor)
        if embedded_session(request) is not None:
            response = redirect(ENDED_PATH)
        elif elsewhere is None:
            response = redirect(request.app[SETTINGS].auth.sign_out_url)
        else:
            # No redirect: the policy of our pages lets a form lead only to this site (`form-action`).
            response = render_anonymous(request, "signed_out.html", issuer=elsewhere.name, url=elsewhere.url)
        await identity.forget(request, response)
        is_page = request.headers.get("Sec-Fetch-Mode") == "navigate"
        if visitor is not None and is_page and "forgotten" not in await posted_form(request):
            response.set_cookie(
                SIGNED_OUT_COOKIE,
                str(visitor.user_id),
                max_age=SIGNED_OUT_COOKIE_S,
                samesite="Lax",
                secure=request.app[SETTINGS].session.secure,
            )
        return response

    return sign_out

"""Signing in and out."""

import math

import aiohttp_session
from aiohttp import web

from educa_chat.errors import SignInBusy
from educa_chat.handlers.access import find_visitor, is_site_path
from educa_chat.handlers.csrf import is_own_form, posted_form
from educa_chat.handlers.devices import known_device, remember_device
from educa_chat.handlers.keys import IDENTITY, OWN_IDENTITY, SETTINGS, SIGN_IN_LIMITS
from educa_chat.handlers.rendering import COURSES_PATH, render
from educa_chat.handlers.sign_in_limits import wait_s
from educa_chat.storage.accounts import normalise_username

SESSION_KEY = "id"
"""The one thing in the session's cookie."""
SIGN_IN_PATH = "/chat/sign-in/"
PLATFORM_SIGN_IN_PATH = "/accounts/login/"
PLATFORM_SIGN_OUT_PATH = "/accounts/logout/"
PLATFORM_COURSES_PATH = "/students/courses/"
"""Where learning platforms have their list of courses; a stand-alone chat has its own list there too."""
BUSY_RETRY_AFTER_S = 5


async def read_session_id(request: web.Request) -> str | None:
    """The session id of our own cookie."""
    session_id = (await aiohttp_session.get_session(request)).get(SESSION_KEY)
    return session_id if isinstance(session_id, str) else None


async def sign_in_form(request: web.Request) -> web.Response:
    return await _form(request, next_path=request.query.get("next", ""))


async def sign_in(request: web.Request) -> web.Response:
    """Begin a new session for right credentials; one and the same answer for all wrong ones."""
    form = await posted_form(request)
    next_path, username, password = (form.get(name, "") for name in ("next", "username", "password"))
    if not await is_own_form(request):
        return await _form(request, next_path, username, failure="form_expired", status=403)
    account = normalise_username(username)[:150]
    limits, identity = request.app[SIGN_IN_LIMITS], request.app[OWN_IDENTITY]
    failures = limits.failures(account, request.remote, known_device(request, account))
    successes = limits.successes(account, request.remote)
    if wait := wait_s([*failures, *successes]):
        return await _too_many(request, next_path, username, "too_many", math.ceil(wait))
    # Counted before the password is looked at, so that many tries at once are as many tries.
    for limit, key in failures:
        limit.count(key)
    is_failure = False
    try:
        user_id = await identity.authenticate(username, password)
        is_failure = user_id is None
    except SignInBusy:
        return await _too_many(request, next_path, username, "busy", BUSY_RETRY_AFTER_S)
    finally:
        if not is_failure:
            for limit, key in failures:
                limit.forgive(key)
    if user_id is None:
        return await _form(request, next_path, username, failure="credentials")
    # Successes count only now, so nobody who doesn't know the password can keep the user out.
    if wait := wait_s(successes):
        return await _too_many(request, next_path, username, "too_many", math.ceil(wait))
    for limit, key in successes:
        limit.count(key)
    session_id = await identity.start_session(user_id)
    if (visitor := await find_visitor(request)) is not None:
        await request.app[IDENTITY].sign_out(visitor)
    session = await aiohttp_session.new_session(request)
    session[SESSION_KEY] = session_id
    courses_path = COURSES_PATH if request.path == SIGN_IN_PATH else PLATFORM_COURSES_PATH
    response = _redirect(next_path if is_site_path(next_path) else courses_path)
    remember_device(request, response, account)
    return response


async def sign_out(request: web.Request) -> web.Response:
    """End the session wherever it is open."""
    if not await is_own_form(request):
        raise web.HTTPForbidden
    if (visitor := await find_visitor(request)) is not None:
        await request.app[IDENTITY].sign_out(visitor)
    auth = request.app[SETTINGS].auth
    response = _redirect(auth.sign_out_url)
    if OWN_IDENTITY in request.app:
        (await aiohttp_session.get_session(request)).invalidate()
    else:
        # Django keeps the key of a session whose user signs in once more, and this key is no longer good here.
        response.del_cookie(auth.django_session_cookie, secure=request.app[SETTINGS].session.secure)
    return response


async def _form(
    request: web.Request,
    next_path: str,
    username: str = "",
    *,
    failure: str | None = None,
    status: int = 200,
    retry_after_s: int = 0,
) -> web.Response:
    return await render(
        request,
        "sign_in.html",
        status=status,
        sign_in_path=request.path,
        next=next_path if is_site_path(next_path) else "",
        username=username[:150],
        failure=failure,
        retry_after_s=retry_after_s,
    )


async def _too_many(
    request: web.Request, next_path: str, username: str, failure: str, retry_after_s: int
) -> web.Response:
    response = await _form(request, next_path, username, failure=failure, status=429, retry_after_s=retry_after_s)
    response.headers["Retry-After"] = str(retry_after_s)
    return response


def _redirect(path: str) -> web.Response:
    return web.Response(status=302, headers={"Location": path, "Cache-Control": "no-store"})

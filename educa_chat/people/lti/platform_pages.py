"""The pages under /admin/platforms/, where administrators connect learning platforms."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from educa_chat.errors import RecordMissing
from educa_chat.handlers.access import site_url
from educa_chat.handlers.changes import failure_of, is_fresh
from educa_chat.handlers.keys import DATABASE
from educa_chat.people.admin_forms import PATH as ADMIN_PATH
from educa_chat.people.admin_forms import Change, administrator, done, id_in_path, posted, show
from educa_chat.people.outbound import Outbound
from educa_chat.storage import lti_platforms
from educa_chat.storage.lti_platforms import INVITATION_HOURS, Platform, Registration, invitation_url
from educa_chat.storage.names import is_same_title

PATH = f"{ADMIN_PATH}platforms/"


class PlatformPages:
    """The list of platforms, invitations, a form for platforms that can't register themselves, and a page for each.

    `outbound` knows which addresses the server may connect to.
    """

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound
        self._changes: dict[str, Callable[[Change, int], Awaitable[None]]] = {
            "activate": _activate,
            "deactivate": _deactivate,
            "deployment": _add_deployment,
            "origin": self._add_origin,
        }

    def set_up(self, app: web.Application) -> None:
        """Add the routes."""
        app.router.add_get(PATH, self._list)
        app.router.add_post(PATH, self._invite)
        app.router.add_get(f"{PATH}add/", self._new)
        app.router.add_post(f"{PATH}add/", self._add)
        app.router.add_get(f"{PATH}{{platform}}/", self._platform)
        app.router.add_post(f"{PATH}{{platform}}/", self._change)
        app.router.add_get(f"{PATH}{{platform}}/remove/", self._removal)
        app.router.add_post(f"{PATH}{{platform}}/remove/", self._remove)

    async def _list(self, request: web.Request) -> web.Response:
        await administrator(request)
        return await _show_list(request)

    async def _invite(self, request: web.Request) -> web.Response:
        """Show a new invitation, in the answer to the post itself: it must not be in an address or be stored."""
        change = await posted(request)
        if change.text("act") != "invite":
            raise web.HTTPBadRequest
        invitation = await lti_platforms.add_invitation(change.database, by=change.by.user_id)
        return await _show_list(request, invitation=invitation_url(site_url(request), invitation))

    async def _new(self, request: web.Request) -> web.Response:
        await administrator(request)
        return await _show(request, "admin_platform_new.html", form={})

    async def _add(self, request: web.Request) -> web.Response:
        change = await posted(request)
        registration = Registration(
            change.text("name"),
            change.text("issuer"),
            change.text("client_id"),
            change.text("authorization_url"),
            change.text("token_url"),
            change.text("jwks_url"),
            [origin] if (origin := change.text("origin")) else [],
        )
        platform = 0

        async def add() -> None:
            nonlocal platform
            self._outbound.require_urls(registration.urls)
            platform = await lti_platforms.add_platform(
                change.database, registration, [change.text("deployment")], is_active=True, by=change.by.user_id
            )

        if failure := _of_platform(await failure_of(add())):
            return await _show(request, "admin_platform_new.html", failure=failure, form=change.form)
        return done(f"{PATH}{platform}/", "platform_added")

    async def _platform(self, request: web.Request) -> web.Response:
        await administrator(request)
        return await _show_platform(request, await _read(request))

    async def _change(self, request: web.Request) -> web.Response:
        change = await posted(request)
        platform = await _read(request)
        act = change.text("act")
        if act not in self._changes:
            raise web.HTTPBadRequest
        if failure := _of_platform(await failure_of(self._changes[act](change, platform.id))):
            return await _show_platform(request, platform, failure=failure)
        return done(request.path, f"platform_{act}")

    async def _add_origin(self, change: Change, platform: int) -> None:
        origin = change.text("origin")
        self._outbound.require_urls([origin])
        await lti_platforms.extend_platform(change.database, platform, origins=[origin], by=change.by.user_id)

    async def _removal(self, request: web.Request) -> web.Response:
        """Ask for the name of the platform, or first for signing in again."""
        visitor = await administrator(request)
        failure = "" if await is_fresh(request, visitor) else "stale"
        return await _show_platform(request, await _read(request), "admin_platform_remove.html", failure=failure)

    async def _remove(self, request: web.Request) -> web.Response:
        change = await posted(request)
        platform = await _read(request)

        async def remove() -> None:
            await change.require_fresh_session()
            await lti_platforms.remove_platform(change.database, platform.id, by=change.by.user_id)

        if not is_same_title(change.text("name"), platform.name):
            failure = "name_not_confirmed"
        else:
            failure = _of_platform(await failure_of(remove()))
        if failure:
            return await _show_platform(request, platform, "admin_platform_remove.html", failure=failure)
        return done(PATH, "platform_removed")


async def _activate(change: Change, platform: int) -> None:
    await lti_platforms.activate_platform(change.database, platform, by=change.by.user_id)


async def _deactivate(change: Change, platform: int) -> None:
    await lti_platforms.deactivate_platform(change.database, platform, by=change.by.user_id)


async def _add_deployment(change: Change, platform: int) -> None:
    deployment = change.text("deployment")
    await lti_platforms.extend_platform(change.database, platform, deployments=[deployment], by=change.by.user_id)


async def _read(request: web.Request) -> Platform:
    """Return the platform in the path. Raises HTTPNotFound."""
    database = request.app[DATABASE]
    try:
        return await lti_platforms.find_platform(database, id_in_path(request, "platform"))
    except RecordMissing:
        raise web.HTTPNotFound from None


def _of_platform(failure: str) -> str:
    """Return the name of a failure that says it about a platform, rather than about a person or a course."""
    return {"exists": "platform_exists", "missing": "platform_missing", "name": "identifier"}.get(failure, failure)


async def _show(request: web.Request, template: str, *, failure: str = "", **context: object) -> web.Response:
    return await show(
        request,
        template,
        "platforms",
        failure=failure,
        platforms_url=PATH,
        site_url=site_url(request),
        invitation_hours=INVITATION_HOURS,
        **context,
    )


async def _show_list(request: web.Request, *, invitation: str = "") -> web.Response:
    platforms = await lti_platforms.list_platforms(request.app[DATABASE])
    return await _show(request, "admin_platforms.html", platforms=platforms, invitation=invitation)


async def _show_platform(
    request: web.Request, platform: Platform, template: str = "admin_platform.html", *, failure: str = ""
) -> web.Response:
    return await _show(request, template, failure=failure, platform=platform, platform_url=f"{PATH}{platform.id}/")

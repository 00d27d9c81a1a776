"""The page of reported messages, for instructors. It works without scripts."""

import asyncio
import re
from collections.abc import Callable

from aiohttp import web

from educa_chat.errors import CommandRefused
from educa_chat.events.kind import Stored
from educa_chat.events.message import Delete
from educa_chat.events.report import Settle
from educa_chat.handlers.access import course_id, page_visitor, staff_of, too_many_requests
from educa_chat.handlers.api import query_number
from educa_chat.handlers.changes import see_other
from educa_chat.handlers.csrf import is_own_form, posted_form
from educa_chat.handlers.keys import CHAT, DATABASE
from educa_chat.handlers.pages import room_url
from educa_chat.handlers.rendering import render
from educa_chat.protocol import MAX_SEQ, ErrorCode
from educa_chat.storage.courses import Membership
from educa_chat.storage.log import Outcome, Refused
from educa_chat.storage.reports import read_queue
from educa_chat.storage.sessions import Visitor

MESSAGES_A_PAGE = 20
_COMMANDS: dict[str, Callable[[int], Stored]] = {
    "settle": lambda target: Settle(target=target),
    "delete": lambda target: Delete(target=target),
}


async def queue(request: web.Request) -> web.Response:
    """The messages with open reports, for the room's instructors and assistants."""
    course = course_id(request)
    visitor = await page_visitor(request)
    membership = await staff_of(request, visitor, course)
    before = query_number(request, "before")
    reported = await read_queue(request.app[DATABASE], course, before=before, limit=MESSAGES_A_PAGE + 1)
    return await render(
        request,
        "reports.html",
        title=membership.title,
        is_archived=membership.is_archived,
        room_url=room_url(course),
        reported=reported[:MESSAGES_A_PAGE],
        before=reported[MESSAGES_A_PAGE - 1].newest if len(reported) > MESSAGES_A_PAGE else None,
    )


async def deal(request: web.Request) -> web.Response:
    """Dismiss the reports of a message or delete it, as the form says, and redirect to the page."""
    course = course_id(request)
    visitor = await page_visitor(request)
    membership = await staff_of(request, visitor, course)
    if not await is_own_form(request):
        raise web.HTTPForbidden
    form = await posted_form(request)
    act, target = form.get("act", ""), form.get("target", "")
    if act not in _COMMANDS or not re.fullmatch(r"[1-9][0-9]{0,15}", target, re.ASCII) or int(target) > MAX_SEQ:
        raise web.HTTPBadRequest
    outcome = await _outcome_of(request, _COMMANDS[act](int(target)), visitor, membership)
    # If the message is gone, somebody has handled the report in the meantime.
    if isinstance(outcome, Refused) and outcome.code is not ErrorCode.NO_SUCH_MESSAGE:
        raise _refusal(outcome)
    return see_other(f"{room_url(course)}reports/")


async def _outcome_of(request: web.Request, command: Stored, visitor: Visitor, membership: Membership) -> Outcome:
    answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def on_outcome(_: str, outcome: Outcome) -> None:
        if not answer.done():
            answer.set_result(outcome)

    try:
        request.app[CHAT].handle(command, visitor, membership, on_outcome)
    except CommandRefused as refusal:
        return Refused(ErrorCode(refusal.code), refusal.retry_after)
    return await answer


def _refusal(refused: Refused) -> web.HTTPException:
    if refused.code is ErrorCode.RATE_LIMITED:
        return too_many_requests(refused.wait_s or 1)
    if refused.code is ErrorCode.UNAVAILABLE:
        return web.HTTPServiceUnavailable()
    return web.HTTPForbidden()

"""The handshake of a room's socket: decides who gets one, and where its events start."""

import asyncio
import logging
from contextlib import suppress
from datetime import UTC, datetime

from aiohttp import web
from msgspec import UNSET

from educa_chat.chat_socket import ChatSocket
from educa_chat.handlers.access import api_visitor, course_id, membership_of, origin_is_allowed
from educa_chat.handlers.api import query_number
from educa_chat.handlers.keys import (
    DATABASE,
    HANDSHAKES,
    HUB,
    MARKERS,
    ROOM_STATES,
    SETTINGS,
    SOCKET_SERVICES,
    SOCKETS,
    UNREAD_FEED,
)
from educa_chat.handlers.rendering import translations_for
from educa_chat.handlers.upgrade import check_handshake, upgrade
from educa_chat.metrics import ResetReason
from educa_chat.protocol import SUBPROTOCOL, Limits, Me, State, Welcome, json_id
from educa_chat.protocol import Room as WelcomeRoom
from educa_chat.room import Room
from educa_chat.storage.markers import mark_first_seen
from educa_chat.storage.reports import reported_messages

logger = logging.getLogger(__name__)

HANDSHAKES_AT_ONCE = 32
"""How many handshakes are processed at a time. The others wait, so a reconnect storm can't starve active rooms."""


async def room_socket(request: web.Request) -> web.StreamResponse:
    """Decide before the upgrade whether to open a socket; then serve it until it closes."""
    course = course_id(request)
    if not origin_is_allowed(request):
        raise web.HTTPForbidden
    async with request.app[HANDSHAKES]:
        visitor = await api_visitor(request)
        # Both queries at once, to take no longer than one.
        membership, marker = await asyncio.gather(
            membership_of(request, visitor, course), request.app[MARKERS].find(visitor.user_id, course)
        )
        if not marker:
            await mark_first_seen(request.app[DATABASE], [visitor.user_id])
            marker = await request.app[MARKERS].find(visitor.user_id, course)
        if request.app[SOCKETS].draining:
            raise web.HTTPServiceUnavailable
        after = query_number(request, "after")
        room = await request.app[HUB].enter(course)
        if room is None:
            raise web.HTTPForbidden
        reset = None if after is None else await _reset_reason(request, room, after)
        # Read the head first, so that changes after the state was read follow as events.
        head = room.head
        room_state = await request.app[ROOM_STATES].load((visitor.user_id, course))
        if room_state is None:
            raise web.HTTPForbidden
        reports = len(await reported_messages(request.app[DATABASE], course)) if membership.role.is_staff else UNSET
        welcome = Welcome(
            room=WelcomeRoom(id=json_id(course), title=membership.title, archived=membership.is_archived),
            me=Me(id=visitor.user_id, user=visitor.username, name=visitor.name, role=membership.role),
            head=head,
            epoch=request.app[HUB].epoch,
            limits=Limits(
                message_length=request.app[SETTINGS].limits.message_length,
                slow_seconds=room_state.slow_seconds,
                muted_until=room_state.muted_until,
            ),
            state=State(
                closed=room_state.closed,
                pinned=room_state.pinned,
                anonymity=room_state.anonymity,
                read=marker,
                reports=reports,
            ),
            datetime=datetime.now(UTC).isoformat(timespec="microseconds"),
        )

        handshake = check_handshake(request, SUBPROTOCOL)
        is_full = handshake.subprotocol is not None
        socket = ChatSocket(
            request.app[SOCKET_SERVICES],
            room,
            visitor,
            membership,
            marker,
            translations_for(request),
            is_full=is_full,
        )
        logger.info("the socket is open: %s, %s", request.remote, "full" if is_full else "basic")
        response = await upgrade(request, handshake, socket)
    await socket.serve(welcome, after, reset)
    if is_full and request.query.get("unread") == "1":
        request.app[UNREAD_FEED].add(socket)
    return response


async def _reset_reason(request: web.Request, room: Room, after: int) -> ResetReason | None:
    """Return why the stream can't go on after the seq `after`, or None if it can."""
    if after > room.head:
        # The client may have read the log before the room has heard of its newest events.
        await room.catch_up("resume")
    replay = request.app[SETTINGS].limits.replay
    if after > room.head:
        return "ahead"
    if replay and room.head - after > replay:
        return "too_far"
    if request.query.get("epoch", request.app[HUB].epoch) != request.app[HUB].epoch:
        return "epoch"
    at = request.query.get("at")
    if at and after and not await _is_time_of(room, after, at):
        return "at"
    return None


async def _is_time_of(room: Room, seq: int, at: str) -> bool:
    with suppress(ValueError):
        # A plus sign that was not escaped in the query has become a space.
        claimed = datetime.fromisoformat(at.replace(" ", "+"))
        logged = await room.datetime_of(seq)
        return logged is not None and claimed == datetime.fromisoformat(logged)
    return False

"""Turns commands into entries: checks rate, length and role. The append checks what depends on stored state."""

import secrets
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from itertools import count
from typing import Any, Protocol

import msgspec

from educa_chat.commands import Typing
from educa_chat.errors import CommandRefused, DatabaseUnavailable
from educa_chat.events.kind import Entry, Sender, Stored, WithText
from educa_chat.events.message import MESSAGE
from educa_chat.events.registry import BY_COMMAND
from educa_chat.events.text import normalise_text
from educa_chat.limits import RateLimit, retry_after
from educa_chat.markup import is_plain, render_plain
from educa_chat.presence import Person
from educa_chat.protocol import ErrorCode
from educa_chat.settings import Limits
from educa_chat.storage.courses import Membership
from educa_chat.storage.log import Appender, Log, Outcome
from educa_chat.storage.sessions import Visitor

TYPING_EVERY_S = 2.0
"""The minimum time between two typing signals of one user in a room."""


class Typists(Protocol):
    """The users who are typing, by room."""

    def signal_typing(self, course: int, person: Person, *, is_student: bool) -> None:
        """Tell the others in the room that `person` is typing."""

    def end_typing(self, course: int, user_id: int) -> None:
        """Drop a signal that is not published yet: the message is sent."""


class Renderer(Protocol):
    """Renders texts that contain markup to HTML."""

    async def render(self, user_id: int, text: str) -> str:
        """Return `text` of the user as HTML, or as it was typed if rendering takes too long."""


class Chat:
    """Turns commands into entries, and refuses early where no stored state is needed. The append checks the rest."""

    def __init__(
        self,
        appender: Appender,
        log: Log,
        renderer: Renderer,
        limits: Limits,
        typists: Typists,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._appender = appender
        self._log = log
        self._renderer = renderer
        self._typists = typists
        self._now = now
        self._message_length = limits.message_length
        # One random prefix per process: asking the OS each time would cost as much as parsing a command.
        self._ids = map(f"{secrets.token_urlsafe(16)}-{{}}".format, count(1))
        self._commands = RateLimit(limits.messages_per_second, limits.message_burst)
        self._typing = RateLimit(1 / TYPING_EVERY_S, 1)

    def handle(
        self,
        command: Stored | Typing,
        visitor: Visitor,
        membership: Membership,
        on_outcome: Callable[[str, Outcome], None],
    ) -> Coroutine[Any, Any, None] | None:
        """Execute `command`. Later, call `on_outcome` once with the command's id and its outcome.

        Usually the entry is queued when this returns. If the text contains markup, this returns a coroutine that
        renders it outside the event loop. The caller awaits it before it handles the connection's next command.

        Both raise CommandRefused.
        """
        if isinstance(command, Typing):
            if not self._typing.take((membership.course, visitor.user_id)):
                person = Person(visitor.user_id, visitor.username, visitor.name)
                self._typists.signal_typing(membership.course, person, is_student=not membership.role.is_staff)
            return None
        kind = BY_COMMAND[type(command)]
        # A command without an id gets one here, so that it can be appended again without being stored twice.
        id = command.id or next(self._ids)
        if wait_s := self._commands.take((membership.course, visitor.user_id)):
            raise CommandRefused(ErrorCode.RATE_LIMITED, retry_after=retry_after(wait_s), id=command.id)
        sender = Sender(
            user_id=visitor.user_id,
            username=visitor.username,
            name=visitor.name,
            course=membership.course,
            role=membership.role,
            client_id=id,
            now=self._now(),
        )
        try:
            if not membership.role.includes(kind.least_role):
                raise CommandRefused(ErrorCode.FORBIDDEN)
            html = ""
            if isinstance(command, WithText):
                text = normalise_text(command.message, self._message_length)
                command = msgspec.structs.replace(command, message=text)
                if not is_plain(text):
                    return self._render_and_append(command, sender, on_outcome)
                html = render_plain(text)
            entry = kind.entry(command, sender, html)
        except CommandRefused as refusal:
            raise CommandRefused(refusal.code, id=command.id) from None
        self._append(entry, on_outcome)
        return None

    async def _render_and_append(
        self, command: WithText, sender: Sender, on_outcome: Callable[[str, Outcome], None]
    ) -> None:
        kind = BY_COMMAND[type(command)]
        try:
            # Don't render a text that will be refused.
            foreseen = await self._log.foresee(kind.entry(command, sender, ""))
        except DatabaseUnavailable:
            raise CommandRefused(ErrorCode.UNAVAILABLE, id=command.id) from None
        if foreseen is not None:
            on_outcome(sender.client_id, foreseen)
            return
        html = await self._renderer.render(sender.user_id, command.message)
        self._append(kind.entry(command, sender, html), on_outcome)

    def _append(self, entry: Entry, on_outcome: Callable[[str, Outcome], None]) -> None:
        if entry.kind == MESSAGE:
            self._typists.end_typing(entry.course, entry.actor)
        self._appender.append(entry, lambda outcome: on_outcome(entry.client_id, outcome))

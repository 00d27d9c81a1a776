"""What each command means, and who may give it."""

import secrets
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Protocol

import emoji
import msgspec

from educa_chat.errors import CommandRefused, DatabaseUnavailable
from educa_chat.limits import RateLimit, retry_after
from educa_chat.markup import is_plain, render_plain
from educa_chat.mentions import mentioned_in
from educa_chat.presence import Person
from educa_chat.protocol import (
    UNNAMED,
    Anonymity,
    AnonymityChanged,
    Answer,
    Answered,
    BasicMessage,
    ChatMessage,
    Close,
    Closed,
    Delete,
    Deleted,
    Edit,
    Edited,
    Endorse,
    Endorsed,
    ErrorCode,
    Hidden,
    Mute,
    Muted,
    Pin,
    Pinned,
    Question,
    Questioned,
    React,
    Reaction,
    Report,
    Reported,
    Say,
    Settle,
    Settled,
    Slow,
    Slowed,
    Stored,
    Typing,
    encode_body,
    normalise_text,
)
from educa_chat.settings import Limits
from educa_chat.storage.courses import Membership
from educa_chat.storage.log import Appender, Entry, Kind, Log, Outcome
from educa_chat.storage.sessions import Visitor

TYPING_EVERY_S = 2.0
"""Of one person's typing in a room no more than this is told."""
MAX_REASON = 500
INSTRUCTORS_ALONE = frozenset((Pin, Endorse, Mute, Slow, Close, Anonymity, Settle))


def role_of(membership: Membership) -> str:
    """The role's name in the protocol."""
    return "instructor" if membership.is_instructor else "student"


class Typists(Protocol):
    """Who is typing in which room."""

    def signal_typing(self, course: int, person: Person, *, is_student: bool) -> None:
        """Let the others in the room know that `person` is typing."""

    def end_typing(self, course: int, user_id: int) -> None:
        """Tell no more of what was not told yet: she has said it."""


class Renderer(Protocol):
    """Makes HTML of texts that contain markup."""

    async def render(self, user_id: int, text: str) -> str:
        """`text` of the user as HTML; as it was typed where markup would take too long."""


class Chat:
    """Turns commands into entries. Checks their form and refuses early; what is stored, the append judges."""

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
        # Random once, for to ask the system for each would cost as much as to read a command.
        self._ids = map(f"{secrets.token_urlsafe(16)}-{{}}".format, count(1))
        self._commands = RateLimit(limits.messages_per_second, limits.message_burst)
        self._typing = RateLimit(1 / TYPING_EVERY_S, 1)

    def obey(
        self,
        command: Stored | Typing,
        visitor: Visitor,
        membership: Membership,
        settle: Callable[[str, Outcome], None],
    ) -> Coroutine[Any, Any, None] | None:
        """Do what `command` asks for, and tell `settle` the id and the outcome of what is stored, once, later.

        Usually that is done when this returns. A text with markup is rendered first, outside the event loop: then this
        returns what remains to be awaited, and nothing else of the same connection may be obeyed before that is done.

        Both raise CommandRefused.
        """
        if isinstance(command, Typing):
            if not self._typing.take((membership.course, visitor.user_id)):
                person = Person(visitor.user_id, visitor.username, visitor.name)
                self._typists.signal_typing(membership.course, person, is_student=not membership.is_instructor)
            return None
        # One that came without an id gets one here, so that it too can be appended again without being said twice.
        id = command.id or next(self._ids)
        if wait_s := self._commands.take((membership.course, visitor.user_id)):
            raise CommandRefused(ErrorCode.RATE_LIMITED, retry_after=retry_after(wait_s), id=command.id)
        try:
            if type(command) in INSTRUCTORS_ALONE and not membership.is_instructor:
                raise CommandRefused(ErrorCode.FORBIDDEN)
            html = ""
            if isinstance(command, Say | Edit):
                text = normalise_text(command.message, self._message_length)
                command = msgspec.structs.replace(command, message=text)
                if not is_plain(text):
                    return self._render_and_append(command, id, visitor, membership, settle)
                html = render_plain(text)
            entry = self._entry(command, id, visitor, membership, html)
        except CommandRefused as refusal:
            raise CommandRefused(refusal.code, id=command.id) from None
        self._append(entry, settle)
        return None

    async def _render_and_append(
        self,
        command: Say | Edit,
        id: str,
        visitor: Visitor,
        membership: Membership,
        settle: Callable[[str, Outcome], None],
    ) -> None:
        try:
            # Nobody makes the server render what it is going to refuse.
            foreseen = await self._log.foresee(self._entry(command, id, visitor, membership, html=""))
        except DatabaseUnavailable:
            raise CommandRefused(ErrorCode.UNAVAILABLE, id=command.id) from None
        if foreseen is not None:
            settle(id, foreseen)
            return
        html = await self._renderer.render(visitor.user_id, command.message)
        self._append(self._entry(command, id, visitor, membership, html), settle)

    def _append(self, entry: Entry, settle: Callable[[str, Outcome], None]) -> None:
        if entry.kind is Kind.CHAT_MESSAGE:
            self._typists.end_typing(entry.course, entry.actor)
        self._appender.append(entry, lambda outcome: settle(entry.client_id, outcome))

    def _entry(self, command: Stored, id: str, visitor: Visitor, membership: Membership, html: str) -> Entry:
        """What is to be stored of `command`, whose text is shown as `html`. Raises CommandRefused."""
        user = visitor.username

        def entry(
            kind: Kind,
            event: msgspec.Struct,
            *,
            instructor: msgspec.Struct | None = None,
            basic: BasicMessage | None = None,
            name: str = visitor.name,
            body: str = "",
            html: str = "",
            target: int | None = None,
            is_on: bool = True,
            anonymous: bool = False,
        ) -> Entry:
            return Entry(
                course=membership.course,
                kind=kind,
                actor=visitor.user_id,
                by_instructor=membership.is_instructor,
                client_id=id,
                student=encode_body(event),
                instructor=None if instructor is None else encode_body(instructor),
                basic=None if basic is None else encode_body(basic),
                username=user,
                name=name,
                body=body,
                html=html,
                target=target,
                is_on=is_on,
                anonymous=anonymous,
                mentioned=mentioned_in(html, by_instructor=membership.is_instructor),
            )

        def on_message(kind: Kind, event: msgspec.Struct, **fields: Any) -> Entry:
            """Something that is done to a message; only the append knows which name students may see."""
            return entry(kind, msgspec.structs.replace(event, user=UNNAMED), instructor=event, **fields)

        match command:
            case Say(message=text, reply_to=reply_to, question=question, anonymous=anonymous):
                message = ChatMessage(
                    id=id,
                    user=user,
                    name=visitor.name,
                    role=role_of(membership),
                    message=text,
                    html=html,
                    reply_to=reply_to,
                    question=question,
                )
                basic = BasicMessage(user=user, message=text)
                instructors: ChatMessage | None = None
                if anonymous:
                    instructors = msgspec.structs.replace(message, anonymous=True, pseudonym=UNNAMED)
                    message = msgspec.structs.replace(
                        message, id=msgspec.UNSET, user=UNNAMED, name=UNNAMED, anonymous=True
                    )
                    basic.user = UNNAMED
                return entry(
                    Kind.CHAT_MESSAGE,
                    message,
                    instructor=instructors,
                    basic=basic,
                    body=text,
                    html=html,
                    target=reply_to,
                    is_on=question,
                    anonymous=anonymous,
                )
            case Edit(target=target, message=text):
                edited = Edited(user=user, target=target, message=text, html=html)
                return on_message(Kind.EDITED, edited, body=text, html=html, target=target)
            case Delete(target=target):
                return on_message(Kind.DELETED, Deleted(user=user, target=target), target=target)
            case React(target=target, emoji=reaction, on=on):
                if not emoji.is_emoji(reaction):
                    raise CommandRefused(ErrorCode.BAD_REQUEST)
                event = Reaction(user=user, target=target, emoji=reaction, on=on)
                return on_message(Kind.REACTION, event, body=reaction, target=target, is_on=on)
            case Pin(target=target, on=on):
                return on_message(Kind.PINNED, Pinned(user=user, target=target, on=on), target=target, is_on=on)
            case Answer(target=target, on=on):
                return on_message(Kind.ANSWERED, Answered(user=user, target=target, on=on), target=target, is_on=on)
            case Question(target=target, on=on):
                return on_message(Kind.QUESTIONED, Questioned(user=user, target=target, on=on), target=target, is_on=on)
            case Endorse(target=target, on=on):
                return on_message(Kind.ENDORSED, Endorsed(user=user, target=target, on=on), target=target, is_on=on)
            case Mute(user=student, minutes=minutes):
                until = None
                if minutes:
                    until = (self._now() + timedelta(minutes=minutes)).isoformat(timespec="microseconds")
                muted = Muted(user=user, target_user=student, until=until)
                return entry(
                    Kind.MUTED, Hidden(), instructor=muted, name=student, body=until or "", is_on=bool(minutes)
                )
            case Slow(seconds=seconds):
                return entry(Kind.SLOWED, Slowed(user=user, seconds=seconds), body=str(seconds))
            case Close(on=on):
                return entry(Kind.CLOSED, Closed(user=user, on=on), is_on=on)
            case Anonymity(on=on):
                return entry(Kind.ANONYMITY, AnonymityChanged(user=user, on=on), is_on=on)
            case Report(target=target, reason=reason):
                reason = normalise_text(reason, MAX_REASON) if reason.strip() else ""
                reported = Reported(user=user, target=target, reason=reason)
                return entry(Kind.REPORTED, Hidden(), instructor=reported, body=reason, target=target)
            case Settle(target=target):
                settled = Settled(user=user, target=target)
                return entry(Kind.SETTLED, Hidden(), instructor=settled, target=target)
            case _:
                raise AssertionError(command)

"""What each command means, and who may give it."""

import secrets
from collections.abc import Callable

from educa_chat.errors import CommandRefused
from educa_chat.limits import RateLimit, retry_after
from educa_chat.markup import render
from educa_chat.presence import Person
from educa_chat.protocol import (
    BasicMessage,
    ChatMessage,
    Command,
    ErrorCode,
    Say,
    Typing,
    encode_body,
    normalise_text,
)
from educa_chat.settings import Limits
from educa_chat.storage.courses import Membership
from educa_chat.storage.log import Appender, Entry, Kind, Outcome
from educa_chat.storage.sessions import Visitor

TYPING_EVERY_S = 2.0
"""Of one person's typing in a room no more than this is told."""


def role_of(membership: Membership) -> str:
    """The role's name in the protocol."""
    return "instructor" if membership.is_instructor else "student"


class Chat:
    """Turns commands into entries. Checks their form and refuses early; what is stored, the append judges."""

    def __init__(self, appender: Appender, limits: Limits, signal_typing: Callable[[int, Person], None]) -> None:
        self._appender = appender
        self._signal_typing = signal_typing
        self._message_length = limits.message_length
        self._messages = RateLimit(limits.messages_per_second, limits.message_burst)
        self._typing = RateLimit(1 / TYPING_EVERY_S, 1)

    def obey(
        self,
        command: Command,
        visitor: Visitor,
        membership: Membership,
        settle: Callable[[str, Outcome], None],
    ) -> None:
        """Do what `command` asks for, and tell `settle` the id and the outcome of what is stored, once, later.

        Raises CommandRefused.
        """
        match command:
            case Say():
                self._say(command, visitor, membership, settle)
            case Typing():
                if not self._typing.take((membership.course, visitor.user_id)):
                    self._signal_typing(membership.course, Person(visitor.user_id, visitor.username, visitor.name))

    def _say(
        self, command: Say, visitor: Visitor, membership: Membership, settle: Callable[[str, Outcome], None]
    ) -> None:
        # One that came without an id gets one here, so that it too can be appended again without being said twice.
        id = command.id or secrets.token_urlsafe(16)
        if wait_s := self._messages.take((membership.course, visitor.user_id)):
            raise CommandRefused(ErrorCode.RATE_LIMITED, retry_after=retry_after(wait_s), id=command.id)
        try:
            text = normalise_text(command.message, self._message_length)
        except CommandRefused as refusal:
            raise CommandRefused(refusal.code, id=command.id) from None
        html = render(text)
        message = ChatMessage(
            id=id,
            user=visitor.username,
            name=visitor.name,
            role=role_of(membership),
            message=text,
            html=html,
            reply_to=command.reply_to,
        )
        entry = Entry(
            course=membership.course,
            kind=Kind.CHAT_MESSAGE,
            actor=visitor.user_id,
            by_instructor=membership.is_instructor,
            client_id=id,
            student=encode_body(message),
            instructor=None,
            basic=encode_body(BasicMessage(user=visitor.username, message=text)),
            username=visitor.username,
            name=visitor.name,
            body=text,
            html=html,
            reply_to=command.reply_to,
        )
        self._appender.append(entry, lambda outcome: settle(id, outcome))

"""Messages: send, edit, delete."""

from typing import NamedTuple

import msgspec

from educa_chat.events.kind import UNNAMED, Entry, Kind, Sender, Seq, Stored, WithText
from educa_chat.markup.links import without_links
from educa_chat.protocol import Role, encode_body

MESSAGE, EDITED, DELETED = 1, 2, 3


class SendMessage(WithText, frozen=True, kw_only=True):
    """The command `message`."""

    reply_to: Seq | None = None
    question: bool = False
    anonymous: bool = False


class ChatMessage(msgspec.Struct, tag="chat_message", omit_defaults=True):
    """A message, for students and instructors.

    If it is anonymous, students get no id, and the pseudonym as user and name. Instructors get it as `pseudonym`.
    """

    id: str | msgspec.UnsetType
    user: str
    name: str
    role: str
    message: str
    html: str
    reply_to: int | None = None
    question: bool = False
    anonymous: bool = False
    pseudonym: str | None = None


class BasicMessage(msgspec.Struct, tag="chat_message"):
    """A message, for basic clients."""

    user: str
    message: str


class StoredMessage(NamedTuple):
    """The stored fields of an ordinary message, from which `ordinary_variants` makes its event again."""

    client_id: str
    username: str
    name: str
    by_instructor: bool
    body: str
    html: str | None
    reply_to: int | None


def is_ordinary(entry: Entry) -> bool:
    """Return whether the log needs no variants of `entry`: `ordinary_variants` can make them from its message.

    This isn't possible if the message mentions somebody, is anonymous, or is sent as a question or by an assistant: its
    variants contain the state at that time.
    """
    return entry.kind == MESSAGE and entry.mentioned is None and entry.argument is None


def ordinary_variants(message: StoredMessage) -> tuple[bytes, bytes]:
    """Return the variants of an ordinary message for students and for basic clients, without their `lead`."""
    student = ChatMessage(
        id=message.client_id,
        user=message.username,
        name=message.name,
        role="instructor" if message.by_instructor else "student",
        message=message.body,
        html=without_links(message.body) if message.html is None else message.html,
        reply_to=message.reply_to,
    )
    return encode_body(student), encode_body(BasicMessage(user=message.username, message=message.body))


class Edit(WithText, frozen=True, kw_only=True):
    target: Seq
    as_of: Seq | None = None
    """The command is refused if the message was edited after this seq. None: not checked."""


class Edited(msgspec.Struct, tag="edited"):
    user: str
    target: int
    message: str
    html: str


class Delete(Stored, frozen=True, kw_only=True):
    target: Seq


class Deleted(msgspec.Struct, tag="deleted"):
    user: str
    target: int


def _send(command: SendMessage, sender: Sender, html: str) -> Entry:
    message = ChatMessage(
        id=sender.client_id,
        user=sender.username,
        name=sender.name,
        role=sender.role,
        message=command.message,
        html=html,
        reply_to=command.reply_to,
        question=command.question,
    )
    basic = BasicMessage(user=sender.username, message=command.message)
    instructor: ChatMessage | None = None
    if command.anonymous:
        instructor = msgspec.structs.replace(message, anonymous=True, pseudonym=UNNAMED)
        message = msgspec.structs.replace(message, id=msgspec.UNSET, user=UNNAMED, name=UNNAMED, anonymous=True)
        basic.user = UNNAMED
    flags = {"question": command.question, "anonymous": command.anonymous, "assistant": sender.role is Role.ASSISTANT}
    return sender.entry(
        MESSAGE,
        message,
        instructor=instructor,
        basic=basic,
        body=command.message,
        html=html,
        target=command.reply_to,
        argument=flags if any(flags.values()) else None,
    )


def _edit(command: Edit, sender: Sender, html: str) -> Entry:
    edited = Edited(user=sender.username, target=command.target, message=command.message, html=html)
    return sender.entry_on_message(
        EDITED,
        edited,
        body=command.message,
        html=html,
        target=command.target,
        argument=None if command.as_of is None else {"as_of": command.as_of},
    )


def _delete(command: Delete, sender: Sender, _: str) -> Entry:
    deleted = Deleted(user=sender.username, target=command.target)
    return sender.entry_on_message(DELETED, deleted, target=command.target)


KINDS = (
    Kind(MESSAGE, "chat_message", "message", SendMessage, _send),
    Kind(EDITED, "edited", "edit", Edit, _edit, is_audited=True),
    Kind(DELETED, "deleted", "delete", Delete, _delete, is_audited=True),
)

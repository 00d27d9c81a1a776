"""What a kind of event is: a command that a client sends, the event that everybody sees, and the entry in between."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, NamedTuple

import msgspec

from educa_chat.markup.links import without_links
from educa_chat.mentions import mentioned_in
from educa_chat.protocol import MAX_SEQ, Role, encode_body

ClientId = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[^\x00]*$")]
Seq = Annotated[int, msgspec.Meta(ge=1, le=MAX_SEQ)]

UNNAMED = "\0"
"""Stands for a name that the append puts in or leaves out: students may see the name, a pseudonym or nothing.

No name and no text contains it.
"""


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A command that becomes an event."""

    id: ClientId | None = None


class WithText(Stored, frozen=True, kw_only=True):
    """A command with the text of a message, which is rendered before it is stored."""

    message: str


class Entry(msgspec.Struct, frozen=True, gc=False):
    """What is to be stored; the type `educa_chat.entry` in the database has the same fields in the same order.

    The variants are JSON without the opening brace: the append puts seq and datetime there. Where only the append knows
    which name students see, they have UNNAMED instead.
    """

    course: int
    kind: int
    actor: int
    by_instructor: bool
    """Whether the actor was an instructor or an assistant."""
    client_id: str
    student: bytes
    instructor: bytes | None
    """None: the same as the student's."""
    basic: bytes | None
    """None: basic clients get nothing."""
    username: str
    name: str
    body: str
    """The text of a message or an edit."""
    html: str | None
    """None: the text with nothing but its line breaks."""
    mentioned: str | None
    """The names that the text mentions, members' or not, as `mentions.mentioned_in` finds them."""
    target: int | None
    """The seq that it is about."""
    argument: str | None
    """What else its kind needs, as JSON."""

    @property
    def size(self) -> int:
        """About the bytes that it holds while it waits."""
        return len(self.student) + len(self.instructor or b"") + len(self.basic or b"") + len(self.body)


class Sender(NamedTuple):
    """Who gives a command, where, and when."""

    user_id: int
    username: str
    name: str
    course: int
    role: Role
    client_id: str
    """The command's id, or one that was made for it."""
    now: datetime

    def entry(
        self,
        kind: int,
        event: msgspec.Struct,
        *,
        instructor: msgspec.Struct | None = None,
        basic: msgspec.Struct | None = None,
        body: str = "",
        html: str = "",
        target: int | None = None,
        argument: dict[str, Any] | None = None,
    ) -> Entry:
        """The entry of an event of the sender's."""
        return Entry(
            course=self.course,
            kind=kind,
            actor=self.user_id,
            by_instructor=self.role.is_staff,
            client_id=self.client_id,
            student=encode_body(event),
            instructor=None if instructor is None else encode_body(instructor),
            basic=None if basic is None else encode_body(basic),
            username=self.username,
            name=self.name,
            body=body,
            html=None if html == without_links(body) else html,
            mentioned=mentioned_in(html, by_instructor=self.role.is_staff) if html else None,
            target=target,
            argument=None if argument is None else json.dumps(argument),
        )

    def entry_on_message(self, kind: int, event: msgspec.Struct, **fields: Any) -> Entry:
        """The entry of an event about a message. Only the append knows which name students may see in it."""
        return self.entry(kind, msgspec.structs.replace(event, user=UNNAMED), instructor=event, **fields)


class Kind(NamedTuple):
    """A kind of event. Its module has one or several of these in `KINDS`.

    The file `storage/functions/events/<name>.sql` has the function that judges and applies its entries, and says
    whether the room shows it as a system message.
    """

    number: int
    """In the log. Never used again for another kind."""
    name: str
    """The `type` of the event."""
    command_name: str
    """The `type` of the command."""
    command: type[Stored]
    entry: Callable[[Any, Sender, str], Entry]
    """What is to be stored of a command, given the HTML of its text (empty without one). Raises CommandRefused."""
    least_role: Role = Role.STUDENT
    """Whether students may not give the command; the append checks again."""
    is_audited: bool = False
    """Whether the audit log shows it."""

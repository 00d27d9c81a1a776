"""The kinds of event: the command that a client sends, the event that everyone sees, and the entry in between."""

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
"""Stands for a name that the append fills in: students see the name, a pseudonym or nothing.

No name and no text contains it.
"""


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A command that becomes an event."""

    id: ClientId | None = None


class WithText(Stored, frozen=True, kw_only=True):
    """A command with the text of a message, which is rendered before it is stored."""

    message: str


class Entry(msgspec.Struct, frozen=True, gc=False):
    """An event to store. The type `educa_chat.entry` in the database has the same fields in the same order.

    The variants are JSON without the opening brace: the append adds seq and datetime. They contain UNNAMED if only the
    append knows which name students may see.
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
    """None: nothing is sent to basic clients."""
    username: str
    name: str
    body: str
    """The text of a message or an edit."""
    html: str | None
    """None: the HTML is the text with its line breaks."""
    mentioned: str | None
    """The names that the text mentions, as `mentions.mentioned_in` finds them. Not all are members."""
    target: int | None
    """The seq of the message that the entry is about."""
    argument: str | None
    """Other data for its kind, as JSON."""

    @property
    def size(self) -> int:
        """The approximate number of bytes of memory that the entry uses while it waits."""
        return len(self.student) + len(self.instructor or b"") + len(self.basic or b"") + len(self.body)


class Sender(NamedTuple):
    """The user who gives a command, the room, and the time."""

    user_id: int
    username: str
    name: str
    course: int
    role: Role
    client_id: str
    """The id of the command, or a generated one."""
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
        """Return the entry of an event by the sender."""
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
        """Return the entry of an event about a message. Only the append knows which name students may see in it."""
        return self.entry(kind, msgspec.structs.replace(event, user=UNNAMED), instructor=event, **fields)


class Kind(NamedTuple):
    """A kind of event. Its module has one or several of these in `KINDS`.

    The file `storage/functions/events/<name>.sql` has the function that checks and applies its entries, and says
    whether the room shows it as a system message.
    """

    number: int
    """Its number in the log. Never reused for another kind."""
    name: str
    """The `type` of the event."""
    command_name: str
    """The `type` of the command."""
    command: type[Stored]
    entry: Callable[[Any, Sender, str], Entry]
    """Make the entry of a command, given the HTML of its text (empty without one). Raises CommandRefused."""
    least_role: Role = Role.STUDENT
    """The lowest role that may give the command. The append checks it again."""
    is_audited: bool = False
    """Whether the audit log shows it."""

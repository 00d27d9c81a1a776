"""Marks on a message: pinned, a question, an answer, endorsed by an instructor."""

from collections.abc import Callable

import msgspec

from educa_chat.events.kind import Entry, Kind, Sender, Seq, Stored
from educa_chat.protocol import Role

PINNED, ANSWERED, QUESTIONED, ENDORSED = 5, 6, 10, 11


class Mark(Stored, frozen=True, kw_only=True):
    """A command that sets or removes a mark."""

    target: Seq
    on: bool


class Pin(Mark, frozen=True, kw_only=True):
    pass


class Answer(Mark, frozen=True, kw_only=True):
    """Marks a reply as an answer to the message that it replies to."""


class Question(Mark, frozen=True, kw_only=True):
    pass


class Endorse(Mark, frozen=True, kw_only=True):
    pass


class Marked(msgspec.Struct):
    """The event. The tag says which mark."""

    user: str
    target: int
    on: bool


class Pinned(Marked, tag="pinned"):
    pass


class Answered(Marked, tag="answered"):
    pass


class Questioned(Marked, tag="questioned"):
    pass


class Endorsed(Marked, tag="endorsed"):
    pass


def _marking(kind: int, event: type[Marked]) -> Callable[[Mark, Sender, str], Entry]:
    def entry(command: Mark, sender: Sender, _: str) -> Entry:
        marked = event(user=sender.username, target=command.target, on=command.on)
        return sender.entry_on_message(kind, marked, target=command.target, argument={"on": command.on})

    return entry


KINDS = (
    Kind(PINNED, "pinned", "pin", Pin, _marking(PINNED, Pinned), least_role=Role.ASSISTANT, is_audited=True),
    Kind(ANSWERED, "answered", "answer", Answer, _marking(ANSWERED, Answered)),
    Kind(QUESTIONED, "questioned", "question", Question, _marking(QUESTIONED, Questioned)),
    Kind(
        ENDORSED,
        "endorsed",
        "endorse",
        Endorse,
        _marking(ENDORSED, Endorsed),
        least_role=Role.ASSISTANT,
        is_audited=True,
    ),
)

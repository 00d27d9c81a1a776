"""Reports of messages to the instructors. Students don't see them."""

import msgspec

from educa_chat.events.kind import Entry, Kind, Sender, Seq, Stored
from educa_chat.events.text import normalise_text
from educa_chat.protocol import Hidden, Role

REPORTED, SETTLED = 12, 13
MAX_REASON = 500


class Report(Stored, frozen=True, kw_only=True):
    """Reports another user's message to the instructors."""

    target: Seq
    reason: str = ""


class Reported(msgspec.Struct, tag="reported"):
    user: str
    target: int
    reason: str


class Settle(Stored, frozen=True, kw_only=True):
    """Dismisses the open reports of a message."""

    target: Seq


class Settled(msgspec.Struct, tag="settled"):
    user: str
    target: int


def _report(command: Report, sender: Sender, _: str) -> Entry:
    reason = normalise_text(command.reason, MAX_REASON) if command.reason.strip() else ""
    reported = Reported(user=sender.username, target=command.target, reason=reason)
    return sender.entry(REPORTED, Hidden(), instructor=reported, target=command.target, argument={"reason": reason})


def _settle(command: Settle, sender: Sender, _: str) -> Entry:
    settled = Settled(user=sender.username, target=command.target)
    return sender.entry(SETTLED, Hidden(), instructor=settled, target=command.target)


KINDS = (
    Kind(REPORTED, "reported", "report", Report, _report, is_audited=True),
    Kind(SETTLED, "settled", "settle", Settle, _settle, least_role=Role.ASSISTANT, is_audited=True),
)

"""Reactions: an emoji on a message."""

from typing import Annotated

import emoji
import msgspec

from educa_chat.errors import CommandRefused
from educa_chat.events.kind import Entry, Kind, Sender, Seq, Stored
from educa_chat.protocol import ErrorCode

REACTION = 4

_SELECTORS = str.maketrans("", "", "\ufe0e\ufe0f")
_QUALIFIED: dict[str, str] = {}
"""Each emoji with its variation selectors (UTS #51), by the emoji without them: clients send both, and they are one."""
for _emoji, _data in emoji.EMOJI_DATA.items():
    if _data["status"] <= emoji.STATUS["fully_qualified"]:
        _QUALIFIED[_emoji.translate(_SELECTORS)] = _emoji


class React(Stored, frozen=True, kw_only=True):
    target: Seq
    emoji: Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
    on: bool


class Reaction(msgspec.Struct, tag="reaction"):
    user: str
    target: int
    emoji: str
    on: bool


def _react(command: React, sender: Sender, _: str) -> Entry:
    qualified = _QUALIFIED.get(command.emoji.translate(_SELECTORS))
    if qualified is None:
        raise CommandRefused(ErrorCode.BAD_REQUEST)
    reaction = Reaction(user=sender.username, target=command.target, emoji=qualified, on=command.on)
    return sender.entry_on_message(
        REACTION, reaction, target=command.target, argument={"emoji": qualified, "on": command.on}
    )


KINDS = (Kind(REACTION, "reaction", "react", React, _react),)

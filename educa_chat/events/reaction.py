"""Reactions: an emoji on a message."""

from typing import Annotated

import emoji
import msgspec

from educa_chat.errors import CommandRefused
from educa_chat.events.kind import Entry, Kind, Sender, Seq, Stored
from educa_chat.protocol import ErrorCode

REACTION = 4


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
    if not emoji.is_emoji(command.emoji):
        raise CommandRefused(ErrorCode.BAD_REQUEST)
    reaction = Reaction(user=sender.username, target=command.target, emoji=command.emoji, on=command.on)
    return sender.entry_on_message(
        REACTION, reaction, target=command.target, argument={"emoji": command.emoji, "on": command.on}
    )


KINDS = (Kind(REACTION, "reaction", "react", React, _react),)

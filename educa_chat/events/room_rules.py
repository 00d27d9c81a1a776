"""The rules of a room: who may write now, how often, and whether anonymously."""

from datetime import timedelta
from typing import Annotated

import msgspec

from educa_chat.events.kind import Entry, Kind, Sender, Stored
from educa_chat.protocol import Hidden, Role

MUTED, SLOWED, CLOSED, ANONYMITY = 7, 8, 9, 14
MAX_MUTE_MINUTES = 366 * 24 * 60
MAX_SLOW_SECONDS = 24 * 60 * 60


class Mute(Stored, frozen=True, kw_only=True):
    user: Annotated[str, msgspec.Meta(min_length=1, max_length=150, pattern=r"^[^\x00]*$")]
    minutes: Annotated[int, msgspec.Meta(ge=0, le=MAX_MUTE_MINUTES)]


class Muted(msgspec.Struct, tag="muted"):
    user: str
    target_user: str
    until: str | None
    """None: unmuted."""


class Slow(Stored, frozen=True, kw_only=True):
    seconds: Annotated[int, msgspec.Meta(ge=0, le=MAX_SLOW_SECONDS)]


class Slowed(msgspec.Struct, tag="slowed"):
    user: str
    seconds: int


class Close(Stored, frozen=True, kw_only=True):
    """Lets only instructors write, or everyone again."""

    on: bool


class Closed(msgspec.Struct, tag="closed"):
    user: str
    on: bool


class Anonymity(Stored, frozen=True, kw_only=True):
    """Allows or forbids anonymous messages."""

    on: bool


class AnonymityChanged(msgspec.Struct, tag="anonymity"):
    user: str
    on: bool


def _mute(command: Mute, sender: Sender, _: str) -> Entry:
    until = None
    if command.minutes:
        until = (sender.now + timedelta(minutes=command.minutes)).isoformat(timespec="microseconds")
    muted = Muted(user=sender.username, target_user=command.user, until=until)
    return sender.entry(MUTED, Hidden(), instructor=muted, argument={"user": command.user, "until": until})


def _slow(command: Slow, sender: Sender, _: str) -> Entry:
    slowed = Slowed(user=sender.username, seconds=command.seconds)
    return sender.entry(SLOWED, slowed, argument={"seconds": command.seconds})


def _close(command: Close, sender: Sender, _: str) -> Entry:
    return sender.entry(CLOSED, Closed(user=sender.username, on=command.on), argument={"on": command.on})


def _set_anonymity(command: Anonymity, sender: Sender, _: str) -> Entry:
    changed = AnonymityChanged(user=sender.username, on=command.on)
    return sender.entry(ANONYMITY, changed, argument={"on": command.on})


KINDS = (
    Kind(MUTED, "muted", "mute", Mute, _mute, least_role=Role.ASSISTANT, is_audited=True),
    Kind(SLOWED, "slowed", "slow", Slow, _slow, least_role=Role.INSTRUCTOR, is_audited=True),
    Kind(CLOSED, "closed", "close", Close, _close, least_role=Role.INSTRUCTOR, is_audited=True),
    Kind(
        ANONYMITY,
        "anonymity",
        "anonymity",
        Anonymity,
        _set_anonymity,
        least_role=Role.INSTRUCTOR,
        is_audited=True,
    ),
)

"""Commands: what a client asks for. A frame becomes a command."""

import json
import re
from typing import Any

import msgspec

from educa_chat.errors import CommandRefused
from educa_chat.events.kind import ClientId, Seq, Stored, WithText
from educa_chat.events.registry import KINDS
from educa_chat.protocol import ErrorCode


class Typing(msgspec.Struct, frozen=True):
    """The command `typing`: a signal, which is not stored and takes no id."""


class Read(msgspec.Struct, frozen=True):
    """The command `read`: its sender has read up to `seq`. It is no event, and takes no id."""

    seq: Seq


Command = Stored | Typing | Read
_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    **{kind.command_name: msgspec.json.Decoder(kind.command) for kind in KINDS},
    "typing": msgspec.json.Decoder(Typing),
    "read": msgspec.json.Decoder(Read),
}


class _Envelope(msgspec.Struct):
    type: str = "message"
    id: Any = None


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_WITH_TEXT = frozenset(kind.command_name for kind in KINDS if issubclass(kind.command, WithText))
MAX_SHORT_FRAME = 8192
"""How many characters a command without a message's text may have, however its strings are escaped; and how many one
with a text may have besides its strings."""
MAX_OBJECTS = 32
"""How many JSON objects a command may have. It is one, and unknown fields may have others."""
MAX_STRINGS = 128
"""How many strings of a command are looked at. Any more count as if they were no strings."""
_JSON_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')


def decode_command(frame: str, *, id_required: bool) -> Command:
    """Read a command.

    Raises CommandRefused with bad_json, bad_request or unknown_type, and with the command's id where it has one. The
    work is bounded whatever the frame contains: under a millisecond for 64 KiB.
    """
    id: object = None
    try:
        envelope = _ENVELOPE.decode(frame)
        id = envelope.id
        decoder = _DECODERS.get(envelope.type)
        if decoder is None:
            raise CommandRefused(ErrorCode.UNKNOWN_TYPE, id=_client_id(id))
        if _is_too_complex(frame, has_text=envelope.type in _WITH_TEXT):
            raise CommandRefused(ErrorCode.BAD_REQUEST, id=_client_id(id))
        command: Command = decoder.decode(frame)
    except msgspec.ValidationError:
        raise CommandRefused(ErrorCode.BAD_REQUEST, id=_client_id(id)) from None
    except (msgspec.DecodeError, RecursionError):
        raise CommandRefused(ErrorCode.BAD_JSON, id=_client_id(id)) from None
    if id_required and isinstance(command, Stored) and command.id is None:
        raise CommandRefused(ErrorCode.BAD_REQUEST)
    try:
        # Up to here it is JSON, so what is behind it need not be looked at.
        _PAIRS.raw_decode(frame.lstrip())
    except (ValueError, RecursionError):
        raise CommandRefused(ErrorCode.BAD_REQUEST, id=_client_id(id)) from None
    return command


def _is_too_complex(frame: str, *, has_text: bool) -> bool:
    """Whether the JSON in `frame` would take long to decode: it is long without its strings, or has many objects."""
    if len(frame) <= MAX_SHORT_FRAME and frame.count("{") <= MAX_OBJECTS:
        return False
    if len(frame) > MAX_SHORT_FRAME and not has_text:
        return True
    # What is in a string costs little, whatever it is.
    structure = _JSON_STRING.sub("", frame, MAX_STRINGS)
    return len(structure) > MAX_SHORT_FRAME or structure.count("{") > MAX_OBJECTS


def _client_id(value: object) -> str | None:
    """`value` where it is of the form of a client's id; a refusal names no other."""
    try:
        return msgspec.convert(value, ClientId)
    except msgspec.ValidationError:
        return None


def _refuse_twins(pairs: list[tuple[str, Any]]) -> None:
    """Raise ValueError for a field that comes twice, of which msgspec takes the last and other readers the first."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError


_PAIRS = json.JSONDecoder(object_pairs_hook=_refuse_twins)

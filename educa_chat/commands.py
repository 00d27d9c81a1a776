"""Commands: the requests of a client. Decodes a frame into a command."""

import json
import re
from typing import Any

import msgspec

from educa_chat.errors import CommandRefused
from educa_chat.events.kind import ClientId, Seq, Stored, WithText
from educa_chat.events.registry import KINDS
from educa_chat.protocol import ErrorCode


class Typing(msgspec.Struct, frozen=True):
    """The command `typing`: a signal, which is not stored and has no id."""


class Read(msgspec.Struct, frozen=True):
    """The command `read`: the sender has read up to `seq`. It is not an event and has no id."""

    seq: Seq


class ReadAll(msgspec.Struct, frozen=True):
    """The command `read_all`: the sender has read everything in all rooms. It is not an event and has no id."""


Command = Stored | Typing | Read | ReadAll
_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    **{kind.command_name: msgspec.json.Decoder(kind.command) for kind in KINDS},
    "typing": msgspec.json.Decoder(Typing),
    "read": msgspec.json.Decoder(Read),
    "read_all": msgspec.json.Decoder(ReadAll),
}


class _Envelope(msgspec.Struct):
    type: str = "message"
    id: Any = None


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_WITH_TEXT = frozenset(kind.command_name for kind in KINDS if issubclass(kind.command, WithText))
MAX_SHORT_FRAME = 8192
"""How many characters a command without a text may have, however its strings are escaped. A command with a text may
have as many besides its strings."""
MAX_OBJECTS = 32
"""How many JSON objects a command may contain: itself, and those in unknown fields."""
MAX_STRINGS = 128
"""How many strings of a command are examined. The characters of further strings count as if outside strings."""
_JSON_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')


def decode_command(frame: str, *, id_required: bool) -> Command:
    """Read a command.

    Raises CommandRefused with bad_json, bad_request or unknown_type, and with the command's id if it has one. The
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
        # The JSON is complete here, so the rest needn't be examined.
        _PAIRS.raw_decode(frame.lstrip())
    except (ValueError, RecursionError):
        raise CommandRefused(ErrorCode.BAD_REQUEST, id=_client_id(id)) from None
    return command


def _is_too_complex(frame: str, *, has_text: bool) -> bool:
    """Return whether decoding `frame` would take long: it is long without its strings, or has many objects."""
    if len(frame) <= MAX_SHORT_FRAME and frame.count("{") <= MAX_OBJECTS:
        return False
    if len(frame) > MAX_SHORT_FRAME and not has_text:
        return True
    # The content of a string is cheap to decode.
    structure = _JSON_STRING.sub("", frame, MAX_STRINGS)
    return len(structure) > MAX_SHORT_FRAME or structure.count("{") > MAX_OBJECTS


def _client_id(value: object) -> str | None:
    """Return `value` if it is a valid client id. An error contains only valid ids."""
    try:
        return msgspec.convert(value, ClientId)
    except msgspec.ValidationError:
        return None


def _refuse_twins(pairs: list[tuple[str, Any]]) -> None:
    """Raise ValueError for a duplicate field: msgspec takes the last one, other parsers take the first."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError


_PAIRS = json.JSONDecoder(object_pairs_hook=_refuse_twins)

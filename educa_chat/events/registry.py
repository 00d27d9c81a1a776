"""All kinds of event. Finds every module of this package that has KINDS."""

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules

import educa_chat.events
from educa_chat.events.kind import Kind, Stored


def _find() -> Iterator[Kind]:
    for module in iter_modules(educa_chat.events.__path__):
        if module.name != "registry":
            yield from getattr(import_module(f"educa_chat.events.{module.name}"), "KINDS", ())


KINDS = tuple(sorted(_find()))
BY_COMMAND: dict[type[Stored], Kind] = {kind.command: kind for kind in KINDS}
BY_COMMAND_NAME = {kind.command_name: kind for kind in KINDS}
BY_NUMBER = {kind.number: kind for kind in KINDS}
AUDITED = [kind.number for kind in KINDS if kind.is_audited]
EVENT_TYPES = frozenset(("hidden", *(kind.name for kind in KINDS)))
"""The `type` of every event in the log."""

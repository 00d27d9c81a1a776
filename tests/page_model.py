"""A model of a client that applies the protocol's events, to be compared with other clients and pages."""

import json
from collections.abc import Iterable
from typing import Any

from educa_chat.protocol import Audience, Event
from educa_chat.storage.messages import Reader

MARKS = {"pinned": "pinned", "answered": "answered", "questioned": "question", "endorsed": "endorsed"}
LINES = ("muted", "slowed", "closed", "anonymity")


class PageModel:
    """The messages by seq, and the room, after the events that `reader` receives."""

    def __init__(self, reader: Reader) -> None:
        self.head = 0
        self.messages: dict[int, dict[str, Any]] = {}
        self.room: dict[str, Any] = {"slow_seconds": 0, "closed": False, "anonymity": False}
        self.lines: list[dict[str, Any]] = []
        """The system messages."""
        self.reported: set[int] = set()
        """The messages with open reports, as far as the reader knows."""
        self._reader = reader
        self._user = f"user{reader.user_id}"

    def take(self, events: Iterable[Event]) -> "PageModel":
        for event in events:
            is_own = event.concealed_user_id == self._reader.user_id
            variant = json.loads(
                event.variant(Audience.INSTRUCTOR if self._reader.is_staff else Audience.STUDENT) or ""
            )
            if variant["type"] == "hidden" and is_own:
                variant = json.loads(event.variant(Audience.INSTRUCTOR) or "")
            assert variant["seq"] == event.seq == self.head + 1, "an event twice, or none"
            self.head = event.seq
            self._fold(variant, is_own=is_own)
        return self

    def _fold(self, event: dict[str, Any], *, is_own: bool) -> None:
        kind, target = event["type"], self.messages.get(event.get("target", 0))
        if kind in LINES:
            self.lines.append({"own": True, **event} if is_own else event)
        if kind in ("deleted", "settled"):
            self.reported.discard(event["target"])
        if kind == "chat_message":
            shown = ("id", "user", "name", "role", "message", "html", "datetime", "pseudonym")
            self.messages[event["seq"]] = {
                **{name: event[name] for name in shown if name in event},
                "own": is_own or event["user"] == self._user,
                "anonymous": event.get("anonymous", False),
                "reply_to": event.get("reply_to"),
                "question": event.get("question", False),
                "deleted": event.get("deleted", False),
                **dict.fromkeys(("edited", "pinned", "answered", "endorsed"), False),
                **_mentions(event),
                "reactions": {},
                "reacted_as": {},
            }
        elif kind == "slowed":
            self.room["slow_seconds"] = event["seconds"]
        elif kind in ("closed", "anonymity"):
            self.room[kind] = event["on"]
        elif target is None or target["deleted"]:
            return
        elif kind == "reported":
            self.reported.add(event["target"])
        elif kind == "edited":
            target |= {"message": event["message"], "html": event["html"], "edited": True} | _mentions(event)
        elif kind == "deleted":
            target |= {"message": "", "html": "", "deleted": True, "reactions": {}, "reacted_as": {}} | _mentions({})
            target |= dict.fromkeys(("edited", "pinned", "question", "answered", "endorsed"), False)
        elif kind == "reaction":
            users = target["reactions"].setdefault(event["emoji"], [])
            if event["on"] and event["user"] not in users:
                users.append(event["user"])
            elif not event["on"] and event["user"] in users:
                users.remove(event["user"])
            target["reactions"] = {emoji: users for emoji, users in target["reactions"].items() if users}
            if is_own:
                target["reacted_as"].pop(event["emoji"], None)
                target["reacted_as"] |= {event["emoji"]: event["user"]} if event["on"] else {}
        elif kind in MARKS:
            target[MARKS[kind]] = event["on"]


def _mentions(event: dict[str, Any]) -> dict[str, Any]:
    return {"mentions": event.get("mentions", []), "mentions_all": event.get("mentions_all", False)}

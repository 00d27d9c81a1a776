"""Shared parts of LTI: the platforms, their keys and ours, and the error pages."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Literal

from aiohttp import web

from educa_chat.errors import EducaChatError
from educa_chat.handlers.embedding import EMBEDDED_BY
from educa_chat.handlers.rendering import render_anonymous
from educa_chat.people.key_sets import KeySets
from educa_chat.people.login_states import LoginStates
from educa_chat.people.outbound import Outbound
from educa_chat.people.own_keys import OwnKeys
from educa_chat.settings import Settings
from educa_chat.storage.lti_platforms import Platform, embedding_origins
from educa_chat.storage.pool import Database

logger = logging.getLogger(__name__)

ORIGINS_LIFE_S = 1.0

Kind = Literal[
    "again",
    "blocked",
    "course",
    "deactivated",
    "ended",
    "invitation",
    "not_teacher",
    "platform",
    "unreachable",
    "withheld",
]
"""The key of a text in the template `lti_message.html`, which says what the user can do about a refusal."""


class LaunchRefused(EducaChatError):
    """A launch or a registration is refused. The message says why, for the log and without tokens.

    The page that says so may be embedded by the sites `embedded_by`, besides those of active platforms.
    """

    def __init__(self, message: str, kind: Kind, *, embedded_by: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.kind: Kind = kind
        self.embedded_by = embedded_by


class Tool:
    """The chat as a tool of learning platforms. For use within `connect`."""

    database: Database
    keys: KeySets
    own_keys: OwnKeys

    def __init__(self, settings: Settings, outbound: Outbound) -> None:
        self.outbound = outbound
        # Browsers drop a cookie with SameSite=None that is not Secure; http on localhost is secure enough for them.
        self.states = LoginStates("lti", settings.session.derived_keys("lti-state"), same_site="None", is_secure=True)
        self.session_days = settings.session.days
        self._encryption_keys = settings.session.derived_keys("signing-key")
        self._origins: list[str] = []
        self._reading_origins = asyncio.Lock()
        self._origins_read_at = float("-inf")

    @asynccontextmanager
    async def connect(self, database: Database) -> AsyncIterator[None]:
        self.database = database
        self.own_keys = OwnKeys(database, self._encryption_keys)
        self.keys = KeySets(self.outbound)
        yield

    def require_active(self, platform: Platform) -> None:
        """Raise LaunchRefused unless `platform` may launch the chat."""
        if not platform.is_active:
            raise LaunchRefused(
                f"platform {platform.id} is not active yet: run educa-chat lti activate {platform.id}",
                "platform",
                embedded_by=platform.origins,
            )
        if not set(platform.origins) <= set(self._origins):
            # It has just been activated, and its users must not see an empty frame.
            self._origins_read_at = float("-inf")

    async def frame_ancestors(self) -> str:
        """Return the sites that may embed our pages, for a Content-Security-Policy. Raises DatabaseUnavailable."""
        # One request reads them for all waiting requests.
        async with self._reading_origins:
            if time.monotonic() - self._origins_read_at > ORIGINS_LIFE_S:
                self._origins = await embedding_origins(self.database)
                self._origins_read_at = time.monotonic()
        return " ".join(self._origins) or "'none'"


def answer_refusal(request: web.Request, refusal: LaunchRefused) -> web.Response:
    """Log why a request is refused, and return a page that says what to do."""
    logger.warning("%s is refused: %s", request.path, refusal)
    response = message_page(request, refusal.kind, status=502 if refusal.kind == "unreachable" else 403)
    if refusal.embedded_by:
        response[EMBEDDED_BY] = " ".join(refusal.embedded_by)
    return response


def message_page(request: web.Request, kind: Kind, *, status: int = 200, room_url: str = "") -> web.Response:
    """Return the page with the text for `kind`, and a link to the room at `room_url`, if given."""
    return render_anonymous(request, "lti_message.html", status=status, kind=kind, room_url=room_url)

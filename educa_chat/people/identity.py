"""The seam between the chat and a way to sign in."""

from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from aiohttp import web

from educa_chat.people.django import DjangoIdentity
from educa_chat.people.own import OwnIdentity
from educa_chat.settings import Settings
from educa_chat.storage.pool import Database
from educa_chat.storage.sessions import Visitor


class Identity(Protocol):
    """A way to sign in: it reads the sessions of requests, says whose they are, and brings what signing in needs.

    `visitors` and `sign_out` are for use within `connect`. They raise DatabaseUnavailable.
    """

    def set_up(self, app: web.Application) -> None:
        """Add the routes and cookies of signing in to `app`, before it starts."""

    def connect(self, database: Database) -> AbstractAsyncContextManager[None]:
        """Use `database` while the context lasts."""

    async def read_session_id(self, request: web.Request) -> str | None:
        """The session id that `request` came with, which may be anybody's or nobody's; None: none."""

    async def visitors(self, session_ids: Collection[str]) -> list[Visitor]:
        """The users who are signed in by `session_ids`; sessions that have ended or never began are left out."""

    async def sign_out(self, visitor: Visitor) -> None:
        """End the session that `visitor` came with, in every process."""

    async def forget(self, request: web.Request, response: web.Response) -> None:
        """Take the session of `request` from the browser with `response`."""


def open_identity(settings: Settings) -> Identity:
    """The one identity that `settings` choose. It is of use once it has been set up and connected."""
    if settings.auth.django_secret_key:
        return DjangoIdentity(settings)
    return OwnIdentity(settings)

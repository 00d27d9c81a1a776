"""The interface between the chat and a way to sign in."""

from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from aiohttp import web

from educa_chat.people.django import DjangoIdentity
from educa_chat.people.openid_pages import SignOutPage
from educa_chat.people.own import OwnIdentity
from educa_chat.settings import Settings
from educa_chat.storage.pool import Database
from educa_chat.storage.sessions import Visitor


class Identity(Protocol):
    """A way to sign in: it reads the sessions of requests, finds their users, and adds the routes for signing in.

    `visitors` and `sign_out` are for use within `connect`. They raise DatabaseUnavailable.
    """

    def set_up(self, app: web.Application) -> None:
        """Add the routes and cookies of signing in to `app`, before it starts."""

    def connect(self, database: Database) -> AbstractAsyncContextManager[None]:
        """Use `database` while the context lasts."""

    async def read_session_id(self, request: web.Request) -> str | None:
        """Return the session id in `request`, which may be invalid, or None."""

    async def visitors(self, session_ids: Collection[str]) -> list[Visitor]:
        """Return the users who are signed in with `session_ids`. Invalid sessions are omitted."""

    async def sign_out_elsewhere(self, request: web.Request, visitor: Visitor) -> SignOutPage | None:
        """Return where `visitor` can sign out of the issuer that signed them in. None if there is no such page."""

    async def sign_out(self, visitor: Visitor) -> None:
        """End the session of `visitor` in every process."""

    async def forget(self, request: web.Request, response: web.Response) -> None:
        """Delete the session cookie of `request` with `response`."""


def open_identity(settings: Settings) -> Identity:
    """Return the way to sign in that `settings` choose. It has to be set up and connected before use."""
    if settings.auth.django_secret_key:
        return DjangoIdentity(settings)
    return OwnIdentity(settings)

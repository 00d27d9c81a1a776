"""LTI as a way into a stand-alone chat."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from educa_chat.handlers.keys import FRAME_ANCESTORS
from educa_chat.people.lti.launches import Launches
from educa_chat.people.lti.platform_pages import PlatformPages
from educa_chat.people.lti.registrations import Registrations
from educa_chat.people.lti.rosters import Rosters
from educa_chat.people.lti.tool import Tool
from educa_chat.people.outbound import Outbound
from educa_chat.settings import Settings
from educa_chat.storage.pool import Database
from educa_chat.tasks import supervised


class Lti:
    """Launches by the platforms that are in the database. They can be added while the server runs."""

    def __init__(self, settings: Settings, outbound: Outbound) -> None:
        self._tool = Tool(settings, outbound)
        self._rosters = Rosters(self._tool)
        self._parts = (
            Launches(self._tool, self._rosters.wake),
            Registrations(self._tool),
            PlatformPages(outbound),
            self._rosters,
        )

    def set_up(self, app: web.Application) -> None:
        for part in self._parts:
            part.set_up(app)
        app[FRAME_ANCESTORS] = self._tool.frame_ancestors

    @asynccontextmanager
    async def connect(self, database: Database) -> AsyncIterator[None]:
        async with self._tool.connect(database), supervised(self._rosters.run, "rosters of learning platforms"):
            yield

"""A Django site and the chat behind one nginx, with the configuration from the guide."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from educa_chat.storage.migrate import migrate
from educa_chat.storage.pool import open_database
from tests.conftest import Postgres
from tests.django_site import DjangoSite
from tests.django_site.settings import SECRET_KEY
from tests.nginx import Nginx, beside_site, open_nginx
from tests.processes import open_node
from tests.redis_server import RedisServer


class Campus(NamedTuple):
    """The nginx in front of a site and two chat nodes, and the content of the site's tables."""

    nginx: Nginx
    seeded: dict[str, Any]

    def course(self, slug: str = "algebra") -> int:
        """The id of a course and of its room."""
        course: int = self.seeded["courses"][slug]["id"]
        return course

    def password(self, username: str) -> str:
        password: str = self.seeded["users"][username]["password"]
        return password


@asynccontextmanager
async def open_campus(postgres: Postgres, redis_server: RedisServer, **overrides: object) -> AsyncIterator[Campus]:
    """Run the site, two nodes that recognise its sessions, and nginx; `overrides` are settings of the nodes."""
    url = await postgres.create_database()
    site = DjangoSite(url)
    await site.migrate()
    seeded = await site.seed()
    async with open_database(url, 1) as database:
        await migrate(database)
    settings = {
        "auth_django_secret_key": SECRET_KEY,
        "server_trusted_proxies": "127.0.0.1/32",
        "session_secure": "true",
        **overrides,
    }
    async with (
        site.serve() as address,
        open_node(url, redis_server.url, **settings) as one,
        open_node(url, redis_server.url, **settings) as two,
        open_nginx((one.url, two.url), beside_site(address)) as nginx,
    ):
        yield Campus(nginx, seeded)

"""The name and the logo of the site, in its pages."""

import re
from pathlib import Path

import pytest

from tests.conftest import Postgres
from tests.serving import Person, open_server, settings_for
from tests.test_logo import SVG

pytestmark = pytest.mark.asyncio(loop_scope="session")

TEMPLATES = Path(__file__).parents[2] / "templates"
PAGES = ("/chat/courses/", "/chat/course/1/", "/chat/room/1/", "/chat/room/1/audit/", "/chat/missing/")


async def test_no_template_hard_codes_the_site_name() -> None:
    assert [path.name for path in TEMPLATES.rglob("*.html") if re.search(r"\bEduca\b", path.read_text())] == []


async def test_every_page_shows_the_site_name_and_logo(postgres: Postgres, tmp_path: Path) -> None:
    logo = tmp_path / "logo.svg"
    logo.write_bytes(SVG)
    url = await postgres.create_chat_database(demo=True)
    settings = settings_for(url, site_name="Q & A of Colegio Sur", site_logo=logo)
    async with open_server(settings) as server, Person(server.url, "profe") as profe:
        for path in ("/chat/sign-in/", *PAGES):
            page = await (await profe.http.get(server.url + path)).text()
            assert "Q &amp; A of Colegio Sur" in page, path
            addresses = set(re.findall(r'"(/chat/static/[^"]*logo[^"]*)"', page))
            assert len(addresses) == 1, path
        async with profe.http.get(server.url + addresses.pop()) as response:
            assert (response.content_type, await response.read()) == ("image/svg+xml", SVG)
            # Opened by its address, an image can't run scripts of the site.
            assert "sandbox" in response.headers["Content-Security-Policy"]

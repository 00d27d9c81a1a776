"""The help page about formatting: complete in both languages, with the result of each example."""

import html
import re
from pathlib import Path

import aiohttp
import pytest

from educa_chat.handlers.formatting import PATH
from educa_chat.markup import render
from tests.serving import Person, Server

pytestmark = pytest.mark.asyncio(loop_scope="module")

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLE = re.compile(
    r'<code translate="no">(.*?)</code></td>\s*<td><div class="body" dir="auto">(.*?)</div></td>', re.DOTALL
)


def examples_of(guide: str) -> set[str]:
    """The examples in the part of a guide that comes before its rules: in its first table, and in blocks."""
    text = (DOCS / guide).read_text(encoding="utf-8").partition("\n## ")[0]
    cells = re.findall(r"^\| (`.*?) \| ", text, re.MULTILINE)
    inline = {code.strip() for cell in cells for _, code in re.findall(r"(`+)(.+?)\1(?!`)", cell)}
    blocks = {
        re.sub("^    ", "", block, flags=re.MULTILINE) for block in re.findall(r"(?:^    .*\n)+", text, re.MULTILINE)
    }
    return inline | {block.rstrip("\n") for block in blocks}


@pytest.mark.parametrize(("language", "guide"), [("en", "writing.md"), ("es", "escribir.md")])
async def test_the_help_page_shows_the_guides_examples_and_their_results_without_signing_in(
    server: Server, language: str, guide: str
) -> None:
    async with aiohttp.ClientSession() as http:
        async with http.get(server.url + PATH, headers={"Accept-Language": language}) as response:
            page = await response.text()
    assert response.status == 200
    assert f'<html lang="{language}">' in page
    shown = {html.unescape(source): result for source, result in EXAMPLE.findall(page)}
    assert examples_of(guide) <= shown.keys()
    del shown["@ana"]
    for source, result in shown.items():
        without_colours = re.sub(r'<span class="\w+">(.*?)</span>', r"\1", result)
        assert without_colours == re.sub(r'<span class="\w+">(.*?)</span>', r"\1", render(source))
    assert '<span class="k">for</span>' in page


async def test_the_composer_links_to_the_help_page(server: Server) -> None:
    async with Person(server.url, "ana") as ana:
        for language, label in (("en", "Formatting help"), ("es", "Ayuda de formato")):
            _, room, _ = await ana.get("/chat/room/1/", **{"Accept-Language": language})
            link = re.search(rf'<a [^>]*href="{PATH}"[^>]*>{label}</a>', room)
            assert link
            assert 'target="_blank"' in link[0]

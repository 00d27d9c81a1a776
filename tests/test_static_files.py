"""Static files: their content, and the ones that a page preloads."""

import asyncio
from pathlib import Path

import pytest
from aiohttp.test_utils import make_mocked_request

from educa_chat.handlers import static
from educa_chat.handlers.static import StaticFiles


async def test_scripts_and_style_sheets_are_served_unchanged_except_for_comments(tmp_path: Path) -> None:
    script = "const text = `a // b\\n   ${`/* c */ ${ 1 / 2 }`}  // d`;\nif (/[/*]'/.test('//')) text;\n"
    sheet = "a::after { content: '/* b */' !important; mask: url('c/*.svg') }\n@media print { d > e { top: 0 } }\n"
    for name, content, served in (
        ("one.js", f"/** Of one. */\n{script}  // of two\n", f"\n{script}  \n"),
        ("one.css", f"/* Of one. */\n{sheet}/* of\n two */\n", f"\n{sheet}\n\n"),
    ):
        (tmp_path / name).write_text(content, encoding="utf-8")
        files = StaticFiles(tmp_path)
        response = await files.serve(make_mocked_request("GET", files.address(name)))
        assert response.body == served.encode(), name


def test_a_page_preloads_exactly_the_modules_it_starts_with(tmp_path: Path) -> None:
    for name, code in {
        "js/a.js": "import { b } from './log/b.js';\nimport './c.js';\nconst later = () => import('./d.js');\n",
        "js/log/b.js": "import {\n  c,\n} from '../c.js';\nexport const b = c;\n",
        "js/c.js": "export const c = 1;\n",
        "js/d.js": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(code, encoding="utf-8")
    files = StaticFiles(tmp_path)
    assert files.modules("js/a.js") == [files.address(f"js/{name}") for name in ("a.js", "log/b.js", "c.js")]


async def test_a_file_is_compressed_once_however_many_clients_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compressed, gzip = [], static._CODINGS["gzip"]

    def compress(content: bytes) -> bytes:
        compressed.append(content)
        return gzip(content)

    monkeypatch.setattr(static, "_CODINGS", {"gzip": compress})
    (tmp_path / "one.css").write_text(f"/* {tmp_path} */")
    files = StaticFiles(tmp_path)
    request = make_mocked_request("GET", files.address("one.css"), {"Accept-Encoding": "gzip"})
    responses = await asyncio.gather(*(files.serve(request) for _ in range(20)))
    assert len({response.body for response in responses}) == len(compressed) == 1

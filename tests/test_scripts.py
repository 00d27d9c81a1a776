"""The scripts without a page: their unit tests in Node, and their agreement with the server."""

import re
import shutil
import subprocess
from pathlib import Path

from educa_chat.events.registry import KINDS
from tests.conftest import skip_without

EVENTS = Path(__file__).parent.parent / "educa_chat" / "static" / "js" / "events"
FOLDER = Path(__file__).parent / "scripts"
TIMEOUT_S = 120


def test_the_javascript_unit_tests_pass() -> None:
    node = shutil.which("node")
    if node is None:
        skip_without("node", "there is no Node on the PATH")
    files = sorted(FOLDER.glob("*.test.mjs"))
    assert files
    run = subprocess.run([node, "--test", *files], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_page_handles_every_kind_of_event() -> None:
    registry = (EVENTS / "registry.js").read_text(encoding="utf-8")
    known: set[tuple[str, str]] = set()
    for module in re.findall(r"from '\./([a-z-]+\.js)';", registry):
        known |= set(
            re.findall(r"name: '(\w+)',\s+commandName: '(\w+)'", (EVENTS / module).read_text(encoding="utf-8"))
        )
    assert known == {(kind.name, kind.command_name) for kind in KINDS}

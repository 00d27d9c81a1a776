"""A real nginx with the project's own configuration."""

import asyncio
import os
import re
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from tests.certificates import make_certificate
from tests.conftest import skip_without
from tests.processes import answers, free_port

DEPLOY = Path(__file__).parent.parent / "deploy"
CONFIGURATION = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
START_TIMEOUT_S = 30.0


class Nginx:
    """A running nginx; `trust` verifies its certificate."""

    def __init__(self, port: int, plain_port: int, trust: ssl.SSLContext, error_log: Path) -> None:
        self.error_log = error_log
        self.url = f"https://127.0.0.1:{port}"
        self.plain_url = f"http://127.0.0.1:{plain_port}"
        self.trust = trust


@asynccontextmanager
async def open_nginx(node_urls: Iterable[str], configuration: str = CONFIGURATION) -> AsyncIterator[Nginx]:
    """Run deploy/nginx.conf in front of these nodes. Only its ports and the folders for its buffers are replaced."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if program is None:
        skip_without("nginx", "there is no nginx")
    port, plain_port = free_port(), free_port()
    with tempfile.TemporaryDirectory(prefix="educa-chat-nginx-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        _write_configuration(folder, configuration, node_urls, port, plain_port)
        trust = make_certificate(folder / "certificate")
        command = [program, "-p", name, "-c", f"{name}/nginx.conf", "-e", f"{name}/error.log"]
        command += ["-g", f"daemon off; pid {name}/pid;"]
        tried = await asyncio.to_thread(subprocess.run, [*command, "-t"], capture_output=True, text=True, timeout=30)
        assert tried.returncode == 0, tried.stderr
        assert "[warn]" not in tried.stderr, tried.stderr
        process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
        try:
            await answers(port, process)
            yield Nginx(port, plain_port, trust, folder / "error.log")
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            await asyncio.wait_for(process.wait(), START_TIMEOUT_S)


def beside_site(address: str) -> str:
    """Return the configuration in docs/beside-django.md, for a site at `address`."""
    guide = (DEPLOY.parent / "docs" / "beside-django.md").read_text(encoding="utf-8")
    (locations,) = re.findall(r"(?:^    .*\n)+", guide[guide.index("## nginx") :], re.MULTILINE)
    assert locations.count("127.0.0.1:8000") == 1
    locations = locations.replace("127.0.0.1:8000", address)
    replaced = re.compile(r"^ *location / \{.*?\}\n", re.MULTILINE | re.DOTALL)
    assert len(replaced.findall(CONFIGURATION)) == 1
    return replaced.sub(lambda _: locations, CONFIGURATION)


def _write_configuration(folder: Path, text: str, node_urls: Iterable[str], port: int, plain_port: int) -> None:
    folder.chmod(0o755)  # Its workers run as another user.
    buffers = "".join(
        f" {module}_temp_path {folder}/{module};" for module in ("client_body", "proxy", "fastcgi", "scgi", "uwsgi")
    )
    for written, here in (
        ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
        ("listen 80;", f"listen 127.0.0.1:{plain_port};"),
        ("\nhttp {", f"\nhttp {{{buffers}"),
    ):
        assert text.count(written) == 1, written
        text = text.replace(written, here)
    (folder / "nginx.conf").write_text(text, encoding="utf-8")
    # The nodes' lines, with other addresses.
    lines = [line for line in (DEPLOY / "educa-chat-nodes.conf").read_text().splitlines() if line.startswith("server")]
    nodes = [
        " ".join(["server", urlsplit(url).netloc, *line.split()[2:]])
        for url, line in zip(node_urls, lines, strict=True)
    ]
    (folder / "educa-chat-nodes.conf").write_text("\n".join(nodes))

"""A real OpenID provider, npm's `oidc-provider`, and users who sign in there."""

import asyncio
import html
import json
import re
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urljoin

import aiohttp
from joserfc.jwk import RSAKey
from yarl import URL

from tests.conftest import skip_without
from tests.outside import next_rsa_key
from tests.processes import answers

CLIENT_ID = "chat"
CLIENT_SECRET = "a secret, with characters that have to be escaped: %&+/"
_FOLDER = Path(__file__).parent
_MODULE = _FOLDER.parents[1] / "build/openid/node_modules/oidc-provider/lib/index.js"


def new_key() -> dict[str, Any]:
    """Return a new private key that signs with RS256, as a JWK."""
    key = RSAKey.import_key(next_rsa_key(), {"use": "sig", "alg": "RS256"})
    key.ensure_kid()
    return dict(key.as_dict(private=True))


@asynccontextmanager
async def open_provider(port: int, chats: Sequence[str], accounts: Path, key: Mapping[str, Any]) -> AsyncIterator[str]:
    """Run a provider on `port` that signs with `key`, and yield its issuer identifier.

    The chat has the URLs `chats`, and calls it "school". `accounts` is a JSON file with the claims of each `sub`, which
    is read again for each sign-in. Any password is right.
    """
    if not _MODULE.exists() or shutil.which("node") is None:
        skip_without("openid", "oidc-provider is not installed: run `make build/openid/installed`, which needs npm")
    client = {
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "redirect_uris": [f"{chat}/chat/sign-in/with/school/callback/" for chat in chats],
        "post_logout_redirect_uris": [f"{chat}/accounts/login/" for chat in chats],
        "backchannel_logout_uri": f"{chats[0]}/chat/sign-in/with/school/logout/",
        "backchannel_logout_session_required": True,
    }
    settings = {"port": port, "clients": [client], "accounts": str(accounts), "jwks": {"keys": [key]}}
    process = await asyncio.create_subprocess_exec(
        "node",
        _FOLDER / "provider.js",
        _MODULE,
        json.dumps(settings),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await answers(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


class Answer(NamedTuple):
    """The final URL of a request, and the response."""

    url: URL
    status: int
    text: str
    headers: Mapping[str, str]


async def walk(http: aiohttp.ClientSession, url: str, *, until: str = "", **post: str) -> Answer:
    """Get `url`, or post to it, and follow the redirects to the end, or to one that begins with `until`."""
    method, data = ("POST", post) if post else ("GET", None)
    for _ in range(20):
        if until and url.startswith(until):
            return Answer(URL(url, encoded=True), 0, "", {})
        async with http.request(method, URL(url, encoded=True), data=data, allow_redirects=False) as response:
            text = await response.text()
            location = response.headers.get("Location")
            if location is None:
                return Answer(response.url, response.status, text, response.headers)
        url, method, data = urljoin(url, location), "GET", None
    raise AssertionError("too many redirects")


async def submit(http: aiohttp.ClientSession, page: Answer, *, until: str = "", **fields: str) -> Answer:
    """Fill in the form of a page of the provider with `fields`, and follow the redirects."""
    action = re.search(r'<form[^>]* action="([^"]+)"', page.text)
    assert action, page.text
    hidden = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page.text)
    data = {name: html.unescape(value) for name, value in hidden} | fields
    return await walk(http, urljoin(str(page.url), html.unescape(action[1])), until=until, **data)


async def sign_in_at_provider(http: aiohttp.ClientSession, page: Answer, sub: str, *, until: str = "") -> Answer:
    """Sign `sub` in on the first page of the provider and agree to everything, until the chat answers."""
    page = await submit(http, page, login=sub, password="any")
    return await submit(http, page, until=until)

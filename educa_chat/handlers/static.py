"""The static files of the pages: style sheets, modules, images, strings. They are compressed once, at the start."""

import gzip
import hashlib
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources.abc import Traversable
from typing import NamedTuple

import brotli
from aiohttp import web
from pygments.lexers.javascript import JavascriptLexer
from pygments.token import Comment

from educa_chat.logo import Logo

PATH = "/chat/static/"
_IMAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'; sandbox"
"""The policy of images, because a browser that opens an SVG by its address would run its scripts."""
_TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
}
"""Media types by suffix. Files with other suffixes aren't served."""
_IMPORTED = re.compile(r"^(?:import|export)\b[^;]*?\bfrom '([^']+)';|^import '([^']+)';", re.MULTILINE)
_A_YEAR_S = 365 * 86400


class _File(NamedTuple):
    type: str
    plain: bytes
    compressed: Mapping[str, bytes]
    """The compressed content by content coding, the best first."""


class StaticFiles:
    """The static files of this version, whose name is part of their addresses.

    The content of such an address never changes, so browsers keep it and don't ask again. The imports of a module are
    relative, so they stay within its version, and a process has only one version. So files of two versions are never
    mixed, even if the page came from a newer or older process than its files.
    """

    def __init__(
        self,
        folder: Traversable,
        strings: Mapping[str, bytes] | None = None,
        logos: Mapping[str, Logo] | None = None,
    ) -> None:
        """Serve the files in `folder`; `strings`, JSON by path; and `logos`, images by name.

        The strings and the logos have versions of their own.
        """
        self._addresses: dict[str, str] = {}
        self._files: dict[str, _File] = {}
        self._modules: dict[str, list[str]] = {}
        self._add(sorted(_read(folder, "")))
        self._add([(path, "application/json", json) for path, json in sorted((strings or {}).items())])
        self._logos = {}
        for name, logo in (logos or {}).items():
            suffix = next(suffix for suffix, type in _TYPES.items() if type == logo.type)
            self._add([(f"{name}{suffix}", logo.type, logo.content)])
            self._logos[name] = self._addresses[f"{name}{suffix}"]

    def _add(self, files: Sequence[tuple[str, str, bytes]]) -> None:
        digest = hashlib.sha256(repr([(path, hashlib.sha256(plain).digest()) for path, _, plain in files]).encode())
        version = digest.hexdigest()[:12]
        for path, type, plain in files:
            address = f"{PATH}{version}/{path}"
            self._addresses[path] = address
            self._files[address] = _File(type, plain, _compress(plain) if _is_text(type) else {})

    def address(self, path: str) -> str:
        """Return the address of a file. Raises KeyError if there is none."""
        return self._addresses[path]

    def logo(self, name: str) -> str | None:
        """Return the address of a logo; None if there is none."""
        return self._logos.get(name)

    def modules(self, path: str) -> list[str]:
        """Return the addresses of a module and of all that it imports at its start, so that browsers can preload them.

        Modules behind an `import()` are not among them, because the page loads those when it needs them. Raises
        KeyError if a module is missing.
        """
        if path not in self._modules:
            found = [path]
            for module in found:
                for imported in _imports_of(module, self._files[self.address(module)].plain):
                    if imported not in found:
                        found.append(imported)
            self._modules[path] = [self.address(module) for module in found]
        return self._modules[path]

    async def serve(self, request: web.Request) -> web.Response:
        file = self._files.get(request.path)
        if file is None:
            raise web.HTTPNotFound
        headers = {"Cache-Control": f"public, max-age={_A_YEAR_S}, immutable", "Vary": "Accept-Encoding"}
        if file.type.startswith("image/"):
            headers["Content-Security-Policy"] = _IMAGE_POLICY
        body = file.plain
        for coding, compressed in file.compressed.items():
            if _accepts(request, coding):
                headers["Content-Encoding"] = coding
                body = compressed
                break
        # Modules are always UTF-8, whatever the header says.
        charset = "utf-8" if _is_text(file.type) and file.type != "text/javascript" else None
        return web.Response(body=body, content_type=file.type, charset=charset, headers=headers)


def _is_text(type: str) -> bool:
    return not type.startswith("image/") or type == "image/svg+xml"


@cache  # Brotli needs 0.2 seconds for all of them, and the tests start hundreds of servers in a process.
def _compress(plain: bytes) -> Mapping[str, bytes]:
    """Return `plain` in each content coding, the best first."""
    return {"br": brotli.compress(plain), "gzip": gzip.compress(plain, mtime=0)}


def accepts_gzip(request: web.Request) -> bool:
    """Return whether the client accepts gzip, the coding that every browser knows."""
    return _accepts(request, "gzip")


def _accepts(request: web.Request, coding: str) -> bool:
    """Return whether the client accepts `coding` (RFC 9110 §12.5.3)."""
    for one in request.headers.get("Accept-Encoding", "").lower().split(","):
        name, _, weight = one.partition(";")
        if name.strip() == coding:
            return re.fullmatch(r"\s*q=0(\.0*)?\s*", weight) is None
    return False


def _imports_of(path: str, module: bytes) -> Iterator[str]:
    """Return the paths of the modules that this one imports at its start."""
    for found in _IMPORTED.findall(module.decode()):
        yield posixpath.normpath(posixpath.join(posixpath.dirname(path), "".join(found)))


def _read(folder: Traversable, parent: str) -> Iterator[tuple[str, str, bytes]]:
    """Yield the path, type and content of each file in `folder`."""
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _read(entry, f"{parent}{entry.name}/")
        elif type := _TYPES.get("." + entry.name.rpartition(".")[2]):
            content = entry.read_bytes()
            yield f"{parent}{entry.name}", type, _without_comments(content) if type == "text/javascript" else content


@cache
def _without_comments(script: bytes) -> bytes:
    """Return the script without comments, which are a fifth of the bytes that a room page would load. Line numbers
    don't change.
    """
    tokens = JavascriptLexer().get_tokens_unprocessed(script.decode())
    return "".join("\n" * text.count("\n") if Comment in token.split() else text for _, token, text in tokens).encode()

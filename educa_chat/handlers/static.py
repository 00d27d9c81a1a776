"""The files that pages are made of: style sheets, modules, pictures, strings. Compressed once, at the start."""

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

PATH = "/chat/static/"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
"""By suffix; a file with another suffix is not for browsers."""
_IMPORTED = re.compile(r"^(?:import|export)\b[^;]*?\bfrom '([^']+)';|^import '([^']+)';", re.MULTILINE)
_A_YEAR_S = 365 * 86400


class _File(NamedTuple):
    type: str
    plain: bytes
    compressed: Mapping[str, bytes]
    """By coding, the best first."""


class StaticFiles:
    """The static files of this version, whose name is part of their addresses.

    What is at such an address never changes, so browsers keep it and ask no more. A module's imports are relative, so
    they stay within its version, and no other version is here: files of two versions are never mixed, though the page
    came from a process that is newer or older than the one that is asked for its files.
    """

    def __init__(self, folder: Traversable, strings: Mapping[str, bytes] | None = None) -> None:
        """Serve the files in `folder`, and `strings`: JSON by path, with a version of its own."""
        self._addresses: dict[str, str] = {}
        self._files: dict[str, _File] = {}
        self._modules: dict[str, list[str]] = {}
        self._add(sorted(_read(folder, "")))
        self._add([(path, "application/json", json) for path, json in sorted((strings or {}).items())])

    def _add(self, files: Sequence[tuple[str, str, bytes]]) -> None:
        digest = hashlib.sha256(repr([(path, hashlib.sha256(plain).digest()) for path, _, plain in files]).encode())
        version = digest.hexdigest()[:12]
        for path, type, plain in files:
            address = f"{PATH}{version}/{path}"
            self._addresses[path] = address
            self._files[address] = _File(type, plain, _compress(plain))

    def address(self, path: str) -> str:
        """Where the file is. Raises KeyError if there is none."""
        return self._addresses[path]

    def modules(self, path: str) -> list[str]:
        """Where the module is, and all that it imports when it starts: a browser can load them together.

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
        body = file.plain
        for coding, compressed in file.compressed.items():
            if _accepts(request, coding):
                headers["Content-Encoding"] = coding
                body = compressed
                break
        # A module is UTF-8 whatever is said of it.
        charset = None if file.type == "text/javascript" else "utf-8"
        return web.Response(body=body, content_type=file.type, charset=charset, headers=headers)


@cache  # Brotli needs 0.2 seconds for all of them, and the tests start hundreds of servers in a process.
def _compress(plain: bytes) -> Mapping[str, bytes]:
    """`plain` in each coding, the best first."""
    return {"br": brotli.compress(plain), "gzip": gzip.compress(plain, mtime=0)}


def accepts_gzip(request: web.Request) -> bool:
    """Whether the answer may be compressed by the one coding that everybody has."""
    return _accepts(request, "gzip")


def _accepts(request: web.Request, coding: str) -> bool:
    """Whether the answer may have `coding` (RFC 9110 §12.5.3)."""
    for one in request.headers.get("Accept-Encoding", "").lower().split(","):
        name, _, weight = one.partition(";")
        if name.strip() == coding:
            return re.fullmatch(r"\s*q=0(\.0*)?\s*", weight) is None
    return False


def _imports_of(path: str, module: bytes) -> Iterator[str]:
    """The paths of the modules that this one imports when it starts."""
    for found in _IMPORTED.findall(module.decode()):
        yield posixpath.normpath(posixpath.join(posixpath.dirname(path), "".join(found)))


def _read(folder: Traversable, parent: str) -> Iterator[tuple[str, str, bytes]]:
    """Path, type and content of each file in `folder`."""
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _read(entry, f"{parent}{entry.name}/")
        elif type := _TYPES.get("." + entry.name.rpartition(".")[2]):
            content = entry.read_bytes()
            yield f"{parent}{entry.name}", type, _without_comments(content) if type == "text/javascript" else content


@cache
def _without_comments(script: bytes) -> bytes:
    """The script without its comments, which are a fifth of what a room page would load. Lines keep their numbers."""
    tokens = JavascriptLexer().get_tokens_unprocessed(script.decode())
    return "".join("\n" * text.count("\n") if Comment in token.split() else text for _, token, text in tokens).encode()

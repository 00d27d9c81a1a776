"""The files that pages are made of: style sheets, modules, pictures. Read and compressed once, at the start."""

import gzip
import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources.abc import Traversable
from typing import NamedTuple

import brotli
from aiohttp import web

PATH = "/chat/static/"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
"""By suffix; a file of another one is not for browsers."""
_COMMENTS = {
    "text/css": re.compile(rb"/\*(?:[^*]|\*(?!/))*\*/"),
    "text/javascript": re.compile(rb"^[ \t]*(?:/\*\*(?:[^*]|\*(?!/))*\*/|//[^\n]*)$", re.MULTILINE),
}
_INDENTATION = re.compile(rb"^[ \t]+", re.MULTILINE)
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

    def __init__(self, folder: Traversable) -> None:
        files = sorted(_read(folder, ""))
        digest = hashlib.sha256(repr([(path, hashlib.sha256(plain).digest()) for path, _, plain in files]).encode())
        version = digest.hexdigest()[:12]
        self._addresses = {path: f"{PATH}{version}/{path}" for path, _, _ in files}
        self._files = {self._addresses[path]: _File(type, plain, _compress(plain)) for path, type, plain in files}

    def address(self, path: str) -> str:
        """Where the file is. Raises KeyError where there is none."""
        return self._addresses[path]

    @property
    def modules(self) -> list[str]:
        """Where the modules are: a browser that is told of all need not find one behind the other.

        Those in a folder of their own are for a part of the page that is loaded when it is wanted.
        """
        return [address for path, address in self._addresses.items() if re.fullmatch(r"js/[^/]+\.js", path)]

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


def _read(folder: Traversable, parent: str) -> Iterator[tuple[str, str, bytes]]:
    """Path, type and content of each file in `folder`."""
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _read(entry, f"{parent}{entry.name}/")
        elif type := _TYPES.get("." + entry.name.rpartition(".")[2]):
            content = entry.read_bytes()
            yield f"{parent}{entry.name}", type, _uncommented(content, type)


def _uncommented(content: bytes, type: str) -> bytes:
    """`content` without what is for people, a fifth of what a room page would load; its lines keep their numbers."""
    if type not in _COMMENTS:
        return content
    return _INDENTATION.sub(b"", _COMMENTS[type].sub(lambda comment: b"\n" * comment[0].count(b"\n"), content))

"""The static files of the pages: style sheets, modules, images, strings. Each is compressed for its first request."""

import asyncio
import gzip
import hashlib
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from importlib.resources.abc import Traversable

import brotli
from aiohttp import web
from pygments.lexer import Lexer
from pygments.lexers.css import CssLexer
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
_CODINGS: Mapping[str, Callable[[bytes], bytes]] = {"br": brotli.compress, "gzip": partial(gzip.compress, mtime=0)}
"""The content codings, the best first."""
_LEXERS: Mapping[str, type[Lexer]] = {"text/javascript": JavascriptLexer, "text/css": CssLexer}
"""The grammars of the files that are served without their comments."""
_COMMENTS = {Comment.Single, Comment.Multiline, Comment}
"""Not the other kinds of Comment: Pygments counts `!important` among them."""


class _File:
    """A file. It is compressed when it is requested for the first time: all files together would take a second."""

    def __init__(self, type: str, content: bytes) -> None:
        self.type = type
        self.content = content
        self._bodies: dict[str, asyncio.Task[bytes]] = {}

    async def body(self, coding: str) -> bytes:
        """Return the body of a response with a content coding, or without one if `coding` is empty."""
        if coding not in self._bodies:
            # In a thread, because it takes milliseconds, and once, however many requests are waiting for it.
            self._bodies[coding] = asyncio.create_task(asyncio.to_thread(_encode, self.type, self.content, coding))
        return await asyncio.shield(self._bodies[coding])


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
        digest = hashlib.sha256(repr([(path, hashlib.sha256(content).digest()) for path, _, content in files]).encode())
        version = digest.hexdigest()[:12]
        for path, type, content in files:
            address = f"{PATH}{version}/{path}"
            self._addresses[path] = address
            self._files[address] = _File(type, content)

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
                for imported in _imports_of(module, self._files[self.address(module)].content):
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
        coding = next((one for one in _CODINGS if _is_text(file.type) and _accepts(request, one)), "")
        if coding:
            headers["Content-Encoding"] = coding
        # Modules are always UTF-8, whatever the header says.
        charset = "utf-8" if _is_text(file.type) and file.type != "text/javascript" else None
        body = await file.body(coding)
        return web.Response(body=body, content_type=file.type, charset=charset, headers=headers)


def _is_text(type: str) -> bool:
    return not type.startswith("image/") or type == "image/svg+xml"


@cache  # The tests start hundreds of servers in a process.
def _encode(type: str, content: bytes, coding: str) -> bytes:
    if type in _LEXERS:
        content = _without_comments(_LEXERS[type](), content)
    return _CODINGS[coding](content) if coding else content


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
            yield f"{parent}{entry.name}", type, entry.read_bytes()


def _without_comments(lexer: Lexer, content: bytes) -> bytes:
    """Return a script or style sheet without comments, which are a fifth of the bytes that a room page would load. Line
    numbers don't change.
    """
    tokens = lexer.get_tokens_unprocessed(content.decode())
    return "".join("\n" * text.count("\n") if token in _COMMENTS else text for _, token, text in tokens).encode()

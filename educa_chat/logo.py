"""Logos: image files of the administrator's choice, for the site and for the ways to sign in."""

from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from educa_chat.errors import SettingsInvalid

MAX_BYTES = 100 * 1024
_SVG = "{http://www.w3.org/2000/svg}svg"


class Logo(NamedTuple):
    """An image, with its media type."""

    type: str
    content: bytes


def read_logo(key: str, path: Path) -> Logo:
    """Read an SVG, PNG, JPEG or WebP file; its content decides the type, whatever its name.

    Raises SettingsInvalid, which names the setting `key`, if the file can't be read, is larger than 100 KiB, or is
    another kind of file.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SettingsInvalid(f"{key}: can't read {path}: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise SettingsInvalid(f"{key}: {path} is too large. A logo has at most {MAX_BYTES // 1024} KiB")
    type = _type_of(content)
    if type is None:
        raise SettingsInvalid(f"{key}: {path} is not an image. Use an SVG, PNG, JPEG or WebP file")
    return Logo(type, content)


def _type_of(content: bytes) -> str | None:
    """Return the media type of an image that browsers can show, by its first bytes; None if it isn't one."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    try:
        is_svg = ElementTree.fromstring(content).tag == _SVG  # noqa: S314 - the administrator's own small file
    except ElementTree.ParseError:
        return None
    return "image/svg+xml" if is_svg else None

"""Reads forms with a file."""

import asyncio
from typing import NamedTuple

from aiohttp import BodyPartReader, web

from educa_chat.handlers.csrf import MAX_FIELDS

UPLOAD_TIMEOUT_S = 60.0
_FIELD_BYTES = 4096


class UploadedForm(NamedTuple):
    """A posted form with a file."""

    fields: dict[str, str]
    content: bytes
    """The content of the file; empty if none was chosen."""


async def read_upload(request: web.Request, file_bytes: int) -> UploadedForm:
    """Read a `multipart/form-data` form, and at most `file_bytes` + 1 bytes of its file.

    Raises HTTPBadRequest for anything else, and RequestPayloadError for a body that takes longer than UPLOAD_TIMEOUT_S.
    """
    if request.content_type != "multipart/form-data" or "Content-Encoding" in request.headers:
        raise web.HTTPBadRequest
    try:
        async with asyncio.timeout(UPLOAD_TIMEOUT_S):
            return await _read(request, file_bytes)
    except TimeoutError:
        raise web.RequestPayloadError from None
    except (ValueError, AssertionError, RuntimeError):
        # aiohttp raises all of these for malformed bodies. The end of such a body is unknown.
        raise web.RequestPayloadError from None


async def _read(request: web.Request, file_bytes: int) -> UploadedForm:
    fields: dict[str, str] = {}
    content = b""
    reader = await request.multipart()
    for _ in range(MAX_FIELDS):
        part = await reader.next()
        if part is None:
            return UploadedForm(fields, content)
        if not isinstance(part, BodyPartReader) or not part.name:
            raise ValueError("a field is expected")
        is_file = part.filename is not None
        read = await _read_part(part, file_bytes if is_file else _FIELD_BYTES)
        if is_file:
            content = read
        else:
            fields[part.name] = read.decode().replace("\0", "")
    raise ValueError("too many fields")


async def _read_part(part: BodyPartReader, most: int) -> bytes:
    """Return the first `most` + 1 bytes of a part, and skip the rest if it isn't much longer."""
    content = bytearray()
    skipped = 0
    while chunk := await part.read_chunk():
        room = most + 1 - len(content)
        content += chunk[:room]
        skipped += max(0, len(chunk) - room)
        if skipped > most:
            raise ValueError("a part is far too long")
    return bytes(content)

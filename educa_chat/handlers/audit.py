"""The audit log of a room, as a page and as a CSV file, for the room's instructors."""

import logging
import re
from collections.abc import Iterable, Iterator
from datetime import UTC
from itertools import takewhile
from typing import NamedTuple

from aiohttp import web

from educa_chat.errors import DatabaseUnavailable
from educa_chat.handlers.access import course_id, instructor_of, page_visitor
from educa_chat.handlers.api import query_number
from educa_chat.handlers.keys import DATABASE
from educa_chat.handlers.pages import room_url
from educa_chat.handlers.rendering import render
from educa_chat.spreadsheet import BYTE_ORDER_MARK, csv_row
from educa_chat.storage.audit import AuditEntry, read_audit_entries

logger = logging.getLogger(__name__)

ENTRIES_A_PAGE = 50
ENTRIES_A_QUERY = 500
COLUMNS = (
    "seq", "datetime", "user", "name", "type", "on", "target", "author", "student", "until", "seconds", "reason",
    "before", "after",
)  # fmt: skip
"""The columns of the file. A column with a field of the event has the field's name in the protocol."""


class Change(NamedTuple):
    """The change of an edit: both texts begin with `start` and end with `end`."""

    start: str
    removed: str
    added: str
    end: str


def change_between(before: str, after: str) -> Change:
    """Return the words that the texts have in common at the beginning and at the end, and those in between."""
    old, new = (re.findall(r"\s+|\S+", text) for text in (before, after))
    first = _count_equal(zip(old, new, strict=False))
    last = _count_equal(zip(reversed(old[first:]), reversed(new[first:]), strict=False))
    return Change(
        start="".join(old[:first]),
        removed="".join(old[first : len(old) - last]),
        added="".join(new[first : len(new) - last]),
        end="".join(old[len(old) - last :]),
    )


def _count_equal(pairs: Iterable[tuple[str, str]]) -> int:
    """Return how many pairs at the beginning have two equal members."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


async def page(request: web.Request) -> web.Response:
    course = course_id(request)
    visitor = await page_visitor(request)
    membership = await instructor_of(request, visitor, course)
    entries = await read_audit_entries(
        request.app[DATABASE], course, before=query_number(request, "before"), limit=ENTRIES_A_PAGE + 1
    )
    return await render(
        request,
        "audit.html",
        title=membership.title,
        room_url=room_url(course),
        entries=entries[:ENTRIES_A_PAGE],
        before=entries[ENTRIES_A_PAGE - 1].seq if len(entries) > ENTRIES_A_PAGE else None,
        change_between=change_between,
    )


async def file(request: web.Request) -> web.StreamResponse:
    """Send the whole log, newest entry first."""
    course = course_id(request)
    visitor = await page_visitor(request)
    await instructor_of(request, visitor, course)
    database = request.app[DATABASE]
    entries = await read_audit_entries(database, course, before=None, limit=ENTRIES_A_QUERY)
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/csv; charset=utf-8",
            "Content-Disposition": f'attachment; filename="audit-log-{course}.csv"',
            "Cache-Control": "no-store",
        }
    )
    await response.prepare(request)
    await response.write((BYTE_ORDER_MARK + csv_row(COLUMNS)).encode())
    try:
        while entries:
            await response.write("".join(_rows(entries)).encode())
            entries = await read_audit_entries(database, course, before=entries[-1].seq, limit=ENTRIES_A_QUERY)
    except DatabaseUnavailable as error:
        logger.warning("the download of an audit log was cut off: %s", error)
        # If the response ended normally, half a file would look complete.
        if request.transport is not None:
            request.transport.abort()
    return response


def _rows(entries: list[AuditEntry]) -> Iterator[str]:
    for entry in entries:
        details = entry.details
        yield csv_row(
            [
                entry.seq,
                entry.at.astimezone(UTC).isoformat(),
                entry.username,
                entry.name,
                entry.kind,
                str(details.get("on", "")).lower(),
                entry.target or "",
                entry.author,
                entry.student,
                details.get("until") or "",
                details.get("seconds", ""),
                details.get("reason", ""),
                entry.before or "",
                entry.after or "",
            ]
        )

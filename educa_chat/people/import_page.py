"""The pages on which administrators, and instructors for their own course, import a file with people.

A form uploads the file, and a preview shows what would happen to each row. A second form confirms it.
"""

import asyncio

from aiohttp import web

from educa_chat.errors import PlatformOwned, RecordExists, RosterFileRefused
from educa_chat.handlers.access import course_id, instructor_of, page_visitor, site_url
from educa_chat.handlers.changes import refusal_context
from educa_chat.handlers.csrf import is_own_form, is_own_token, posted_form
from educa_chat.handlers.import_texts import describe_file, describe_outcome, summarise
from educa_chat.handlers.keys import DATABASE, SETTINGS
from educa_chat.handlers.rendering import language_of, render, translations_for
from educa_chat.handlers.roster import roster_url
from educa_chat.handlers.uploads import read_upload
from educa_chat.roster_file import FILE_BYTES, RosterFile, read_roster_file
from educa_chat.storage.administration import is_administrator
from educa_chat.storage.courses import Membership
from educa_chat.storage.roster_import import Change, Import, Terms, import_roster
from educa_chat.storage.roster_uploads import Upload, store_upload, take_upload
from educa_chat.storage.sessions import Visitor
from educa_chat.storage.sign_in_links import links_csv

ADMIN_PATH = "/admin/import/"
SHOWN_ROWS = 500
"""How many rows a preview shows; those that were refused come first. More would keep the event loop for long."""


class _Importer:
    """The user who imports, the course, and the way the page is shown."""

    def __init__(
        self, request: web.Request, visitor: Visitor, membership: Membership | None, is_administrator: bool
    ) -> None:
        self.request = request
        self.visitor = visitor
        self.membership = membership
        """In the course that an instructor imports into; None: an administrator imports into all."""
        self.by_teacher = not is_administrator

    @property
    def course(self) -> int | None:
        return self.membership.course if self.membership else None

    async def run(
        self, rows: RosterFile, upload: Upload, *, dry_run: bool, with_links: bool = False, mail_language: str = ""
    ) -> Import:
        terms = Terms(
            course=upload.course,
            removes_missing=upload.removes_missing,
            by_teacher=self.by_teacher,
            by=self.visitor.user_id,
        )
        return await import_roster(
            self.request.app[DATABASE],
            rows.rows,
            terms,
            dry_run=dry_run,
            with_links=with_links,
            mail_language=mail_language,
        )

    async def show(self, *, status: int = 200, **context: object) -> web.Response:
        blank = {
            "import_failure": "",
            "result": None,
            "digest": "",
            "rows": (),
            "more": 0,
            "ignored": (),
            "summary": "",
            "adds_people": False,
            "can_mail": self.request.app[SETTINGS].email.is_set_up,
        }
        return await render(
            self.request,
            "admin_import.html" if self.membership is None else "roster_import.html",
            status=status,
            section="people",
            done="",
            failure="",
            **refusal_context(self.request),
            by_teacher=self.by_teacher,
            title=self.membership.title if self.membership else "",
            people_url=roster_url(self.course) if self.course else "/admin/people/",
            **{**blank, **context},
        )


def set_up(app: web.Application) -> None:
    """Add the routes of the pages."""
    for path in (ADMIN_PATH, "/chat/course/{course}/roster/import/"):
        app.router.add_get(path, _show_form)
        app.router.add_post(path, _preview)
        app.router.add_post(f"{path}confirm/", _confirm)


async def _importer(request: web.Request) -> _Importer:
    """Return the importing user. Raises HTTPFound to the sign-in form, and HTTPForbidden for users who can't import."""
    course = course_id(request) if "course" in request.match_info else None
    visitor = await page_visitor(request)
    administers = await is_administrator(request.app[DATABASE], visitor.user_id)
    if course is not None:
        return _Importer(request, visitor, await instructor_of(request, visitor, course), administers)
    if not administers:
        raise web.HTTPForbidden
    return _Importer(request, visitor, None, administers)


async def _show_form(request: web.Request) -> web.Response:
    return await (await _importer(request)).show()


async def _preview(request: web.Request) -> web.Response:
    """Say what the import of the uploaded file would do, and keep the file for the confirmation."""
    importer = await _importer(request)
    form = await read_upload(request, FILE_BYTES)
    if not await is_own_token(request, form.fields.get("csrf_token")):
        raise web.HTTPForbidden
    _ = translations_for(request).gettext
    upload = Upload(importer.course, "sync" in form.fields, form.content)
    try:
        file = await asyncio.to_thread(read_roster_file, form.content)
        result = await importer.run(file, upload, dry_run=True)
    except RosterFileRefused as refusal:
        return await importer.show(status=422, import_failure=describe_file(refusal, _))
    except PlatformOwned:
        raise web.HTTPForbidden from None
    digest = await store_upload(request.app[DATABASE], importer.visitor.user_id, upload)
    outcomes = [*result.refused, *(outcome for outcome in result.outcomes if not outcome.refusal)]
    rows = [(outcome, describe_outcome(outcome, _)) for outcome in outcomes[:SHOWN_ROWS]]
    return await importer.show(
        result=result,
        digest=digest,
        rows=rows,
        more=len(outcomes) - len(rows),
        ignored=file.ignored,
        summary=summarise(result, _),
        adds_people=result.count(Change.ADDED) > 0,
    )


async def _confirm(request: web.Request) -> web.Response:
    """Import the file whose preview was shown. Answer with the sign-in links as a file if the form asks for them."""
    importer = await _importer(request)
    if not await is_own_form(request):
        raise web.HTTPForbidden
    form = await posted_form(request)
    _ = translations_for(request).gettext
    upload = await take_upload(request.app[DATABASE], importer.visitor.user_id, form.get("digest", ""))
    if upload is None or upload.course != importer.course:
        failure = _("This file has already been imported, or was uploaded too long ago. Upload it again.")
        return await importer.show(status=409, import_failure=failure)
    with_links = "links" in form
    with_mails = "mail" in form and request.app[SETTINGS].email.is_set_up
    file = await asyncio.to_thread(read_roster_file, upload.content)
    try:
        result = await importer.run(
            file,
            upload,
            dry_run=False,
            with_links=with_links,
            mail_language=language_of(request) if with_mails else "",
        )
    except RecordExists:
        failure = _(
            "In the meantime, somebody else has added some of these people. Nothing was changed. Upload the file again."
        )
        return await importer.show(status=409, import_failure=failure)
    if with_links:
        return _links_file(await asyncio.to_thread(links_csv, site_url(request), result.links))
    return await importer.show(result=result, summary=summarise(result, _))


def _links_file(body: bytes) -> web.Response:
    return web.Response(
        body=body,
        content_type="text/csv",
        charset="utf-8",
        headers={"Content-Disposition": 'attachment; filename="sign-in-links.csv"', "Cache-Control": "no-store"},
    )

"""The texts of pages and of the command line about the rows of an import."""

from collections.abc import Callable

from educa_chat.errors import RosterFileRefused
from educa_chat.protocol import Role
from educa_chat.roster_file import FILE_BYTES, FILE_ROWS
from educa_chat.storage.roster_import import Change, Import, Outcome, Refusal

Translate = Callable[[str], str]
"""Returns a text in the reader's language."""


def describe_outcome(outcome: Outcome, _: Translate) -> str:
    """Describe in a few words what happens to a row."""
    if outcome.refusal is not None:
        return _describe_refusal(outcome.refusal, outcome, _)
    roles = {
        Role.STUDENT: _("enrolled in {course} as a student"),
        Role.ASSISTANT: _("enrolled in {course} as an assistant"),
        Role.INSTRUCTOR: _("enrolled in {course} as a teacher"),
    }
    texts = {
        Change.ADDED: _("new account"),
        Change.CHANGED: _("name or e-mail address changed"),
        Change.ENROLLED: roles[outcome.role or Role.STUDENT].format(course=outcome.course),
        Change.REMOVED: _("removed from {course}").format(course=outcome.course),
    }
    return ", ".join(texts[change] for change in outcome.changes) or _("unchanged")


def _describe_refusal(refusal: Refusal, outcome: Outcome, _: Translate) -> str:
    texts = {
        Refusal.USERNAME: _("the username is missing, or has characters other than letters, digits and @.+-_"),
        Refusal.NAME: _("the name is too long, or contains invisible characters"),
        Refusal.EMAIL: _("this isn't an e-mail address"),
        Refusal.ROLE: _("this role is unknown: write student, assistant or teacher"),
        Refusal.COURSE: _("there is no course “{course}”, or there are several"),
        Refusal.OTHER_COURSE: _("this is a different course"),
        Refusal.TWICE: _("line {line} has the same person"),
        Refusal.CONTRADICTION: _("line {line} has a different name or e-mail address for this person"),
        Refusal.EMAIL_TWICE: _("line {line} has the same e-mail address for somebody else"),
        Refusal.EMAIL_TAKEN: _("another user has this e-mail address"),
        Refusal.AMBIGUOUS: _("several usernames differ from this one only in upper and lower case"),
        Refusal.INACTIVE: _("this user is deactivated"),
        Refusal.OWNER: _("the owner of a course is always a teacher in it"),
        Refusal.TEACHER: _("only an administrator can add teachers or change their role"),
    }
    return texts[refusal].format(line=outcome.earlier_line, course=outcome.course)


def describe_file(refusal: RosterFileRefused, _: Translate) -> str:
    """Return why a file is refused as a whole."""
    texts = {
        "size": _("The file is too large. It can have at most {size} MiB."),
        "rows": _("The file is too long. It can have at most {rows} rows."),
        "binary": _("This isn’t a CSV file. In your spreadsheet program, save the sheet as CSV."),
        "heading": _("The first line must name the columns. One of them must be the username or the e-mail address."),
        "heading_twice": _("Two columns have the same meaning."),
        "csv": _("Line {line} isn’t valid CSV: there is a quotation mark in the wrong place, or the line is too long."),
        "empty": _("The file doesn’t contain any people."),
    }
    return texts[refusal.reason].format(size=FILE_BYTES // 2**20, rows=FILE_ROWS, line=refusal.line)


def summarise(result: Import, _: Translate) -> str:
    """Return how many rows have each outcome."""
    counts = {
        _("{count} added"): result.count(Change.ADDED),
        _("{count} changed"): result.count(Change.CHANGED),
        _("{count} enrolled"): result.count(Change.ENROLLED),
        _("{count} removed"): result.count(Change.REMOVED),
        _("{count} refused"): len(result.refused),
    }
    return ", ".join(text.format(count=count) for text, count in counts.items() if count) or _("nothing to change")

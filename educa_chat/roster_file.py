"""Reads files with the people of a school: CSV from spreadsheet programs, in English or Spanish."""

import csv
import io
import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from educa_chat.errors import RosterFileRefused
from educa_chat.protocol import Role

FILE_BYTES = 4 * 2**20
"""The largest file. 10,000 people take about one megabyte."""
FILE_ROWS = 20_000

_SEPARATORS = (";", ",", "\t")
_HEADINGS = {
    "username": ("username", "user", "login", "usuario", "nombre de usuario", "usuaria"),
    "email": ("email", "e-mail", "mail", "email address", "correo", "correo electrónico", "dirección de correo",
              "dirección de correo electrónico"),
    "first_name": ("first name", "first names", "given name", "name", "nombre", "nombres"),
    "last_name": ("last name", "last names", "surname", "family name", "apellido", "apellidos"),
    "role": ("role", "rol", "perfil"),
    "course": ("course", "curso", "asignatura", "materia"),
}  # fmt: skip
"""The accepted names of the columns, in any case, with or without accents, spaces and punctuation."""
_ROLES = {
    Role.STUDENT: ("student", "alumno", "alumna", "estudiante", "alumnado"),
    Role.ASSISTANT: ("assistant", "teaching assistant", "asistente", "ayudante", "auxiliar"),
    Role.INSTRUCTOR: ("teacher", "instructor", "profesor", "profesora", "docente"),
}


class RosterRow(NamedTuple):
    """A row of a file. The texts are as written, without spaces at the ends. Missing ones are empty."""

    line: int
    """The line in the file, counted from 1. If a cell has line breaks, the last of its lines."""
    username: str = ""
    email: str = ""
    first_name: str = ""
    last_name: str = ""
    role: str = ""
    course: str = ""


class RosterFile(NamedTuple):
    """The content of a file."""

    rows: list[RosterRow]
    ignored: list[str]
    """The headings of columns that were ignored."""


def read_roster_file(content: bytes) -> RosterFile:
    """Read a CSV file whose first line names its columns, in any order.

    It is in UTF-8, with or without a byte order mark, in UTF-16 with one, or in Windows-1252. Its separator is `;`, `,`
    or a tab. Takes time in proportion to FILE_BYTES at most. Raises RosterFileRefused.
    """
    if len(content) > FILE_BYTES:
        raise RosterFileRefused("size", f"the file is too large: it has more than {FILE_BYTES // 2**20} MiB")
    text = _decode(content)
    if "\0" in text:
        raise RosterFileRefused("binary", "the file isn't text: it contains NUL characters")
    heading, _, _ = text.partition("\n")
    if marked := re.fullmatch(r"sep=(.)\r?", heading):
        # Excel's own way to name the separator.
        text = text[len(heading) + 1 :]
    separator = marked[1] if marked else _separator_of(heading)
    records = _read_records(text, separator, 1 if marked else 0)
    _, headings = next(records, (0, []))
    columns = [_column_of(heading) for heading in headings]
    named = [column for column in columns if column]
    if not {"username", "email"} & set(named):
        raise RosterFileRefused("heading", "the first line must name a column `username` or `email`")
    if len(named) != len(set(named)):
        twice = next(column for column in named if named.count(column) > 1)
        raise RosterFileRefused("heading_twice", f"two columns are called {twice}")
    rows: list[RosterRow] = []
    for line, cells in records:
        if not any(cells):
            continue
        if len(rows) == FILE_ROWS:
            raise RosterFileRefused("rows", f"the file has more than {FILE_ROWS:,} rows")
        values = {column: cell for column, cell in zip(columns, cells, strict=False) if column}
        rows.append(RosterRow(line, **values))
    if not rows:
        raise RosterFileRefused("empty", "the file doesn't contain any people")
    ignored = [heading for heading, column in zip(headings, columns, strict=True) if heading and not column]
    return RosterFile(rows, ignored)


def read_role(text: str) -> Role | None:
    """Return the role that `text` names in English or Spanish, or None."""
    return _ROLE_OF.get(_plain(text))


def _decode(content: bytes) -> str:
    encodings = ["utf-16"] if content.startswith((b"\xff\xfe", b"\xfe\xff")) else ["utf-8-sig", "cp1252"]
    for encoding in encodings:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise RosterFileRefused("binary", "the file isn't text in UTF-8, UTF-16 or Windows-1252")


def _separator_of(heading: str) -> str:
    """Return the separator that finds the most known columns in the first line."""

    def found(separator: str) -> int:
        return sum(
            _column_of(cell.strip(' "\r')) is not None for cell in heading[:_HEADING_CHARACTERS].split(separator)
        )

    return max(_SEPARATORS, key=found)


def _read_records(text: str, separator: str, lines_before: int) -> Iterator[tuple[int, list[str]]]:
    """Yield each record's line and cells."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            line = reader.line_num + lines_before
            raise RosterFileRefused("csv", f"line {line} isn't valid CSV: {error}", line) from None
        if cells is None:
            return
        yield reader.line_num + lines_before, [cell.strip() for cell in cells]


def _column_of(heading: str) -> str | None:
    return _COLUMN_OF.get(_plain(heading))


def _plain(text: str) -> str:
    """Return the letters of `text` in lower case, without accents."""
    decomposed = unicodedata.normalize("NFKD", text[:_HEADING_CHARACTERS].lower())
    return "".join(filter(str.isalpha, decomposed))


_HEADING_CHARACTERS = 2000
_COLUMN_OF = {_plain(name): column for column, names in _HEADINGS.items() for name in names}
_ROLE_OF = {_plain(name): role for role, names in _ROLES.items() for name in names}

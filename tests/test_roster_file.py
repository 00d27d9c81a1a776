"""Files with people: CSV from spreadsheet programs is read, and other files are refused."""

import csv
import io
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from educa_chat.errors import RosterFileRefused
from educa_chat.protocol import Role
from educa_chat.roster_file import FILE_BYTES, FILE_ROWS, RosterRow, read_role, read_roster_file

HEADINGS = [
    ("username", "email", "first_name", "last_name", "role", "course"),
    ("Username", "E-mail", "First name", "Last name", "Role", "Course"),
    ("USUARIO", "Correo electrónico", "Nombre", "Apellidos", "Rol", "Curso"),
    ("Nombre de usuario", "correo electronico", "NOMBRE", "apellido", "perfil", "Asignatura"),
]
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "cp1252"]
CELLS = st.text(st.sampled_from("abcñÁÜ'ß€ -.@+_;,\t\"x0\n=")).map(str.strip)


def written(rows: list[list[str]], separator: str, encoding: str, line_end: str = "\r\n") -> bytes:
    file = io.StringIO()
    csv.writer(file, delimiter=separator, lineterminator=line_end).writerows(rows)
    return file.getvalue().encode(encoding)


@given(
    rows=st.lists(st.lists(CELLS, min_size=6, max_size=6).filter(any), min_size=1),
    headings=st.sampled_from(HEADINGS).flatmap(st.permutations),
    separator=st.sampled_from([";", ",", "\t"]),
    encoding=st.sampled_from(ENCODINGS),
    line_end=st.sampled_from(["\r\n", "\n"]),
)
def test_a_file_is_read_in_every_encoding_and_with_every_separator(
    rows: list[list[str]], headings: list[str], separator: str, encoding: str, line_end: str
) -> None:
    if encoding == "cp1252" and not "".join(map("".join, rows)).isascii():
        # Bytes that happen to be valid UTF-8 are read as UTF-8.
        headings = [*headings, "ÿ"]
        rows = [[*row, ""] for row in rows]
    read = read_roster_file(written([list(headings), *rows], separator, encoding, line_end)).rows
    order = {heading: position for names in HEADINGS for position, heading in enumerate(names)}
    expected = []
    for row in rows:
        values = [""] * 6
        for heading, cell in zip(headings, row, strict=True):
            if heading in order:
                values[order[heading]] = cell
        expected.append(tuple(values))
    assert [tuple(row[1:]) for row in read] == expected


@given(st.binary(max_size=2000) | st.text(max_size=500).map(lambda text: f"username;{text}".encode("utf-8", "replace")))
def test_reading_any_bytes_never_crashes(content: bytes) -> None:
    with suppress(RosterFileRefused):
        read_roster_file(content)


def test_line_numbers_match_a_text_editors() -> None:
    rows = read_roster_file(b'sep=;\nusername;nombre\nana;"A\nB"\n\n  ;\nluis;Luis').rows
    assert [(row.line, row.username, row.first_name) for row in rows] == [(4, "ana", "A\nB"), (7, "luis", "Luis")]


def test_missing_columns_and_cells_are_empty_and_unknown_columns_are_named() -> None:
    read = read_roster_file(b"Correo;Grupo;Rol\nana@x.es;B\nluis@x.es")
    assert read.ignored == ["Grupo"]
    assert read.rows == [RosterRow(2, email="ana@x.es"), RosterRow(3, email="luis@x.es")]


NOT_CSV: list[tuple[bytes, str]] = [
    (b"", "heading"),
    (b"a;b\n1;2", "heading"),
    (b"username;email\r\n;\r\n", "empty"),
    (b"username;usuario\n1;2", "heading_twice"),
    (b'username;nombre\nana;"never ends\n', "csv"),
    (b"username;" + b"x" * 200_000, "csv"),
    (b"username\n" + b"x" * 200_000, "csv"),
    (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "binary"),
    (b"PK\x03\x04\x14\0\x06\0", "binary"),
    (b"username\n\x81", "binary"),
    (b"\xff\xfeu", "binary"),
    (b"username\nana\0", "binary"),
    (b"username\n" + b"x" * FILE_BYTES, "size"),
    (b"username\n" + b"ana\n" * (FILE_ROWS + 1), "rows"),
]


def test_a_file_that_is_not_csv_is_refused(subtests: pytest.Subtests) -> None:
    for content, reason in NOT_CSV:
        with subtests.test(content=content[:20], reason=reason):
            with pytest.raises(RosterFileRefused) as refusal:
                read_roster_file(content)
            assert refusal.value.reason == reason


def test_roles_can_be_given_in_two_languages() -> None:
    for text, role in (
        ("Student", Role.STUDENT), ("ALUMNA", Role.STUDENT), ("Teaching assistant", Role.ASSISTANT),
        ("profesora", Role.INSTRUCTOR), ("Teacher", Role.INSTRUCTOR), ("owner", None), ("", None),
    ):  # fmt: skip
        assert read_role(text) is role, text

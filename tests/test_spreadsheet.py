"""CSV that spreadsheets don't interpret as formulas."""

import csv
import io

from educa_chat.spreadsheet import csv_row


def test_a_cell_that_looks_like_a_formula_becomes_text() -> None:
    for cell in ("=1+1", "+1", "-1", "@a", "\tx", "\r=1", "\n=1", "＝1"):
        (row,) = csv.reader(io.StringIO(csv_row([cell, "b"]), newline=""))
        assert row == [f"'{cell}", "b"], cell


def test_any_other_cell_is_read_back_unchanged() -> None:
    cells = ["a,b", 'say "hi"', "two\nlines", "1-1", " =", "", "ñ", 7]
    (row,) = csv.reader(io.StringIO(csv_row(cells), newline=""))
    assert row == [str(cell) for cell in cells]

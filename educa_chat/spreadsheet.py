"""Writes CSV (RFC 4180) for spreadsheet programs."""

import csv
import io
from collections.abc import Iterable

BYTE_ORDER_MARK = "\ufeff"
"""Begins a file. Without it, Excel doesn't read UTF-8."""
_FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")


def csv_row(cells: Iterable[object]) -> str:
    """Return `cells` as one row, with its line break.

    Users have written some of the texts. A spreadsheet would run one that begins like a formula, so such a cell gets an
    apostrophe in front, which spreadsheets read as "this is text".
    """
    row = io.StringIO()
    csv.writer(row).writerow([_as_text(str(cell)) for cell in cells])
    return row.getvalue()


def _as_text(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA_STARTS) else cell

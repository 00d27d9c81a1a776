"""Search filters: they are removed from the query, and everything else is unchanged."""

from datetime import UTC, date, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from educa_chat.storage.search_filters import Filters, beginning_of, parse

FILTERS: list[tuple[str, str, Filters]] = [
    ("from:ana", "", Filters(authors=("ana",))),
    ("limits from:ana.lopez+x@example.org", "limits", Filters(authors=("ana.lopez+x@example.org",))),
    ("from:@ana", "", Filters(authors=("ana",))),
    ("from:ana from:luis", "", Filters(authors=("ana", "luis"))),
    ("a from:ana OR from:luis b", "a b", Filters(authors=("ana", "luis"))),
    ("-from:ana", "", Filters(other_authors=("ana",))),
    ("a or b from:ana", "a or b", Filters(authors=("ana",))),
    ('"a  b" from:ana -"c d"', '"a  b" -"c d"', Filters(authors=("ana",))),
    ("Has:Link", "", Filters(has_link=True)),
    ("-has:links", "", Filters(has_link=False)),
    ("is:question", "", Filters(is_question=True)),
    ("after:2026-05-03", "", Filters(after=date(2026, 5, 3))),
    ("before:2026-5-3", "", Filters(before=date(2026, 5, 3))),
    ("-before:2026-05-03", "", Filters(after=date(2026, 5, 3))),
    ("after:2026-05-03 after:2026-05-04", "", Filters(after=date(2026, 5, 4))),
    ("before:2026-05-03 before:2026-05-04", "", Filters(before=date(2026, 5, 3))),
]


def test_filters_are_removed_from_the_text() -> None:
    for query, words, filters in FILTERS:
        assert parse(query) == (words, filters), query


def test_text_that_is_not_a_filter_is_unchanged() -> None:
    for query in (
        "from:",
        "from: ana",
        "from:@",
        "-from:",
        "has:dogs",
        "has:",
        "is:answered",
        "before:noon",
        "before:2026-02-30",
        "before:2026-13-01",
        "after:05/03/2026",
        "after:2026",
        "after:٢٠٢٦-٠٥-٠٣",
        "before:0000-01-01",
        "xfrom:ana",
        "see:from:ana",
        '"from:ana"',
        '"is:question',
        "--from:ana",
        "from：ana",
        "words  and \t spaces ",
    ):
        assert parse(query) == (query, Filters()), query


@given(st.text())
def test_text_without_a_colon_is_unchanged(query: str) -> None:
    query = query.replace(":", "")
    assert parse(query) == (query, Filters())


@given(st.dates(), st.integers(-14, 14))
def test_every_day_has_a_beginning_in_every_time_zone(day: date, hours: int) -> None:
    begins = beginning_of(day, timezone(timedelta(hours=hours)))
    assert begins.tzinfo is UTC
    assert abs(begins.date() - day) <= timedelta(days=1)

"""The filters in a search: `from:`, `before:`, `after:`, `has:link` and `is:question`."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, tzinfo

_TOKEN = re.compile(r'-?"[^"]*"?|[^\s"]+')
_FILTER = re.compile(r"(?P<not>-?)(?P<name>from|before|after|has|is):(?P<value>\S+)", re.IGNORECASE)
_DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})", re.ASCII)


@dataclass(slots=True)
class Filters:
    """The conditions on a message besides its words. Several authors are alternatives; everything else must hold."""

    authors: tuple[str, ...] = ()
    other_authors: tuple[str, ...] = ()
    """Authors whose messages are excluded."""
    after: date | None = None
    """The first day, inclusive. With `before`, exclusive, each message is on exactly one side of a date."""
    before: date | None = None
    """The day after the last day."""
    has_link: bool | None = None
    is_question: bool | None = None


def parse(query: str) -> tuple[str, Filters]:
    """Take the filters out of `query` and return the words that remain, with the filters.

    A minus sign before a filter negates it. A filter with an invalid value, such as `before:noon`, is an ordinary word,
    and so is one in quotation marks. An `or` next to a filter is removed with it.
    """
    filters = Filters()
    words: list[str] = []
    was_filter = False
    for token in _TOKEN.findall(query):
        if (match := _FILTER.fullmatch(token)) and _add(
            filters, match["name"].lower(), match["value"], is_wanted=not match["not"]
        ):
            was_filter = True
            if words and words[-1].lower() == "or":
                words.pop()
        elif not (was_filter and token.lower() == "or"):
            words.append(token)
            was_filter = False
    # Words without a filter stay as they are: a space after the last one says that it is finished.
    return (query, filters) if filters == Filters() else (" ".join(words), filters)


def beginning_of(day: date, zone: tzinfo) -> datetime:
    """Return the time at which `day` begins in `zone`."""
    try:
        return datetime.combine(day, time(), zone).astimezone(UTC)
    except OverflowError:  # The first day of the calendar, east of Greenwich.
        return datetime.combine(day, time(), UTC)


def _add(filters: Filters, name: str, value: str, *, is_wanted: bool) -> bool:
    """Add a filter, and return whether it is one."""
    if name == "from" and (author := value.removeprefix("@")):
        if is_wanted:
            filters.authors += (author,)
        else:
            filters.other_authors += (author,)
    elif name == "has" and value.lower() in ("link", "links"):
        filters.has_link = is_wanted
    elif name == "is" and value.lower() in ("question", "questions"):
        filters.is_question = is_wanted
    elif name in ("before", "after") and (day := _date(value)):
        if (name == "after") == is_wanted:
            filters.after = max(filters.after or day, day)
        else:
            filters.before = min(filters.before or day, day)
    else:
        return False
    return True


def _date(text: str) -> date | None:
    if not (match := _DATE.fullmatch(text)):
        return None
    try:
        return date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        return None

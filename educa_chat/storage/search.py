"""The search in a room, and its index.

The index follows the log in the background, with a delay of a second. So each match is checked against the current
state of its message: a search may miss a new message, but never finds text that was edited out or deleted.
"""

import asyncio
import logging
import re
from collections.abc import Sequence
from datetime import UTC, timedelta, tzinfo
from time import monotonic
from typing import NamedTuple

from educa_chat.errors import DatabaseUnavailable
from educa_chat.storage.messages import COLUMNS, Message, Reader, message_of
from educa_chat.storage.pool import Database
from educa_chat.storage.search_filters import Filters, beginning_of, parse

logger = logging.getLogger(__name__)

FOUND = 50
"""The maximum number of messages in a result."""
RANKED = 250
"""How many of the newest matches are ranked. For a frequent word, older messages are no better."""
CANDIDATES = 2000
"""How many of the newest messages with all words of a phrase are searched for the phrase, because the index has no word
order. RANKED of them are always searched, the others only within LOOKS_FOR.
"""
SURE_WORK = 200
"""How many slices of a room, times the words and operators of the query, are always searched. Older ones are searched
only within LOOKS_FOR, because common words that rarely occur together take longer in a longer room. So a word is
searched for in at least a million messages, a sentence in a hundred thousand."""
LOOKS_FOR = timedelta(milliseconds=20)
UNFINISHED = 2000
"""How many of the newest messages are searched for words that begin like the last one of the query."""
PSEUDONYM = re.compile(r"~[0-9]{1,9}")
BATCH = 200
PAUSE_S = 1.0
"""The pause between two checks for new messages."""
REST = 3
"""While there is more to index, the pause is this many times as long as the work, so that appends come first."""


class Found(NamedTuple):
    """The matching messages, best first, and the head of the room's log at that moment."""

    messages: list[Message]
    head: int
    more: bool
    """Whether there are further matches, or may be in older messages that were not searched."""


async def search(database: Database, course: int, reader: Reader, words: str, zone: tzinfo = UTC) -> Found:
    """Return the messages of `course` that match `words`, in the syntax of `websearch_to_tsquery`, with filters.

    Accents make no difference, and words match by their stems in any language of the site. The last word may be
    unfinished: the newest UNFINISHED messages are also searched for words that begin with it. Days begin in `zone`.
    `words` must contain no NUL and no lone surrogate, which Postgres doesn't accept in text.
    """
    asked, filters = parse(words)
    since, until = await _span(database, course, filters, zone)
    rows = await database.fetch(
        # Materialized, because the queries would otherwise be built again for each entry.
        "with r as materialized (select coalesce(head, 0) as head, asked, asked && $8::tsquery as text,"
        "  asked && filters as query, educa_chat.search_candidates(asked) && filters as candidates,"
        "  begun, begun && $8::tsquery as unfinished, begun && filters as unfinished_query,"
        "  $11::bigint as since, coalesce($12, head + 1) as until,"
        "  educa_chat.search_slice(coalesce($12, head + 1) - 1) - educa_chat.search_slice($11) as slices,"
        "  numnode(asked && filters) as nodes, statement_timestamp() + $6 as deadline"
        "  from educa_chat.search_query($2) asked cross join educa_chat.search_unfinished_query($2) begun"
        "   cross join (select $8::tsquery && $9::tsquery as filters) f left join educa_chat.room on course = $1)"
        " select r.head, clock_timestamp() >= r.deadline and r.slices * r.nodes >= $7,"
        f" {COLUMNS}"
        " from r"
        " left join lateral ("
        "  select m.*"
        "  from ("
        "   select newest.seq, ts_rank(newest.words, r.asked, 1) as rank, r.text"
        "   from ("
        "    select * from ("
        "     select *, row_number() over () as place from ("
        # The slices come newest first, and the search stops when there are enough matches.
        "      select entry.seq, entry.words"
        "      from (select slice from generate_series("
        "       educa_chat.search_slice(r.until - 1), educa_chat.search_slice(r.since), -1)"
        "       with ordinality s (slice, place)"
        "       where (place - 1) * r.nodes < $7 or clock_timestamp() < r.deadline) slice cross join lateral ("
        "       select seq, words from educa_chat.search_entry"
        # Two conditions, because the index then skips for each what the other excludes. It doesn't do so within one.
        "       where words @@ educa_chat.search_slice_query($1, slice) and words @@ r.candidates"
        # `+ 0` keeps the planner from using the primary key.
        "        and seq + 0 >= r.since and seq + 0 < r.until"
        "       order by seq desc limit $3"
        "      ) entry limit $3"
        "     ) has_all_words"
        "    ) candidate"
        "    where case when place <= $4 or clock_timestamp() < r.deadline then words @@ r.query end limit $4"
        "   ) newest"
        "   union all"
        # To find words by their beginning, the index would read all such words of all rooms.
        "   select recent.seq, -1, r.unfinished"
        "   from (select seq, words from educa_chat.search_entry"
        "    where course = $1 and seq >= r.since and seq < r.until and r.unfinished is not null"
        "    order by seq desc limit $13) recent"
        "   where case when recent.words @@ r.unfinished_query and not recent.words @@ r.query"
        "    then educa_chat.search_said(recent.words) @@ r.begun end"
        "   order by rank desc, seq desc"
        "  ) best"
        # Check them one by one, in order. Unedited messages say what the index says, so they need no check: splitting a
        # message into words costs more than finding it.
        "  cross join lateral (select * from educa_chat.message where course = $1 and seq = best.seq limit 1) m"
        "  where not m.deleted and (not m.edited or educa_chat.search_words(m.body) @@ best.text)"
        "   and m.question = coalesce($10, m.question)"
        "  order by best.rank desc, best.seq desc limit $5"
        " ) m on true",
        course,
        asked,
        CANDIDATES,
        RANKED,
        FOUND + 1,
        LOOKS_FOR,
        SURE_WORK,
        _text_query(filters),
        await _row_query(database, course, reader, filters),
        filters.is_question,
        since,
        until,
        UNFINISHED,
    )
    messages = [message_of(reader, *row[2:]) for row in rows[:FOUND] if row["seq"] is not None]
    head, ended_early, *_ = rows[0]
    return Found(messages, head, len(rows) > FOUND or ended_early)


async def _span(database: Database, course: int, filters: Filters, zone: tzinfo) -> tuple[int, int | None]:
    """Return the first seq of the given days, and the first seq after them. None means no end."""
    if filters.after is None and filters.before is None:
        return 1, None
    ((since, until),) = await database.fetch(
        "select coalesce(educa_chat.search_seq_at($1, $2), 1), educa_chat.search_seq_at($1, $3)",
        course,
        filters.after and beginning_of(filters.after, zone),
        filters.before and beginning_of(filters.before, zone),
    )
    return since, until


def _text_query(filters: Filters) -> str:
    """Return the filters on the text as a tsquery."""
    if filters == Filters():
        return ""
    # The first part is true for every message, because there may be no words.
    return "!' '" + _mark(filters.has_link, "has link")


async def _row_query(database: Database, course: int, reader: Reader, filters: Filters) -> str:
    """Return the other filters as a tsquery."""
    query = _mark(filters.is_question, "is question")
    for names, operator in ((filters.authors, "& "), (filters.other_authors, "& !")):
        if names:
            query += f"{operator}({await _author_query(database, course, reader, names)})"
    return query.removeprefix("& ")


def _mark(is_wanted: bool | None, word: str) -> str:
    return "" if is_wanted is None else f"& {'' if is_wanted else '!'}'{word}'"


async def _author_query(database: Database, course: int, reader: Reader, names: Sequence[str]) -> str:
    """Return a tsquery for the messages of users and pseudonyms, as far as `reader` may know the authors."""
    rows = await database.fetch(
        "select u.id from unnest($2::text[]) name join auth_user u on u.username = name"
        # Ignore case only if nobody has exactly this name.
        " union select u.id from unnest($2) name cross join educa_chat.membership() m"
        " join auth_user u on u.id = m.user_id"
        " where m.course = $1 and lower(u.username) = lower(name)"
        " and not exists (select from auth_user where username = name)",
        course,
        names,
    )
    words = [f"'from {row['id']}'" for row in rows]
    words += [f"'anonymous {row['id']}'" for row in rows if reader.is_staff or row["id"] == reader.user_id]
    words += [f"'from {name}'" for name in names if PSEUDONYM.fullmatch(name)]
    return " | ".join(words) or "'nobody '"


async def keep_index(database: Database) -> None:
    """Index new and changed messages until cancelled. Only one process works at a time, and the others wait."""
    while True:
        started = monotonic()
        try:
            indexed: int = await database.fetchval("select educa_chat.index_messages($1)", BATCH)
        except DatabaseUnavailable as error:
            logger.warning("can't update the search index: %s", error)
            indexed = 0
        await asyncio.sleep(PAUSE_S if indexed < BATCH else REST * (monotonic() - started))

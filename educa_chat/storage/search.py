"""The search in a room, and its index.

The index follows the log in the background, with a delay of a second. So each match is checked against the current
state of its message: a search may miss a new message, but never finds text that was edited out or deleted.
"""

import asyncio
import logging
from datetime import timedelta
from time import monotonic
from typing import NamedTuple

from educa_chat.errors import DatabaseUnavailable
from educa_chat.storage.messages import COLUMNS, Message, Reader, message_of
from educa_chat.storage.pool import Database

logger = logging.getLogger(__name__)

FOUND = 50
"""The maximum number of messages in a result."""
RANKED = 250
"""How many of the newest matches are ranked. For a frequent word, older messages are no better."""
CANDIDATES = 2000
"""In how many of the newest messages with all of its words a phrase is searched for, because the index has no word
order. RANKED of them are always searched, the others only within LOOKS_FOR."""
SURE_WORK = 200
"""How many slices of a room, times the words and operators of the query, are always searched. Older ones are searched
only within LOOKS_FOR, because common words that rarely occur together take longer in a longer room. So a word is
searched for in at least a million messages, a sentence in a hundred thousand."""
LOOKS_FOR = timedelta(milliseconds=20)
BATCH = 200
PAUSE_S = 1.0
"""The pause between two looks for new messages."""
REST = 3
"""While there is more to index, the pause is this many times as long as the work, so that appends come first."""


class Found(NamedTuple):
    """The matching messages, best first, and the head of the room's log at that moment."""

    messages: list[Message]
    head: int
    more: bool
    """Whether there are further matches, or may be in older messages that were not searched."""


async def search(database: Database, course: int, reader: Reader, words: str) -> Found:
    """Return the messages of `course` that match `words`, in the syntax of Postgres' `websearch_to_tsquery`.

    Accents make no difference, and words match by their stems in any language of the site. `words` must contain no NUL
    and no lone surrogate, which Postgres doesn't accept in text.
    """
    rows = await database.fetch(
        "select r.head, clock_timestamp() >= r.deadline and educa_chat.search_slice(r.head) * r.nodes >= $7,"
        f" {COLUMNS}"
        " from (select coalesce(head, 0) as head, query, educa_chat.search_candidates(query) as candidates,"
        "  numnode(query) as nodes, statement_timestamp() + $6 as deadline"
        "  from educa_chat.search_query($2) query left join educa_chat.room on course = $1) r"
        " left join lateral ("
        "  select m.*"
        "  from ("
        "   select newest.seq, ts_rank(newest.words, r.query, 1) as rank"
        "   from ("
        "    select * from ("
        "     select *, row_number() over () as place from ("
        # The slices come newest first, and the search stops when there are enough matches.
        "      select entry.seq, entry.words"
        "      from (select slice from generate_series(educa_chat.search_slice(r.head), 0, -1)"
        "       with ordinality s (slice, place)"
        "       where (place - 1) * r.nodes < $7 or clock_timestamp() < r.deadline) slice cross join lateral ("
        "       select seq, words from educa_chat.search_entry"
        # Two conditions, because the index then skips for each what the other excludes. It doesn't do so within one.
        "       where words @@ educa_chat.search_slice_query($1, slice) and words @@ r.candidates"
        "       order by seq desc limit $3"
        "      ) entry limit $3"
        "     ) has_all_words"
        "    ) candidate"
        "    where case when place <= $4 or clock_timestamp() < r.deadline then words @@ r.query end limit $4"
        "   ) newest"
        "   order by rank desc, seq desc"
        "  ) best"
        # One by one, in their order. Unedited messages say what the index says, so they need no check: splitting a
        # message into words costs more than finding it.
        "  cross join lateral (select * from educa_chat.message where course = $1 and seq = best.seq limit 1) m"
        "  where not m.deleted and (not m.edited or educa_chat.search_words(m.body) @@ r.query)"
        "  order by best.rank desc, best.seq desc limit $5"
        " ) m on true",
        course,
        words,
        CANDIDATES,
        RANKED,
        FOUND + 1,
        LOOKS_FOR,
        SURE_WORK,
    )
    messages = [message_of(reader, *row[2:]) for row in rows[:FOUND] if row["seq"] is not None]
    head, ended_early, *_ = rows[0]
    return Found(messages, head, len(rows) > FOUND or ended_early)


async def keep_index(database: Database) -> None:
    """Index new and changed messages until cancelled. Of several processes, one works and the others wait."""
    while True:
        started = monotonic()
        try:
            indexed: int = await database.fetchval("select educa_chat.index_messages($1)", BATCH)
        except DatabaseUnavailable as error:
            logger.warning("can't update the search index: %s", error)
            indexed = 0
        await asyncio.sleep(PAUSE_S if indexed < BATCH else REST * (monotonic() - started))

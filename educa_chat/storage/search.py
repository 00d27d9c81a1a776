"""The search in a room, and the index that it looks into.

The index follows the log in the background, a second behind. So what it says is checked against the messages as they
stand now: it can miss what was just said, but never bring back what was edited away or deleted.
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
"""How many messages are found at most."""
RANKED = 250
"""How many of the newest matches are ranked: a word that is everywhere has no better message further back."""
CANDIDATES = 2000
"""In how many of the newest messages with all its words a phrase is looked for: the index knows of no order. In RANKED
of them in any case, in the others within LOOKS_FOR."""
SURE_WORK = 200
"""So many slices of a room, times the words and operators of what is asked for, are looked into in any case; older ones
only within LOOKS_FOR, for common words that seldom come together take the longer, the longer a room is. A word is sure
to be looked for in a million messages, a sentence in a hundred thousand."""
LOOKS_FOR = timedelta(milliseconds=20)
BATCH = 200
PAUSE_S = 1.0
"""Between two looks for what is new."""
REST = 3
"""While there is more, the index rests so many times as long as it works: the appends go first."""


class Found(NamedTuple):
    """The messages that match, best first, and where the room's log ended at that moment."""

    messages: list[Message]
    head: int
    more: bool
    """Whether others match as well; or may, further back than was looked."""


async def search(database: Database, course: int, reader: Reader, words: str) -> Found:
    """The messages of `course` that match, in the syntax of Postgres' `websearch_to_tsquery`.

    Accents make no difference, and words match by their stems in any language of the site. All `words` are
    taken but those with a NUL or a lone surrogate, which are no text to Postgres.
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
        # The slices come newest first, and none is looked into once there are enough.
        "      select entry.seq, entry.words"
        "      from (select slice from generate_series(educa_chat.search_slice(r.head), 0, -1)"
        "       with ordinality s (slice, place)"
        "       where (place - 1) * r.nodes < $7 or clock_timestamp() < r.deadline) slice cross join lateral ("
        "       select seq, words from educa_chat.search_entry"
        # As two conditions: in the index each then skips what the other leaves out, which the parts of one don't.
        "       where words @@ educa_chat.search_slice_query($1, slice) and words @@ r.candidates"
        "       order by seq desc limit $3"
        "      ) entry limit $3"
        "     ) has_all_words"
        "    ) candidate"
        "    where case when place <= $4 or clock_timestamp() < r.deadline then words @@ r.query end limit $4"
        "   ) newest"
        "   order by rank desc, seq desc"
        "  ) best"
        # One by one, in their order. What was not edited says what the index says: to make the words of a message
        # costs more than to find it.
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
    """Index what is said and what is changed, for ever. Of several processes one works and the others look on."""
    while True:
        started = monotonic()
        try:
            indexed: int = await database.fetchval("select educa_chat.index_messages($1)", BATCH)
        except DatabaseUnavailable as error:
            logger.warning("the search falls behind: %s", error)
            indexed = 0
        await asyncio.sleep(PAUSE_S if indexed < BATCH else REST * (monotonic() - started))

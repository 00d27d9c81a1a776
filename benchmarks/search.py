"""The duration of searches in a room with a million messages."""

import time

from benchmarks.deployment import STUDENTS, Deployment, large_course
from benchmarks.measures import Effort, Section
from benchmarks.report import milliseconds, spread, table
from educa_chat.storage.messages import Reader
from educa_chat.storage.pool import Database
from educa_chat.storage.search import search

MAX_MESSAGES = 1_000_000
FILL_AT_ONCE = 100_000
FILL_TIMEOUT_S = 600.0


def _words(*ranks: int) -> str:
    return " ".join(f"word{rank}" for rank in ranks)


QUERIES = {
    "the most frequent word": _words(1),
    "the 100th word": _words(100),
    "the 10,000th word": _words(10_000),
    "a word that is nowhere": "nowhere",
    "the 3 most frequent words": _words(1, 2, 3),
    "the 30th, 40th and 50th": _words(30, 40, 50),
    "the 8 most frequent words": _words(*range(1, 9)),
    "the 20th to the 27th": _words(*range(20, 28)),
    "the 1st to the 28th": _words(*range(1, 29)),
    "the 1st to the 18th with `or`": " or ".join(_words(rank) for rank in range(1, 19)),
    "the most frequent without the 2nd": "word1 -word2",
    "all but the most frequent": "-word1",
    "a phrase of the 2 most frequent": f'"{_words(1, 2)}"',
    "a phrase of the 5 most frequent": f'"{_words(1, 2, 3, 4, 5)}"',
    "9 phrases with `or`": " or ".join(f'"{_words(rank, rank + 1)}"' for rank in range(1, 10)),
    "6 phrases with `or`, each twice the 1st": " or ".join(f'"{_words(1, rank, 1)}"' for rank in range(2, 8)),
    "the beginning of a frequent word": "word1",
    "the beginning of a word that is nowhere": "word1 nowh",
    "a part of each URL": "wiki",
    "a part of one URL": "page123460",
    "the whole of one URL": "https://example.org/wiki/page123460",
    "two characters of a sentence without spaces": "考试",
    "a sentence without spaces": "考试改到星期三了",
    "an emoji": "🎉",
    "a frequent word by one of 2,000 authors": "from:student7 word1",
    "everything by one author": "from:student7",
    "a frequent word with a link": "has:link word1",
    "questions with the 100th word": "is:question word100",
    "questions without a link by others": "is:question -has:link -from:student7",
    "the 100th word in one week of many": "word100 after:2025-03-03 before:2025-03-10",
}


async def search_in_a_long_room(deployment: Deployment, effort: Effort) -> Section:
    """Measure searches in a room, from the query to the results."""
    course = large_course(1)
    size = min(MAX_MESSAGES, effort.most_events)
    await _fill(deployment.database, course, size)
    reader = Reader(1, is_staff=False)
    rows = []
    for name, asked in QUERIES.items():
        found = await search(deployment.database, course, reader, asked)
        times = []
        for _ in range(effort.runs):
            started = time.perf_counter()
            await search(deployment.database, course, reader, asked)
            times.append(time.perf_counter() - started)
        count = f"{len(found.messages)}, and more" if found.more else str(len(found.messages))
        rows.append([name, count, spread(times, milliseconds)])
    room = (
        f"A room of {size:,} messages of 4 to 20 words, of which the nth most frequent comes 1/n as often as the first;"
        " one in twenty has a link, one a sentence without spaces, and one an emoji:"
    )
    return Section(f"{room}\n\n{table(['asked for', 'found', 'ms'], rows)}")


async def _fill(database: Database, course: int, size: int) -> None:
    """Fill the log of `course` with `size` messages, all of them indexed."""
    async with database.connection() as connection:
        # An existing index would be updated for each entry separately.
        index = await connection.fetchval("select pg_get_indexdef('educa_chat.search_entry_words'::regclass)")
        await connection.execute("drop index educa_chat.search_entry_words")
        await connection.execute("select setseed(0.5)")
        for after in range(0, size, FILL_AT_ONCE):
            until = min(size, after + FILL_AT_ONCE)
            await connection.execute(_FILL, course, after, until, STUDENTS, timeout=FILL_TIMEOUT_S)
        await connection.execute(index, timeout=FILL_TIMEOUT_S)
        await connection.execute(
            "insert into educa_chat.room (course, head) values ($1, $2)"
            " on conflict (course) do update set head = greatest(room.head, excluded.head)",
            course,
            size,
        )
        await connection.execute(
            "insert into educa_chat.search_progress values ($1, $2)"
            " on conflict (course) do update set seq = greatest(search_progress.seq, excluded.seq)",
            course,
            size,
        )
        tables = "educa_chat.message, educa_chat.search_entry"
        await connection.execute(f"vacuum analyze {tables}", timeout=FILL_TIMEOUT_S)


_FILL = """
with said as (
    insert into educa_chat.message
        (course, seq, author, client_id, username, name, instructor, at, body, html, question)
    select $1, n, 1 + n % $4, 'search-' || n, 'student' || 1 + n % $4, 'Student', false,
        timestamptz '2025-01-01Z' + n * interval '30 seconds', (
            select string_agg('word' || floor(exp(random() * ln(20000)))::int, ' ') from generate_series(1, 4 + n % 17)
        ) || case n % 20 when 0 then ' https://example.org/wiki/page' || n when 1 then ' 明天的考试改到星期三了'
            when 2 then ' 🎉' else '' end, '', n % 10 = 3
    from generate_series($2::bigint + 1, $3::bigint) n
    on conflict (course, seq) do update set body = excluded.body
    returning message
)
insert into educa_chat.search_entry
select (message).course, (message).seq, educa_chat.search_words_of(message) from said
on conflict (course, seq) do update set words = excluded.words
"""

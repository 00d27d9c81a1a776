"""The costs as rooms and the log grow."""

import time
from itertools import count, cycle
from statistics import median

from benchmarks import plots
from benchmarks.deployment import STUDENTS, Deployment, large_course
from benchmarks.machine import SERVER_CORE, on_core
from benchmarks.measures import Effort, Section, Shape, in_turn, open_all
from benchmarks.report import milliseconds, rate, spread, table
from benchmarks.servers import JOINED, OURS
from educa_chat.events.kind import Entry
from educa_chat.events.message import MESSAGE, BasicMessage, ChatMessage
from educa_chat.metrics import Metrics
from educa_chat.protocol import encode_body
from educa_chat.storage.log import Accepted, Appender, Log, Outcome
from educa_chat.storage.messages import Reader, read_page
from educa_chat.storage.pool import Database
from educa_chat.tasks import running

IN_FLIGHT = 10
BATCH = 200
"""The entries of one commit."""
FILL_AT_ONCE = 500_000
FILL_TIMEOUT_S = 900.0
TEXT = "And how is the second exercise meant, please?"


async def growth_of_rooms(deployment: Deployment, effort: Effort) -> Section:
    """Measure the cost of a delivery, from small rooms to large ones."""
    sizes = [size for size in (10, 100, 1_000, 10_000) if size <= effort.most_sockets]
    costs: dict[str, list[tuple[float, float]]] = {OURS: [], JOINED: []}
    rows = []
    with open_all(deployment, [OURS, JOINED]) as servers:
        for size in sizes:
            results = in_turn(
                deployment,
                servers,
                Shape(1, size, IN_FLIGHT),
                effort.runs,
                lambda load: load.closed(IN_FLIGHT, effort.seconds),
            )
            cells = []
            for name, runs in results.items():
                microseconds = [1e6 * run.server_s / run.deliveries for run in runs]
                costs[name].append((size, median(microseconds)))
                cells += [
                    spread(microseconds, lambda value: f"{value:.2f}"),
                    spread((1e6 * run.server_s / run.messages for run in runs), rate),
                    spread((run.deliveries_per_s for run in runs), rate),
                ]
            rows.append([f"{size:,}", *cells])
    headings = ["sockets in the room"]
    for name in costs:
        headings += [f"{name}: own time a delivery, µs", "a message, µs", "deliveries/s"]
    plot = plots.lines("The cost of a delivery", "sockets in the room", "µs of the server's own time", costs)
    return Section(f"One room, {IN_FLIGHT} messages in flight:\n\n{table(headings, rows)}", {"growth-of-rooms": plot})


async def growth_of_log(deployment: Deployment, effort: Effort) -> Section:
    """Measure the cost of a commit and of a history page, from an empty log to a long one."""
    sizes = [size for size in (0, 10_000, 100_000, 1_000_000, 10_000_000) if size <= effort.most_events]
    course = large_course(0)
    log = Log(deployment.database)
    commits: list[tuple[float, float]] = []
    pages: list[tuple[float, float]] = []
    rows = []
    for size in sizes:
        await log.open_room(course)
        await fill(deployment.database, course, size)
        with on_core(SERVER_CORE):
            commit_s = [await _commit_time(deployment.database, course, effort.seconds) for _ in range(effort.runs)]
        page_s = [await _page_time(deployment.database, course) for _ in range(effort.runs)]
        commits.append((max(size, 1_000), 1e3 * median(commit_s)))
        pages.append((max(size, 1_000), 1e3 * median(page_s)))
        rows.append(
            [
                f"{size:,}",
                spread(commit_s, milliseconds),
                spread((BATCH / each for each in commit_s), rate),
                spread(page_s, milliseconds),
            ]
        )
    headings = [
        "events in the log",
        f"ms a commit of {BATCH} messages",
        "messages/s",
        "ms a page of 50 from its middle",
    ]
    series = {f"a commit of {BATCH}": commits, "a page of 50": pages}
    plot = plots.lines("The cost of the log", "events in the log (1,000: next to none)", "milliseconds", series)
    return Section(f"All in one room, without sockets:\n\n{table(headings, rows)}", {"growth-of-log": plot})


async def fill(database: Database, course: int, size: int, text: str = TEXT) -> None:
    """Fill the log of `course`, whose room was opened, to at least `size` events: messages with `text`."""
    async with database.connection() as connection:
        head = await connection.fetchval("select head from educa_chat.room where course = $1", course)
        for after in range(head, size, FILL_AT_ONCE):
            until = min(size, after + FILL_AT_ONCE)
            await connection.execute(_FILL, course, after, until, STUDENTS, text, timeout=FILL_TIMEOUT_S)
        for command in ("vacuum analyze educa_chat.event, educa_chat.message", "checkpoint"):
            await connection.execute(command, timeout=FILL_TIMEOUT_S)


async def _commit_time(database: Database, course: int, seconds: float) -> float:
    """Return the duration of a commit, measured one after the other for `seconds`."""
    students = cycle(range(1, STUDENTS + 1))
    commits, spent_s = 0, 0.0

    def on_outcome(outcome: Outcome) -> None:
        assert isinstance(outcome, Accepted), outcome

    appender = Appender(database, lambda events: None, Metrics())
    async with running(appender.run(), "appender"):
        while spent_s < seconds:
            entries = [_entry(course, next(students)) for _ in range(BATCH)]
            started = time.perf_counter()
            for entry in entries:
                appender.append(entry, on_outcome)
            await appender.drained()
            spent_s += time.perf_counter() - started
            commits += 1
    return spent_s / commits


async def _page_time(database: Database, course: int) -> float:
    """Return the duration of a page of 50 from the middle of the log, including the round trip."""
    head: int = await database.fetchval("select head from educa_chat.room where course = $1", course)
    times = []
    reader = Reader(1, is_staff=False)
    for number in range(100):
        started = time.perf_counter()
        await read_page(database, course, reader, before=head // 2 + number, after=None, limit=50)
        times.append(time.perf_counter() - started)
    return median(times)


_ids = count(1)

_FILL = """
with filled as (
    select n, 1 + n % $4::integer as actor, 'fill-' || n as id, clock_timestamp() as at,
        convert_to('{"seq":' || n || ',"type":"chat_message","message":"' || repeat(md5(n::text), 4) || '"}', 'utf8')
            as form
    from generate_series($2::bigint + 1, $3::bigint) n
),
logged as (
    insert into educa_chat.event (course, seq, kind, actor, client_id, at, said, student, instructor, basic)
    select $1, n, 1, actor, id, at, n, form, null, form from filled
),
standing as (
    insert into educa_chat.message
        (course, seq, author, client_id, username, name, instructor, at, body, html)
    select $1, n, actor, id, 'student' || actor, 'Student', false, at, $5, $5 from filled
)
update educa_chat.room set head = $3, said = $3, last_at = clock_timestamp() where course = $1
"""


def _entry(course: int, student: int) -> Entry:
    """Return the entry that the server makes from a message."""
    id, username, name = f"growth-{next(_ids)}", f"student{student}", f"Student Number {student}"
    message = ChatMessage(id=id, user=username, name=name, role="student", message=TEXT, html=TEXT)
    return Entry(
        course=course,
        kind=MESSAGE,
        actor=student,
        by_instructor=False,
        client_id=id,
        student=encode_body(message),
        instructor=None,
        basic=encode_body(BasicMessage(user=username, message=TEXT)),
        username=username,
        name=name,
        body=TEXT,
        html=TEXT,
        mentioned=None,
        target=None,
        argument=None,
    )

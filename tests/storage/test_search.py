"""The search in a room: matches, their order, and deleted text, which is never found."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from educa_chat.storage import search as search_module
from educa_chat.storage.courses import enrol
from educa_chat.storage.messages import Reader
from educa_chat.storage.migrate import functions
from educa_chat.storage.pool import Database, open_database
from educa_chat.storage.search import BATCH, CANDIDATES, FOUND, keep_index, search
from educa_chat.tasks import running
from tests.conftest import Postgres
from tests.serving import TIMEOUT_S, add_room
from tests.storage.platform import READER
from tests.storage.test_plans import ExplainingDatabase, nodes

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def database(postgres: Postgres) -> AsyncIterator[Database]:
    async with open_database(await postgres.create_chat_database(demo=True), 5) as opened:
        yield opened


async def new_room(database: Database, *bodies: str) -> int:
    """Add a room with these messages."""
    course, _ = await add_room(database, 0)
    await database.execute("insert into educa_chat.room (course) values ($1)", course)
    await say(database, course, bodies)
    return course


async def say(database: Database, course: int, bodies: Sequence[str]) -> None:
    await database.execute(
        "with said as ("
        "  update educa_chat.room set head = head + cardinality($2::text[]) where course = $1 returning head)"
        " insert into educa_chat.message"
        " (course, seq, author, client_id, username, name, instructor, at, body, html)"
        " select $1, head - cardinality($2) + place, 1, place, 'ana', 'Ana', false, now(), body, ''"
        " from said, unnest($2) with ordinality b (body, place)",
        course,
        bodies,
    )


async def index(database: Database) -> None:
    """Index all messages."""
    while await database.fetchval("select educa_chat.index_messages($1)", BATCH):
        pass


async def found(database: Database, course: int, words: str) -> list[str]:
    return [message.message for message in (await search(database, course, READER, words)).messages]


MATCHES: list[tuple[str, str]] = [
    ("The derivative of a product", "derivatives"),
    ("Three exercises were corrected", "exercise correct"),
    ("Los ejercicios están corregidos", "ejercicio"),
    ("¿Alguien está corriendo?", "correr"),
    ("La función es continua", "funcion"),
    ("La funcion es continua", "FUNCIÓN"),
    ("Mañana, año nuevo", "manana ano"),
    ("Man\u0303ana", "mañana"),
    ("Examen: ＦＩＮＡＬ", "final"),
    ("To be or not to be", '"to be or not to be"'),
    ("Se entrega el 3 de mayo", "3 mayo"),
    ("see https://example.org/some/path", "example.org path"),
    ("see https://example.org/some/path", "https://example.org/some/path"),
    ("a vector<int> of yes/no", "int no"),
    ("if a <b and c> d", '"and c"'),
    ("the mean value theorem", '"mean value"'),
    ("the mean value theorem", 'mean -"value mean"'),
    ("the mean value theorem", '-"something else"'),
    ("only oranges here", "apples or oranges"),
]


async def test_a_message_is_found_by_its_words_in_both_languages(database: Database, subtests: pytest.Subtests) -> None:
    for said, asked in MATCHES:
        with subtests.test(said=said, asked=asked):
            course = await new_room(database, said, "something else")
            await index(database)
            assert await found(database, course, asked) == [said]


async def test_a_message_that_does_not_match_is_not_found(database: Database, subtests: pytest.Subtests) -> None:
    for asked in (
        "nowhere",
        "derivative nowhere",
        '"value mean"',
        "mean -theorem",
        'mean -"mean value"',
        "!!!",
        "\u0301",
        "-",
        '""',
    ):
        with subtests.test(asked=asked):
            course = await new_room(database, "the mean value theorem and the derivative")
            await index(database)
            answer = await search(database, course, READER, asked)
            assert (answer.messages, answer.head, answer.more) == ([], 1, False)


WORDS = [
    # Addresses of the web
    ("https://en.wikipedia.org/wiki/Bisection_method", "wikipedia"),
    ("https://en.wikipedia.org/wiki/Bisection_method", "bisection"),
    ("https://en.wikipedia.org/wiki/Bisection_method", "wiki/Bisection_method"),
    ("https://en.wikipedia.org/wiki/Bisection_method", "en.wikipedia.org"),
    ("https://docs.example.org:8080/a-b/c?page=12&sort=name#results", "results"),
    ("https://docs.example.org:8080/a-b/c?page=12&sort=name#results", "8080"),
    ("https://docs.example.org:8080/a-b/c?page=12&sort=name#results", "page=12"),
    ("(https://example.org/ma%C3%B1ana)", "example"),
    ("请看https://example.org/a。谢谢", "example.org"),
    ("https://es.wikipedia.org/wiki/M%C3%A9todo_de_Newton", "método"),
    ("https://es.wikipedia.org/wiki/M%C3%A9todo_de_Newton", "https://es.wikipedia.org/wiki/M%C3%A9todo_de_Newton"),
    ("https://zh.wikipedia.org/wiki/%E6%95%B0%E5%AD%A6", "数学"),
    ("https://example.org/a%2Fbcd", "bcd"),
    ("https://example.org/%C0%80%ED%A0%80%F4%90%80%80%FF", "example"),
    # File names and paths
    ("mira tarea_3_final.pdf", "tarea"),
    ("mira tarea_3_final.pdf", "final.pdf"),
    ("mira tareaFinal-v2.tar.gz", "final"),
    ("C:\\Users\\_temp\\notas.txt", "temp"),
    ("C:\\Users\\_temp\\notas.txt", "Users\\_temp"),
    ("/usr/local/lib/python3.11/site-packages", "python"),
    ("/usr/local/lib/python3.11/site-packages", "local/lib"),
    ("Makefile.in", "makefile"),
    # Identifiers
    ("usa np.linalg.solve(A, b)", "np.linalg"),
    ("usa np.linalg.solve(A, b)", "linalg.solve"),
    ("usa np.linalg.solve(A, b)", "solve"),
    ("usa np.linalg.solve(A, b)", "np.linalg.solve(A, b)"),
    ("call getUserName()", "user"),
    ("call getUserName()", "getUserName"),
    ("call getUserName()", "name"),
    ("an HTTPServer here", "server"),
    ("def __init__(self):", "__init__"),
    ("def __init__(self):", "init"),
    ("std::vector<int> v", "vector"),
    ("std::vector<int> v", "std::vector"),
    ("my_var = other_var", "var"),
    ("x1 and x2", "x"),
    ("git commit --amend", "--amend"),
    ("\\frac{a}{b} = \\sqrt{2}", "sqrt"),
    # Addresses of people
    ("escribe a ana.lopez@example.org", "lopez"),
    ("escribe a ana.lopez@example.org", "ana.lopez@example.org"),
    ("escribe a ana.lopez@example.org", "example.org"),
    ("gracias @ana.Nos vemos", "nos"),
    ("gracias @ana.Nos vemos", "@ana"),
    # Versions and numbers
    ("sale v2.3.1 hoy", "2.3.1"),
    ("sale v2.3.1 hoy", "v2.3.1"),
    ("sale v2.3.1 hoy", "v2.3"),
    ("sale v2.3.1 hoy", "2.3"),
    ("sale v2.3.1 hoy", "3.1"),
    ("numpy==1.26.4", "1.26"),
    ("Ejercicios 3-5", "5"),
    ("Ejercicios 3-5", "3-5"),
    ("Ejercicios 3\u20135", "3"),
    ("Ejercicios 3\u20135", "3-5"),
    ("de -5 a +7", "5"),
    ("de -5 a +7", '"-5 a"'),
    ("cuesta $5,000.00", "5,000"),
    ("cuesta 1.234,56 €", "1.234"),
    ("el 12/05/2026 a las 10:30h", "12/05"),
    ("el 12/05/2026 a las 10:30h", "10:30"),
    ("el 50% y 20km", "20"),
    ("el 50% y 20km", "50%"),
    ("x² + y²", "x2"),
    ("sheet 1e5 2e-3", "1e5"),
    ("son 1,234,567 personas", "1234567"),
    ("son 1.234.567 personas", "1234567"),
    ("son 1_000_000 personas", "1000000"),
    ("el ١٢٣ y el १२३", "123"),
    ("pregunta 3", "٣"),
    # Words that touch
    ("Terminé.Gracias por todo", "gracias"),
    ("Terminé.Gracias por todo", "termine"),
    ("sí,claro;vale:bien", "vale"),
    ("«hola»\u2026¿qué?\u2014bien", "bien"),
    ("«hola»\u2026¿qué?\u2014bien", "hola"),
    ("y/o", "o"),
    ("well-known fact", "known"),
    ("well-known fact", "well-known"),
    ("well-known fact", '"well known fact"'),
    ("I don't know", "don't"),
    ("I don\u2019t know", "don't"),
    ("l\u2019Hôpital", "l'hopital"),
    ("l\u2019Hôpital", "hopital"),
    ("**bold**text", "text"),
    ("un\u00addivi\u00added", "undivided"),
    # Chinese, Japanese, Korean, Thai
    ("明天的考试改到星期三了", "考试"),
    ("明天的考试改到星期三了", "星期三"),
    ("明天的考试改到星期三了", "了"),
    ("明天的考试改到星期三了", "试"),
    ("明天的考试改到星期三了", "明天 星期三"),
    ("用Python考试", "python"),
    ("用Python考试", "Python考试"),
    ("C语言", "语言"),
    ("请看。谢谢！", "谢谢"),
    ("明日はテストがある", "テスト"),
    ("明日はﾃｽﾄがある", "テスト"),
    ("これは漢字です", "漢字"),
    ("안녕하세요 시험은", "시험"),
    ("ผลการสอบ", "สอบ"),
    ("𠀀𠀁𠀂", "𠀁𠀂"),
    # Letters that don't decompose, and case in every script
    ("Łódź", "lodz"),
    ("lodz", "ŁÓDŹ"),
    ("smørrebrød", "smorrebrod"),
    ("Straße", "strasse"),
    ("STRASSE", "straße"),
    ("đường", "duong"),
    ("ışık", "isik"),
    ("İstanbul", "istanbul"),
    ("Æsir", "aesir"),
    ("œuvre", "oeuvre"),
    ("Þingvellir", "thingvellir"),
    ("ħarsa", "harsa"),
    ("ПРИВЕТ", "привет"),
    ("Ёлка", "елка"),
    ("Μαθήματα", "μαθηματα"),
    ("λόγος", "ΛΟΓΟΣ"),
    ("\u0645\u064f\u062d\u064e\u0645\u064e\u0651\u062f،", "\u0645\u062d\u0645\u062f"),
    # Emoji and other signs
    ("hecho 🎉", "🎉"),
    ("hecho🎉🎉", "🎉"),
    ("hecho🎉", "hecho"),
    ("vale 👍\U0001f3fd", "👍"),
    ("vale 👍", "👍\U0001f3ff"),
    ("❤\ufe0f", "❤"),
    ("❤", "❤\ufe0f"),
    ("🇪🇸 hola", "🇪🇸"),
    ("👨\u200d👩\u200d👧", "👨\u200d👩\u200d👧"),
    ("a → b", "→"),
    ("5 €", "€"),
    # Programming languages
    ("I like C++", "c++"),
    ("C++17 is out", "C++"),
    ("Is it C#?", "c#"),
    ("F# too", "F#"),
    ("Notepad++", "notepad++"),
    ("C++ or not", "c"),
    ("i++;", "i"),
    # An unfinished word
    ("All about integrals", "integr"),
    ("All about integrals", "all integr"),
    ("visit wikipedia.org", "wikip"),
    ("np.linalg.solve", "np.lin"),
    ("Los ejercicios", "eje"),
    ("hoy repasamos", "nothing or repas"),
]


async def test_a_message_is_found_by_each_part_of_its_text(database: Database) -> None:
    courses = {said: await new_room(database, said, "otherwise") for said in dict(WORDS)}
    await index(database)
    for said, asked in WORDS:
        assert await found(database, courses[said], asked) == [said], asked


SIMILAR: list[tuple[str, str]] = [
    ("c and c", "C++"),
    ("c and c", "c#"),
    ("C++ here", "c#"),
    ("C# here", "c++"),
    ("F here", "f#"),
    ("the linalg of np", "np.linalg"),
    ("1 and 3 and 2", "2.3.1"),
    ("v2.31", "2.3.1"),
    ("5 then 3", "3-5"),
    ("考不试", "考试"),
    ("😀", "🎉"),
    ("integrals", "in"),
    ("integrals", "tegr"),
    ("integrals", "integ "),
    ("integrals", '"integ"'),
    ("integrals here", "integ here"),
    ("np.linalg.solve", "-np.linalg"),
    ("the last word", '"word last"'),
]


async def test_a_similar_message_is_not_found(database: Database, subtests: pytest.Subtests) -> None:
    for said, asked in SIMILAR:
        with subtests.test(said=said, asked=asked):
            course = await new_room(database, said)
            await index(database)
            assert await found(database, course, asked) == []


async def test_an_excluded_word_is_not_treated_as_a_prefix(database: Database, subtests: pytest.Subtests) -> None:
    for asked in ("limits -integrals", "-integ limits", "limits -apples.and"):
        with subtests.test(asked=asked):
            course = await new_room(database, "limits and integral")
            await index(database)
            assert await found(database, course, asked) == ["limits and integral"]


async def test_beginnings_of_words_find_only_what_was_said(database: Database) -> None:
    await database.execute("select setval(pg_get_serial_sequence('courses_course', 'id'), 1234567)")
    course = await new_room(database, "https://example.org")
    await database.execute("update educa_chat.message set question = true, pseudonym = '~1' where course = $1", course)
    await index(database)
    for begun in ("from", "anonymous", "anonym", "has", str(course), str(course)[:4]):
        assert await found(database, course, begun) == [], begun
    assert await found(database, course, "exam is:question has:link") == ["https://example.org"]


async def test_exact_words_rank_before_longer_ones(database: Database) -> None:
    course = await new_room(database, "the car", "a carpet and a card")
    await index(database)
    assert await found(database, course, "car") == ["the car", "a carpet and a card"]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs", "Cn", "Co"]), min_size=1, max_size=60))
async def test_a_message_is_found_by_every_word(database: Database, text: str) -> None:
    words = [word for word in re.split(r'[\s"]+', text) if any(char.isalnum() for char in word)]
    missing = await database.fetch(
        # A minus sign hidden by an invisible or a wide character still excludes the word.
        "select word from unnest($2::text[]) word where educa_chat.search_text(word) !~ '^-'"
        " and educa_chat.search_query(word) <> ''"
        " and not educa_chat.search_words($1) @@ educa_chat.search_query(word)",
        text,
        [word.lstrip("-") for word in words if word.lower() != "or"],
    )
    assert not missing


async def test_results_are_ordered_by_rank_and_then_newest_first(database: Database) -> None:
    course = await new_room(
        database,
        "limits",
        "A long message that has one limit in it, among many things that are about something else altogether",
        "limit",
        "The limit of a limit is a limit",
        "limit",
    )
    await index(database)
    answer = await search(database, course, READER, "limit")
    bodies = [message.message for message in answer.messages]
    assert len(bodies) == 5
    assert [message.seq for message in answer.messages if message.message == "limit"] == [5, 3]
    assert bodies.index("limit") < bodies.index("limits"), "the word as it is written counts more than its stem"
    assert bodies[-1].startswith("A long message") or bodies[-1] == "limits"


async def test_search_is_limited_to_one_room(database: Database) -> None:
    one, other = await new_room(database, "our secret"), await new_room(database, "their secret")
    await index(database)
    assert await found(database, one, "secret") == ["our secret"]
    assert await found(database, other, "secret") == ["their secret"]
    # The index word for a slice of the other room can't be typed.
    for asked in (f'"{other} 0"', f"{other} 0", f"'{other} 0'", f"{other}\u00a00"):
        assert await found(database, one, asked) == []


async def test_an_edited_message_is_found_only_by_its_new_text(database: Database) -> None:
    course = await new_room(database, "elephants are grey", "unchanged")
    await index(database)
    await database.execute(
        "update educa_chat.message set body = 'giraffes', edited = true where course = $1 and seq = 1", course
    )
    assert await found(database, course, "elephants") == []
    await index(database)
    assert await found(database, course, "elephants") == []
    assert await found(database, course, "giraffe") == ["giraffes"]


async def test_a_deleted_message_is_not_found_and_is_removed_from_the_index(database: Database) -> None:
    course = await new_room(database, "elephants are grey", "elephants stay")
    await index(database)
    await database.execute(
        "update educa_chat.message set body = '', deleted = true where course = $1 and seq = 1", course
    )
    assert await found(database, course, "elephants") == ["elephants stay"]
    assert await found(database, course, "-giraffes") == ["elephants stay"]
    await index(database)
    assert await found(database, course, "-giraffes") == ["elephants stay"]
    words = await database.fetchval(
        "select words::text from educa_chat.search_entry where course = $1 and seq = 1", course
    )
    assert "eleph" not in words


async def test_a_change_made_before_a_message_is_indexed_is_indexed(database: Database) -> None:
    course = await new_room(database, "before", "gone")
    await database.execute(
        "update educa_chat.message set body = 'after', edited = true where course = $1 and seq = 1", course
    )
    await database.execute(
        "update educa_chat.message set body = '', deleted = true where course = $1 and seq = 2", course
    )
    await index(database)
    assert await found(database, course, "after") == ["after"]
    assert await found(database, course, "before or gone") == []


async def test_a_change_does_not_wait_while_its_message_is_being_indexed(database: Database) -> None:
    course = await new_room(database, "first text")
    async with database.connection() as indexer, indexer.transaction():
        await indexer.fetchval("select educa_chat.index_messages($1)", BATCH)
        async with asyncio.timeout(TIMEOUT_S), database.connection() as editor:
            await editor.execute("set lock_timeout = '1s'")
            await editor.execute(
                "update educa_chat.message set body = 'second text', edited = true where course = $1", course
            )
            await editor.execute("reset lock_timeout")
    assert await found(database, course, "first") == []
    await index(database)
    assert await found(database, course, "second") == ["second text"]


async def test_only_one_process_indexes_at_a_time(database: Database) -> None:
    course = await new_room(database, "once")
    async with database.connection() as one, one.transaction():
        assert await one.fetchval("select educa_chat.index_messages($1)", BATCH) == 1
        assert await database.fetchval("select educa_chat.index_messages($1)", BATCH) == 0
    assert await found(database, course, "once") == ["once"]


async def test_a_long_log_is_indexed_in_batches_after_new_messages(database: Database) -> None:
    await index(database)
    old = await new_room(database, *(f"old {number}" for number in range(1, 2 * BATCH)))
    new = await new_room(database, "new")
    assert await database.fetchval("select educa_chat.index_messages($1)", BATCH) == BATCH
    assert await found(database, new, "new") == ["new"]
    assert await found(database, old, str(BATCH - 1)) == [f"old {BATCH - 1}"]
    assert await found(database, old, str(BATCH)) == []
    await index(database)
    assert await found(database, old, str(2 * BATCH - 1)) == [f"old {2 * BATCH - 1}"]


async def test_new_messages_are_soon_found_and_indexing_continues_under_load(database: Database) -> None:
    course = await new_room(database, *["earlier"] * (2 * BATCH))
    async with running(keep_index(database), "index"):
        await say(database, course, ["just now"])
        async with asyncio.timeout(TIMEOUT_S):
            while await found(database, course, "just now") != ["just now"]:
                await asyncio.sleep(0.05)


async def test_deleting_a_course_deletes_its_index_entries(database: Database) -> None:
    course = await new_room(database, "gone with it")
    await index(database)
    await database.execute("delete from courses_course where id = $1", course)
    for table in ("search_entry", "search_progress"):
        assert await database.fetchval(f"select count(*) from educa_chat.{table} where course = $1", course) == 0
    assert await found(database, course, "gone") == []


async def test_at_most_50_results_are_returned_and_more_is_set(database: Database) -> None:
    course = await new_room(database, *["the same"] * FOUND)
    await index(database)
    answer = await search(database, course, READER, "same")
    assert (len(answer.messages), answer.more, answer.head) == (FOUND, False, FOUND)
    await say(database, course, ["the same"])
    await index(database)
    answer = await search(database, course, READER, "same")
    assert (len(answer.messages), answer.more, answer.head) == (FOUND, True, FOUND + 1)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=200))
async def test_no_text_breaks_the_search(database: Database, text: str) -> None:
    answer = await search(database, 1, READER, text)
    assert answer.messages == []


async def test_hostile_texts_can_be_indexed_and_searched_for(database: Database, subtests: pytest.Subtests) -> None:
    for text in (
        "'" * 200,
        '"' * 199,
        "-" * 200,
        "(" * 200,
        "a " * 100,
        "a&|!<->:*b",
        "\\" * 200,
        "ﷺ" * 200,
        "e\u0301" * 100,
        "or or or",
        "- " * 100,
        "-(a" * 66,
        '-"a b" ' * 28,
        "\r\n\t",
    ):
        with subtests.test(text=text[:20]):
            course = await new_room(database, text * 20, "x")
            await index(database)
            assert await search(database, course, READER, text)
            assert await search(database, course, READER, f"{text[:100]} x")
            assert await found(database, course, "x") == ["x"]


async def test_the_longest_texts_can_be_indexed(database: Database) -> None:
    course = await new_room(database, "x" * 4000, "x " * 2000, "ﷺ" * 4000)
    await index(database)
    assert await found(database, course, "x") == ["x " * 2000]


LONG_ROOM = 80_000
"""The head. Every fifth event is a message: enough for three slices with more than CANDIDATES messages each."""
FILL = f"""
    insert into educa_chat.room (course, head) values (1, {LONG_ROOM}), (2, {LONG_ROOM});
    insert into educa_chat.message (course, seq, author, client_id, username, name, instructor, at, body, html)
    select course, n, 1, n, 'ana', 'Ana', false, now(), concat_ws(' ',
        'word' || n % 997, 'term' || n % 1009, case when n % 2 = 0 then 'exercise' end,
        case when n % 20 = 2 then 'limits' end, case when n % 30 = 2 then 'theorem' end,
        case when n % 50000 = 7 then 'zebra' end), ''
    from generate_series(2, {LONG_ROOM}, 5) n, (values (1), (2)) c (course);
    insert into educa_chat.reaction (course, seq, emoji, user_id, username, event)
    select 1, n, '👍', n, 'ana', n from generate_series(2, {LONG_ROOM}, 10) n;
    insert into educa_chat.search_entry
    select course, seq, to_tsvector('simple', body) || to_tsvector('english', body)
        || educa_chat.search_words_in_slice(course, seq, '')
    from educa_chat.message;
    insert into educa_chat.search_progress select course, head from educa_chat.room
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def long_room(postgres: Postgres) -> AsyncIterator[ExplainingDatabase]:
    async with open_database(await postgres.create_chat_database(demo=True), 2) as opened:
        async with opened.connection() as connection:
            await connection.execute(FILL, timeout=120)
            await connection.execute("vacuum analyze", timeout=120)
        yield ExplainingDatabase(opened._pool, opened.url)


async def test_searching_a_long_room_scans_no_table(long_room: ExplainingDatabase, subtests: pytest.Subtests) -> None:
    for asked, count in (
        ("zebra", 2),
        ("exercise", FOUND),
        ("limit theorem exercise", FOUND),
        ("nowhere", 0),
        ("exercise nowhere", 0),
        ('"exercise limits"', FOUND),
        ('"limits exercise"', 0),
        ("-exercise", FOUND),
        ('-"limits exercise"', FOUND),
    ):
        with subtests.test(asked=asked):
            long_room.plans.clear()
            answer = await search(long_room, 1, READER, asked)
            assert len(answer.messages) == count
            (explained,) = long_room.plans
            for node in nodes(explained["Plan"]):
                assert node["Node Type"] != "Seq Scan" or node["Relation Name"] == "room", explained
                assert not node.get("Rows Removed by Index Recheck"), "the index alone says where to look"
                assert node.get("Rows Removed by Filter", 0) <= CANDIDATES, explained
                if node.get("Relation Name") == "message":
                    assert node["Actual Loops"] <= FOUND + 1, "only messages that are shown are read"
            if count == FOUND:
                assert min(message.seq for message in answer.messages) > LONG_ROOM // 4, "the newest are enough"


async def test_a_search_without_time_still_examines_its_guaranteed_amount(
    long_room: ExplainingDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "LOOKS_FOR", timedelta())
    answer = await search(long_room, 1, READER, "zebra")
    assert ([message.seq for message in answer.messages], answer.more) == ([50007, 7], False)
    answer = await search(long_room, 1, READER, '"exercise limits"')
    assert (len(answer.messages), answer.more) == (FOUND, True)


async def test_a_search_that_ends_early_sets_more(
    long_room: ExplainingDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "LOOKS_FOR", timedelta())
    monkeypatch.setattr(search_module, "SURE_WORK", 1)
    answer = await search(long_room, 1, READER, "zebra")
    assert (answer.messages, answer.more) == ([], True)
    answer = await search(long_room, 1, READER, "word5")
    assert answer.messages
    assert min(message.seq for message in answer.messages) >= 2 * 32768, "the newest are looked at in any case"


async def said_by(database: Database, *said: tuple[int, str | None, str, datetime]) -> int:
    """Add a room with messages by these authors, with these pseudonyms and times."""
    course = await new_room(database, *(body for _, _, body, _ in said))
    for seq, (author, pseudonym, _, at) in enumerate(said, 1):
        await database.execute(
            "update educa_chat.message set author = $3, pseudonym = $4, at = $5 where course = $1 and seq = $2",
            course,
            seq,
            author,
            pseudonym,
            at,
        )
    await index(database)
    return course


def day(number: int) -> datetime:
    return datetime(2026, 5, number, 12, tzinfo=UTC)


async def test_the_from_filter_never_matches_anonymous_messages(database: Database) -> None:
    ana, luis = [
        await database.fetchval("select id from auth_user where username = $1", name) for name in ("ana", "luis")
    ]
    course = await said_by(
        database,
        (ana, None, "limits by ana", day(1)),
        (ana, "~123456", "limits in secret", day(1)),
        (luis, None, "limits by luis", day(1)),
    )
    await enrol(database, "ana", course)
    other, author, teacher = Reader(luis, False), Reader(ana, False), Reader(1000, True)

    async def bodies(reader: Reader, asked: str) -> set[str]:
        return {message.message for message in (await search(database, course, reader, asked)).messages}

    for asked in ("from:ana", "from:@ana", "FROM:Ana", "from:ana limits", "limits from:ana", "from:ana by"):
        assert await bodies(other, asked) == {"limits by ana"}, asked
    everything = {"limits by ana", "limits in secret", "limits by luis"}
    assert await bodies(other, "limits -from:ana") == everything - {"limits by ana"}
    assert await bodies(other, "from:ana secret") == set()
    assert await bodies(other, "from:ana or from:luis") == everything - {"limits in secret"}
    assert await bodies(other, "from:~123456") == {"limits in secret"}
    assert await bodies(author, "from:ana") == everything - {"limits by luis"}
    assert await bodies(teacher, "from:ana") == everything - {"limits by luis"}
    assert await bodies(teacher, "-from:ana") == {"limits by luis"}
    for nobody in ("from:nobody", "from:~1", "from:'", "from:ana%", "from:a_a"):
        assert await bodies(other, nobody) == set(), nobody


async def test_date_filters_split_messages_by_day(database: Database) -> None:
    course = await said_by(database, *((1, None, f"on day {number}", day(number)) for number in range(1, 29)))

    async def days(asked: str, zone: tzinfo = UTC) -> list[int]:
        found = await search(database, course, READER, asked, zone)
        return sorted(message.seq for message in found.messages)

    for border in (1, 2, 15, 28, 29):
        assert await days(f"before:2026-05-{border}") == list(range(1, border))
        assert await days(f"after:2026-05-{border:02} day") == list(range(border, 29))
        assert await days(f"-before:2026-05-{border}") == list(range(border, 29))
    assert await days("after:2026-05-03 before:2026-05-06") == [3, 4, 5]
    assert await days("after:2026-05-06 before:2026-05-03") == []
    assert await days("after:0001-01-01 before:9999-12-31") == list(range(1, 29))
    assert await days("before:2026-05-03", timezone(timedelta(hours=13))) == [1]
    assert await days("after:2026-05-27", timezone(timedelta(hours=-13))) == [28]


async def test_link_and_question_filters_use_the_current_state(database: Database) -> None:
    course = await new_room(database, "see https://example.org/a", "Is it HTTP://x.org?", "no link: http://", "plain")
    await database.execute("update educa_chat.message set question = seq in (2, 4) where course = $1", course)
    await index(database)
    assert await found(database, course, "has:link") == ["Is it HTTP://x.org?", "see https://example.org/a"]
    assert await found(database, course, "-has:link") == ["plain", "no link: http://"]
    assert await found(database, course, "is:question") == ["plain", "Is it HTTP://x.org?"]
    assert await found(database, course, "is:question has:link") == ["Is it HTTP://x.org?"]
    assert await found(database, course, "-is:question example") == ["see https://example.org/a"]
    await database.execute(
        "update educa_chat.message set question = false, body = 'now with https://a.org', edited = true"
        " where course = $1 and seq = 4",
        course,
    )
    assert await found(database, course, "is:question") == ["Is it HTTP://x.org?"]
    await index(database)
    assert await found(database, course, "has:link now") == ["now with https://a.org"]
    await database.execute("update educa_chat.message set question = true where course = $1 and seq = 4", course)
    await index(database)
    assert await found(database, course, "is:question now") == ["now with https://a.org"]


async def test_a_new_version_of_search_words_reindexes_all_messages(postgres: Postgres) -> None:
    # Another database, because indexing the messages of all other tests again takes long.
    async with open_database(await postgres.create_chat_database(demo=True), 1) as database:
        course = await new_room(database, "np.linalg")
        await index(database)
        await database.execute(
            "update educa_chat.search_entry set words = words || 'outdated' where course = $1", course
        )
        await database.execute("comment on function educa_chat.search_words(text) is '1'")
        await database.execute(functions().sql)
        assert await found(database, course, "outdated") == ["np.linalg"], "until then the index stays in use"
        await index(database)
        assert await found(database, course, "linalg") == ["np.linalg"]
        await database.execute(functions().sql)
        assert await database.fetchval("select count(*) from educa_chat.search_change") == 0

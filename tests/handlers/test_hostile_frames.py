"""Hostile input over an open socket: it is answered, nothing is lost, and nobody else is affected."""

import asyncio
import json
import re
import struct
import unicodedata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from educa_chat.handlers.keys import DATABASE
from educa_chat.storage.courses import enrol
from tests.raw_socket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FIN,
    PING,
    PONG,
    RSV1,
    RSV2,
    RSV3,
    TEXT,
    frame,
    open_raw,
)
from tests.serving import Chatter, Person, Server, add_person, add_room, open_server, settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

FRAME_BYTES = 65536


class Scene(NamedTuple):
    """A room with two students: a sender, and a neighbour who receives the results."""

    course: int
    server: Server
    sender: Person
    neighbour: Person
    hearing: Chatter

    async def works(self, chatter: Chatter, seq: int = 1) -> None:
        """Check that `chatter` still works, and that its message is the first one the neighbour receives: event `seq`
        of the room.
        """
        await chatter.say("still here", f"works-{seq}")
        acked = await chatter.receive()
        assert (acked["type"], acked["id"], acked["seq"]) == ("ack", f"works-{seq}", seq)
        shown = await self.hearing.receive()
        assert (shown["type"], shown["seq"], shown["message"]) == ("chat_message", seq, "still here")
        assert await chatter.receive() == shown


Students = tuple[Person, Person]


@asynccontextmanager
async def sign_in_students(server: Server) -> AsyncIterator[Students]:
    ana, luis = [await add_person(server.app[DATABASE]) for _ in range(2)]
    async with Person(server.url, ana) as sender, Person(server.url, luis) as neighbour:
        yield sender, neighbour


@asynccontextmanager
async def open_scene(server: Server, students: Students) -> AsyncIterator[Scene]:
    """Let the students enter a new room."""
    database = server.app[DATABASE]
    course, _ = await add_room(database, 0)
    for student in students:
        await enrol(database, student.username, course)
    async with students[0].again() as sender, students[1].again() as neighbour:
        hearing = await neighbour.enter(course)
        assert (await hearing.receive())["type"] == "welcome"
        yield Scene(course, server, sender, neighbour, hearing)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def students(server: Server) -> AsyncIterator[Students]:
    async with sign_in_students(server) as signed_in:
        yield signed_in


@pytest_asyncio.fixture(loop_scope="module")
async def scene(server: Server, students: Students) -> AsyncIterator[Scene]:
    async with open_scene(server, students) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def fresh_scene(server: Server) -> AsyncIterator[Scene]:
    """A scene with students who haven't sent anything yet, for tests about limits that are counted for each user."""
    async with sign_in_students(server) as students, open_scene(server, students) as opened:
        yield opened


async def enter(scene: Scene) -> Chatter:
    """Open the sender's full socket, and receive the welcome."""
    chatter = await scene.sender.enter(scene.course)
    assert (await chatter.receive())["type"] == "welcome"
    return chatter


def command(**fields: object) -> str:
    return json.dumps({"type": "message", "id": "a", "message": "hello"} | fields)


# Commands that are refused.

NOT_JSON = {"bad_json"}
WRONG_SHAPE = {"bad_request"}
EITHER = {"bad_json", "bad_request"}
"""Cases in which the protocol allows both `bad_json` and `bad_request`."""

HOSTILE_COMMANDS: dict[str, tuple[str, set[str]]] = {
    "nothing": ("", NOT_JSON),
    "a blank": (" ", NOT_JSON),
    "words": ("hello", NOT_JSON),
    "half an object": ('{"id":"a","message":"hello"', NOT_JSON),
    "two objects": ('{"id":"a","message":"one"}{"id":"b","message":"two"}', NOT_JSON),
    "a comment": ('{"id":"a","message":"hello"} // and more', NOT_JSON),
    "single quotes": ("{'id':'a','message':'hello'}", NOT_JSON),
    "a byte order mark": ("\ufeff" + '{"id":"a","message":"hello"}', EITHER),
    "null": ("null", WRONG_SHAPE),
    "true": ("true", WRONG_SHAPE),
    "a number": ("7", WRONG_SHAPE),
    "a string": ('"hello"', WRONG_SHAPE),
    "an empty array": ("[]", WRONG_SHAPE),
    "a command in an array": ('[{"id":"a","message":"hello"}]', EITHER),
    "an empty object": ("{}", WRONG_SHAPE),
    "open brackets": ("[" * 60_000, EITHER),
    "nested arrays": ("[" * 30_000 + "]" * 30_000, EITHER),
    "nested objects": ('{"a":' * 10_000 + "1" + "}" * 10_000, EITHER),
    "arrays in the message": ('{"id":"a","message":' + "[" * 30_000 + "]" * 30_000 + "}", EITHER),
    "arrays in a field of no meaning": ('{"id":"a","message":"x","y":' + "[" * 30_000 + "]" * 30_000 + "}", EITHER),
    "a number of 10,000 digits": ("9" * 10_000, EITHER),
    "a reply to a number of 10,000 digits": ('{"id":"a","message":"x","reply_to":' + "9" * 10_000 + "}", EITHER),
    "an exponent": ('{"id":"a","message":"x","reply_to":1e400}', EITHER),
    "a message of 10,000 digits": ('{"id":"a","message":' + "9" * 10_000 + "}", EITHER),
    "NaN": ('{"id":"a","message":NaN}', EITHER),
    "a reply to NaN": ('{"id":"a","message":"x","reply_to":NaN}', EITHER),
    "Infinity": ('{"id":"a","message":"x","reply_to":-Infinity}', EITHER),
    "two messages": ('{"id":"a","message":"one","message":"two"}', WRONG_SHAPE),
    "two ids": ('{"id":"a","id":"b","message":"one"}', WRONG_SHAPE),
    "two types": ('{"type":"message","type":"message","id":"a","message":"one"}', WRONG_SHAPE),
    "a lone surrogate": ('{"id":"a","message":"x\\ud800y"}', EITHER),
    "a lone low surrogate": ('{"id":"a","message":"x\\udc00"}', EITHER),
    "surrogates the wrong way round": ('{"id":"a","message":"\\udc00\\ud800"}', EITHER),
    "a lone surrogate as id": ('{"id":"\\ud800","message":"x"}', EITHER),
    "an escape that is none": ('{"id":"a","message":"\\x41"}', NOT_JSON),
    "a raw line break": ('{"id":"a","message":"x\ny"}', NOT_JSON),
    "NUL": (command(message="a\0b"), WRONG_SHAPE),
    "NUL in the id": (command(id="a\0b"), WRONG_SHAPE),
    "no message": ('{"id":"a"}', WRONG_SHAPE),
    "a message of null": (command(message=None), WRONG_SHAPE),
    "a message of a number": (command(message=7), WRONG_SHAPE),
    "a message of a list": (command(message=["hello"]), WRONG_SHAPE),
    "a message of an object": (command(message={"toString": "x"}), WRONG_SHAPE),
    "no id": ('{"message":"hello"}', WRONG_SHAPE),
    "no id but a type": ('{"type":"message","message":"hello"}', WRONG_SHAPE),
    "an empty id": (command(id=""), WRONG_SHAPE),
    "an id of null": (command(id=None), WRONG_SHAPE),
    "an id of a number": (command(id=7), WRONG_SHAPE),
    "an id of an object": (command(id={}), WRONG_SHAPE),
    "an id of 65 characters": (command(id="x" * 65), WRONG_SHAPE),
    "another type": (command(type="no-such-type"), {"unknown_type"}),
    "an empty type": (command(type=""), {"unknown_type"}),
    "a type of the server": (command(type="chat_message"), {"unknown_type"}),
    "a type of Python": (command(type="__class__"), {"unknown_type"}),
    "a type of null": (command(type=None), WRONG_SHAPE),
    "a type of a list": (command(type=["message"]), WRONG_SHAPE),
    "a reply to 0": (command(reply_to=0), WRONG_SHAPE),
    "a reply to -1": (command(reply_to=-1), WRONG_SHAPE),
    "a reply to a fraction": (command(reply_to=1.5), WRONG_SHAPE),
    "a reply to a string": (command(reply_to="1"), WRONG_SHAPE),
    "a reply to true": (command(reply_to=True), WRONG_SHAPE),
    "a reply to more than 2^53": (command(reply_to=2**53 + 1), WRONG_SHAPE),
    "a reply to more than 2^64": (command(reply_to=2**64 + 1), EITHER),
    "a reply to what is not there": (command(reply_to=1), {"no_such_message"}),
    "a reply to the farthest": (command(reply_to=2**53), {"no_such_message"}),
    "4,001 characters": (command(message="x" * 4001), {"too_long"}),
    "4,001 characters beyond the first plane": ('{"id":"a","message":"' + "😀" * 4001 + '"}', {"too_long"}),
    "60,000 characters": (command(message="x" * 60_000), {"too_long"}),
    "an empty message": (command(message=""), {"empty"}),
    "blanks": (command(message=" \t\r\n\v\f\u00a0\u2003\u3000\u2028\u2029\u0085"), {"empty"}),
    "a thousand line breaks": (command(message="\n" * 1000), {"empty"}),
    "zero-width spaces": (command(message="\u200b" * 10), {"empty"}),
    "zero-width joiners": (command(message="\u200d\u200c\u2060\ufeff"), {"empty"}),
    "a blank braille pattern": (command(message="\u2800"), {"empty"}),
    "a Hangul filler": (command(message="\u3164\u115f\uffa0"), {"empty"}),
    "directions alone": (command(message="\u202a\u202e\u2066\u2069\u200e\u061c"), {"empty"}),
    "tag characters alone": (command(message="\U000e0041\U000e0042\U000e007f"), {"empty"}),
    "variation selectors alone": (command(message="\ufe0f\ufe0e"), {"empty"}),
    "control characters alone": (command(message="\x01\x02\x1b\x7f\x9b"), {"empty"}),
    "3,000 combining marks on one letter": (command(message="a" + "\u0301\u0316" * 1_500), WRONG_SHAPE),
    "a flood of combining marks": (command(message="a" + "\u0301\u0316" * 5_000), {"bad_request", "too_long"}),
}


async def test_a_hostile_command_gets_an_error_and_changes_nothing(scene: Scene, subtests: pytest.Subtests) -> None:
    chatter = await enter(scene)
    for case, (text, codes) in HOSTILE_COMMANDS.items():
        with subtests.test(case):
            await chatter.socket.send_str(text)
            answer = await chatter.receive()
            assert (answer["type"], answer["code"] in codes) == ("error", True), answer
            assert answer["message"]
            assert abs(datetime.fromisoformat(answer["datetime"]) - datetime.now(UTC)) < timedelta(minutes=1)
            assert answer.get("id") in ("a", "b", None)
            assert "seq" not in answer
            assert await scene.sender.messages(scene.course) | {"epoch": ""} == {
                "messages": [],
                "head": 0,
                "more": False,
                "lines": [],
                "epoch": "",
            }
    await scene.works(chatter)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (command(message=7), "bad_request"),
        (command(message=""), "empty"),
        (command(message="x" * 4001), "too_long"),
        (command(type="none"), "unknown_type"),
        (command(reply_to=9), "no_such_message"),
    ],
)
async def test_an_error_has_the_id_of_its_command_which_can_be_used_again(scene: Scene, frame: str, code: str) -> None:
    chatter = await enter(scene)
    await chatter.send(frame)
    refused = await chatter.receive()
    assert (refused["code"], refused["id"]) == (code, "a")
    await chatter.say("now", "a")
    assert (await chatter.receive())["type"] == "ack"
    assert (await scene.hearing.receive())["message"] == "now"


async def test_an_error_is_in_the_readers_language(scene: Scene) -> None:
    texts = set()
    for language in ("en", "es"):
        chatter = await scene.sender.enter(scene.course, headers={"Accept-Language": language})
        assert (await chatter.receive())["type"] == "welcome"
        await chatter.send(command(message="x" * 4001))
        texts.add((await chatter.receive())["message"])
    assert "A message can have at most 4000 characters." in texts


async def test_deep_nesting_in_a_large_frame_closes_the_socket(fresh_scene: Scene) -> None:
    chatter = await enter(fresh_scene)
    await chatter.socket.send_str("[" * 100_000)
    assert await chatter.close_code() == 1009
    await fresh_scene.works(await enter(fresh_scene))


# Accepted commands, and their effect.


async def test_fields_that_only_the_server_sets_are_ignored(scene: Scene) -> None:
    chatter = await enter(scene)
    forged = {
        "user": "profe",
        "name": "Clara Benítez",
        "role": "instructor",
        "seq": 999,
        "datetime": "2001-01-01T00:00:00+00:00",
        "html": "<script>alert(1)</script>",
        "course": 1,
        "deleted": True,
        "epoch": "x",
        "__proto__": {"role": "instructor"},
    }
    await chatter.send(command(**forged))
    acked, shown = await chatter.receive(), await scene.hearing.receive()
    assert acked["seq"] == shown["seq"] == 1
    assert acked["datetime"] == shown["datetime"]
    assert abs(datetime.fromisoformat(shown["datetime"]) - datetime.now(UTC)) < timedelta(minutes=1)
    username = scene.sender.username
    assert shown == {
        "seq": 1,
        "datetime": shown["datetime"],
        "type": "chat_message",
        "id": "a",
        "user": username,
        "name": username,
        "role": "student",
        "message": "hello",
        "html": "hello",
    }
    (stored,) = (await scene.sender.messages(scene.course))["messages"]
    assert {name: stored[name] for name in shown if name != "type"} == {
        name: shown[name] for name in shown if name != "type"
    }


async def test_a_repeated_id_gets_the_first_ack_whatever_the_command(scene: Scene) -> None:
    chatter, second = await enter(scene), await enter(scene)
    await chatter.say("first", "a")
    first = await chatter.receive()
    for repeated in (
        command(message="another"),
        command(message="first"),
        command(message="another", reply_to=1),
        command(message="another", reply_to=99),
        command(message="x" * 4001),
        command(message=""),
        command(message=7),
        command(type="none"),
    ):
        await second.send(repeated)
        assert await second.receive_until("ack") == first
    assert (await scene.hearing.receive())["message"] == "first"
    await second.say("next", "b")
    assert (await scene.hearing.receive())["message"] == "next"
    assert [message["message"] for message in (await scene.sender.messages(scene.course))["messages"]] == [
        "first",
        "next",
    ]


async def test_different_users_can_use_the_same_id(scene: Scene) -> None:
    chatter = await enter(scene)
    await chatter.say("hers", "a")
    await scene.hearing.receive_until("chat_message")
    await scene.hearing.say("his", "a")
    assert (await scene.hearing.receive_until("ack"))["seq"] == 2
    assert (await chatter.receive_until("chat_message", seq=2))["message"] == "his"


async def test_ten_simultaneous_commands_with_one_id_store_one_message(scene: Scene) -> None:
    chatters = [await enter(scene) for _ in range(5)]
    await asyncio.gather(*(chatter.say(f"text {n}", "a") for n, chatter in enumerate(chatters * 2)))
    acks = [await chatter.receive_until("ack") for chatter in chatters * 2]
    assert acks == [acks[0]] * 10
    assert (await scene.hearing.receive())["seq"] == 1
    assert (await scene.sender.messages(scene.course))["head"] == 1


TYPED: list[tuple[str, str]] = [
    ("  hello\n", "hello"),
    ("\u00a0\u3000hello\u2003", "hello"),
    ("cafe\u0301", "caf\u00e9"),
    ("\u212b", "\u00c5"),
    ("\u1112\u1161\u11ab", "\ud55c"),
    ("a\r\nb", "a\nb"),
    ("x" * 4000, "x" * 4000),
    (" " * 500 + "x" * 4000 + " " * 500, "x" * 4000),
    ("e\u0301" * 4000, "\u00e9" * 4000),
    ("😀" * 4000, "😀" * 4000),
    ("👩‍👩‍👧‍👦", "👩‍👩‍👧‍👦"),
    ("a" + "\u0301" * 400, unicodedata.normalize("NFC", "a" + "\u0301" * 400)),
    ("\u202eabc\u2069", "\u202eabc\u2069"),
    ("\x1b[31mred\x07", "\x1b[31mred\x07"),
    ("a" + "\n" * 1000 + "b", "a" + "\n" * 1000 + "b"),
    ("'; drop table educa_chat.event; --", "'; drop table educa_chat.event; --"),
    ("%s %(x)s {0} {x.__class__} ${jndi:ldap://x} $1", "%s %(x)s {0} {x.__class__} ${jndi:ldap://x} $1"),
    ("0", "0"),
    ("null", "null"),
]


async def test_text_is_trimmed_and_normalised_and_otherwise_unchanged(scene: Scene, subtests: pytest.Subtests) -> None:
    chatter = await enter(scene)
    for seq, (typed, stored) in enumerate(TYPED, 1):
        with subtests.test(typed=typed):
            await chatter.say(typed, f"{seq}")
            assert (await chatter.receive_until("ack"))["seq"] == seq
            shown = await scene.hearing.receive()
            assert shown["message"] == stored
            kept = (await scene.sender.messages(scene.course))["messages"][-1]
            assert (kept["message"], kept["html"]) == (stored, shown["html"])
    rows = await scene.server.app[DATABASE].fetch(
        "select body from educa_chat.message where course = $1 order by seq", scene.course
    )
    assert [row["body"] for row in rows] == [stored for _, stored in TYPED]


async def test_html_in_a_message_is_text(scene: Scene, subtests: pytest.Subtests) -> None:
    chatter = await enter(scene)
    for text in (
        "<script>alert(1)</script>",
        '"><svg/onload=alert(1)>',
        "<img src=x onerror=alert(1)>",
        "</script><script>alert(1)</script>",
        '<a href="java&#x0A;script:alert(1)">x</a>',
        '<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=alert(1)&gt;">',
        "<form id=chat><input name=innerHTML>",
        "{{7*7}} {% raw %}",
        "[x](javascript:alert(1))",
        'https://example.org/"onmouseover="alert(1)',
    ):
        with subtests.test(text=text):
            await chatter.say(text, text[:20])
            shown = await scene.hearing.receive()
            assert shown["message"] == text
            assert "<" not in re.sub(r'</?p>|<a href="https://example\.org/" [^<>]*>|</a>', "", shown["html"])
            assert "javascript" not in [part.partition(":")[0] for part in shown["html"].split('href="')[1:]]


async def test_a_reply_must_refer_to_a_message_of_its_room(server: Server, students: Students, scene: Scene) -> None:
    chatter = await enter(scene)
    async with open_scene(server, students) as other:
        for n in range(3):
            await other.hearing.say("elsewhere", f"{n}")
            await other.hearing.receive_until("ack")
    await chatter.say("here", "a")
    await chatter.receive_until("chat_message")
    await chatter.send(command(id="b", reply_to=3))
    refused = await chatter.receive()
    assert (refused["code"], refused["id"]) == ("no_such_message", "b")
    await chatter.send(command(id="b", reply_to=1))
    assert (await chatter.receive_until("chat_message"))["reply_to"] == 1
    assert [await scene.hearing.receive() for _ in range(2)][1]["reply_to"] == 1


async def test_combining_marks_do_not_delay_other_users(fresh_scene: Scene) -> None:
    chatter = await enter(fresh_scene)
    for n in range(20):
        await chatter.send(command(id=f"{n}", message="a" + "\u0301\u0316" * 5_000))
    await fresh_scene.hearing.say("and I?", "b")
    assert (await fresh_scene.hearing.receive())["type"] == "ack"
    assert {(await chatter.receive_until("error"))["code"] for _ in range(20)} <= {"bad_request", "too_long"}


# The basic flavour.


async def test_a_basic_client_receives_only_messages_and_errors(scene: Scene) -> None:
    basic = await scene.sender.enter(scene.course, basic=True, query="?after=0")
    await basic.send({"message": "from a basic client"})
    await basic.send({"message": "with an id", "id": "a"})
    await basic.send({"message": "with that id again", "id": "a"})
    await basic.send("no JSON")
    await basic.send({"message": " "})
    await basic.send({"type": "none", "id": "x"})
    await basic.send({"message": "a reply to nothing", "reply_to": 77, "id": "r"})
    await scene.hearing.say("from a full client", "b")
    await scene.hearing.receive_until("chat_message", message="from a full client")
    await basic.send({"message": "the end"})
    frames: list[dict[str, Any]] = []
    while not frames or frames[-1].get("message") != "the end":
        frames.append(await basic.receive())
    messages = [frame for frame in frames if frame["type"] == "chat_message"]
    errors = [frame for frame in frames if frame["type"] == "error"]
    assert len(messages) + len(errors) == len(frames)
    assert sorted(frame["message"] for frame in messages) == [
        "from a basic client",
        "from a full client",
        "the end",
        "with an id",
    ]
    assert sorted(frame["code"] for frame in errors) == ["bad_json", "empty", "no_such_message", "unknown_type"]
    for shown in messages:
        assert {"type", "message", "user", "datetime"} <= set(shown)
        assert "html" not in shown


async def test_a_client_with_unknown_subprotocols_is_a_basic_client(scene: Scene) -> None:
    socket = await scene.sender.http.ws_connect(
        f"{scene.server.url}/ws/chat/room/{scene.course}/", protocols=("educa-chat.v2", "graphql-ws")
    )
    assert socket.protocol is None
    chatter = Chatter(socket)
    await chatter.send({"message": "hello"})
    shown = await chatter.receive()
    assert (shown["type"], "html" in shown) == ("chat_message", False)
    await socket.close()


# Too much of something.


async def test_a_rate_limited_user_learns_when_to_retry_and_others_are_not_affected(url: str) -> None:
    settings = settings_for(url, limits_message_burst=3, limits_messages_per_second=0.01)
    async with (
        open_server(settings) as server,
        sign_in_students(server) as students,
        open_scene(server, students) as scene,
    ):
        one, other, basic = await enter(scene), await enter(scene), await scene.sender.enter(scene.course, basic=True)
        await one.say("1", "a")
        await one.receive_until("ack", id="a")
        await other.say("2", "b")
        await other.receive_until("ack", id="b")
        await basic.send({"message": "3"})
        await scene.hearing.receive_until("chat_message", message="3")
        for chatter in (one, other):
            await chatter.say("4", "c")
            refused = await chatter.receive_until("error")
            assert (refused["code"], refused["id"]) == ("rate_limited", "c")
            assert 0 < refused["retry_after"] <= 100
        await basic.send({"message": "5"})
        assert (await basic.receive_until("error"))["code"] == "rate_limited"
        await scene.hearing.say("and I?", "a")
        assert (await scene.hearing.receive())["type"] == "ack"
        assert (await one.receive_until("chat_message", message="and I?"))["seq"] == 4
        assert (await scene.sender.messages(scene.course))["head"] == 4


async def test_rate_limits_are_separate_for_each_room(url: str) -> None:
    settings = settings_for(url, limits_message_burst=1, limits_messages_per_second=0.01)
    async with open_server(settings) as server, Person(server.url, "profe") as profe:
        for course in [(await add_room(server.app[DATABASE]))[0] for _ in range(2)]:
            chatter = await profe.enter(course)
            await chatter.say("good morning", "a")
            await chatter.receive_until("ack", id="a")
            await chatter.say("once more", "b")
            assert (await chatter.receive_until("error"))["code"] == "rate_limited"


async def test_a_client_that_keeps_breaking_the_rules_is_disconnected(fresh_scene: Scene) -> None:
    chatter = await enter(fresh_scene)
    with suppress(ConnectionError):
        for _ in range(400):
            await chatter.socket.send_str("[")
    assert await chatter.close_code() == 1008
    await fresh_scene.works(await enter(fresh_scene))


async def test_a_flood_of_messages_is_refused_without_affecting_others(fresh_scene: Scene) -> None:
    chatter = await enter(fresh_scene)
    with suppress(ConnectionError):
        for n in range(240):
            await chatter.say("flood", f"{n}")
    await fresh_scene.hearing.say("and I?", "a")
    await fresh_scene.hearing.receive_until("ack", id="a")
    assert (await chatter.receive_until("error"))["code"] == "rate_limited"
    assert (await fresh_scene.neighbour.messages(fresh_scene.course))["head"] < 200


async def test_one_socket_too_many_closes_the_users_oldest(fresh_scene: Scene) -> None:
    chatters = [await enter(fresh_scene) for _ in range(20)]
    newest = await enter(fresh_scene)
    assert await chatters[0].close_code() == 4029
    await newest.say("hello", "a")
    for chatter in [*chatters[1:], newest, fresh_scene.hearing]:
        assert (await chatter.receive_until("chat_message"))["seq"] == 1


# Invalid frames.


def padded(size: int) -> bytes:
    """Return a command of `size` bytes, most of them in a field without meaning."""
    made = command(padding="").encode()
    return command(padding="x" * (size - len(made))).encode()


SAID = command().encode()
WRONG_FRAMES: dict[str, tuple[bytes, int]] = {
    "a binary frame": (frame(FIN | BINARY, SAID), 1003),
    "an empty binary frame": (frame(FIN | BINARY), 1003),
    "invalid UTF-8": (frame(FIN | TEXT, b'{"id":"a","message":"\xc3\x28"}'), 1007),
    "a surrogate in UTF-8": (frame(FIN | TEXT, b'{"id":"a","message":"\xed\xa0\x80"}'), 1007),
    "an overlong form": (frame(FIN | TEXT, b'{"id":"a","message":"\xc0\xaf"}'), 1007),
    "invalid UTF-8 in a message that goes on": (frame(TEXT, b'{"id":"a","message":"\xc3\x28'), 1007),
    "invalid UTF-8 in a frame that goes on": (frame(FIN | TEXT, b'{"id":"a","message":"\xff' + b"x" * 9)[:-5], 1007),
    "a character cut off": (frame(FIN | TEXT, b"\xf0\x9f\x98"), 1007),
    "one byte too many": (frame(FIN | TEXT, padded(FRAME_BYTES + 1)), 1009),
    "a megabyte": (frame(FIN | TEXT, padded(2**20)), 1009),
    "the promise of 2^62 bytes": (frame(FIN | TEXT, length=2**62), 1009),
    "the promise of 2^63 bytes": (frame(FIN | TEXT, length=2**63), 1002),
    "the promise of 2^64 - 1 bytes": (frame(FIN | TEXT, length=2**64 - 1), 1002),
    "16 bits for a length of 7": (b"\x81\xfe\x00\x02\0\0\0\0{}", 1002),
    "64 bits for a length of 7": (b"\x81\xff\0\0\0\0\0\0\x00\x02\0\0\0\0{}", 1002),
    "64 bits for a length of 16": (b"\x81\xff\0\0\0\0\0\0\x01\x00\0\0\0\0" + b" " * 256, 1002),
    "fragments of too much together": (
        frame(TEXT, padded(FRAME_BYTES)) + frame(FIN | CONTINUATION, b" "),
        1009,
    ),
    "a flood of small fragments": (frame(TEXT, b"[") + frame(CONTINUATION, b"[") * 100_000, 1008),
    "a flood of empty fragments": (frame(TEXT, b"[") + frame(CONTINUATION) * 100_000, 1008),
    "a signal in 65,017 fragments": (
        frame(TEXT) + frame(CONTINUATION, b" ") * 65_000 + frame(FIN | CONTINUATION, b'{"type":"typing"}'),
        1008,
    ),
    "a frame without a mask": (frame(FIN | TEXT, SAID, mask=False), 1002),
    "a ping without a mask": (frame(FIN | PING, mask=False), 1002),
    "RSV1 without deflate": (frame(FIN | RSV1 | TEXT, SAID), 1002),
    "RSV2": (frame(FIN | RSV2 | TEXT, SAID), 1002),
    "RSV3": (frame(FIN | RSV3 | TEXT, SAID), 1002),
    "RSV1 on a ping": (frame(FIN | RSV1 | PING), 1002),
    "an opcode that there is not": (frame(FIN | 3, SAID), 1002),
    "a control opcode that there is not": (frame(FIN | 11, b""), 1002),
    "a continuation of nothing": (frame(FIN | CONTINUATION, SAID), 1002),
    "a message within a message": (frame(TEXT, b"{") + frame(FIN | TEXT, SAID), 1002),
    "a ping in fragments": (frame(PING, b"x"), 1002),
    "a ping of 126 bytes": (frame(FIN | PING, b"x" * 126), 1002),
    "the close code 1005": (frame(FIN | CLOSE, struct.pack("!H", 1005)), 1002),
    "the close code 999": (frame(FIN | CLOSE, struct.pack("!H", 999)), 1002),
    "the close code 0": (frame(FIN | CLOSE, struct.pack("!H", 0)), 1002),
    "half a close code": (frame(FIN | CLOSE, b"\x03"), 1002),
    "a reason of 200 bytes": (frame(FIN | CLOSE, struct.pack("!H", 1000) + b"x" * 200), 1002),
    "a reason that is no UTF-8": (frame(FIN | CLOSE, struct.pack("!H", 1000) + b"\xc3\x28"), 1007),
}


async def test_an_invalid_frame_closes_the_socket_with_the_reason(scene: Scene, subtests: pytest.Subtests) -> None:
    for case, (data, code) in WRONG_FRAMES.items():
        with subtests.test(case):
            async with open_raw(scene.sender, scene.course) as raw:
                await raw.send(data)
                assert await raw.close_code() == code
    await scene.works(await enter(scene))


async def test_compression_is_never_negotiated(scene: Scene) -> None:
    address = f"{scene.server.url}/ws/chat/room/{scene.course}/"
    async with scene.sender.http.ws_connect(address, compress=15) as asking:
        assert asking.compress == 0


async def test_frames_after_an_invalid_one_are_ignored(scene: Scene) -> None:
    for wrong in (frame(FIN | BINARY, b"x"), frame(FIN | RSV1 | TEXT, b"x"), frame(FIN | CLOSE)):
        async with open_raw(scene.sender, scene.course) as raw:
            await raw.send(wrong + frame(FIN | TEXT, SAID) * 3 + frame(FIN | CLOSE))
            await raw.close_code()
    await scene.works(await enter(scene))


async def test_a_frame_of_exactly_64_kib_is_accepted(scene: Scene) -> None:
    async with open_raw(scene.sender, scene.course) as raw:
        await raw.send(frame(FIN | TEXT, padded(FRAME_BYTES)))
        assert (await raw.json())["type"] == "ack"
        half = padded(FRAME_BYTES)
        await raw.send(frame(TEXT, half[:40_000]) + frame(FIN | CONTINUATION, half[40_000:]))
        assert (await raw.json())["type"] == "chat_message"
        assert (await raw.json())["type"] == "ack"
    assert (await scene.hearing.receive())["message"] == "hello"


async def test_endless_fragments_close_the_socket(fresh_scene: Scene) -> None:
    async with open_raw(fresh_scene.sender, fresh_scene.course) as raw:
        sent = 0
        await raw.send(frame(TEXT, b"x" * 1000))
        closing = asyncio.create_task(raw.close_code())
        while not closing.done() and sent < 1000:
            await raw.send(frame(CONTINUATION, b"x" * 1000))
            sent += 1
            await asyncio.sleep(0)
        assert await closing == 1009
        assert sent < 1000
    await fresh_scene.works(await enter(fresh_scene))


async def test_slow_and_fragmented_messages_are_reassembled(scene: Scene) -> None:
    async with open_raw(scene.sender, scene.course) as raw:
        for byte in (whole := frame(FIN | TEXT, SAID)):
            await raw.send(bytes([byte]))
        assert (await raw.json())["type"] == "ack"
        assert (await raw.json())["type"] == "chat_message"
        said = command(id="b", message="ñ" * 50).encode()
        await raw.send(frame(TEXT) + b"".join(frame(CONTINUATION, said[n : n + 1]) for n in range(len(said))))
        await raw.send(frame(FIN | PING, b"between") + frame(FIN | CONTINUATION))
        assert await raw.receive() == (PONG, b"between")
        assert (await raw.json())["id"] == "b"
    assert len(whole) > 10
    assert [(await scene.hearing.receive())["message"] for _ in range(2)] == ["hello", "ñ" * 50]


async def test_pings_are_answered_and_unsolicited_pongs_are_ignored(fresh_scene: Scene) -> None:
    async with open_raw(fresh_scene.sender, fresh_scene.course) as raw:
        for said in (b"", b"x" * 125, *(b"%d" % number for number in range(100))):
            await raw.send(frame(FIN | PING, said))
            assert await raw.receive() == (PONG, said)
        await raw.send(frame(FIN | PONG, b"unasked") + frame(FIN | TEXT, SAID))
        assert (await raw.json())["type"] == "ack"


@pytest.mark.parametrize("opcode", [PING, PONG])
async def test_a_flood_of_pings_or_pongs_closes_the_socket_without_affecting_others(
    fresh_scene: Scene, opcode: int
) -> None:
    async with open_raw(fresh_scene.sender, fresh_scene.course) as raw:
        sending = asyncio.create_task(raw.send(b"".join(frame(FIN | opcode, b"%d" % n) for n in range(20_000))))
        await fresh_scene.hearing.say("and I?", "a")
        assert (await fresh_scene.hearing.receive())["type"] == "ack"
        pongs: list[bytes] = []
        while (received := await raw.receive()) is not None and received[0] != CLOSE:
            if received[0] == PONG:
                pongs.append(received[1])
        assert received is not None
        assert int.from_bytes(received[1][:2], "big") == 1008
        assert pongs == [b"%d" % n for n in range(len(pongs))]
        assert len(pongs) < 1000
        await sending


async def test_disconnecting_within_a_frame_does_not_affect_others(scene: Scene) -> None:
    for part in (b"", b"\x81", frame(FIN | TEXT, SAID)[:-3], frame(TEXT, SAID), frame(FIN | TEXT, length=60_000)):
        async with open_raw(scene.sender, scene.course) as raw:
            await raw.send(part)
    await scene.works(await enter(scene))


async def test_an_unmasked_frame_does_not_affect_others(scene: Scene) -> None:
    async with open_raw(scene.sender, scene.course) as raw:
        await raw.send(frame(FIN | TEXT, command(message="").encode(), mask=False))
        assert await raw.receive() == (CLOSE, struct.pack("!H", 1002))
    await scene.works(await enter(scene))


async def test_a_close_frame_is_answered_with_its_code(scene: Scene, subtests: pytest.Subtests) -> None:
    for code in (1000, 1001, 3000, 4000, 4999):
        with subtests.test(code=code):
            async with open_raw(scene.sender, scene.course) as raw:
                await raw.send(frame(FIN | CLOSE, struct.pack("!H", code) + b"bye"))
                assert await raw.close_code() in (code, 1000)
    await scene.works(await enter(scene))

"""What was stored before students stopped seeing some names gets the same forms as what is stored since."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from educa_chat.protocol import (
    UNNAMED,
    Anonymity,
    Answer,
    Delete,
    Edit,
    Endorse,
    Mute,
    Muted,
    Pin,
    Question,
    React,
    Say,
    Slow,
    encode_body,
)
from educa_chat.storage import migrate as migrate_module
from educa_chat.storage.log import Entry, Kind, Log, Outcome
from educa_chat.storage.messages import Reader, read_page
from educa_chat.storage.migrate import migrate, migrations
from educa_chat.storage.pool import open_database
from tests.conftest import Postgres
from tests.storage.platform import add_class
from tests.test_class import ASKER, STUDENT, TEACHER, Class, open_class

BEFORE = 5
"""The newest migration before these names were concealed."""
VARYING = re.compile(r'"(datetime|until|id)": ?"[^"]*"')
PSEUDONYM = re.compile(r"~\d{6}")


async def mute(room: Class, *, on: bool) -> None:
    await room.give(TEACHER, Mute(user=f"user{STUDENT}", minutes=5 if on else 0))


async def mute_as_before(room: Class, *, on: bool) -> None:
    """Mute the student, with the forms that were stored before."""
    until = "2030-01-01T00:00:00+00:00" if on else None
    muted = Muted(user=f"user{TEACHER}", target_user=f"user{STUDENT}", until=until)
    entry = Entry(
        course=1,
        kind=Kind.MUTED,
        actor=TEACHER,
        by_instructor=True,
        client_id=f"mute-{len(room.events)}",
        student=encode_body(Muted(user=muted.user, target_user=UNNAMED, until=until)),
        instructor=encode_body(muted),
        basic=None,
        username=muted.user,
        name=muted.target_user,
        body=until or "",
        html="",
        target=None,
        is_on=on,
    )
    outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    room.appender.append(entry, outcome.set_result)
    await outcome


async def fill(room: Class, mute: Callable[..., Awaitable[None]]) -> None:
    """Do all that there is to do with messages some of which are anonymous."""
    await mute(room, on=True)
    await mute(room, on=False)
    await room.give(TEACHER, Anonymity(on=True))
    await room.give(ASKER, Say(message="one", anonymous=True))
    await room.give(ASKER, Say(message="two", reply_to=4))
    await room.give(STUDENT, Say(message="three", reply_to=5, anonymous=True))
    await room.give(STUDENT, Say(message="under my name alone"))
    for seq in (4, 5, 6, 7):
        await room.give(TEACHER, Pin(target=seq, on=True), Endorse(target=seq, on=True), Question(target=seq, on=True))
        await room.give(ASKER, React(target=seq, emoji="👍", on=True), Answer(target=seq, on=True))
        await room.give(STUDENT, React(target=seq, emoji="👍", on=True), React(target=seq, emoji="🎉", on=True))
        await room.give(STUDENT, React(target=seq, emoji="🎉", on=False), Answer(target=seq, on=True))
        await room.give(TEACHER, React(target=seq, emoji="👍", on=True), Slow(seconds=0))
        for user in (ASKER, STUDENT):
            await room.give(
                user, Edit(target=seq, message='@user1 and @user2, "user":"x",'), Question(target=seq, on=False)
            )
    await mute(room, on=True)
    await mute(room, on=False)
    await room.give(TEACHER, Delete(target=6))
    await room.give(ASKER, Delete(target=5))


async def stored(room: Class) -> list[Any]:
    """The log and the messages as each audience sees them, without times and ids; pseudonyms are numbered in order."""
    events = await Log(room.database).read(1, 0, 1000)
    found: list[Any] = [
        (event.owner, json.loads(event.student), json.loads(event.instructor or b"null")) for event in events
    ]
    for reader in (Reader(ASKER, is_instructor=False), Reader(STUDENT, is_instructor=False)):
        page = await read_page(room.database, 1, reader, before=None, after=None, limit=100)
        found += [(message.seq, message.user, message.reactions) for message in page.messages]
    names: dict[str, str] = {}
    text = VARYING.sub("", "\n".join(map(repr, found)).replace("'", '"'))
    return PSEUDONYM.sub(lambda name: names.setdefault(name[0], f"~{len(names)}"), text).splitlines()


async def test_the_log_from_before_is_rewritten_to_what_is_stored_now(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncExitStack() as stack:
        old = await stack.enter_async_context(open_database(await postgres.create_database(), 2))
        with monkeypatch.context() as patched:
            patched.setattr(migrate_module, "migrations", lambda: migrations()[:BEFORE])
            await migrate(old)
        new = await stack.enter_async_context(open_database(await postgres.create_chat_database(), 2))
        rooms = []
        for database, way_to_mute in ((old, mute_as_before), (new, mute)):
            await add_class(database)
            rooms.append(await stack.enter_async_context(open_class(database)))
            await fill(rooms[-1], way_to_mute)
        assert await migrate(old) == [f"{number:04}_{name}" for number, name, _ in migrations()[BEFORE:]]
        rewritten, since = [await stored(room) for room in rooms]
        assert len(since) > 60
        for one, other in zip(rewritten, since, strict=True):
            assert one == other

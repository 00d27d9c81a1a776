"""The current state of a room's messages: its history in pages, or single messages by seq."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NamedTuple

import msgspec

from educa_chat.markup.links import without_links
from educa_chat.mentions import EVERYBODY
from educa_chat.protocol import Role
from educa_chat.storage.pool import Database

PAGE_BYTES = 512 * 1024
"""The maximum size of all texts and HTML of a page. More would block the event loop for too long."""

_REACTIONS_OF_M = (
    "(select json_agg(json_build_object('emoji', emoji, 'users', users, 'seen', seen, 'ids', ids) order by first)"
    " from (select emoji, array_agg(username order by event) as users, min(event) as first,"
    "   array_agg(coalesce(pseudonym, username) order by event) as seen, array_agg(user_id order by event) as ids"
    "  from educa_chat.reaction where course = m.course and seq = m.seq group by emoji) r)"
)
COLUMNS = (
    "m.seq, m.author, m.client_id, m.username, m.name, m.instructor, m.assistant, m.at, m.body, m.html, m.reply_to,"
    " m.edited, m.deleted, m.pinned, m.question, m.answered, m.answers, m.endorsed, m.pseudonym, m.mentions,"
    f" {_REACTIONS_OF_M} as reactions"
)
"""The columns of `educa_chat.message m` that `message_of` needs."""


class Reaction(msgspec.Struct, frozen=True):
    """An emoji on a message, and the usernames or pseudonyms of the users who reacted with it."""

    emoji: str
    users: list[str]
    own: str | msgspec.UnsetType = msgspec.UNSET
    """The reader's pseudonym among them."""


class _StoredReaction(msgspec.Struct):
    emoji: str
    users: list[str]
    seen: list[str]
    """The names that students see."""
    ids: list[int]

    def as_seen_by(self, reader: "Reader") -> Reaction:
        if reader.is_staff:
            return Reaction(self.emoji, self.users)
        own: str | msgspec.UnsetType = msgspec.UNSET
        if reader.user_id in self.ids:
            index = self.ids.index(reader.user_id)
            if self.seen[index] != self.users[index]:
                own = self.seen[index]
        return Reaction(self.emoji, self.seen, own)


_REACTIONS = msgspec.json.Decoder(list[_StoredReaction])


class Reader(NamedTuple):
    """The user who reads the page. It decides which names of anonymous authors are shown."""

    user_id: int
    is_staff: bool
    """Whether they can see what instructors and assistants see."""


class Message(msgspec.Struct, frozen=True):
    """The current state of a message."""

    seq: int
    id: str | msgspec.UnsetType
    user: str
    name: str
    role: str
    datetime: str
    message: str
    html: str
    reply_to: int | None
    own: bool
    """Whether it is the reader's."""
    anonymous: bool
    """Whether it is anonymous to students. They get no id then, and `user` and `name` are the pseudonym."""
    pseudonym: str | msgspec.UnsetType
    """For instructors: the name that students see."""
    edited: bool
    deleted: bool
    pinned: bool
    question: bool
    answered: bool
    """Whether it is marked as the answer to the message it replies to."""
    answers: int
    """The number of replies that are marked as the answer to it."""
    endorsed: bool
    mentions: list[str]
    """The usernames of the members whom it mentions."""
    mentions_all: bool
    reactions: list[Reaction]
    """In the order in which each emoji was first used."""


class Page(NamedTuple):
    """Some messages of a room, oldest first, and the head of the room's log at that moment."""

    messages: list[Message]
    head: int
    more: bool
    """Whether there are more messages in the requested direction."""


async def read_page(
    database: Database,
    course: int,
    reader: Reader,
    *,
    before: int | None,
    after: int | None,
    limit: int,
    only_unanswered: bool = False,
) -> Page:
    """Return the newest `limit` messages with seq < `before`, or the oldest with seq > `after`.

    With `only_unanswered`, only unanswered questions. A page contains at least one message, and more as long as
    their texts and HTML fit into PAGE_BYTES. The head and the messages are from the same snapshot. A course without a
    room has an empty page.
    """
    condition, direction = ("m.seq > $2", "asc") if after is not None else ("m.seq < $2", "desc")
    if only_unanswered:
        condition += " and m.question and m.answers = 0 and not m.deleted"
    bound = after if after is not None else before if before is not None else 2**63 - 1
    rows = await database.fetch(
        "select r.head, m.* from (select coalesce(max(head), 0) as head from educa_chat.room where course = $1) r"
        " left join lateral (select * from ("
        "  select *, count(*) over () as found, sum(bytes) over"
        f"   (order by seq {direction} rows between unbounded preceding and 1 preceding) as bytes_before"
        f"  from (select {COLUMNS},"
        "    octet_length(m.body) + coalesce(octet_length(m.html), octet_length(m.body)) as bytes"
        f"   from educa_chat.message m where m.course = $1 and {condition}"
        f"   order by m.seq {direction} limit $3) m) m"
        "  where bytes_before is null or bytes_before + bytes <= $4"
        f" ) m on true order by m.seq {direction}",
        course,
        bound,
        limit + 1,
        PAGE_BYTES,
    )
    messages = [message_of(reader, *row[1:-3]) for row in rows[:limit] if row["seq"] is not None]
    if direction == "desc":
        messages.reverse()
    return Page(messages, rows[0]["head"], more=(rows[0]["found"] or 0) > len(messages))


async def read_messages(database: Database, course: int, reader: Reader, seqs: Collection[int]) -> Page:
    """Return the messages among `seqs`, oldest first. The head is from the same snapshot."""
    rows = await database.fetch(
        # Each is an index lookup. `limit 1` makes the planner use the index even if it expects few messages.
        "select r.head, m.* from (select coalesce(max(head), 0) as head from educa_chat.room where course = $1) r"
        " left join lateral (select m.* from unnest($2::bigint[]) wanted (seq) cross join lateral ("
        f"  select {COLUMNS} from educa_chat.message m where m.course = $1 and m.seq = wanted.seq limit 1) m"
        " ) m on true order by m.seq",
        course,
        list(seqs),
    )
    return Page([message_of(reader, *row[1:]) for row in rows if row["seq"] is not None], rows[0]["head"], more=False)


def message_of(
    reader: Reader,
    seq: int,
    author: int,
    client_id: str,
    username: str,
    name: str,
    instructor: bool,
    assistant: bool,
    at: datetime,
    body: str,
    html: str | None,
    reply_to: int | None,
    edited: bool,
    deleted: bool,
    pinned: bool,
    question: bool,
    answered: bool,
    answers: int,
    endorsed: bool,
    pseudonym: str | None,
    mentions: list[str] | None,
    reactions: str | None,
) -> Message:
    """Return the message of a row with `COLUMNS`, as `reader` may see it."""
    concealed = None if reader.is_staff else pseudonym
    return Message(
        seq=seq,
        id=client_id if concealed is None else msgspec.UNSET,
        user=concealed or username,
        name=concealed or name,
        role=Role.ASSISTANT if assistant else Role.INSTRUCTOR if instructor else Role.STUDENT,
        datetime=at.isoformat(timespec="microseconds"),
        message=body,
        html=without_links(body) if html is None else html,
        reply_to=reply_to,
        own=author == reader.user_id,
        anonymous=pseudonym is not None,
        pseudonym=pseudonym if reader.is_staff and pseudonym is not None else msgspec.UNSET,
        edited=edited,
        deleted=deleted,
        pinned=pinned,
        question=question,
        answered=answered,
        answers=answers,
        endorsed=endorsed,
        mentions=[name for name in mentions or () if name != EVERYBODY],
        mentions_all=EVERYBODY in (mentions or ()),
        reactions=[reaction.as_seen_by(reader) for reaction in _REACTIONS.decode(reactions or "[]")],
    )


class Addressing(NamedTuple):
    """The users that a message addresses: those it mentions, and the author of the message that it replies to."""

    course: int
    seq: int
    author: int
    mentions: list[str]
    answered_author: int | None

    def addresses(self, user_id: int, username: str) -> bool:
        """Return whether it addresses this user, who hasn't written it."""
        is_mentioned = EVERYBODY in self.mentions or username in self.mentions
        return self.author != user_id and (is_mentioned or self.answered_author == user_id)


async def find_addressing(database: Database, seqs: Mapping[int, int], most: int) -> list[Addressing]:
    """Return the messages of the last five minutes that address somebody, after the given seq of each course.

    Of each room, only the newest `most` are returned, the oldest first.
    """
    rows = await database.fetch(
        "select known.course, m.seq, m.author, coalesce(m.mentions, '{}'), answered.author"
        " from unnest($1::bigint[], $2::bigint[]) known (course, seq)"
        " cross join lateral (select seq, author, mentions, reply_to from educa_chat.message"
        "  where course = known.course and seq > known.seq and (mentions is not null or reply_to is not null)"
        "  and not deleted and at > now() - interval '5 minutes' order by seq desc limit $3) m"
        " left join educa_chat.message answered on answered.course = known.course and answered.seq = m.reply_to"
        " order by known.course, m.seq",
        list(seqs),
        list(seqs.values()),
        most,
    )
    return [Addressing(*row) for row in rows]


async def count_unanswered(database: Database, course: int) -> int:
    """Return how many questions of a room have no reply that is marked as an answer."""
    count: int = await database.fetchval(
        "select count(*) from educa_chat.message where course = $1 and question and answers = 0 and not deleted", course
    )
    return count

"""Everything that is stored about a user, for a request under the law on data protection."""

from typing import Any

from educa_chat.storage.accounts import find_user_id
from educa_chat.storage.pool import Database

_PARTS = {
    "sign_ins_elsewhere": "select issuer, subject from educa_chat.external_person where user_id = $1 order by 1, 2",
    "sessions": (
        "select browser, system, created_at, used_at, expires_at from educa_chat.session where user_id = $1 order by 3"
    ),
    "courses": (
        "select m.course, c.title, max(m.role)::text as role from educa_chat.membership() m"
        " join courses_course c on c.id = m.course where m.user_id = $1 and m.is_named group by 1, 2 order by 1"
    ),
    "messages": (
        "select course, seq, at, username, name, body as message, reply_to, edited, deleted, question, pseudonym"
        " from educa_chat.message where author = $1 order by course, seq"
    ),
    "earlier_texts": (
        "select r.course, r.seq, r.body as message from educa_chat.revision r"
        " join educa_chat.message m on m.course = r.course and m.seq = r.seq where m.author = $1"
        " order by r.course, r.seq, r.changed_by"
    ),
    "reactions": "select course, seq, emoji from educa_chat.reaction where user_id = $1 order by course, seq, emoji",
    "reports": "select course, seq, at, reason from educa_chat.report where user_id = $1 order by course, seq",
    "mutes": "select course, until from educa_chat.mute where user_id = $1 order by course",
    "read_up_to": "select course, seq from educa_chat.marker where user_id = $1 order by course",
    "waiting_mails": (
        "select kind, expires_at from educa_chat.mail"
        " where address = (select lower(email) from auth_user where id = $1 and email <> '')"
    ),
    "administration": (
        "select at, action, actor = $1 as is_actor, course from educa_chat.admin_entry"
        " where user_id = $1 or actor = $1 order by id"
    ),
}
"""The parts of an export, each with a query for the user with the id $1."""


async def export_user(database: Database, username: str) -> dict[str, Any]:
    """Return the account of a user, and a list for each kind of record about them. Raises RecordMissing.

    Passwords and secrets of sessions are left out. Texts of deleted messages are among the earlier texts.
    """
    user_id = await find_user_id(database, username)
    account = await database.fetchrow(
        "select u.id, u.username, u.first_name, u.last_name, u.email, u.is_active, u.is_superuser, u.date_joined,"
        " u.last_login, coalesce(p.language, '') as language"
        " from auth_user u left join educa_chat.profile p on p.user_id = u.id where u.id = $1",
        user_id,
    )
    exported: dict[str, Any] = {"account": dict(account or {})}
    for name, sql in _PARTS.items():
        exported[name] = [dict(row) for row in await database.fetch(sql, user_id)]
    return exported

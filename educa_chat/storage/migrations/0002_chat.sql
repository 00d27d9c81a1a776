-- The log of each room, how its messages stand now, and what else belongs to a room.

create table educa_chat.room (
    course bigint primary key references courses_course (id) on delete cascade,
    head bigint not null default 0,
    said bigint not null default 0,                        -- how many messages there were
    last_at timestamptz not null default '-infinity',
    slow_seconds integer not null default 0,
    closed boolean not null default false,                 -- only instructors may write
    anonymity boolean not null default false,              -- students may write anonymously to each other
    secret uuid not null default gen_random_uuid()         -- of which the pseudonyms are made
) with (fillfactor = 50);

-- The kinds of event. Each is registered by the file of its function, in `functions/events/`.
create table educa_chat.kind (
    number smallint primary key,
    name text not null unique,
    is_system_message boolean not null                     -- whether the room shows it as a line among the messages
);

create table educa_chat.event (
    course bigint not null,
    seq bigint not null,
    kind smallint not null,
    actor integer not null,
    client_id text not null,
    at timestamptz not null,
    said bigint not null,                                  -- messages of the room up to and with this event
    is_system_message boolean,                             -- null: it is none
    target bigint,                                         -- the seq that it is about
    redacts bigint[],                                      -- the seqs whose variants it has rewritten
    concealed_user_id integer,                             -- who it is by or about, where students don't see that
    student bytea,                                         -- the finished JSON, a variant for each audience; null: made
                                                           --   of the row in `message`, as with most messages
    instructor bytea,                                      --   null: the same as the student's
    basic bytea,                                           --   null: nothing, unless `student` is null too
    primary key (course, seq),
    check (student is not null or kind = 1)
);

-- A client's id counts once, for good. The actor comes first, so that this also finds all events of a person.
create unique index event_once on educa_chat.event (actor, course, client_id);

-- The edits of a message, which are rewritten with it.
create index event_edits on educa_chat.event (course, target) where kind = 2;

create index event_system_messages on educa_chat.event (course, seq) where is_system_message;

-- Everything but messages and reactions, which are nearly all events: for the audit log.
create index event_changes on educa_chat.event (course, seq) where kind not in (1, 4);

create table educa_chat.message (
    course bigint not null,
    seq bigint not null,
    author integer not null,
    client_id text not null,
    username text not null,
    name text not null,
    instructor boolean not null,
    at timestamptz not null,
    body text not null,
    html text,                                             -- null: the text with nothing but its line breaks
    reply_to bigint,
    edited boolean not null default false,
    deleted boolean not null default false,
    pinned boolean not null default false,
    question boolean not null default false,
    answered boolean not null default false,               -- marked as the answer to what it replies to
    answers integer not null default 0,                    -- how many replies are marked as the answer to it
    endorsed boolean not null default false,
    thread bigint,                                         -- of a reply: the seq of the message that began it
    pseudonym text,                                        -- the name that students see; null: the author's own
    mentions text[],                                       -- usernames, and `*` for everybody; null: nobody
    primary key (course, seq)
);

-- The messages for which presence and typing stay concealed.
create index message_anonymous on educa_chat.message (course) where pseudonym is not null and not deleted;
create index message_pinned on educa_chat.message (course, seq) where pinned;
create index message_unanswered on educa_chat.message (course, seq) where question and answers = 0 and not deleted;

-- What a message said before it was edited or deleted: for instructors only.
create table educa_chat.revision (
    course bigint not null,
    seq bigint not null,
    changed_by bigint not null,                            -- the seq of the event that changed it
    body text not null,
    html text,
    primary key (course, seq, changed_by)
);

create table educa_chat.reaction (
    course bigint not null,
    seq bigint not null,
    emoji text not null,
    user_id integer not null,
    username text not null,
    pseudonym text,                                        -- the name that students see; null: the username
    event bigint not null,                                 -- the seq of its event: the order in which they came
    primary key (course, seq, emoji, user_id)
);

create table educa_chat.mute (
    course bigint not null,
    user_id integer not null,
    until timestamptz not null,
    primary key (course, user_id)
);

-- What somebody has reported to the instructors, and why. Reporting a message again replaces the earlier report.
create table educa_chat.report (
    course bigint not null,
    seq bigint not null,
    user_id integer not null,
    username text not null,
    reason text not null,
    at timestamptz not null,
    event bigint not null,                                 -- the seq of its event: the order in which they came
    settled_by bigint,                                     -- the seq of the event that settled it; null: it is open
    primary key (course, seq, user_id)
);

create index report_open on educa_chat.report (course, seq, event) where settled_by is null;

-- How far each user has read in each room. The course comes first, so that a course that is deleted finds its markers.
-- They are written again and again.
create table educa_chat.marker (
    course bigint not null,
    user_id integer not null,
    seq bigint not null,
    primary key (course, user_id)
) with (fillfactor = 70);

create table educa_chat.session (
    digest bytea primary key,                              -- SHA-256 of the session's id, which only the cookie holds
    user_id integer not null,
    password_digest bytea not null,                        -- of auth_user.password at sign-in: another password ends it
    created_at timestamptz not null default now(),
    expires_at timestamptz not null
);

-- Sessions of the site beside us that our own sign-out ended, until they expire by themselves.
create table educa_chat.ended_session (
    digest bytea primary key,
    expires_at timestamptz not null
);

-- Each sign-in removes those that have expired.
create index session_expiry on educa_chat.session (expires_at);
create index ended_session_expiry on educa_chat.ended_session (expires_at);

-- What is to be stored; `educa_chat.events.kind.Entry` in Python has the same fields.
create type educa_chat.entry as (
    course bigint,
    kind smallint,
    actor integer,
    by_instructor boolean,
    client_id text,
    student bytea,                                         -- the variants, without their opening brace; null as in `event`
    instructor bytea,
    basic bytea,
    username text,
    name text,
    body text,                                             -- of a message or an edit
    html text,
    mentioned text,                                        -- the names that the text mentions, members' or not
    target bigint,
    argument jsonb                                         -- what else its kind needs
);

-- What became of an entry.
create type educa_chat.outcome as (
    ordinal bigint,                                        -- its place in the batch
    outcome text,                                          -- 'ok', or the code of the error
    wait_s real,                                           -- in slow mode: until it may be sent
    seq bigint,
    at text,
    is_new boolean,                                        -- whether it was stored now, and not before
    student bytea,
    instructor bytea,
    basic bytea,
    concealed_user_id integer,
    redacted bigint[],                                     -- the events whose variants it has rewritten
    redacted_students bytea[],
    redacted_instructors bytea[],
    redacted_concealed_user_ids integer[]
);

-- An entry that is being applied: what the function of its kind finds, and what that function decides.
create type educa_chat.change as (
    started timestamptz,
    entry educa_chat.entry,
    room educa_chat.room,
    message educa_chat.message,                            -- the target; its seq is null where there is none
    seq bigint,
    at timestamptz,
    outcome text,
    actor_name text,                                       -- the name that students see; null: the event names nobody
    concealed_user_id integer,
    mentions text[],
    redacted bigint[]
);

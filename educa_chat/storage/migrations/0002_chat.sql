-- The log of each room, and how its messages stand now.

create table educa_chat.room (
    course bigint primary key references courses_course (id) on delete cascade,
    head bigint not null default 0,
    said bigint not null default 0,           -- how many messages there were
    last_at timestamptz not null default '-infinity'
) with (fillfactor = 50);

create table educa_chat.event (
    course bigint not null,
    seq bigint not null,
    kind smallint not null,                   -- 1: chat_message
    actor integer not null,
    client_id text not null,
    at timestamptz not null,
    said bigint not null,                     -- messages of the room up to and with this event
    student bytea not null,                   -- the finished JSON, a form for each audience:
    instructor bytea,                         --   null: the same as the student's
    basic bytea,                              --   null: nothing
    primary key (course, seq)
);

-- A client's id counts once for ever. The actor stands first, so that all of a person's events are found by it too.
create unique index event_once on educa_chat.event (actor, course, client_id);

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
    html text not null,
    reply_to bigint,
    primary key (course, seq)
);

-- A course that is deleted takes its room with it; one trigger a room is cheaper than a foreign key an event.
create function educa_chat.forget_room() returns trigger language plpgsql as $$
begin
    delete from educa_chat.event where course = old.course;
    delete from educa_chat.message where course = old.course;
    return null;
end $$;

create trigger forget_room after delete on educa_chat.room
    for each row execute function educa_chat.forget_room();

create function educa_chat.iso8601(at timestamptz) returns text language sql stable
    return to_char(at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US') || '+00:00';

create table educa_chat.session (
    digest bytea primary key,                 -- SHA-256 of the session's id, which only the cookie holds
    user_id integer not null,
    password_digest bytea not null,           -- of auth_user.password at sign-in: another password ends the session
    created_at timestamptz not null default now(),
    expires_at timestamptz not null
);

-- Sessions of the site beside us that our own sign-out ended, until they expire by themselves.
create table educa_chat.ended_session (
    digest bytea primary key,
    expires_at timestamptz not null
);

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

-- Judges, numbers and stores entries of any rooms, in their order, and returns one row an entry:
-- its place in the batch, the outcome ('ok', 'forbidden', 'no_such_message'), and for an accepted one the event.
-- An entry that was stored before keeps its first answer, and comes back without its forms.
create function educa_chat.append(
    courses bigint[], kinds smallint[], actors integer[], instructors boolean[], client_ids text[],
    students bytea[], instructor_forms bytea[], basics bytea[],
    usernames text[], names text[], bodies text[], htmls text[], replies bigint[]
) returns table (place bigint, outcome text, seq bigint, at text, student bytea, instructor bytea, basic bytea)
language plpgsql volatile
set synchronous_commit = on
set lock_timeout = '2s'
as $$
#variable_conflict use_column
declare
    started timestamptz;
begin
    -- One lock a room, always in the order of their ids, so that two appends never wait for each other in a ring.
    perform from educa_chat.room where course = any (courses) order by course for no key update;
    started := clock_timestamp();
    -- A new statement has a new snapshot, which sees all that was committed before the locks were had.
    return query
    with entry as (
        select e.*, r.head, r.said, greatest(started, r.last_at) as new_at
        from unnest(courses, kinds, actors, instructors, client_ids, students, instructor_forms, basics,
                    usernames, names, bodies, htmls, replies)
             with ordinality e (course, kind, actor, by_instructor, client_id, student, instructor, basic,
                                username, name, body, html, reply_to, place)
             left join educa_chat.room r using (course)
    ),
    judged as (
        select e.*, old.seq as old_seq, old.at as old_at,
            case
                when old.seq is not null then 'ok'
                when e.head is null then 'forbidden'
                -- Postgres inlines no function that asks a table: the rule of a membership stands here again, for
                -- a call an entry would cost a fifth of the append.
                when not exists (
                    select from auth_user u
                    where u.id = e.actor and u.is_active and case
                        when e.by_instructor then u.is_superuser or exists (
                            select from courses_course c where c.id = e.course and c.owner_id = e.actor)
                        else exists (
                            select from courses_course_students s
                            where s.course_id = e.course and s.user_id = e.actor)
                    end
                ) then 'forbidden'
                when e.reply_to is not null and not exists (
                    select from educa_chat.message m where m.course = e.course and m.seq = e.reply_to
                ) then 'no_such_message'
                else 'ok'
            end as outcome
        from entry e left join educa_chat.event old
            on old.actor = e.actor and old.course = e.course and old.client_id = e.client_id
    ),
    once as (
        select j.*, row_number() over (partition by course, actor, client_id order by place) as time_in_batch
        from judged j where outcome = 'ok' and old_seq is null
    ),
    numbered as (
        select o.*,
            o.head + row_number() over in_room as new_seq,
            o.said + count(*) filter (where o.kind = 1) over in_room as new_said,
            convert_to(
                '{"seq":' || o.head + row_number() over in_room
                || ',"datetime":"' || educa_chat.iso8601(o.new_at) || '",', 'utf8') as lead
        from once o where time_in_batch = 1
        window in_room as (partition by course order by place)
    ),
    stored as (
        insert into educa_chat.event as ev
            (course, seq, kind, actor, client_id, at, said, student, instructor, basic)
        select course, new_seq, kind, actor, client_id, new_at, new_said,
            lead || student, lead || instructor, lead || basic
        from numbered
        returning ev.course, ev.seq, ev.actor, ev.client_id, ev.at, ev.said, ev.student, ev.instructor, ev.basic
    ),
    said as (
        insert into educa_chat.message
            (course, seq, author, client_id, username, name, instructor, at, body, html, reply_to)
        select course, new_seq, actor, client_id, username, name, by_instructor, new_at, body, html, reply_to
        from numbered where kind = 1
    ),
    moved as (
        update educa_chat.room r set head = s.head, said = s.said, last_at = s.at
        from (select course, max(seq) as head, max(said) as said, max(at) as at from stored group by course) s
        where r.course = s.course
    )
    select j.place, j.outcome, coalesce(j.old_seq, s.seq), educa_chat.iso8601(coalesce(j.old_at, s.at)),
        case when o.time_in_batch = 1 then s.student end,
        case when o.time_in_batch = 1 then s.instructor end,
        case when o.time_in_batch = 1 then s.basic end
    from judged j
        left join once o on o.place = j.place
        left join stored s on s.course = j.course and s.actor = j.actor and s.client_id = j.client_id
            and j.outcome = 'ok' and j.old_seq is null
    order by j.place;
end $$;

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

-- What a class needs besides saying: edits, deletions, reactions, pins, questions and answers; mutes, slow mode, and
-- rooms where only instructors write. Each is an event of the log, judged and numbered like a message.

alter table educa_chat.room
    add column slow_seconds integer not null default 0,
    add column closed boolean not null default false,     -- only instructors may write
    add column anonymity boolean not null default false,  -- students may write anonymously to each other
    add column secret uuid not null default gen_random_uuid();   -- of which the pseudonyms are made

alter table educa_chat.event
    add column target bigint,                              -- the seq that it is about
    add column redacts bigint[],                           -- the seqs whose forms it has rewritten
    add column owner integer;                              -- whom it is by or about, where students don't see that

-- The edits of a message, to be rewritten with it.
create index event_edits on educa_chat.event (course, target) where kind = 2;

-- What the page of what was done shows.
create index event_acts on educa_chat.event (course, seq) where kind in (2, 3, 5, 7, 8, 9, 11, 12, 13, 14);

-- What stands as a line among the messages.
create index event_lines on educa_chat.event (course, seq) where kind in (7, 8, 9, 14);

alter table educa_chat.message
    add column edited boolean not null default false,
    add column deleted boolean not null default false,
    add column pinned boolean not null default false,
    add column question boolean not null default false,
    add column answered boolean not null default false,   -- marked as the answer to what it replies to
    add column answers integer not null default 0,        -- how many replies are marked as the answer to it
    add column endorsed boolean not null default false,
    add column thread bigint,                              -- of a reply: the seq of the message that began it
    add column pseudonym text,                             -- under which students see it; null: under its author's name
    add column mentions text[];                            -- usernames, and `*` for everybody; null: nobody

create index message_anonymous on educa_chat.message (course, seq) where pseudonym is not null;
create index message_pinned on educa_chat.message (course, seq) where pinned;
create index message_unanswered on educa_chat.message (course, seq) where question and answers = 0 and not deleted;

-- What a message said before it was edited or deleted: for instructors alone.
create table educa_chat.revision (
    course bigint not null,
    seq bigint not null,
    changed_by bigint not null,                            -- the seq of the event that changed it
    body text not null,
    html text not null,
    primary key (course, seq, changed_by)
);

create table educa_chat.reaction (
    course bigint not null,
    seq bigint not null,
    emoji text not null,
    user_id integer not null,
    username text not null,
    pseudonym text,                                        -- under which students see it
    event bigint not null,                                 -- the seq of its event: the order in which they came
    primary key (course, seq, emoji, user_id)
);

create table educa_chat.mute (
    course bigint not null,
    user_id integer not null,
    until timestamptz not null,
    primary key (course, user_id)
);

-- What somebody has reported to the instructors, and why. One who reports a message again says it anew.
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

create or replace function educa_chat.forget_room() returns trigger language plpgsql as $$
begin
    delete from educa_chat.event where course = old.course;
    delete from educa_chat.message where course = old.course;
    delete from educa_chat.revision where course = old.course;
    delete from educa_chat.reaction where course = old.course;
    delete from educa_chat.mute where course = old.course;
    delete from educa_chat.report where course = old.course;
    return null;
end $$;

-- Each sign-in takes away those that have expired.
create index session_expiry on educa_chat.session (expires_at);
create index ended_session_expiry on educa_chat.ended_session (expires_at);

create type educa_chat.entry as (
    course bigint, kind smallint, actor integer, by_instructor boolean, client_id text,
    student bytea, instructor bytea, basic bytea,
    username text, name text, body text, html text, target bigint, is_on boolean, anonymous boolean,
    mentioned text
);

create type educa_chat.outcome as (
    place bigint, outcome text, wait_s real, seq bigint, at text, student bytea, instructor bytea, basic bytea,
    owner integer, redacted bigint[], redacted_students bytea[], redacted_instructors bytea[], redacted_owners integer[]
);

-- As text, for a body that Postgres has parsed would keep the platform from changing its tables.
create function educa_chat.is_member(course bigint, person integer, as_instructor boolean) returns boolean
language sql stable as $$
    select exists (
        select from auth_user u
        where u.id = person and u.is_active and case
            when as_instructor then u.is_superuser or exists (
                select from courses_course c where c.id = course and c.owner_id = person)
            else exists (
                select from courses_course_students s where s.course_id = course and s.user_id = person)
        end
    )
$$;

create function educa_chat.lead(seq bigint, at timestamptz) returns bytea language sql stable
return convert_to('{"seq":' || seq || ',"datetime":"' || educa_chat.iso8601(at) || '",', 'utf8');

-- The members of a course whom a text mentions, by the names that are written in it, and `*` for everybody as it is;
-- null: nobody. A name is taken as it is written, or else without the punctuation at its end; in that case, or else in
-- lower case, or else with capitals. A function of its own, so that a message without names does not pay for it.
create function educa_chat.members_mentioned(course bigint, names text) returns text[]
language plpgsql stable as $$
#variable_conflict use_column
begin
    return (
        select array_agg(username order by place)
        from (
            select found.username, min(place) as place
            from unnest(string_to_array(names, ' ')) with ordinality written (name, place)
                 cross join lateral (
                     select '*' as username where name = '*'
                     union all (
                         select u.username
                         from unnest(array[
                                 name, rtrim(name, '.@+-'),
                                 lower(name), lower(rtrim(name, '.@+-')),
                                 initcap(name), initcap(rtrim(name, '.@+-'))
                              ]) with ordinality taken (name, rank)
                              join auth_user u on u.username = taken.name and u.is_active
                         -- Plain values, of which no hash table is ever made.
                         where (select true from courses_course_students s
                                where s.course_id = members_mentioned.course and s.user_id = u.id)
                            or (select c.owner_id = u.id from courses_course c
                                where c.id = members_mentioned.course)
                         order by rank limit 1
                     )
                 ) found
            group by found.username
        ) mentioned
    );
end $$;

-- What an event says of them, in front of its body.
create function educa_chat.mention_fields(mentions text[]) returns bytea language sql stable
return case when mentions is null then ''::bytea else convert_to(
    coalesce('"mentions":' || array_to_json(nullif(array_remove(mentions, '*'), '{}')) || ',', '')
    || case when '*' = any (mentions) then '"mentions_all":true,' else '' end, 'utf8') end;

-- The name of a person in a thread for those who must not know who it is: the same in all of the thread, and another in
-- each other. It is no username, which has no `~`.
create function educa_chat.pseudonym(secret uuid, thread bigint, person integer) returns text language sql immutable
return '~' || lpad((
    ('x' || encode(substr(sha256(uuid_send(secret) || int8send(thread) || int4send(person)), 1, 7), 'hex'))::bit(56)::bigint
    % 1000000
)::text, 6, '0');

-- A form in which a name was left open, as NUL, which no text in it can hold.
create function educa_chat.named(form bytea, name text) returns bytea language sql immutable
return convert_to(replace(convert_from(form, 'utf8'), '"\u0000"', to_json(name)::text), 'utf8');

-- Judges, numbers and stores the messages among the entries that stand at `places`, in their order.
create function educa_chat.say(
    places bigint[], started timestamptz,
    courses bigint[], kinds smallint[], actors integer[], instructors boolean[], client_ids text[],
    students bytea[], instructor_forms bytea[], basics bytea[],
    usernames text[], names text[], bodies text[], htmls text[], targets bigint[], ons boolean[], anonymous boolean[],
    mentioneds text[]
) returns setof educa_chat.outcome
language plpgsql volatile
as $$
#variable_conflict use_column
begin
    return query
    with judged as (
        select e.*, r.head, r.said, greatest(started, r.last_at) as new_at, r.slow_seconds, r.secret,
            old.seq as old_seq, old.at as old_at,
            case
                when old.seq is not null then 'ok'
                when r.head is null then 'forbidden'
                -- Postgres inlines no function that asks a table: the rule of `is_member` stands here again, for
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
                -- Of a plain value no hash table is ever made, as of `exists` while the planner takes a table for small.
                when not e.by_instructor and (
                    select until from educa_chat.mute where course = e.course and user_id = e.actor
                ) > started then 'muted'
                when not e.by_instructor and r.closed then 'closed'
                when e.is_anonymous and (e.by_instructor or not r.anonymity) then 'forbidden'
                when e.target is not null and (
                    select not deleted from educa_chat.message where course = e.course and seq = e.target
                ) is not true then 'no_such_message'
                when not e.by_instructor and r.slow_seconds > 0 and slow.next_at > started then 'slow_mode'
                else 'ok'
            end as outcome,
            extract(epoch from slow.next_at - started)::real as wait_s,
            case when e.target is not null then (
                select coalesce(thread, seq) from educa_chat.message where course = e.course and seq = e.target
            ) end as thread
        from unnest(places, courses, kinds, actors, instructors, client_ids, students, instructor_forms, basics,
                    usernames, names, bodies, htmls, targets, ons, anonymous, mentioneds)
             e (place, course, kind, actor, by_instructor, client_id, student, instructor, basic,
                username, name, body, html, target, is_question, is_anonymous, mentioned)
             left join lateral (
                 select head, said, last_at, slow_seconds, closed, anonymity, secret
                 from educa_chat.room where course = e.course limit 1
             ) r on true
             left join lateral (
                 select seq, at from educa_chat.event
                 where actor = e.actor and course = e.course and client_id = e.client_id limit 1
             ) old on true
             left join lateral (
                 select max(at) + r.slow_seconds * interval '1 second' as next_at from educa_chat.event
                 where r.slow_seconds > 0 and actor = e.actor and course = e.course and kind = 1
             ) slow on true
    ),
    once as (
        select j.*, outcome = 'ok' and old_seq is null and row_number() over (
            partition by course, actor, client_id, outcome order by place) = 1 as is_new
        from judged j
    ),
    numbered as (
        select o.*,
            case when is_new then head + count(*) filter (where is_new) over in_room end as new_seq,
            said + count(*) filter (where is_new) over in_room as new_said
        from once o
        window in_room as (partition by course order by place)
    ),
    event as (
        select n.*,
            -- One that stands twice in the batch is stored once, and its twin has its answer.
            coalesce(old_seq, max(new_seq) over (partition by course, actor, client_id, outcome)) as final_seq,
            iso.at as final_at,
            convert_to('{"seq":' || new_seq || ',"datetime":"' || iso.at || '",', 'utf8') as lead,
            case when is_anonymous then educa_chat.pseudonym(secret, coalesce(thread, new_seq), actor) end as pseudonym,
            case when is_new and mentioned is not null
                then educa_chat.members_mentioned(course, mentioned) end as mentions
        from numbered n, educa_chat.iso8601(coalesce(n.old_at, n.new_at)) iso (at)
    ),
    formed as (
        select e.*,
            lead || educa_chat.mention_fields(mentions)
                || case when is_anonymous then educa_chat.named(student, pseudonym) else student end as student_form,
            lead || educa_chat.mention_fields(mentions)
                || case when is_anonymous then educa_chat.named(instructor, pseudonym) else instructor end
                as instructor_form,
            lead || case when is_anonymous then educa_chat.named(basic, pseudonym) else basic end as basic_form
        from event e
    ),
    stored as (
        insert into educa_chat.event
            (course, seq, kind, actor, client_id, at, said, target, owner, student, instructor, basic)
        select course, new_seq, kind, actor, client_id, new_at, new_said, target,
            case when is_anonymous then actor end, student_form, instructor_form, basic_form
        from formed where is_new
    ),
    said as (
        insert into educa_chat.message
            (course, seq, author, client_id, username, name, instructor, at, body, html, reply_to, question, thread,
             pseudonym, mentions)
        select course, new_seq, actor, client_id, username, name, by_instructor, new_at, body, html, target, is_question,
            thread, pseudonym, mentions
        from formed where is_new
    ),
    moved as (
        update educa_chat.room r set head = e.head, said = e.said, last_at = e.at
        from (
            select course, max(new_seq) as head, max(new_said) as said, max(new_at) as at
            from formed where is_new group by course
        ) e
        where r.course = e.course
    )
    select place, outcome, case when outcome = 'slow_mode' then wait_s end, final_seq, final_at,
        student_form, instructor_form, basic_form, case when is_anonymous then actor end,
        null::bigint[], null::bytea[], null::bytea[], null::integer[]
    from formed;
end $$;

-- What stays of a message that was deleted, under the name that its author has for who sees it.
create function educa_chat.tombstone(seq bigint, at timestamptz, message educa_chat.message, pseudonym text) returns bytea
language sql stable
return educa_chat.lead(seq, at) || convert_to(
    '"type":"chat_message",' || case when pseudonym is null then '"id":' || to_json(message.client_id) || ',' else '' end
    || '"user":' || to_json(coalesce(pseudonym, message.username))
    || ',"name":' || to_json(coalesce(pseudonym, message.name))
    || ',"role":"' || case when message.instructor then 'instructor' else 'student' end
    || '","message":"","html":"",' || coalesce('"reply_to":' || message.reply_to || ',', '')
    || case when message.pseudonym is not null then '"anonymous":true,' else '' end
    || case when pseudonym is null then coalesce('"pseudonym":' || to_json(message.pseudonym) || ',', '') else '' end
    || '"deleted":true}', 'utf8');

-- Judges, numbers and stores one entry that is no message: the event of `entry`, at `place` in its batch.
create function educa_chat.act(place bigint, started timestamptz, entry educa_chat.entry)
returns educa_chat.outcome
language plpgsql volatile
as $$
declare
    answer educa_chat.outcome;
    room educa_chat.room;
    message educa_chat.message;
    asked educa_chat.message;
    person integer;
    author_name text;                          -- under which students see who does it; null: under her own
    whom text[];
    new_seq bigint;
    new_at timestamptz;
begin
    answer.place := place;
    select e.seq, educa_chat.iso8601(e.at) into answer.seq, answer.at from educa_chat.event e
    where e.actor = entry.actor and e.course = entry.course and e.client_id = entry.client_id;
    if found then
        answer.outcome := 'ok';
        return answer;
    end if;

    select * into room from educa_chat.room r where r.course = entry.course;
    if not found or not educa_chat.is_member(entry.course, entry.actor, entry.by_instructor) then
        answer.outcome := 'forbidden';
        return answer;
    end if;
    answer.outcome := 'ok';
    -- 2: edited, 3: deleted, 4: reaction, 5: pinned, 6: answered, 7: muted, 8: slowed, 9: closed, 10: questioned,
    -- 11: endorsed, 12: reported, 13: settled, 14: anonymity
    if entry.kind in (5, 7, 8, 9, 11, 13, 14) and not entry.by_instructor then
        answer.outcome := 'forbidden';
        return answer;
    end if;
    if entry.kind in (2, 4, 6, 10) and not entry.by_instructor and exists (
        select from educa_chat.mute m
        where m.course = entry.course and m.user_id = entry.actor and m.until > started
    ) then
        answer.outcome := 'muted';
        return answer;
    end if;
    if entry.kind in (2, 6, 10) and not entry.by_instructor and room.closed then
        answer.outcome := 'closed';
        return answer;
    end if;
    if entry.kind in (2, 3, 4, 5, 6, 10, 11, 12, 13) then
        select * into message from educa_chat.message m
        where m.course = entry.course and m.seq = entry.target and (entry.kind = 13 or not m.deleted);
        if not found then
            answer.outcome := 'no_such_message';
            return answer;
        end if;
    end if;

    if entry.kind = 2 and (message.author <> entry.actor or message.at <= started - interval '24 hours')
       or entry.kind in (3, 10) and message.author <> entry.actor and not entry.by_instructor
       or entry.kind = 12 and message.author = entry.actor then
        answer.outcome := 'forbidden';
    elsif entry.kind = 4 and entry.is_on and (
        select count(*) from educa_chat.reaction r
        where r.course = entry.course and r.seq = entry.target and r.user_id = entry.actor and r.emoji <> entry.body
    ) >= 20 then
        answer.outcome := 'forbidden';
    elsif entry.kind = 6 then
        if message.reply_to is null then
            answer.outcome := 'bad_request';
        else
            select * into asked from educa_chat.message m
            where m.course = entry.course and m.seq = message.reply_to and not m.deleted;
            if not found then
                answer.outcome := 'no_such_message';
            elsif asked.author <> entry.actor and not entry.by_instructor then
                answer.outcome := 'forbidden';
            elsif asked.author = entry.actor then
                author_name := asked.pseudonym;
            end if;
        end if;
    elsif entry.kind = 7 then
        select u.id into person from auth_user u
        where u.username = entry.name and u.is_active and not u.is_superuser and exists (
            select from courses_course_students s where s.course_id = entry.course and s.user_id = u.id);
        if not found then
            answer.outcome := 'bad_request';
        end if;
    end if;
    if answer.outcome <> 'ok' then
        return answer;
    end if;

    new_seq := room.head + 1;
    new_at := greatest(started, room.last_at);
    -- Who does something to her own anonymous message does it under the name that it has.
    if message.author = entry.actor then
        author_name := message.pseudonym;
    end if;
    if entry.kind = 2 then
        insert into educa_chat.revision values (entry.course, message.seq, new_seq, message.body, message.html);
        if entry.mentioned is not null then
            whom := educa_chat.members_mentioned(entry.course, entry.mentioned);
        end if;
        update educa_chat.message m set body = entry.body, html = entry.html, edited = true, mentions = whom
        where m.course = entry.course and m.seq = message.seq;
    elsif entry.kind = 3 then
        insert into educa_chat.revision values (entry.course, message.seq, new_seq, message.body, message.html);
        update educa_chat.message m
        set body = '', html = '', deleted = true,
            edited = false, pinned = false, question = false, answered = false, endorsed = false, mentions = null
        where m.course = entry.course and m.seq = message.seq;
        if message.answered then
            update educa_chat.message m set answers = answers - 1
            where m.course = entry.course and m.seq = message.reply_to;
        end if;
        delete from educa_chat.reaction r where r.course = entry.course and r.seq = message.seq;
        update educa_chat.report r set settled_by = new_seq
        where r.course = entry.course and r.seq = message.seq and r.settled_by is null;
        -- The text is gone from the log too, with that of the edits; their seqs stay.
        update educa_chat.event e set basic = null,
            student = educa_chat.tombstone(e.seq, e.at, message, message.pseudonym),
            instructor = case when message.pseudonym is not null then educa_chat.tombstone(e.seq, e.at, message, null) end
        where e.course = entry.course and e.seq = message.seq;
        update educa_chat.event e set instructor = null, basic = null, owner = null, student =
            educa_chat.lead(e.seq, e.at) || convert_to('"type":"hidden"}', 'utf8')
        where e.course = entry.course and e.kind = 2 and e.target = message.seq;
        select array_agg(e.seq), array_agg(e.student), array_agg(e.instructor), array_agg(e.owner)
        into answer.redacted, answer.redacted_students, answer.redacted_instructors, answer.redacted_owners
        from (
            select e.seq, e.student, e.instructor, e.owner from educa_chat.event e
            where e.course = entry.course and e.seq = message.seq
            union all
            select e.seq, e.student, e.instructor, e.owner from educa_chat.event e
            where e.course = entry.course and e.kind = 2 and e.target = message.seq
        ) e;
    elsif entry.kind = 4 then
        if entry.is_on then
            insert into educa_chat.reaction values
                (entry.course, entry.target, entry.body, entry.actor, entry.username, author_name, new_seq)
            on conflict do nothing;
        else
            delete from educa_chat.reaction r where r.course = entry.course and r.seq = entry.target
                and r.emoji = entry.body and r.user_id = entry.actor;
        end if;
    elsif entry.kind = 5 then
        update educa_chat.message m set pinned = entry.is_on
        where m.course = entry.course and m.seq = entry.target;
    elsif entry.kind = 6 then
        update educa_chat.message m set answered = entry.is_on
        where m.course = entry.course and m.seq = entry.target and m.answered <> entry.is_on;
        if found then
            update educa_chat.message m set answers = answers + case when entry.is_on then 1 else -1 end
            where m.course = entry.course and m.seq = message.reply_to;
        end if;
    elsif entry.kind = 7 then
        delete from educa_chat.mute m where m.course = entry.course and m.user_id = person;
        if entry.is_on then
            insert into educa_chat.mute values (entry.course, person, entry.body::timestamptz);
        end if;
    elsif entry.kind = 8 then
        update educa_chat.room r set slow_seconds = entry.body::integer where r.course = entry.course;
    elsif entry.kind = 9 then
        update educa_chat.room r set closed = entry.is_on where r.course = entry.course;
    elsif entry.kind = 10 then
        update educa_chat.message m set question = entry.is_on
        where m.course = entry.course and m.seq = entry.target;
    elsif entry.kind = 11 then
        update educa_chat.message m set endorsed = entry.is_on
        where m.course = entry.course and m.seq = entry.target;
    elsif entry.kind = 12 then
        insert into educa_chat.report values
            (entry.course, entry.target, entry.actor, entry.username, entry.body, new_at, new_seq)
        on conflict (course, seq, user_id) do update set
            username = excluded.username, reason = excluded.reason, at = excluded.at, event = excluded.event,
            settled_by = null;
    elsif entry.kind = 13 then
        update educa_chat.report r set settled_by = new_seq
        where r.course = entry.course and r.seq = entry.target and r.settled_by is null;
    elsif entry.kind = 14 then
        update educa_chat.room r set anonymity = entry.is_on where r.course = entry.course;
    end if;

    if entry.kind = 7 and (room.anonymity or exists (
        select from educa_chat.message m where m.course = entry.course and m.pseudonym is not null
    )) then
        -- Of nobody is it told who is muted, for then of somebody anonymous it would be known. The name is of this
        -- event alone: it leads neither to what the person said under her own name nor to what she said without it.
        answer.owner := person;
        author_name := educa_chat.pseudonym(room.secret, new_seq, person);
    elsif author_name is not null then
        answer.owner := entry.actor;
    end if;
    answer.seq := new_seq;
    answer.at := educa_chat.iso8601(new_at);
    answer.student := educa_chat.lead(new_seq, new_at) || educa_chat.mention_fields(whom) || educa_chat.named(
        entry.student, coalesce(author_name, case when entry.kind = 7 then entry.name else entry.username end));
    answer.instructor := nullif(
        educa_chat.lead(new_seq, new_at) || educa_chat.mention_fields(whom) || entry.instructor, answer.student);
    insert into educa_chat.event
        (course, seq, kind, actor, client_id, at, said, target, redacts, owner, student, instructor)
    values (entry.course, new_seq, entry.kind, entry.actor, entry.client_id, new_at, room.said, entry.target,
        answer.redacted, answer.owner, answer.student, answer.instructor);
    update educa_chat.room r set head = new_seq, last_at = new_at where r.course = entry.course;
    return answer;
end $$;

-- Judges, numbers and stores entries of any rooms, each room's in their order, and returns one row an entry:
-- its place in the batch, the outcome ('ok', or the code of the error), how long to wait in slow mode, for an accepted
-- one the event, and the events whose forms it has rewritten.
-- An entry that was stored before keeps its first answer, and comes back without its forms.
--
-- Planned once for a connection instead of at each call, which took longer than a message does. For one plan to serve a
-- batch of one and of a thousand, in an empty log and in one of millions, every join is a probe of an index: `limit 1`
-- keeps the planner from any other.
create function educa_chat.append(
    courses bigint[], kinds smallint[], actors integer[], instructors boolean[], client_ids text[],
    students bytea[], instructor_forms bytea[], basics bytea[],
    usernames text[], names text[], bodies text[], htmls text[], targets bigint[], ons boolean[], anonymous boolean[],
    mentioneds text[]
) returns setof educa_chat.outcome
language plpgsql volatile
set lock_timeout = '2s'
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
as $$
declare
    started timestamptz;
    is_slow boolean;
    run record;
    place bigint;
begin
    -- One lock a room, always in the order of their ids, so that two appends never wait for each other in a ring.
    select bool_or(slow_seconds > 0) into is_slow from (
        select slow_seconds from educa_chat.room where course = any (courses) order by course for no key update
    ) locked;
    started := clock_timestamp();
    -- A new statement has a new snapshot, which sees all that was committed before the locks were had.
    if not coalesce(is_slow, false) and 1 = all (kinds) then
        return query select * from educa_chat.say(
            array(select generate_subscripts(courses, 1)::bigint), started,
            courses, kinds, actors, instructors, client_ids, students, instructor_forms, basics,
            usernames, names, bodies, htmls, targets, ons, anonymous, mentioneds);
        return;
    end if;
    -- An entry is judged by what those before it in its room have changed. So each room's entries go in runs: of
    -- messages, which may go together, and of others one by one; in slow mode messages go one by one too.
    for run in
        select number, array_agg(p order by p) filter (where is_message) as messages,
            array_agg(p order by p) filter (where not is_message) as acts
        from (
            select p, is_message, sum(begins) over (partition by course order by p) as number
            from (
                select p, k.course, kind = 1 as is_message, case
                    when kind = 1 and (r.slow_seconds > 0 or bool_or(kind = 8) over (partition by k.course)) then 1
                    when (kind = 1) is distinct from (lag(kind) over (partition by k.course order by p) = 1) then 1
                    else 0
                end as begins
                from unnest(courses, kinds) with ordinality k (course, kind, p)
                    left join lateral (
                        select slow_seconds from educa_chat.room where course = k.course limit 1
                    ) r on true
            ) marked
        ) numbered
        group by number order by number
    loop
        if run.messages is not null then
            return query select * from educa_chat.say(
                run.messages, started,
                array(select courses[p] from unnest(run.messages) p), array(select kinds[p] from unnest(run.messages) p),
                array(select actors[p] from unnest(run.messages) p),
                array(select instructors[p] from unnest(run.messages) p),
                array(select client_ids[p] from unnest(run.messages) p),
                array(select students[p] from unnest(run.messages) p),
                array(select instructor_forms[p] from unnest(run.messages) p),
                array(select basics[p] from unnest(run.messages) p),
                array(select usernames[p] from unnest(run.messages) p),
                array(select names[p] from unnest(run.messages) p),
                array(select bodies[p] from unnest(run.messages) p),
                array(select htmls[p] from unnest(run.messages) p),
                array(select targets[p] from unnest(run.messages) p),
                array(select ons[p] from unnest(run.messages) p),
                array(select anonymous[p] from unnest(run.messages) p),
                array(select mentioneds[p] from unnest(run.messages) p));
        end if;
        foreach place in array coalesce(run.acts, '{}') loop
            return next educa_chat.act(place, started, (
                courses[place], kinds[place], actors[place], instructors[place], client_ids[place],
                students[place], instructor_forms[place], basics[place],
                usernames[place], names[place], bodies[place], htmls[place], targets[place], ons[place],
                anonymous[place], mentioneds[place]
            )::educa_chat.entry);
        end loop;
    end loop;
end $$;

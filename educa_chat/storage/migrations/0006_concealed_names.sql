-- Where a name could show who wrote an anonymous message, events no longer name anybody to students. And students no
-- longer hear of anybody else's mute.

-- The messages for which presence and typing stay concealed. Nothing else looks for anonymous messages.
drop index educa_chat.message_anonymous;
create index message_anonymous on educa_chat.message (course) where pseudonym is not null and not deleted;

-- Whether an event about `message` could show who wrote an anonymous message: this one, the one that it replies to, or
-- the one that began the thread.
create function educa_chat.concerns_anonymous(message educa_chat.message) returns boolean language sql stable
return exists (
    select from educa_chat.message m
    where m.course = message.course and m.seq in (message.seq, message.reply_to, message.thread)
        and m.pseudonym is not null
);

-- A form without its field `user`, in which the name was left open.
create function educa_chat.unnamed(form bytea) returns bytea language sql immutable
return convert_to(replace(convert_from(form, 'utf8'), '"user":"\u0000",', ''), 'utf8');

-- Judges, numbers and stores one entry that is no message: the event of `entry`, at `place` in its batch.
-- As in 0003, but for the names that students see.
create or replace function educa_chat.act(place bigint, started timestamptz, entry educa_chat.entry)
returns educa_chat.outcome
language plpgsql volatile
as $$
declare
    answer educa_chat.outcome;
    room educa_chat.room;
    message educa_chat.message;
    asked educa_chat.message;
    person integer;
    actor_name text := entry.username;         -- the name students see; null: the event names nobody
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
    if entry.kind in (2, 3, 4, 5, 6, 10, 11) and educa_chat.concerns_anonymous(message) then
        actor_name := case
            -- Reactions are counted by name. If only authors had a pseudonym here, every name would show who did not
            -- write the message.
            when entry.kind = 4 and (not entry.by_instructor or message.author = entry.actor) then
                educa_chat.pseudonym(room.secret, coalesce(message.thread, message.seq), entry.actor)
            when entry.kind = 4 then entry.username
            -- Authors act on their own message under its pseudonym, if it has one. An answer is marked by the author of
            -- another message, so its mark names nobody.
            when entry.kind in (2, 3, 10) and message.author = entry.actor then message.pseudonym
        end;
        if not entry.by_instructor then
            answer.owner := entry.actor;
        end if;
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
                (entry.course, entry.target, entry.body, entry.actor, entry.username,
                nullif(actor_name, entry.username), new_seq)
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

    if entry.kind = 7 then
        answer.owner := person;
    end if;
    answer.seq := new_seq;
    answer.at := educa_chat.iso8601(new_at);
    answer.student := educa_chat.lead(new_seq, new_at) || educa_chat.mention_fields(whom) || case
        when actor_name is null then educa_chat.unnamed(entry.student)
        else educa_chat.named(entry.student, actor_name) end;
    answer.instructor := nullif(
        educa_chat.lead(new_seq, new_at) || educa_chat.mention_fields(whom) || entry.instructor, answer.student);
    insert into educa_chat.event
        (course, seq, kind, actor, client_id, at, said, target, redacts, owner, student, instructor)
    values (entry.course, new_seq, entry.kind, entry.actor, entry.client_id, new_at, room.said, entry.target,
        answer.redacted, answer.owner, answer.student, answer.instructor);
    update educa_chat.room r set head = new_seq, last_at = new_at where r.course = entry.course;
    return answer;
end $$;

-- Clients that come back read what was stored before, so it gets the same forms. Whether an event was an instructor's was
-- not stored: what counts is who teaches now.

update educa_chat.event e set
    student = educa_chat.lead(e.seq, e.at) || convert_to('"type":"hidden"}', 'utf8'),
    instructor = coalesce(e.instructor, e.student),
    owner = coalesce(e.owner, (
        select u.id from auth_user u
        where u.username = convert_from(coalesce(e.instructor, e.student), 'utf8')::json ->> 'target_user'
    ))
where e.kind = 7;

update educa_chat.event e set
    student = convert_to(regexp_replace(convert_from(e.student, 'utf8'), '"user":"([^"\\]|\\.)*",', ''), 'utf8'),
    instructor = coalesce(e.instructor, e.student),
    owner = case when educa_chat.is_member(e.course, e.actor, true) then e.owner else e.actor end
from educa_chat.message m
where e.kind in (2, 3, 5, 6, 10, 11) and m.course = e.course and m.seq = e.target and educa_chat.concerns_anonymous(m)
    and not (e.kind in (2, 3, 10) and m.author = e.actor and m.pseudonym is not null)
    and convert_from(e.student, 'utf8') like '%"user":"%';

update educa_chat.event e set
    student = convert_to(regexp_replace(
        convert_from(e.student, 'utf8'), '"user":"([^"\\]|\\.)*"',
        '"user":"' || educa_chat.pseudonym(r.secret, coalesce(m.thread, m.seq), e.actor) || '"'), 'utf8'),
    instructor = coalesce(e.instructor, e.student),
    owner = e.actor
from educa_chat.message m, educa_chat.room r
where e.kind = 4 and m.course = e.course and m.seq = e.target and r.course = e.course
    and educa_chat.concerns_anonymous(m) and not educa_chat.is_member(e.course, e.actor, true);

update educa_chat.reaction e set pseudonym = educa_chat.pseudonym(r.secret, coalesce(m.thread, m.seq), e.user_id)
from educa_chat.message m, educa_chat.room r
where m.course = e.course and m.seq = e.seq and r.course = e.course
    and educa_chat.concerns_anonymous(m) and not educa_chat.is_member(e.course, e.user_id, true);

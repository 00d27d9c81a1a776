-- Checks, numbers and stores one entry that isn't a message, at `ordinal` in its batch. The function `apply_<name of
-- the kind>`, whose file registers the kind, does the part that is specific to the kind.
create or replace function educa_chat.append_change(ordinal bigint, started timestamptz, entry educa_chat.entry)
returns educa_chat.outcome
language plpgsql volatile
as $$
declare
    answer educa_chat.outcome;
    change educa_chat.change;
    kind educa_chat.kind;
    prefix bytea;
begin
    answer.ordinal := ordinal;
    select e.seq, educa_chat.iso8601(e.at) into answer.seq, answer.at from educa_chat.event e
    where e.actor = entry.actor and e.course = entry.course and e.client_id = entry.client_id;
    if found then
        answer.outcome := 'ok';
        return answer;
    end if;

    select r into change.room from educa_chat.room r where r.course = entry.course;
    if not found or not educa_chat.is_member(entry.course, entry.actor, entry.by_instructor) then
        answer.outcome := 'forbidden';
        return answer;
    end if;
    if (change.room).archived then
        answer.outcome := 'archived';
        return answer;
    end if;
    change.started := started;
    change.entry := entry;
    change.seq := (change.room).head + 1;
    change.at := greatest(started, (change.room).last_at);
    change.outcome := 'ok';
    change.actor_name := entry.username;
    if entry.target is not null then
        select m into change.message from educa_chat.message m where m.course = entry.course and m.seq = entry.target;
    end if;
    select * into strict kind from educa_chat.kind k where k.number = entry.kind;
    execute format('select * from educa_chat.apply_%I($1)', kind.name) into change using change;
    answer.outcome := change.outcome;
    if change.outcome <> 'ok' then
        return answer;
    end if;

    answer.seq := change.seq;
    answer.at := educa_chat.iso8601(change.at);
    answer.is_new := true;
    answer.concealed_user_id := change.concealed_user_id;
    if change.redacted is not null then
        select array_agg(e.seq), array_agg(e.student), array_agg(e.instructor), array_agg(e.concealed_user_id)
        into answer.redacted, answer.redacted_students, answer.redacted_instructors, answer.redacted_concealed_user_ids
        from unnest(change.redacted) with ordinality r (seq, n)
            join educa_chat.event e on e.course = entry.course and e.seq = r.seq;
    end if;
    prefix := educa_chat.lead(change.seq, change.at) || educa_chat.mention_fields(change.mentions);
    answer.student := prefix || case
        when change.actor_name is null then educa_chat.without_name(entry.student)
        else educa_chat.with_name(entry.student, change.actor_name) end;
    answer.instructor := nullif(prefix || entry.instructor, answer.student);
    insert into educa_chat.event
        (course, seq, kind, actor, client_id, at, said, is_system_message, target, redacts, concealed_user_id, student,
         instructor)
    values (entry.course, change.seq, entry.kind, entry.actor, entry.client_id, change.at, (change.room).said,
        nullif(kind.is_system_message, false), entry.target, answer.redacted, answer.concealed_user_id, answer.student, answer.instructor);
    update educa_chat.room r set head = change.seq, last_at = change.at where r.course = entry.course;
    return answer;
end $$;

-- The checks that several kinds share. Each returns an error code, or null. A kind calls them in the order in which the
-- protocol defines the codes.

create or replace function educa_chat.refuse_students(change educa_chat.change) returns text
language sql immutable as $$
    select case when not (change.entry).by_instructor then 'forbidden' end
$$;

-- The check for the settings of a room.
create or replace function educa_chat.refuse_assistants(change educa_chat.change) returns text
language plpgsql stable as $$
begin
    return case when educa_chat.role_of((change.entry).course, (change.entry).actor) is distinct from 'instructor'
        then 'forbidden' end;
end $$;

create or replace function educa_chat.refuse_muted(change educa_chat.change) returns text
language sql stable as $$
    select case when not (change.entry).by_instructor and exists (
        select from educa_chat.mute m
        where m.course = (change.entry).course and m.user_id = (change.entry).actor and m.until > change.started
    ) then 'muted' end
$$;

create or replace function educa_chat.refuse_closed(change educa_chat.change) returns text
language sql immutable as $$
    select case when not (change.entry).by_instructor and (change.room).closed then 'closed' end
$$;

create or replace function educa_chat.refuse_missing(change educa_chat.change) returns text
language sql immutable as $$
    select case when (change.message).deleted is not false then 'no_such_message' end
$$;

-- Decides which name students see in an event about a message if a real name could reveal the author of an anonymous
-- message. Authors act on their own message under its pseudonym if the kind allows it (`as_author`). Otherwise the
-- event contains no name.
create or replace function educa_chat.conceal(inout change educa_chat.change, as_author boolean)
language plpgsql stable as $$
begin
    if educa_chat.concerns_anonymous(change.message) then
        change.actor_name := case
            when as_author and (change.message).author = (change.entry).actor then (change.message).pseudonym end;
        if not (change.entry).by_instructor then
            change.concealed_user_id := (change.entry).actor;
        end if;
    end if;
end $$;

-- Checks, numbers and stores messages. `ordinals` has the position of each in its batch; the outcomes have the same
-- order.
create or replace function educa_chat.append_messages(ordinals bigint[], started timestamptz, entries educa_chat.entry[])
returns setof educa_chat.outcome
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
                -- Not `is_member`: a call for each entry would cost a fifth of the append.
                when not exists (
                    select from educa_chat.member() m
                    where m.course = e.course and m.user_id = e.actor and m.is_instructor = e.by_instructor
                ) then 'forbidden'
                when r.archived then 'archived'
                -- A scalar subquery: for `exists`, the planner would hash the table as long as it seems small.
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
        from (
            select ordinals[ordinality] as ordinal, u.*, coalesce((argument ->> 'question')::boolean, false) as is_question,
                coalesce((argument ->> 'anonymous')::boolean, false) as is_anonymous,
                coalesce((argument ->> 'assistant')::boolean, false) as is_assistant
            from unnest(entries) with ordinality u
        ) e
             left join lateral (
                 select head, said, last_at, slow_seconds, closed, archived, anonymity, secret
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
            partition by course, actor, client_id, outcome order by ordinal) = 1 as is_new
        from judged j
    ),
    numbered as (
        select o.*,
            case when is_new then head + count(*) filter (where is_new) over in_room end as new_seq,
            said + count(*) filter (where is_new) over in_room as new_said
        from once o
        window in_room as (partition by course order by ordinal)
    ),
    final as (
        select n.*,
            -- A message that is in the batch twice is stored once, and both get the same outcome.
            coalesce(old_seq, max(new_seq) over (partition by course, actor, client_id, outcome)) as final_seq,
            educa_chat.iso8601(coalesce(n.old_at, n.new_at)) as final_at,
            case when is_anonymous then educa_chat.pseudonym(secret, coalesce(thread, new_seq), actor) end as pseudonym,
            case when is_new and mentioned is not null
                then educa_chat.members_mentioned(course, mentioned) end as mentions
        from numbered n
    ),
    with_variants as (
        select f.*, v.student as student_variant, v.instructor as instructor_variant, v.basic as basic_variant
        from final f left join lateral (
            select
                lead || educa_chat.mention_fields(mentions)
                    || case when is_anonymous then educa_chat.with_name(f.student, pseudonym) else f.student end as student,
                lead || educa_chat.mention_fields(mentions)
                    || case when is_anonymous then educa_chat.with_name(f.instructor, pseudonym) else f.instructor end
                    as instructor,
                lead || case when is_anonymous then educa_chat.with_name(f.basic, pseudonym) else f.basic end as basic
            from educa_chat.lead(new_seq, new_at) lead
        ) v on f.student is not null
    ),
    stored_event as (
        insert into educa_chat.event
            (course, seq, kind, actor, client_id, at, said, target, concealed_user_id, student, instructor, basic)
        select course, new_seq, kind, actor, client_id, new_at, new_said, target,
            case when is_anonymous then actor end, student_variant, instructor_variant, basic_variant
        from with_variants where is_new
    ),
    stored_message as (
        insert into educa_chat.message
            (course, seq, author, client_id, username, name, instructor, at, body, html, reply_to, question, thread,
             pseudonym, mentions, assistant)
        select course, new_seq, actor, client_id, username, name, by_instructor, new_at, body, html, target, is_question,
            thread, pseudonym, mentions, is_assistant
        from with_variants where is_new
    ),
    moved_head as (
        update educa_chat.room r set head = e.head, said = e.said, last_at = e.at
        from (
            select course, max(new_seq) as head, max(new_said) as said, max(new_at) as at
            from with_variants where is_new group by course
        ) e
        where r.course = e.course
    )
    select ordinal, outcome, case when outcome = 'slow_mode' then wait_s end, final_seq, final_at, is_new,
        student_variant, instructor_variant, basic_variant, case when is_anonymous then actor end,
        null::bigint[], null::bytea[], null::bytea[], null::integer[]
    from with_variants;
end $$;

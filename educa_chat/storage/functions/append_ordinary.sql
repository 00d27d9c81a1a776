-- Stores messages without variants and target if all of them are accepted, and returns their outcomes in order.
-- Otherwise, it stores and returns nothing. `append_messages` then finds the reason, at twice the cost.
create or replace function educa_chat.append_ordinary(started timestamptz, entries educa_chat.entry[])
returns setof educa_chat.outcome
language plpgsql volatile
as $$
#variable_conflict use_column
begin
    return query
    with numbered as (
        select e.*, r.head + row_number() over in_room as seq, r.said + row_number() over in_room as said,
            greatest(started, r.last_at) as at,
            bool_and(not r.closed and not r.archived and r.slow_seconds = 0
                and (
                    select true from educa_chat.event
                    where actor = e.actor and course = e.course and client_id = e.client_id
                ) is null
                and (
                    select until > started from educa_chat.mute where course = e.course and user_id = e.actor
                ) is not true
                and exists (
                    select from educa_chat.member() m
                    where m.course = e.course and m.user_id = e.actor and m.is_instructor = e.by_instructor
                )
            ) over () and is_distinct as is_clear
        from unnest(entries) with ordinality e
            left join lateral (
                select head, said, last_at, closed, archived, slow_seconds from educa_chat.room where course = e.course limit 1
            ) r on true
            -- The same id from two users would be fine, but it is rare.
            cross join (select count(distinct client_id) = count(*) as is_distinct from unnest(entries)) d
        window in_room as (partition by e.course order by e.ordinality)
    ),
    stored_event as (
        insert into educa_chat.event (course, seq, kind, actor, client_id, at, said)
        select course, seq, kind, actor, client_id, at, said from numbered where is_clear
    ),
    stored_message as (
        insert into educa_chat.message (course, seq, author, client_id, username, name, instructor, at, body, html)
        select course, seq, actor, client_id, username, name, by_instructor, at, body, html from numbered where is_clear
    ),
    moved_head as (
        update educa_chat.room r set head = l.seq, said = l.said, last_at = l.at
        from (
            select course, max(seq) as seq, max(said) as said, max(at) as at from numbered where is_clear group by course
        ) l
        where r.course = l.course
    )
    select ordinality, 'ok', null::real, seq, educa_chat.iso8601(at), true, null::bytea, null::bytea, null::bytea, null::integer,
        null::bigint[], null::bytea[], null::bytea[], null::integer[]
    from numbered where is_clear order by ordinality;
end $$;

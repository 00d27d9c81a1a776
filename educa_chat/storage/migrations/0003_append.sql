-- The append again, with the same promises, planned once for a connection instead of at each call, which took longer
-- than a message did. For one plan to serve a batch of one and of a thousand, in an empty log and in one of millions,
-- every join is a probe of an index: `limit 1` keeps the planner from any other.

create or replace function educa_chat.append(
    courses bigint[], kinds smallint[], actors integer[], instructors boolean[], client_ids text[],
    students bytea[], instructor_forms bytea[], basics bytea[],
    usernames text[], names text[], bodies text[], htmls text[], replies bigint[]
) returns table (place bigint, outcome text, seq bigint, at text, student bytea, instructor bytea, basic bytea)
language plpgsql volatile
set lock_timeout = '2s'
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
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
    with judged as (
        select e.*, r.head, r.said, greatest(started, r.last_at) as new_at, old.seq as old_seq, old.at as old_at,
            case
                when old.seq is not null then 'ok'
                when r.head is null then 'forbidden'
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
        from unnest(courses, kinds, actors, instructors, client_ids, students, instructor_forms, basics,
                    usernames, names, bodies, htmls, replies)
             with ordinality e (course, kind, actor, by_instructor, client_id, student, instructor, basic,
                                username, name, body, html, reply_to, place)
             left join lateral (
                 select head, said, last_at from educa_chat.room where course = e.course limit 1
             ) r on true
             left join lateral (
                 select seq, at from educa_chat.event
                 where actor = e.actor and course = e.course and client_id = e.client_id limit 1
             ) old on true
    ),
    once as (
        select j.*, outcome = 'ok' and old_seq is null and row_number() over (
            partition by course, actor, client_id, outcome order by place) = 1 as is_new
        from judged j
    ),
    numbered as (
        select o.*,
            case when is_new then head + count(*) filter (where is_new) over in_room end as new_seq,
            said + count(*) filter (where is_new and kind = 1) over in_room as new_said
        from once o
        window in_room as (partition by course order by place)
    ),
    event as (
        select n.*,
            -- One that stands twice in the batch is stored once, and its twin has its answer.
            coalesce(old_seq, max(new_seq) over (partition by course, actor, client_id, outcome)) as final_seq,
            iso.at as final_at,
            convert_to('{"seq":' || new_seq || ',"datetime":"' || iso.at || '",', 'utf8') as lead
        from numbered n, educa_chat.iso8601(coalesce(n.old_at, n.new_at)) iso (at)
    ),
    stored as (
        insert into educa_chat.event (course, seq, kind, actor, client_id, at, said, student, instructor, basic)
        select course, new_seq, kind, actor, client_id, new_at, new_said,
            lead || student, lead || instructor, lead || basic
        from event where is_new
    ),
    said as (
        insert into educa_chat.message
            (course, seq, author, client_id, username, name, instructor, at, body, html, reply_to)
        select course, new_seq, actor, client_id, username, name, by_instructor, new_at, body, html, reply_to
        from event where is_new and kind = 1
    ),
    moved as (
        update educa_chat.room r set head = e.head, said = e.said, last_at = e.at
        from (
            select course, max(new_seq) as head, max(new_said) as said, max(new_at) as at
            from event where is_new group by course
        ) e
        where r.course = e.course
    )
    select place, outcome, final_seq, final_at, lead || student, lead || instructor, lead || basic
    from event order by place;
end $$;

-- Judges, numbers and stores entries of any rooms, each room's in their order, and returns one row for each entry: its
-- position in the batch, the outcome ('ok', or the code of the error), how long to wait in slow mode, the event of an
-- accepted one, and the events whose variants it has rewritten.
-- An entry that was stored before keeps its first answer, and comes back without its variants.
--
-- Planned once for a connection instead of at each call, which took longer than a message does. One plan has to serve a
-- batch of one and of a thousand, in an empty log and in one of millions, so every join is a probe of an index: `limit 1`
-- keeps the planner from any other.
create or replace function educa_chat.append(entries educa_chat.entry[]) returns setof educa_chat.outcome
language plpgsql volatile
set lock_timeout = '2s'
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
as $$
declare
    courses bigint[];
    kinds smallint[];
    started timestamptz;
    is_slow boolean;
    run record;
    ordinal bigint;
    answer educa_chat.outcome;
begin
    if cardinality(entries) = 1 then
        answer := educa_chat.append_alone(entries[1]);
        if answer.is_new then
            return next answer;
            return;
        end if;
    end if;
    courses := array(select course from unnest(entries));
    kinds := array(select kind from unnest(entries));
    -- One lock for each room, always in the order of their ids, so that two appends never wait for each other in a ring.
    select bool_or(slow_seconds > 0) into is_slow from (
        select slow_seconds from educa_chat.room where course = any (courses) order by course for no key update
    ) locked;
    started := clock_timestamp();
    -- A new statement has a new snapshot, which sees all that was committed before the locks were had.
    if not coalesce(is_slow, false) and 1 = all (kinds) then
        if cardinality(entries) > 1 and not exists (
            select from unnest(entries) where student is not null or target is not null
        ) then
            return query select * from educa_chat.append_ordinary(started, entries);
            if found then
                return;
            end if;
        end if;
        return query select * from educa_chat.append_messages(
            array(select generate_subscripts(entries, 1)::bigint), started, entries);
        return;
    end if;
    -- An entry is judged by what those before it in its room have changed. So each room's entries go in runs: messages
    -- may go together, others go one by one, and in slow mode messages go one by one too.
    for run in
        select number, array_agg(p order by p) filter (where is_message) as messages,
            array_agg(p order by p) filter (where not is_message) as changes
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
            return query select * from educa_chat.append_messages(
                run.messages, started, array(select entries[p] from unnest(run.messages) p));
        end if;
        foreach ordinal in array coalesce(run.changes, '{}') loop
            return next educa_chat.append_change(ordinal, started, entries[ordinal]);
        end loop;
    end loop;
end $$;

-- Checks, numbers and stores entries of any rooms, in order within each room. Returns one row per entry: its position
-- in the batch, the outcome ('ok' or an error code), how long to wait in slow mode, the event of an accepted entry, and
-- the events whose variants it has rewritten. An entry that was stored before gets its first outcome again, without its
-- variants.
--
-- The plan is made once per connection: planning each call took longer than storing a message. One plan has to serve
-- batches of one and of a thousand entries, in an empty log and in one with millions of events. So every join is an
-- index lookup: `limit 1` keeps the planner from choosing anything else.
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
    -- Lock the rooms in the order of their ids, so that two appends can't deadlock.
    select bool_or(slow_seconds > 0) into is_slow from (
        select slow_seconds from educa_chat.room where course = any (courses) order by course for no key update
    ) locked;
    started := clock_timestamp();
    -- A new statement gets a new snapshot, which sees everything that was committed before the locks were acquired.
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
    -- An entry is checked against the state that earlier entries of its room have left. So each room's entries are
    -- stored in runs: messages together, all other entries one by one, and in slow mode messages one by one too.
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

-- Reports a message to the instructors.

insert into educa_chat.kind (number, name, is_system_message) values (12, 'reported', false) on conflict do nothing;

create or replace function educa_chat.apply_reported(inout change educa_chat.change)
language plpgsql volatile as $$
begin
    change.outcome := coalesce(
        educa_chat.refuse_missing(change),
        case when (change.message).author = (change.entry).actor then 'forbidden' end,
        'ok');
    if change.outcome <> 'ok' then
        return;
    end if;
    insert into educa_chat.report
    values ((change.entry).course, (change.entry).target, (change.entry).actor, (change.entry).username,
        (change.entry).argument ->> 'reason', change.at, change.seq)
    on conflict (course, seq, user_id) do update set
        username = excluded.username, reason = excluded.reason, at = excluded.at, event = excluded.event,
        settled_by = null;
end $$;

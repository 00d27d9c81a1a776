-- Dismisses the open reports of a message.

insert into educa_chat.kind (number, name, is_system_message) values (13, 'settled', false) on conflict do nothing;

create or replace function educa_chat.apply_settled(inout change educa_chat.change)
language plpgsql volatile as $$
begin
    -- The message may have been deleted in the meantime: later reports are still open.
    change.outcome := coalesce(
        educa_chat.refuse_students(change),
        case when (change.message).seq is null then 'no_such_message' end,
        'ok');
    if change.outcome <> 'ok' then
        return;
    end if;
    update educa_chat.report r set settled_by = change.seq
    where r.course = (change.entry).course and r.seq = (change.entry).target and r.settled_by is null;
end $$;

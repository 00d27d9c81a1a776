-- Pins or unpins a message.

insert into educa_chat.kind (number, name, is_system_message) values (5, 'pinned', false) on conflict do nothing;

create or replace function educa_chat.apply_pinned(inout change educa_chat.change)
language plpgsql volatile as $$
begin
    change.outcome := coalesce(educa_chat.refuse_students(change), educa_chat.refuse_missing(change), 'ok');
    if change.outcome <> 'ok' then
        return;
    end if;
    change := educa_chat.conceal(change, as_author => false);
    update educa_chat.message m set pinned = ((change.entry).argument ->> 'on')::boolean
    where m.course = (change.entry).course and m.seq = (change.entry).target;
end $$;

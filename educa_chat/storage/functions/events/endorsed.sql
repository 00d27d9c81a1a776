-- Endorses a message, or removes the endorsement.

insert into educa_chat.kind (number, name, is_system_message) values (11, 'endorsed', false) on conflict do nothing;

create or replace function educa_chat.apply_endorsed(inout change educa_chat.change)
language plpgsql volatile as $$
begin
    change.outcome := coalesce(educa_chat.refuse_students(change), educa_chat.refuse_missing(change), 'ok');
    if change.outcome <> 'ok' then
        return;
    end if;
    change := educa_chat.conceal(change, as_author => false);
    update educa_chat.message m set endorsed = ((change.entry).argument ->> 'on')::boolean
    where m.course = (change.entry).course and m.seq = (change.entry).target;
end $$;

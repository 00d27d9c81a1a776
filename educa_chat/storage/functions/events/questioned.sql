-- Marks or unmarks a message as a question.

insert into educa_chat.kind (number, name, is_system_message) values (10, 'questioned', false) on conflict do nothing;

create or replace function educa_chat.apply_questioned(inout change educa_chat.change)
language plpgsql volatile as $$
begin
    change.outcome := coalesce(
        educa_chat.refuse_muted(change), educa_chat.refuse_closed(change), educa_chat.refuse_missing(change),
        case when (change.message).author <> (change.entry).actor and not (change.entry).by_instructor
            then 'forbidden' end,
        'ok');
    if change.outcome <> 'ok' then
        return;
    end if;
    change := educa_chat.conceal(change, as_author => true);
    update educa_chat.message m set question = ((change.entry).argument ->> 'on')::boolean
    where m.course = (change.entry).course and m.seq = (change.entry).target;
end $$;

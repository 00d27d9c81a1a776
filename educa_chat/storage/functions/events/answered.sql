-- Marks or unmarks a reply as an answer to the message that it replies to.

insert into educa_chat.kind (number, name, is_system_message) values (6, 'answered', false) on conflict do nothing;

create or replace function educa_chat.apply_answered(inout change educa_chat.change)
language plpgsql volatile as $$
declare
    is_on constant boolean := ((change.entry).argument ->> 'on')::boolean;
    asker integer;
begin
    change.outcome := coalesce(
        educa_chat.refuse_muted(change), educa_chat.refuse_closed(change), educa_chat.refuse_missing(change),
        case when (change.message).reply_to is null then 'bad_request' end);
    if change.outcome is null then
        select m.author into asker from educa_chat.message m
        where m.course = (change.entry).course and m.seq = (change.message).reply_to and not m.deleted;
        change.outcome := case
            when not found then 'no_such_message'
            when asker <> (change.entry).actor and not (change.entry).by_instructor then 'forbidden'
            else 'ok' end;
    end if;
    if change.outcome <> 'ok' then
        return;
    end if;
    -- The mark would reveal the author of the question, so it names nobody.
    change := educa_chat.conceal(change, as_author => false);
    update educa_chat.message m set answered = is_on
    where m.course = (change.entry).course and m.seq = (change.entry).target and m.answered <> is_on;
    if found then
        update educa_chat.message m set answers = answers + case when is_on then 1 else -1 end
        where m.course = (change.entry).course and m.seq = (change.message).reply_to;
    end if;
end $$;

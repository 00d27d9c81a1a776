-- Changes the text of a message. Only its author can do this, for a day.

insert into educa_chat.kind (number, name, is_system_message) values (2, 'edited', false) on conflict do nothing;

create or replace function educa_chat.apply_edited(inout change educa_chat.change)
language plpgsql volatile as $$
begin
    change.outcome := coalesce(
        educa_chat.refuse_muted(change), educa_chat.refuse_closed(change), educa_chat.refuse_missing(change),
        case when (change.message).author <> (change.entry).actor
            or (change.message).at <= change.started - interval '24 hours' then 'forbidden' end,
        -- This is an index lookup: a message has few edits.
        case when exists (
            select from educa_chat.event e
            where e.course = (change.entry).course and e.kind = 2 and e.target = (change.entry).target
                and e.seq > ((change.entry).argument ->> 'as_of')::bigint
        ) then 'changed' end,
        'ok');
    if change.outcome <> 'ok' then
        return;
    end if;
    change := educa_chat.conceal(change, as_author => true);
    if (change.entry).mentioned is not null then
        change.mentions := educa_chat.members_mentioned((change.entry).course, (change.entry).mentioned);
    end if;
    insert into educa_chat.revision
    values ((change.entry).course, (change.entry).target, change.seq, (change.message).body, (change.message).html);
    update educa_chat.message m
    set body = (change.entry).body, html = (change.entry).html, edited = true, mentions = change.mentions
    where m.course = (change.entry).course and m.seq = (change.entry).target;
end $$;

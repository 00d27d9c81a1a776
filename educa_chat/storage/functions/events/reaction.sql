-- Adds a user's reaction to a message, or removes it.

insert into educa_chat.kind (number, name, is_system_message) values (4, 'reaction', false) on conflict do nothing;

create or replace function educa_chat.apply_reaction(inout change educa_chat.change)
language plpgsql volatile as $$
declare
    chosen text;
    is_on boolean;
    pseudonym text;
begin
    -- The argument: {"emoji": text, "on": boolean}.
    chosen := (change.entry).argument ->> 'emoji';
    is_on := ((change.entry).argument ->> 'on')::boolean;
    change.outcome := coalesce(
        educa_chat.refuse_muted(change), educa_chat.refuse_missing(change),
        case when is_on and (
            select count(*) from educa_chat.reaction r
            where r.course = (change.entry).course and r.seq = (change.entry).target
                and r.user_id = (change.entry).actor and r.emoji <> chosen
        ) >= 20 then 'forbidden' end,
        'ok');
    if change.outcome <> 'ok' then
        return;
    end if;
    -- Reactions name the users. If only the author had a pseudonym here, each name would rule out one author. So every
    -- student has one, and an instructor only on their own anonymous message.
    if educa_chat.concerns_anonymous(change.message) then
        if not (change.entry).by_instructor or (change.message).author = (change.entry).actor then
            pseudonym := educa_chat.pseudonym(
                (change.room).secret, coalesce((change.message).thread, (change.message).seq), (change.entry).actor);
            change.actor_name := pseudonym;
        end if;
        if not (change.entry).by_instructor then
            change.concealed_user_id := (change.entry).actor;
        end if;
    end if;
    if is_on then
        insert into educa_chat.reaction
        values ((change.entry).course, (change.entry).target, chosen, (change.entry).actor, (change.entry).username,
            pseudonym, change.seq)
        on conflict do nothing;
    else
        delete from educa_chat.reaction r
        where r.course = (change.entry).course and r.seq = (change.entry).target
            and r.emoji = chosen and r.user_id = (change.entry).actor;
    end if;
end $$;

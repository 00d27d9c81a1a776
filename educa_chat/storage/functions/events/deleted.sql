-- Deletes a message, and its text from the log.

insert into educa_chat.kind (number, name, is_system_message) values (3, 'deleted', false) on conflict do nothing;

create or replace function educa_chat.apply_deleted(inout change educa_chat.change)
language plpgsql volatile as $$
begin
    change.outcome := coalesce(
        educa_chat.refuse_missing(change),
        case when (change.message).author <> (change.entry).actor and not (change.entry).by_instructor
            then 'forbidden' end,
        'ok');
    if change.outcome <> 'ok' then
        return;
    end if;
    change := educa_chat.conceal(change, as_author => true);
    insert into educa_chat.revision
    values ((change.entry).course, (change.entry).target, change.seq, (change.message).body, (change.message).html);
    update educa_chat.message m
    set body = '', html = '', deleted = true,
        edited = false, pinned = false, question = false, answered = false, endorsed = false, mentions = null
    where m.course = (change.entry).course and m.seq = (change.entry).target;
    if (change.message).answered then
        update educa_chat.message m set answers = answers - 1
        where m.course = (change.entry).course and m.seq = (change.message).reply_to;
    end if;
    delete from educa_chat.reaction r where r.course = (change.entry).course and r.seq = (change.entry).target;
    update educa_chat.report r set settled_by = change.seq
    where r.course = (change.entry).course and r.seq = (change.entry).target and r.settled_by is null;
    -- Remove the text from the log too, including that of the edits. Their seqs stay.
    update educa_chat.event e set basic = null,
        student = educa_chat.tombstone(e.seq, e.at, change.message, (change.message).pseudonym),
        instructor = case when (change.message).pseudonym is not null
            then educa_chat.tombstone(e.seq, e.at, change.message, null) end
    where e.course = (change.entry).course and e.seq = (change.entry).target;
    update educa_chat.event e set instructor = null, basic = null, concealed_user_id = null,
        student = educa_chat.lead(e.seq, e.at) || convert_to('"type":"hidden"}', 'utf8')
    where e.course = (change.entry).course and e.kind = 2 and e.target = (change.entry).target;
    change.redacted := (change.entry).target || array(
        select e.seq from educa_chat.event e
        where e.course = (change.entry).course and e.kind = 2 and e.target = (change.entry).target
    );
end $$;

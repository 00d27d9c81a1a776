-- Restricts a room to announcements of instructors, or opens it again.

insert into educa_chat.kind (number, name, is_system_message) values (9, 'closed', true) on conflict do nothing;

create or replace function educa_chat.apply_closed(inout change educa_chat.change)
language plpgsql volatile as $$
begin
    change.outcome := coalesce(educa_chat.refuse_students(change), educa_chat.refuse_assistants(change), 'ok');
    if change.outcome = 'ok' then
        update educa_chat.room r set closed = ((change.entry).argument ->> 'on')::boolean
        where r.course = (change.entry).course;
    end if;
end $$;

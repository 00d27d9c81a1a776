-- Sets how many seconds a student must wait between two messages; 0 turns slow mode off.

insert into educa_chat.kind (number, name, is_system_message) values (8, 'slowed', true) on conflict do nothing;

create or replace function educa_chat.apply_slowed(inout change educa_chat.change)
language plpgsql volatile as $$
begin
    change.outcome := coalesce(educa_chat.refuse_students(change), educa_chat.refuse_assistants(change), 'ok');
    if change.outcome = 'ok' then
        update educa_chat.room r set slow_seconds = ((change.entry).argument ->> 'seconds')::integer
        where r.course = (change.entry).course;
    end if;
end $$;

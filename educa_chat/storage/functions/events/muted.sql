-- Mutes or unmutes a student.

insert into educa_chat.kind (number, name, is_system_message) values (7, 'muted', true) on conflict do nothing;

create or replace function educa_chat.apply_muted(inout change educa_chat.change)
language plpgsql volatile as $$
declare
    person integer;
begin
    -- The argument: {"user": username, "until": timestamp, or null to unmute}.
    change.outcome := coalesce(educa_chat.refuse_students(change), 'ok');
    if change.outcome <> 'ok' then
        return;
    end if;
    select u.id into person from auth_user u
    where u.username = (change.entry).argument ->> 'user'
        and educa_chat.role_of((change.entry).course, u.id) = 'student';
    if not found then
        change.outcome := 'bad_request';
        return;
    end if;
    -- Hidden from all students except the muted one.
    change.concealed_user_id := person;
    delete from educa_chat.mute m where m.course = (change.entry).course and m.user_id = person;
    if (change.entry).argument ->> 'until' is not null then
        insert into educa_chat.mute
        values ((change.entry).course, person, ((change.entry).argument ->> 'until')::timestamptz);
    end if;
end $$;

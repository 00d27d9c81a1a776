-- How far each user has read in each room: a seq of its log.

-- The course stands first, so that a course that is deleted finds its markers. They are written again and again.
create table educa_chat.marker (
    course bigint not null,
    user_id integer not null,
    seq bigint not null,
    primary key (course, user_id)
) with (fillfactor = 70);

create function educa_chat.forget_markers() returns trigger language plpgsql as $$
begin
    delete from educa_chat.marker where course = old.course;
    return null;
end $$;

create trigger forget_markers after delete on educa_chat.room
    for each row execute function educa_chat.forget_markers();

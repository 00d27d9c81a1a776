-- How far each user has read in each room: a seq of its log.

-- The course stands first, so that a course that is deleted finds its markers. They are written again and again.
create table educa_chat.marker (
    course bigint not null,
    user_id integer not null,
    seq bigint not null,
    primary key (course, user_id)
) with (fillfactor = 70);

create or replace function educa_chat.forget_room() returns trigger language plpgsql as $$
begin
    delete from educa_chat.event where course = old.course;
    delete from educa_chat.message where course = old.course;
    delete from educa_chat.revision where course = old.course;
    delete from educa_chat.reaction where course = old.course;
    delete from educa_chat.mute where course = old.course;
    delete from educa_chat.report where course = old.course;
    delete from educa_chat.marker where course = old.course;
    return null;
end $$;

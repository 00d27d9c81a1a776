-- Deleting a course deletes its room. One trigger per room is cheaper than a foreign key per event.
create or replace function educa_chat.forget_room() returns trigger language plpgsql as $$
begin
    -- Wait for the search indexer, which may be storing words of this room.
    perform pg_advisory_xact_lock(x'65647563615f7365'::bigint);
    delete from educa_chat.event where course = old.course;
    delete from educa_chat.message where course = old.course;
    delete from educa_chat.revision where course = old.course;
    delete from educa_chat.reaction where course = old.course;
    delete from educa_chat.mute where course = old.course;
    delete from educa_chat.report where course = old.course;
    delete from educa_chat.marker where course = old.course;
    delete from educa_chat.search_entry where course = old.course;
    delete from educa_chat.search_progress where course = old.course;
    delete from educa_chat.search_change where course = old.course;
    return null;
end $$;

create or replace trigger forget_room after delete on educa_chat.room
    for each row execute function educa_chat.forget_room();

-- Tells every node at once who may have to leave: `educa-chat migrate --watch-enrolments`. It has no number, for it
-- wants a right that not everybody gives, and it may be run again whenever a table was made anew.

set local lock_timeout = '3s';

-- Runs with the rights of whoever changes the table: the site's role, which needs none in our schema, for EXECUTE is
-- asked of those who make a trigger and never of those who set it off. So nothing else of ours may be called here.
create or replace function educa_chat.notify_of_change() returns trigger
language plpgsql set search_path = '' as $$
declare
    most constant integer := 100;             -- notices a statement; a look at everybody costs less than more of them
    notices text[];
begin
    -- A full queue would fail the commit, which is the site's; the nodes look at everybody every 30 seconds anyway.
    if pg_notification_queue_usage() > 0.5 then
        return null;
    end if;
    case tg_op || ' ' || tg_table_name
        when 'DELETE courses_course_students' then
            notices := array(select 'user ' || user_id from old_rows limit most + 1);
        when 'UPDATE courses_course_students' then
            notices := array(select 'user ' || user_id from (
                select user_id, course_id from old_rows except select user_id, course_id from new_rows
            ) gone limit most + 1);
        when 'DELETE courses_course' then
            notices := array(select 'course ' || id from old_rows limit most + 1);
        when 'UPDATE courses_course' then
            notices := array(select 'course ' || id from (
                select id, owner_id from old_rows except select id, owner_id from new_rows
            ) gone limit most + 1);
        when 'DELETE auth_user' then
            notices := array(select 'user ' || id from old_rows limit most + 1);
        when 'UPDATE auth_user' then
            notices := array(select 'user ' || id from (
                select id, is_active, is_superuser, password from old_rows
                except select id, is_active, is_superuser, password from new_rows
            ) gone limit most + 1);
        when 'DELETE django_session' then
            notices := array(
                select 'session ' || encode(sha256(convert_to(session_key, 'utf8')), 'hex') from old_rows limit most + 1
            );
        else                                  -- truncate
            notices := array['everybody'];
    end case;
    if cardinality(notices) > most then
        notices := array['everybody'];
    end if;
    perform pg_notify('educa_chat', notice) from unnest(notices) notice;
    return null;
exception when others then
    -- A notice that is lost costs 30 seconds; one that fails would undo what the site has just done.
    raise log 'educa_chat.notify_of_change() on %: %', tg_table_name, sqlerrm;
    return null;
end $$;

-- Whoever joins a course has read what was written before. With the rights of our role, because the site's has none in our
-- schema. Those who come back keep their markers.
create or replace function educa_chat.begin_at_head() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
    insert into educa_chat.marker (course, user_id, seq)
    select n.course_id, n.user_id, coalesce(r.head, 0)
    from new_rows n left join educa_chat.room r on r.course = n.course_id
    order by n.course_id, n.user_id
    on conflict do nothing;
    return null;
exception when others then
    -- The nodes look for new members every 30 seconds anyway.
    raise log 'educa_chat.begin_at_head(): %', sqlerrm;
    return null;
end $$;

-- One trigger a statement and not one a row: who empties a course sends a handful of notices.
do $$
declare
    name text;
begin
    foreach name in array array['auth_user', 'courses_course', 'courses_course_students', 'django_session'] loop
        continue when to_regclass(name) is null;    -- a stand-alone chat has no sessions of a site
        execute format(
            'create or replace trigger educa_chat_deleted after delete on %I referencing old table as old_rows
                for each statement execute function educa_chat.notify_of_change()', name);
        execute format(
            'create or replace trigger educa_chat_truncated after truncate on %I
                for each statement execute function educa_chat.notify_of_change()', name);
        -- A site writes its sessions all the time, and ends them by deleting them.
        continue when name = 'django_session';
        execute format(
            'create or replace trigger educa_chat_updated after update on %I
                referencing old table as old_rows new table as new_rows
                for each statement execute function educa_chat.notify_of_change()', name);
    end loop;
    create or replace trigger educa_chat_added after insert on courses_course_students
        referencing new table as new_rows for each statement execute function educa_chat.begin_at_head();
end $$;

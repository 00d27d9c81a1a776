-- Returns whether a teacher may make a sign-in link for a student of their course. The link gives access to the whole
-- account. So it is refused for users with other rights anywhere, and for users who sign in elsewhere. Teachers of an
-- archived course can't make links.
create or replace function educa_chat.may_make_link(teacher integer, course bigint, student integer) returns boolean
language sql stable as $$
    select educa_chat.role_of($2, $1) = 'instructor'
        and exists (select from auth_user u where u.id = $3 and u.is_active and not u.is_superuser and not u.is_staff)
        and exists (select from courses_course_students s where s.course_id = $2 and s.user_id = $3)
        and not exists (select from courses_course c where c.owner_id = $3)
        and not exists (select from educa_chat.staff s where s.user_id = $3)
        and not exists (select from educa_chat.external_person e where e.user_id = $3)
        and not exists (select from educa_chat.room r where r.course = $2 and r.archived)
$$;

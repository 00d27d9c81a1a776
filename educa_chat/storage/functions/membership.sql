-- As text, for a body that Postgres has parsed would keep the platform from changing its tables.
create or replace function educa_chat.is_member(course bigint, person integer, as_instructor boolean) returns boolean
language sql stable as $$
    select exists (
        select from auth_user u
        where u.id = person and u.is_active and case
            when as_instructor then u.is_superuser or exists (
                select from courses_course c where c.id = course and c.owner_id = person)
            else exists (
                select from courses_course_students s where s.course_id = course and s.user_id = person)
        end
    )
$$;

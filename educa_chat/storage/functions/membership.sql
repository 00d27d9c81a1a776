-- Who may enter the room of a course, and in which role; nothing else decides that. Active users may: the owner and every
-- superuser as instructors, and enrolled students. Somebody may have several rows. `is_named`: the course itself names
-- the user, as its owner or as a student.
--
-- In `from`, the planner expands this function like a view, so each course and user that a query asks for is a probe of
-- an index. It is no view, and its body is text, because the platform could not change the type of a column that a view
-- or a parsed body uses.
create or replace function educa_chat.member()
returns table (course bigint, user_id integer, is_instructor boolean, is_named boolean)
language sql stable as $$
    select c.id, u.id, true, true from courses_course c join auth_user u on u.id = c.owner_id where u.is_active
    union all
    select c.id, u.id, true, false from courses_course c cross join auth_user u where u.is_superuser and u.is_active
    union all
    select s.course_id, u.id, false, true
    from courses_course_students s join auth_user u on u.id = s.user_id where u.is_active
$$;

-- Whether a user may be in a room in this role, asked once. The planner does not expand this one.
create or replace function educa_chat.is_member(course bigint, person integer, as_instructor boolean) returns boolean
language sql stable as $$
    select exists (
        select from educa_chat.member() m
        where m.course = $1 and m.user_id = $2 and m.is_instructor = $3
    )
$$;

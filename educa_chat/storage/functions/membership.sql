-- The only rule for who may enter the room of a course, and in which role. Active users may: the owner and superusers
-- as instructors, staff in their own role, and enrolled students. A user may have several rows; the highest role
-- counts. `is_named` is false for users who may enter only because they are superusers.
--
-- In `from`, the planner inlines this function like a view, so each course and user in a query is an index lookup. It
-- isn't a view, and its body is text, because the platform couldn't change the type of a column that a view or a parsed
-- body uses.
create or replace function educa_chat.membership()
returns table (course bigint, user_id integer, role educa_chat.role, is_named boolean)
language sql stable as $$
    select c.id, u.id, 'instructor'::educa_chat.role, true
    from courses_course c join auth_user u on u.id = c.owner_id where u.is_active
    union all
    select c.id, u.id, 'instructor', false from courses_course c cross join auth_user u where u.is_superuser and u.is_active
    union all
    select s.course, u.id, s.role, true from educa_chat.staff s join auth_user u on u.id = s.user_id where u.is_active
    union all
    select s.course_id, u.id, 'student', true
    from courses_course_students s join auth_user u on u.id = s.user_id where u.is_active
$$;

-- The same for callers that only distinguish students from staff: `is_instructor` is true for assistants too. Such
-- callers are the append, and nodes of a version without assistants.
create or replace function educa_chat.member()
returns table (course bigint, user_id integer, is_instructor boolean, is_named boolean)
language sql stable as $$
    select m.course, m.user_id, m.role > 'student', m.is_named from educa_chat.membership() m
$$;

-- Returns whether a user may enter a room as a student or as staff. The planner doesn't inline this function.
create or replace function educa_chat.is_member(course bigint, person integer, as_instructor boolean) returns boolean
language sql stable as $$
    select exists (
        select from educa_chat.member() m
        where m.course = $1 and m.user_id = $2 and m.is_instructor = $3
    )
$$;

-- Returns the role of a user in a course, or null.
create or replace function educa_chat.role_of(course bigint, person integer) returns educa_chat.role
language sql stable as $$
    select max(m.role) from educa_chat.membership() m where m.course = $1 and m.user_id = $2
$$;

-- Instructors and assistants of a course besides its owner: also where the course belongs to a site.

-- The least comes first, so that the roles of somebody with several compare.
create type educa_chat.role as enum ('student', 'assistant', 'instructor');

create table educa_chat.staff (
    course bigint not null references courses_course (id) on delete cascade,
    user_id integer not null,
    role educa_chat.role not null check (role > 'student'),
    primary key (course, user_id)
);

create index staff_user on educa_chat.staff (user_id);

-- `instructor` is true for assistants too, as everywhere in the database that knows only two roles.
alter table educa_chat.message add column assistant boolean not null default false;

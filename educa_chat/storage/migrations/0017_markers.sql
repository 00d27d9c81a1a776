-- Members without a marker are new from now on, so nothing from before they are seen is unread. Those of today are not new.

insert into educa_chat.marker (course, user_id, seq)
select course_id, user_id, 0 from courses_course_students
union select course, user_id, 0 from educa_chat.staff
union select id, owner_id, 0 from courses_course
on conflict do nothing;

-- Creates the chat's role on the database of a Django site. The role reads the site's tables and owns the schema `educa_chat`.
-- Run this file as a superuser, and again whenever it has changed:
--     psql --dbname educa --set role=educa_chat --file deploy/grants.sql
--     psql --dbname educa --command '\password educa_chat'
-- With `--set watch=on` it also grants what `educa-chat migrate --watch-enrolments` needs. Read the note at the end of this
-- file first.

\set ON_ERROR_STOP on

select not exists (select from pg_roles where rolname = :'role') as is_new,
    to_regclass('django_session') is not null as has_sessions \gset
\if :is_new
create role :"role" login;
\endif

begin;
create schema if not exists educa_chat authorization :"role";
grant select on auth_user, courses_subject, courses_course, courses_course_students, courses_module to :"role";
\if :has_sessions
grant select on django_session to :"role";      -- for users who signed in on the site
\endif

-- For two foreign keys: deleting a course deletes its room and its staff.
grant references on courses_course to :"role";

-- A trigger runs with the privileges of the role that changes the table. With this grant, an attacker who has taken over the
-- chat could therefore act as the site. Without it, connections are closed 30 seconds after their user has left a course
-- instead of one. The alternative is to create the triggers as this superuser: run `educa-chat migrate` as the chat's role, and
-- then `educa-chat migrate --watch-enrolments` with a database.url of your own. The chat's role can't change them then.
\if :{?watch}
grant trigger on auth_user, courses_course, courses_course_students to :"role";
\if :has_sessions
grant trigger on django_session to :"role";
\endif
\endif
commit;

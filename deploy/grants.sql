-- What the chat's role may do on the database of a Django site: read the site's tables, and own the schema `educa_chat`.
-- Run it as a superuser, again whenever it has changed:
--     psql --dbname educa --set role=educa_chat --file deploy/grants.sql
--     psql --dbname educa --command '\password educa_chat'
-- With `--set watch=on` it also grants what `educa-chat migrate --watch-enrolments` needs; the end of this file says
-- what that means.

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
grant select on django_session to :"role";      -- for those who signed in on the site
\endif

-- For one foreign key, by which a course that is deleted takes its room along.
grant references on courses_course to :"role";

-- A trigger runs with the rights of whoever changes the table. So with this right, whoever takes over the chat could act as
-- the site; without it, who leaves a course is out within 30 seconds instead of one. The third way is to make the
-- triggers as this superuser: run `educa-chat migrate` as the chat's role, and then `educa-chat migrate
-- --watch-enrolments` with a database.url of your own. The chat's role can't change them then.
\if :{?watch}
grant trigger on auth_user, courses_course, courses_course_students to :"role";
\if :has_sessions
grant trigger on django_session to :"role";
\endif
\endif
commit;

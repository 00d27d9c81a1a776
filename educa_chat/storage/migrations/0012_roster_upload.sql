-- The file that somebody is about to import, until they confirm it or upload another one.

create table educa_chat.roster_upload (
    user_id integer primary key,                           -- who has uploaded it
    course bigint,                                         -- of the rows that name none; null: an administrator's import
    removes_missing boolean not null,
    content bytea not null,
    digest bytea not null,                                 -- SHA-256 of the content
    uploaded_at timestamptz not null default now()
);

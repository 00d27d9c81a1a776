-- An archived course is read-only: the append refuses every command in its room.
alter table educa_chat.room add column archived boolean not null default false;

-- What administrators did, on the pages or on the command line.
create table educa_chat.admin_entry (
    id bigint generated always as identity primary key,
    at timestamptz not null default now(),
    actor integer,                                         -- null: the command line
    action text not null,
    user_id integer,                                       -- whom it was about
    course bigint,
    details jsonb not null                                 -- names as they were then, and what else the action needs
);

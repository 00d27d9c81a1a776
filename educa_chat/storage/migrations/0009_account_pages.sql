-- What a user sees and chooses on the page of their account.

alter table educa_chat.session
    add column browser text not null default '',           -- such as Firefox; empty: unknown
    add column system text not null default '',            -- such as Windows; empty: unknown
    add column used_at timestamptz not null default now(); -- a few minutes late, so that reading a session seldom writes

create table educa_chat.profile (
    user_id integer primary key,
    language text not null                                 -- of the pages; empty: the browser chooses
);

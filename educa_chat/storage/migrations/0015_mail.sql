-- Mails with sign-in links that wait to be sent. The link is made when the mail is sent, so nobody finds one here.

create table educa_chat.mail (
    address text primary key,                              -- in lower case; whose it is shows when the mail is sent
    kind text not null,                                    -- MailKind
    language text not null,                                -- for users who have chosen none
    attempts integer not null default 0,
    due_at timestamptz not null default now(),
    expires_at timestamptz not null
);

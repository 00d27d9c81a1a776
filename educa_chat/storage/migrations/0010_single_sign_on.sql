-- Sessions that an OpenID provider has started. It can end them, and their users can sign out there too.
create table educa_chat.issuer_session (
    digest bytea primary key references educa_chat.session (digest) on delete cascade,
    issuer text not null,
    subject text not null,
    sid text,
    id_token text not null
);

create index issuer_session_subject on educa_chat.issuer_session (issuer, subject);

-- The roles in courses that the settings gave to somebody because of what an issuer said about them. `former` is the role
-- that they had, and get back.
create table educa_chat.mapped_role (
    user_id integer not null,
    issuer text not null,
    course bigint not null references courses_course (id) on delete cascade,
    role educa_chat.role not null,
    former educa_chat.role,
    primary key (user_id, issuer, course)
);

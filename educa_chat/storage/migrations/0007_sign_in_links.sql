-- The links with which users choose a password: at most one per user, so that a new one replaces the one before.

create table educa_chat.sign_in_link (
    user_id integer primary key,
    digest bytea not null unique,                          -- SHA-256 of the token, which is stored nowhere
    password_digest bytea not null,                        -- of auth_user.password: another password ends the link too
    expires_at timestamptz not null
);

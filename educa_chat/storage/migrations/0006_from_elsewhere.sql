-- People who sign in elsewhere, and what it takes to believe it.

create table educa_chat.external_person (
    issuer text not null,
    -- Their id there (`sub`).
    subject text not null,
    user_id integer not null,
    primary key (issuer, subject)
);

create index external_person_user on educa_chat.external_person (user_id);

-- What valid tokens have used up. Rows are deleted when the tokens have expired anyway.
create table educa_chat.used_nonce (
    digest bytea primary key,
    expires_at timestamptz not null
);

create index used_nonce_expiry on educa_chat.used_nonce (expires_at);

-- The keys with which the chat signs its tokens. The oldest that is not retired signs; the next one is published already.
create table educa_chat.signing_key (
    number integer generated always as identity primary key,
    kid text not null unique,
    public text not null,
    -- Encrypted with a key that is derived from session.key.
    private text not null,
    retired_at timestamptz
);

-- Learning platforms that launch the chat by LTI 1.3.

create table educa_chat.lti_platform (
    id integer generated always as identity primary key,
    name text not null,
    issuer text not null,
    client_id text not null,
    authorization_url text not null,
    token_url text not null,
    jwks_url text not null,
    -- Its sites: they may embed our pages, and only they are asked for rosters.
    origins text[] not null,
    is_active boolean not null,
    -- An inactive user who owns the platform's courses, because each course must have an owner.
    owner_id integer not null,
    created_at timestamptz not null default now(),
    unique (issuer, client_id)
);

create table educa_chat.lti_deployment (
    platform integer not null references educa_chat.lti_platform on delete cascade,
    deployment text not null,
    primary key (platform, deployment)
);

-- One-time addresses at which a platform may register itself.
create table educa_chat.lti_invitation (
    digest bytea primary key,
    expires_at timestamptz not null
);

-- Which course belongs to a course of a platform.
create table educa_chat.lti_context (
    course bigint primary key references courses_course (id) on delete cascade,
    platform integer not null references educa_chat.lti_platform on delete cascade,
    deployment text not null,
    context text not null,
    -- Where the platform lists its members, if it offers that.
    roster_url text,
    -- When to fetch it next; null until an instructor has come.
    roster_due_at timestamptz,
    -- When it was fetched last.
    roster_fetched_at timestamptz,
    unique (platform, deployment, context)
);

create index lti_roster_due on educa_chat.lti_context (roster_due_at);

-- Who is in such a course because the platform said so.
create table educa_chat.lti_member (
    course bigint not null references educa_chat.lti_context on delete cascade,
    user_id integer not null,
    -- When a launch last set or confirmed their role; null: only the roster has named them.
    launched_at timestamptz,
    primary key (course, user_id)
);

-- What is made of an event for each audience.

create or replace function educa_chat.iso8601(at timestamptz) returns text language sql stable
    return to_char(at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US') || '+00:00';

create or replace function educa_chat.lead(seq bigint, at timestamptz) returns bytea language sql stable
return convert_to('{"seq":' || seq || ',"datetime":"' || educa_chat.iso8601(at) || '",', 'utf8');

-- The name of a person in a thread for those who must not know who it is: the same in all of the thread, and another in
-- each other. It is no username, which has no `~`.
create or replace function educa_chat.pseudonym(secret uuid, thread bigint, person integer) returns text language sql immutable
return '~' || lpad((
    ('x' || encode(substr(sha256(uuid_send(secret) || int8send(thread) || int4send(person)), 1, 7), 'hex'))::bit(56)::bigint
    % 1000000
)::text, 6, '0');

-- A variant in which a name was left open, as NUL, which no text in it can hold.
create or replace function educa_chat.with_name(variant bytea, name text) returns bytea language sql immutable
return convert_to(replace(convert_from(variant, 'utf8'), '"\u0000"', to_json(name)::text), 'utf8');

-- A variant without its field `user`, in which the name was left open.
create or replace function educa_chat.without_name(variant bytea) returns bytea language sql immutable
return convert_to(replace(convert_from(variant, 'utf8'), '"user":"\u0000",', ''), 'utf8');

-- Whether an event about `message` could show who wrote an anonymous message: this one, the one that it replies to, or
-- the one that began the thread.
create or replace function educa_chat.concerns_anonymous(message educa_chat.message) returns boolean language sql stable
return exists (
    select from educa_chat.message m
    where m.course = message.course and m.seq in (message.seq, message.reply_to, message.thread)
        and m.pseudonym is not null
);

-- What stays of a message that was deleted, under the name that its author has for who sees it.
create or replace function educa_chat.tombstone(seq bigint, at timestamptz, message educa_chat.message, pseudonym text) returns bytea
language sql stable
return educa_chat.lead(seq, at) || convert_to(
    '"type":"chat_message",' || case when pseudonym is null then '"id":' || to_json(message.client_id) || ',' else '' end
    || '"user":' || to_json(coalesce(pseudonym, message.username))
    || ',"name":' || to_json(coalesce(pseudonym, message.name))
    || ',"role":"' || case when message.assistant then 'assistant' when message.instructor then 'instructor' else 'student' end
    || '","message":"","html":"",' || coalesce('"reply_to":' || message.reply_to || ',', '')
    || case when message.pseudonym is not null then '"anonymous":true,' else '' end
    || case when pseudonym is null then coalesce('"pseudonym":' || to_json(message.pseudonym) || ',', '') else '' end
    || '"deleted":true}', 'utf8');

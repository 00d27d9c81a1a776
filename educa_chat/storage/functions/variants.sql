-- The variants of an event for each audience.

create or replace function educa_chat.iso8601(at timestamptz) returns text language sql stable
    return to_char(at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US') || '+00:00';

create or replace function educa_chat.lead(seq bigint, at timestamptz) returns bytea language sql stable
return convert_to('{"seq":' || seq || ',"datetime":"' || educa_chat.iso8601(at) || '",', 'utf8');

-- Returns the pseudonym of a user within a thread: the same in the whole thread, and a different one in each other thread.
-- It can't be a username, because those contain no `~`.
create or replace function educa_chat.pseudonym(secret uuid, thread bigint, person integer) returns text language sql immutable
return '~' || lpad((
    ('x' || encode(substr(sha256(uuid_send(secret) || int8send(thread) || int4send(person)), 1, 7), 'hex'))::bit(56)::bigint
    % 1000000
)::text, 6, '0');

-- Fills in the name that a variant leaves open. NUL stands for it, because no text can contain NUL.
create or replace function educa_chat.with_name(variant bytea, name text) returns bytea language sql immutable
return convert_to(replace(convert_from(variant, 'utf8'), '"\u0000"', to_json(name)::text), 'utf8');

-- Removes the field `user` from a variant that leaves the name open.
create or replace function educa_chat.without_name(variant bytea) returns bytea language sql immutable
return convert_to(replace(convert_from(variant, 'utf8'), '"user":"\u0000",', ''), 'utf8');

-- Returns whether an event about `message` could reveal the author of an anonymous message: of `message` itself, of the
-- one that it replies to, or of the first one in the thread.
create or replace function educa_chat.concerns_anonymous(message educa_chat.message) returns boolean language sql stable
return exists (
    select from educa_chat.message m
    where m.course = message.course and m.seq in (message.seq, message.reply_to, message.thread)
        and m.pseudonym is not null
);

-- Returns what remains of a deleted message, under the name by which the audience knows its author.
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

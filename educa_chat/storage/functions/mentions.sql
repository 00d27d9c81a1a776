-- Returns the name without the last part of `written`, which may belong to the text after it; null: nothing is left. A
-- part is punctuation, a character of a script without spaces, or letters of one script, including digits between them.
-- So `anaさん` leaves `ana`, and `ana.Nos` does too, but `anabel` leaves nothing.
create or replace function educa_chat.shorter_name(written text) returns text
language sql immutable
return nullif(regexp_replace(written, '(?:'
    '[.@+_-]+'
    '|[\u0E00-\u0EFF\u1000-\u109F\u1100-\u11FF\u1780-\u17FF\u2E80-\uA4CF\uA960-\uA97F\uAC00-\uD7FF\uF900-\uFAFF\uFF66-\uFFDC\U00020000-\U0003FFFF][0-9]*'
    '|[A-Za-z0-9\u00AA-\u024F\u1E00-\u1EFF]+'
    '|[^A-Za-z.@+_\u00AA-\u024F\u1E00-\u1EFF\u0E00-\u0EFF\u1000-\u109F\u1100-\u11FF\u1780-\u17FF\u2E80-\uA4CF\uA960-\uA97F\uAC00-\uD7FF\uF900-\uFAFF\uFF66-\uFFDC\U00020000-\U0003FFFF-]+'
    ')$', ''), '');

-- Returns the member of a course that `written` refers to, or null. This is the longest prefix of it that is a member's
-- name: as written, or else in lower case, or else with capitals. At most `attempts` prefixes are tried.
create or replace function educa_chat.member_named(course bigint, written text, attempts integer) returns text
language plpgsql stable as $$
declare
    found text;
begin
    for _ in 1 .. attempts loop
        exit when written is null;
        select u.username into found
        from unnest(array[written, lower(written), initcap(written)]) with ordinality taken (name, rank)
             join auth_user u on u.username = taken.name
        -- A scalar subquery, which the planner never turns into a hash table.
        where (select true from educa_chat.member() m
               where m.course = member_named.course and m.user_id = u.id and m.is_named limit 1)
        order by rank limit 1;
        exit when found is not null;
        written := educa_chat.shorter_name(written);
    end loop;
    return found;
end $$;

-- Returns the members of a course that a text mentions, given the names in it; `*`, for everyone, is kept; null:
-- nobody. This is a separate function, so that it costs nothing for messages without names.
create or replace function educa_chat.members_mentioned(course bigint, names text) returns text[]
language plpgsql stable as $$
begin
    return (
        select array_agg(username order by ordinal)
        from (
            -- The append waits for this, so the number of attempts per text is limited. `*all.Thanks` means everyone,
            -- unless it begins with a member's name.
            select case when name = '*' then name else coalesce(
                    educa_chat.member_named(course, ltrim(name, '*'), greatest(3, 200 / count::integer)),
                    case when name like '*%' then '*' end) end as username,
                min(ordinal) as ordinal
            from unnest(string_to_array(names, ' ')) with ordinality written (name, ordinal),
                cardinality(string_to_array(names, ' ')) count
            group by 1
        ) mentioned
        where username is not null
    );
end $$;

-- The fields of an event about its mentions, which precede its body.
create or replace function educa_chat.mention_fields(mentions text[]) returns bytea language sql stable
return case when mentions is null then ''::bytea else convert_to(
    coalesce('"mentions":' || array_to_json(nullif(array_remove(mentions, '*'), '{}')) || ',', '')
    || case when '*' = any (mentions) then '"mentions_all":true,' else '' end, 'utf8') end;

-- The members of a course whom a text mentions, by the names that are written in it, and `*` for everybody as it is;
-- null: nobody. A name is taken as it is written, or else without the punctuation at its end; in that case, or else in
-- lower case, or else with capitals. A function of its own, so that a message without names does not pay for it.
create or replace function educa_chat.members_mentioned(course bigint, names text) returns text[]
language plpgsql stable as $$
#variable_conflict use_column
begin
    return (
        select array_agg(username order by ordinal)
        from (
            select found.username, min(ordinal) as ordinal
            from unnest(string_to_array(names, ' ')) with ordinality written (name, ordinal)
                 cross join lateral (
                     select '*' as username where name = '*'
                     union all (
                         select u.username
                         from unnest(array[
                                 name, rtrim(name, '.@+-'),
                                 lower(name), lower(rtrim(name, '.@+-')),
                                 initcap(name), initcap(rtrim(name, '.@+-'))
                              ]) with ordinality taken (name, rank)
                              join auth_user u on u.username = taken.name
                         -- A plain value, of which no hash table is ever made.
                         where (select true from educa_chat.member() m
                                where m.course = members_mentioned.course and m.user_id = u.id and m.is_named limit 1)
                         order by rank limit 1
                     )
                 ) found
            group by found.username
        ) mentioned
    );
end $$;

-- What an event says of them, in front of its body.
create or replace function educa_chat.mention_fields(mentions text[]) returns bytea language sql stable
return case when mentions is null then ''::bytea else convert_to(
    coalesce('"mentions":' || array_to_json(nullif(array_remove(mentions, '*'), '{}')) || ',', '')
    || case when '*' = any (mentions) then '"mentions_all":true,' else '' end, 'utf8') end;

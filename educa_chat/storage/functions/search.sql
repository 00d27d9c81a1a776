-- A text as the search sees it: letters without their accents, and full-width letters and ligatures like others
-- (Unicode's NFKD); and none of the characters by which Postgres would take what is code here for a tag or a path.
create or replace function educa_chat.search_text(written text) returns text
language sql immutable strict parallel safe
    return translate(regexp_replace(normalize(written, nfkd), '[\u0300-\u036F]', '', 'g'), '<>/', '   ');

-- The words of a message as they were written, which count most, and their stems in the site's languages.
create or replace function educa_chat.search_words(body text) returns tsvector
language sql immutable strict parallel safe cost 10000
begin atomic
    select setweight(to_tsvector('simple', plain), 'A')
        || to_tsvector('english', plain) || to_tsvector('spanish', plain)
    from educa_chat.search_text(body) plain;
end;

-- What somebody asks for, in the language that finds it.
create or replace function educa_chat.search_query(words text) returns tsquery
language plpgsql immutable strict as $$
declare
    plain text := educa_chat.search_text(words);
    simple tsquery;
    english tsquery;
    spanish tsquery;
    asked tsquery;
begin
    simple := websearch_to_tsquery('simple', plain);
    english := websearch_to_tsquery('english', plain);
    spanish := websearch_to_tsquery('spanish', plain);
    asked := simple;
    -- What is the same in another language is not looked for twice.
    if english <> simple then
        asked := asked || english;
    end if;
    if spanish <> simple and spanish <> english then
        asked := asked || spanish;
    end if;
    return asked;
exception when internal_error then
    -- 'tsquery stack too small': a row of over thirty minus signs. They mean nothing.
    return educa_chat.search_query(translate(plain, '-', ' '));
end $$;

-- What has all the words of a query, though not as its phrases have them: the index would find as much for a phrase, and
-- each message of it be looked at. What must not be there is left out as well, since a phrase of it is no more known.
create or replace function educa_chat.search_candidates(query tsquery) returns tsquery
language sql immutable strict parallel safe
    return case when query::text not like '%<%' then query     -- No word has one in it.
        else coalesce(regexp_replace(nullif(querytree(query), 'T'), '<(-|\d+)>', '&', 'g'), $$!' '$$)::tsquery end;

-- A room's log is cut into slices, so that a search looks into the newest first and ends when it has enough.
create or replace function educa_chat.search_slice(seq bigint) returns bigint
language sql immutable strict parallel safe
    return seq / 32768;

-- A slice is one more word of each of its messages: one index answers 'in this slice of this room, with these words'.
-- No text and no query has a word with a space in it.
create or replace function educa_chat.search_slice_word(course bigint, slice bigint) returns text
language sql immutable strict parallel safe
    return course || ' ' || slice;

create or replace function educa_chat.search_slice_query(course bigint, slice bigint) returns tsquery
language sql immutable strict parallel safe
    return quote_literal(educa_chat.search_slice_word(course, slice))::tsquery;

create or replace function educa_chat.search_words_in_slice(course bigint, seq bigint, body text) returns tsvector
language sql immutable strict parallel safe
    return educa_chat.search_words(body)
        || array_to_tsvector(array[educa_chat.search_slice_word(course, educa_chat.search_slice(seq))]);

create or replace function educa_chat.note_search_change() returns trigger language plpgsql as $$
begin
    insert into educa_chat.search_change values (new.course, new.seq);
    return null;
end $$;

-- Indexes what has changed and then what is new, `most` of each, and returns how many events of the log that took:
-- fewer than `most` when there is no more, and none while another process is at it. Rooms that are little behind come
-- first, so an old log that is indexed for the first time keeps nobody waiting.
create or replace function educa_chat.index_messages(most bigint) returns bigint language plpgsql volatile as $$
declare
    room record;
    done bigint := 0;
    last bigint;
begin
    if not pg_try_advisory_xact_lock(x'65647563615f7365'::bigint) then     -- "educa_se"
        return 0;
    end if;
    -- What a crash of the database takes is indexed again.
    perform set_config('synchronous_commit', 'off', true);
    with change as (
        delete from educa_chat.search_change
        where ctid = any (array(select ctid from educa_chat.search_change limit most))
        returning course, seq
    ),
    message as (
        select distinct on (m.course, m.seq) m.course, m.seq, m.body
        from change c join educa_chat.message m on m.course = c.course and m.seq = c.seq
    )
    insert into educa_chat.search_entry
    select m.course, m.seq, educa_chat.search_words_in_slice(m.course, m.seq, m.body) from message m
    on conflict (course, seq) do update set words = excluded.words;
    for room in
        select r.course, coalesce(p.seq, 0) as seq, r.head
        from educa_chat.room r left join educa_chat.search_progress p on p.course = r.course
        where r.head > coalesce(p.seq, 0)
        order by r.head - coalesce(p.seq, 0)
    loop
        last := least(room.head, room.seq + most - done);
        insert into educa_chat.search_entry
        select m.course, m.seq, educa_chat.search_words_in_slice(m.course, m.seq, m.body)
        from educa_chat.message m
        where m.course = room.course and m.seq > room.seq and m.seq <= last and not m.deleted
        on conflict (course, seq) do nothing;
        insert into educa_chat.search_progress values (room.course, last)
        on conflict (course) do update set seq = excluded.seq;
        done := done + last - room.seq;
        exit when done = most;
    end loop;
    return done;
end $$;

create or replace trigger note_search_change after update of body on educa_chat.message
    for each row when (new.body <> old.body) execute function educa_chat.note_search_change();

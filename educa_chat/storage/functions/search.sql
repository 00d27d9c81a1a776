-- The characters of scripts that are written without spaces, for a regular expression: Thai, Lao, Burmese and Khmer; hangul,
-- Han, kana and bopomofo.
create or replace function educa_chat.search_unspaced() returns text
language sql immutable parallel safe
    return '\u0E01-\u0E3E\u0E40-\u0E4E\u0E81-\u0EC9\u1000-\u1049\u1050-\u109D\u1100-\u11FF\u1780-\u17D3\u2E80-\u2FDF'
        '\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3041-\u309F\u30A1-\u30FA\u30FC-\u318F\u31A0-\u31BF\u31F0-\u31FF'
        '\u3400-\u4DBF\u4E00-\u9FFF\uAC00-\uD7FF\uF900-\uFAFF\U00020000-\U0003FFFF';

-- Returns the text with the percent-encoded characters in its URLs decoded: a browser copies `Método` as `M%C3%A9todo`.
create or replace function educa_chat.search_decoded(written text) returns text
language plpgsql immutable strict parallel safe as $$
declare
    -- Only valid UTF-8, because an error would need a subtransaction.
    character constant text := '(?:%[CD][0-9A-F]|%E[0-9A-F]%[89AB][0-9A-F]|%F[0-4]%[89AB][0-9A-F]%[89AB][0-9A-F])%[89AB][0-9A-F]';
    invalid constant text := '^%(?:C[01]|E0%[89]|ED%[AB]|F0%8|F4%[9AB])';
    plain text := regexp_replace(written, '%(?:2[0-9A-F]|3[A-F]|5[B-F]|7[B-E])', '_', 'gi');
    encoded text;
begin
    for encoded in select distinct part[1] from regexp_matches(plain, '(' || character || ')', 'gi') part loop
        if encoded !~* invalid then
            plain := replace(plain, encoded, convert_from(decode(replace(encoded, '%', ''), 'hex'), 'utf8'));
        end if;
    end loop;
    return plain;
end $$;

-- Normalizes a text for the index and for queries, whatever the locale of the database: accents are dropped, and
-- everything except letters, digits and spaces becomes `_`. Only `"` and `-` stay, because they have a meaning in a
-- query.
--
-- Postgres treats words with a `_` between them as a phrase. So `np.linalg`, `3-5`, `https://example.org/a` and
-- `l'Hôpital` are found by each part, by the whole, and by neighbouring parts.
create or replace function educa_chat.search_text(written text) returns text
language plpgsql immutable strict parallel safe as $$
declare
    unspaced constant text := educa_chat.search_unspaced();
    -- Signs that count as words: currencies, arrows, mathematics, emoji.
    signs constant text := '\u00A9\u00AE\u20A0-\u20CF\u2100-\u2211\u221A-\u22C4\u22C6-\u24FF\u25A0-\u2BFF\U0001F000-\U0001FAFF';
    -- Accents, variation selectors, skin tones and invisible characters, which people seldom type in a search.
    added constant text := '[\u00AD\u0300-\u036F\u0591-\u05BD\u05BF\u05C1\u05C2\u05C4\u05C5\u05C7\u0610-\u061A\u0640'
        '\u064B-\u065F\u0670\u06D6-\u06DC\u1AB0-\u1AFF\u1DC0-\u1DFF\u200B-\u200F\u2060\u20D0-\u20FF\uFE00-\uFE0F\uFEFF'
        '\U0001F3FB-\U0001F3FF\U000E0000-\U000E01EF]';
    separators constant text := '[\u0001-\u0008\u000E-\u001F!#-,./:-@\[-`{-\u00A9\u00AB-\u00B1\u00B4\u00B6-\u00B8\u00BB\u00BF'
        '\u00D7\u00F7\u02B9-\u02FF\u037E\u0384-\u0387\u03F6\u0482\u055A-\u055F\u0589-\u058F\u05BE\u05C0\u05C3\u05C6'
        '\u05F3-\u060F\u061B-\u061F\u066A-\u066D\u06D4\u06DD\u06DE\u06E9\u06FD\u06FE\u0964\u0965\u0970\u0DF4\u0E3F\u0E4F'
        '\u0E5A\u0E5B\u0F01-\u0F17\u0F3A-\u0F3D\u0F85\u104A-\u104F\u10FB\u1360-\u1368\u1400\u166D\u166E\u1680\u17D4-\u17D6'
        '\u17D8-\u17DB\u1800-\u180E\u1FBD-\u1FC1\u2000-\u2BFF\u2E00-\u2E7F\u2FF0-\u3004\u3008-\u3020\u3030\u3036\u3037'
        '\u303D-\u303F\u309B\u309C\u30A0\u30FB\u3190-\u319F\u31C0-\u31EF\u4DC0-\u4DFF\uE000-\uF8FF\uFD3E-\uFD4F'
        '\uFE10-\uFE6F\uFF00-\uFF65\uFFE0-\uFFFF\U0001CF00-\U0001D3FF\U0001F000-\U0001FFFF\U000F0000-\U0010FFFF]+';
    plain text := case when written ~ '://\S*%|%[C-F][0-9A-F]%[89AB]' then educa_chat.search_decoded(written) else written end;
begin
    -- For ASCII, most messages, all of this would change nothing.
    if octet_length(plain) > char_length(plain) then
        -- Compose again, because NFKD also decomposes hangul and kana.
        plain := normalize(regexp_replace(normalize(plain, nfkd), added, '', 'g'), nfc);
        -- With frequent punctuation gone, most messages in European languages are ASCII, and need no long tables.
        plain := translate(plain, '¡¿«»“”‘’–—', '__________');
    end if;
    if octet_length(plain) > char_length(plain) then
        -- Letters that don't decompose, capitals that only some locales know, and digits of other scripts.
        plain := translate(plain,
            'łŁøØđĐðÐħĦıŧŦŋŊĸƀɓɖɗɛƒɠɣɨƙƚɫɲɔɵƥʈʉʋƴƶґҐς'
            'ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩЂЄЅІЈЉЊЋЏАБВГДЕЖЗИКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯ'
            'ԱԲԳԴԵԶԷԸԹԺԻԼԽԾԿՀՁՂՃՄՅՆՇՈՉՊՋՌՍՎՏՐՑՒՓՔՕՖ'
            '٠١٢٣٤٥٦٧٨٩۰۱۲۳۴۵۶۷۸۹०१२३४५६७८९০১২৩৪৫৬৭৮৯๐๑๒๓๔๕๖๗๘๙',
            'lLoOdDdDhHitTnNkbbddefggikllnooptuvyzггσ'
            'αβγδεζηθικλμνξοπρστυφχψωђєѕіјљњћџабвгдежзиклмнопрстуфхцчшщъыьэюя'
            'աբգդեզէըթժիլխծկհձղճմյնշոչպջռսվտրցւփքօֆ'
            '01234567890123456789012345678901234567890123456789');
        if plain ~ '[ßẞæÆœŒþÞ]' then
            plain := replace(replace(replace(replace(plain, 'ß', 'ss'), 'æ', 'ae'), 'œ', 'oe'), 'þ', 'th');
            plain := replace(replace(replace(replace(plain, 'ẞ', 'SS'), 'Æ', 'AE'), 'Œ', 'OE'), 'Þ', 'TH');
        end if;
    end if;
    -- A search for C++ must not find every C.
    plain := regexp_replace(plain, '\+{2,}', '_plusplus_', 'g');
    plain := regexp_replace(plain, '(?<=[A-Za-z])#(?![A-Za-z0-9#])', '_sharp_', 'g');
    if octet_length(plain) = char_length(plain) then
        return regexp_replace(plain, '[^A-Za-z0-9\s"-]+', '_', 'g');
    end if;
    if plain ~ ('[' || signs || unspaced || ']') then
        -- A sign becomes a word of ASCII letters, which every locale accepts. Text without spaces becomes pairs of characters.
        select string_agg(case
                when is_sign then '_emoji' || translate(to_hex(ascii(sign)), '0123456789', 'ghijklmnop') || '_'
                when not is_unspaced then sign
                when next_is_unspaced then '_' || sign || next
                when last_is_unspaced then '_'
                else '_' || sign || '_'
            end, '' order by place)
        into plain
        from (
            select place, sign, is_sign, is_unspaced, lead(sign) over w as next,
                lead(is_unspaced) over w as next_is_unspaced, lag(is_unspaced) over w as last_is_unspaced
            from (
                select place, sign, sign ~ ('[' || signs || ']') as is_sign, sign ~ ('[' || unspaced || ']') as is_unspaced
                from string_to_table(plain, null) with ordinality t (sign, place)
            ) signs_of_text
            window w as (order by place)
        ) neighbours;
    end if;
    return regexp_replace(plain, separators, '_', 'g');
end $$;

-- Returns the numbers in a text without their thousands separators, or null if it has no such number.
create or replace function educa_chat.search_numbers(written text) returns text
language sql immutable strict parallel safe
    return (
        select string_agg(regexp_replace(number[1], '\D', '', 'g'), ' ')
        from regexp_matches(written, '(?<![0-9.,])([0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,3}(?:[.''’_\u00A0\u202F][0-9]{3})+)(?![0-9])', 'g') number
    );

-- Returns the words of a message as they were written, which have the highest weight, and their stems in the site's
-- languages. Then the parts of words such as `v2` and `firstName`, single characters of text without spaces, and a word
-- for messages with a link.
create or replace function educa_chat.search_words(body text) returns tsvector
language plpgsql immutable strict parallel safe cost 10000 as $$
declare
    written constant text := educa_chat.search_text(body);
    plain constant text := translate(written, '"-_', '   ');
    unspaced constant text := '([' || educa_chat.search_unspaced() || '])';
    part_begins constant text :=
        '(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[0-9])(?=[^\s0-9_"-])|(?<=[^\s0-9_"-])(?=[0-9])';
    -- Keeps phrases from matching across the end of one part and the beginning of the next.
    gap constant tsvector := $g$' ':1$g$;
    has_parts constant text := '[A-Z][A-Z][a-z]|[a-z][A-Z]|[0-9][^\s0-9_"-]|[^\s0-9_"-][0-9]';
    words tsvector := setweight(to_tsvector('simple', plain), 'A')
        || gap || to_tsvector('english', plain) || gap || to_tsvector('spanish', plain);
begin
    if written ~ has_parts then
        words := words || gap || to_tsvector('simple', (
            select string_agg(translate(regexp_replace(chunk, part_begins, '_', 'g'), '"-_', '   '), ' ')
            from regexp_split_to_table(written, '\s+') chunk where chunk ~ has_parts
        ));
    end if;
    if octet_length(written) > char_length(written) and written ~ unspaced then
        words := words || array_to_tsvector(array(select distinct unnest(regexp_matches(written, unspaced, 'g'))));
    end if;
    if body ~ '[0-9][,.''’_\u00A0\u202F][0-9]{3}' then
        words := words || gap || to_tsvector('simple', coalesce(educa_chat.search_numbers(body), ''));
    end if;
    if strpos(body, '://') > 0 and body ~* 'https?://\S' then
        words := words || $l$'has link'$l$;
    end if;
    return ts_delete(words, ' ');
end $$;

-- Returns a query in the syntax of `websearch_to_tsquery`, with its words in the form of the index.
create or replace function educa_chat.search_syntax(words text) returns text
language sql immutable strict parallel safe
    -- Only a single minus sign before a word or phrase excludes it.
    return (
        select coalesce(string_agg(
            case place % 2 when 0 then translate(part, '-', '_') else regexp_replace(part, '(?<=\S)-|-+(?=\s)|-{2,}', '_', 'g') end,
            '"' order by place
        ), '')
        from string_to_table(educa_chat.search_text(words), '"') with ordinality t (part, place)
    );

-- Returns the query that finds `words` as written or by their stems in either language.
create or replace function educa_chat.search_query(words text) returns tsquery
language plpgsql immutable strict as $$
declare
    syntax text := educa_chat.search_syntax(words);
    simple tsquery;
    english tsquery;
    spanish tsquery;
    asked tsquery;
begin
    simple := websearch_to_tsquery('simple', syntax);
    english := websearch_to_tsquery('english', syntax);
    spanish := websearch_to_tsquery('spanish', syntax);
    asked := simple;
    -- Don't search twice for words whose stems are the same in both languages.
    if english <> simple then
        asked := asked || english;
    end if;
    if spanish <> simple and spanish <> english then
        asked := asked || spanish;
    end if;
    return asked;
exception when internal_error then
    -- 'tsquery stack too small': more than thirty minus signs in a row, which mean nothing.
    return educa_chat.search_query(translate(words, '-', ' '));
end $$;

-- Returns a query in which the last word matches all words that begin with it. Null unless the query ends in a word of
-- at least three characters.
create or replace function educa_chat.search_unfinished_query(words text) returns tsquery
language plpgsql immutable strict as $$
declare
    syntax constant text := educa_chat.search_syntax(words);
begin
    if syntax !~ '(?:^|\s)(?!-)[^\s"]*[^\s"_-]{3}$' then
        return null;
    end if;
    return regexp_replace(websearch_to_tsquery('simple', syntax)::text, $r$'(?=\)*$)$r$, $r$':*$r$)::tsquery;
exception when internal_error then
    return null;
end $$;

-- Returns a query for all words of `query`, in any order: the index finds the same messages for both, but for a phrase
-- it would check each of them. Excluded words are left out too, because they may belong to a phrase.
create or replace function educa_chat.search_candidates(query tsquery) returns tsquery
language sql immutable strict parallel safe
    return case when query::text not like '%<%' then query     -- No word contains this operator.
        else coalesce(regexp_replace(nullif(querytree(query), 'T'), '<(-|\d+)>', '&', 'g'), $$!' '$$)::tsquery end;

-- A room's log is divided into slices, so that a search can begin with the newest and stop when it has enough matches.
create or replace function educa_chat.search_slice(seq bigint) returns bigint
language sql immutable strict parallel safe
    return seq / 32768;

-- The slice is one more word of each message, so one index answers 'in this slice of this room, with these words'. The
-- words for slices, authors, links and questions contain a space, so no text and no query can contain them.
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

-- Returns the words of a message without those that contain a space: the beginning `from` must not find `from 7`.
create or replace function educa_chat.search_said(words tsvector) returns tsvector
language sql immutable strict parallel safe
    return ts_delete(words, array(select lexeme from unnest(words) where lexeme like '% %'));

-- Words for the author of a message: the one that students see, and for instructors the user behind a pseudonym.
create or replace function educa_chat.search_author_words(author integer, pseudonym text) returns tsvector
language sql immutable parallel safe
    return array_to_tsvector(case when pseudonym is null then array['from ' || author]
        else array['from ' || pseudonym, 'anonymous ' || author] end);

-- All words of a message. Of these, only the text and `is question` can change; a trigger notes such changes.
create or replace function educa_chat.search_words_of(message educa_chat.message) returns tsvector
language sql immutable parallel safe as $$
    select educa_chat.search_words_in_slice(message.course, message.seq, message.body)
        || educa_chat.search_author_words(message.author, message.pseudonym)
        || case when message.question then $q$'is question'$q$ else '' end::tsvector
$$;

-- Returns the seq of the first message at or after this time, or else the one after the head; null if there is no room.
-- This is a binary search, because a later message never has an earlier time.
create or replace function educa_chat.search_seq_at(of_course bigint, since timestamptz) returns bigint
language plpgsql stable strict as $$
declare
    low bigint := 1;
    high bigint := (select head + 1 from educa_chat.room where course = of_course);
    middle bigint;
    message record;
begin
    while low < high loop
        middle := (low + high) / 2;
        select seq, at into message from educa_chat.message where course = of_course and seq >= middle order by seq limit 1;
        if not found or message.at >= since then
            high := middle;
        else
            low := message.seq + 1;
        end if;
    end loop;
    return high;
end $$;

create or replace function educa_chat.note_search_change() returns trigger language plpgsql as $$
begin
    insert into educa_chat.search_change values (new.course, new.seq);
    return null;
end $$;

-- Indexes changed messages and then new ones, at most `most` of each, and returns the larger of both numbers. It is less
-- than `most` if nothing is left, and 0 while another process is indexing. Rooms that are only a little behind come first,
-- so indexing an old log for the first time delays nobody.
create or replace function educa_chat.index_messages(most bigint) returns bigint language plpgsql volatile as $$
declare
    room record;
    done bigint := 0;
    last bigint;
    changed bigint;
begin
    if not pg_try_advisory_xact_lock(x'65647563615f7365'::bigint) then     -- "educa_se"
        return 0;
    end if;
    -- Entries that are lost when the database crashes are indexed again.
    perform set_config('synchronous_commit', 'off', true);
    with change as (
        delete from educa_chat.search_change
        where ctid = any (array(select ctid from educa_chat.search_change limit most))
        returning course, seq
    )
    insert into educa_chat.search_entry
    select m.course, m.seq, educa_chat.search_words_of(m)
    from (select distinct course, seq from change) c
    cross join lateral (select * from educa_chat.message where course = c.course and seq = c.seq limit 1) m
    on conflict (course, seq) do update set words = excluded.words;
    get diagnostics changed = row_count;
    for room in
        select r.course, coalesce(p.seq, 0) as seq, r.head
        from educa_chat.room r left join educa_chat.search_progress p on p.course = r.course
        where r.head > coalesce(p.seq, 0)
        order by r.head - coalesce(p.seq, 0)
    loop
        last := least(room.head, room.seq + most - done);
        insert into educa_chat.search_entry
        select m.course, m.seq, educa_chat.search_words_of(m)
        from educa_chat.message m
        where m.course = room.course and m.seq > room.seq and m.seq <= last and not m.deleted
        on conflict (course, seq) do nothing;
        insert into educa_chat.search_progress values (room.course, last)
        on conflict (course) do update set seq = excluded.seq;
        done := done + last - room.seq;
        exit when done = most;
    end loop;
    return greatest(done, changed);
end $$;

-- Changing this number indexes all messages again, new ones first. Until then, the existing entries stay in use.
do $$
declare
    version constant text := '3';
begin
    if obj_description('educa_chat.search_words(text)'::regprocedure, 'pg_proc') is distinct from version then
        insert into educa_chat.search_change select course, seq from educa_chat.search_entry;
        execute format('comment on function educa_chat.search_words(text) is %L', version);
    end if;
end $$;

-- This comes last, because it locks the table.
create or replace trigger note_search_change after update of body, question on educa_chat.message
    for each row when (new.body <> old.body or new.question <> old.question) execute function educa_chat.note_search_change();

-- The search index. It follows the log by itself, so that no append waits for it.

create table educa_chat.search_entry (
    course bigint not null,
    seq bigint not null,
    words tsvector not null,
    primary key (course, seq)
);

-- Without a list of pending entries, which each search would have to read.
create index search_entry_words on educa_chat.search_entry using gin (words) with (fastupdate = off);

-- How far the log of a room is indexed.
create table educa_chat.search_progress (
    course bigint primary key,
    seq bigint not null
);

-- The messages whose text has changed. Rows are only added, so that a change waits for nobody.
create table educa_chat.search_change (
    course bigint not null,
    seq bigint not null
);

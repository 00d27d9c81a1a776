-- What the unread counts of a room need: the messages that are gone, and those that mention somebody.

create index message_deleted on educa_chat.message (course, seq) where deleted;
create index message_mentions on educa_chat.message (course, seq) where mentions is not null;

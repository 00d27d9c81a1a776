-- Sign-in links that teachers make for their students, and what the students see of links that others have made.

alter table educa_chat.sign_in_link
    add column teacher integer,                            -- null: somebody else has made it
    add column course bigint;                              -- in which `teacher` teaches the user

create index admin_entry_links on educa_chat.admin_entry (user_id, id) where action = 'user.link_made';

-- Whether a roster has ever named a member. Administrators of a platform may launch courses whose rosters lack them.

alter table educa_chat.lti_member add column is_listed boolean not null default false;

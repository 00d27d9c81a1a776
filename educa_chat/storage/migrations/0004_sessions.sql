-- A sign-in removes the oldest sessions of its user.

create index session_of_user on educa_chat.session (user_id, created_at);

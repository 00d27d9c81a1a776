-- A message. `append_messages` stores it, because messages go through one statement together.

insert into educa_chat.kind (number, name, is_system_message) values (1, 'chat_message', false) on conflict do nothing;

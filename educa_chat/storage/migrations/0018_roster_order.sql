-- Two fetches of a roster may overlap, and the older one may end last.

-- When the newest roster that has begun to change the course was asked for.
alter table educa_chat.lti_context add column roster_asked_at timestamptz;

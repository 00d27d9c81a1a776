-- Prosody with only rooms and their archive. `benchmarks/xmpp.py` replaces `$port` and the other variables.
run_as_root = true
pidfile = "$folder/prosody.pid"
data_path = "$folder"
certificates = "$folder"
log = { warn = "*console" }

interfaces = { "127.0.0.1" }
http_ports = { $port }
https_ports = {}
http_default_host = "localhost"
modules_enabled = { "saslauth", "websocket" }
modules_disabled = { "s2s", "offline" }
c2s_ports = {}
c2s_require_encryption = false
consider_websocket_secure = true

gc = { mode = "generational" }
network_settings = { nagle = false }

storage = "sql"
sql = { driver = "PostgreSQL", host = "$postgres_folder", port = $postgres_port, database = "$database", username = "postgres" }

VirtualHost "localhost"
    authentication = "anonymous"

Component "conference.localhost" "muc"
    modules_enabled = { "muc_mam" }
    muc_log_by_default = true
    muc_log_all_rooms = true
    muc_log_expires_after = "never"
    muc_room_locking = false
    muc_room_default_persistent = true
    -- Otherwise Prosody would send 125,000 arrivals while 500 users join, before anything is measured.
    muc_room_default_presence_broadcast = { visitor = false, participant = false, moderator = false }

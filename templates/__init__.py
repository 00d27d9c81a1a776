"""The page templates, shipped inside the package as `educa_chat.templates`."""

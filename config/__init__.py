"""The example settings, shipped inside the package as `educa_chat.config`."""

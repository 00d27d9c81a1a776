"""The pages, the socket and the API: HTTP on one side, `Chat` and `Hub` on the other."""

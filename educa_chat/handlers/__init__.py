"""The pages, the socket and the API: HTTP on one side, `Chat`, `Hub` and `Identity` on the other."""

"""Chat servers to compare with: small programs, each run with the port to listen on.

All speak the same: a client of `/ws/chat/room/ID/` sends `{"message": text}`, and every socket of the room gets that
text with a name and the time, which for the text that the load says makes a frame of 147 bytes. None of them signs
people in, checks who is enrolled, or stores anything.
"""

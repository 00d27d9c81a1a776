"""A course chat server: one room a course, and nothing said in it is ever lost.

The data path:
    handlers/websocket   a frame becomes a command
    chat                 may she, and what does it mean? a command becomes an entry
    storage/log          all entries that wait are judged, numbered and committed in one append
    room                 the events go out, in order, with one write a socket
    bus                  the same bytes reach the other processes
    room                 … and come in by the same door
"""

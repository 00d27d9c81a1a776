"""A course chat server: one room a course, and nothing said in it is ever lost.

The data path:
    chat_socket          a message becomes a command
    chat                 the command is checked and becomes an entry
    storage/log          all waiting entries are judged, numbered and committed in one append
    room                 the events are broadcast in order, with one write per socket
    bus                  the same bytes reach the other processes
    room                 their rooms broadcast them in the same way
"""

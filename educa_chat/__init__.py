"""A course chat server: one room per course, and no accepted message is ever lost.

The data path:
    chat_socket          a message becomes a command
    chat                 the command is checked and becomes an entry
    storage/log          all waiting entries are checked, numbered and committed in one append
    room                 the events are broadcast in order, with one write per socket
    bus                  the same bytes reach the other processes
    room                 their rooms broadcast them in the same way
"""

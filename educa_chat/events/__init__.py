"""The kinds of event: one module for each, which `registry` finds.

kind        what a kind is, and what its module gives
registry    all kinds, by their command and by their number
decode      a frame becomes a command
text        what counts as a text, and in which form it is stored
"""
